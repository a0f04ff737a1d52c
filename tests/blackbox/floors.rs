//! The floors of the node: who may know whom.

use crate::architecture::{Source, assert_none, sources, uses};

/// The floors of the node, from the top down: who may know whom.
const FLOORS: [(&str, &[&str]); 4] = [
    ("edge", &["edge", "service"]),
    ("service", &["service", "shards", "cluster"]),
    ("cluster", &["cluster", "shards", "config"]),
    ("shards", &["shards", "clock"]),
];

/// What a floor names that is not below it: the first word after each `crate::`.
fn upward(floor: &str, below: &[&str], sources: &[Source]) -> Vec<String> {
    let dir = format!("node/src/{floor}/");
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with(&dir)) {
        for (number, line) in source.code() {
            let named = line.split("crate::").skip(1).map(|rest| {
                rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
            });
            for name in named.filter(|name| !name.is_empty() && !below.contains(name)) {
                broken.push(format!("{}:{number}: {name}", source.path));
            }
            if line.contains("crate::{") {
                broken.push(format!("{}:{number}: name each module by itself", source.path));
            }
        }
    }
    broken
}

#[test]
fn every_floor_of_the_node_knows_only_what_is_below_it() {
    let sources = sources();
    for (floor, below) in FLOORS {
        let own = sources.iter().filter(|s| s.path.starts_with(&format!("node/src/{floor}/"))).count();
        assert!(own > 0, "node/src/{floor} is there");
        assert_none(
            &upward(floor, below, &sources),
            "no arrow goes upward: edge, service, cluster and shards each know what is below them",
        );
    }
    assert_none(
        &uses_in("node/src/edge/", &["crate::shards", "openraft", "heed", "quorate_storage"]),
        "an edge parses and prints: ask the service for the rest",
    );
    let of_protocols = ["tonic", "quorate_proto", "axum", "http::"];
    for floor in ["node/src/service/", "node/src/shards/", "node/src/cluster/"] {
        assert_none(&uses_in(floor, &of_protocols), "no protocol is known below the edges: translate there");
    }
    let described = sources.iter().find(|s| s.path == "node/src/edge/grpc/status.rs").expect("the statuses");
    let catching: Vec<&str> =
        described.product().lines().filter(|line| line.trim().starts_with("_ =>")).collect();
    assert!(catching.is_empty(), "every reason has its code: no catch-all, {catching:?}");
}

/// Places in a directory where a line of code has one of these words.
fn uses_in(dir: &str, words: &[&str]) -> Vec<String> {
    uses(words, &[]).into_iter().filter(|place| place.starts_with(dir)).collect()
}

#[test]
fn these_rules_can_fail() {
    assert!(!uses_in("node/src/edge/", &["tonic"]).is_empty(), "an edge knows its protocol");
    assert!(!upward("service", &["service"], &sources()).is_empty(), "a floor that knows less is seen");
}
