//! The rules of the house, checked where no lint can: who may depend on what, and how big things may get.
//!
//! A failure says what to do. A rule that is wrong is changed here, in the open, with its reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the node is a member of the workspace").to_owned()
}

/// A source file: where it is, from the root, and its lines.
pub struct Source {
    pub path: String,
    text: String,
}

impl Source {
    /// Without what is only compiled for tests: in this house a `tests` module ends its file.
    pub fn product(&self) -> &str {
        match self.text.find("#[cfg(test)]\nmod tests {") {
            Some(end) => &self.text[..end],
            None => &self.text,
        }
    }

    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let in_tests = self.path.split('/').any(|part| part == "tests");
        in_tests || name == "tests.rs" || name.ends_with("_test.rs") || name.ends_with("_tests.rs")
    }

    /// Lines of code, with their numbers: comments do not count as uses.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.product().lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
    }
}

/// Every Rust file of the workspace.
pub fn sources() -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    for member in ["proto", "node", "client", "sim", "tests"] {
        collect(&root, &root.join(member), &mut found);
    }
    assert!(found.len() > 100, "the sources are found: {}", found.len());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(root: &Path, dir: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let path = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            found.push(Source { path, text });
        }
    }
}

/// Names in the `[dependencies]` of a member.
fn dependencies(member: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(member).join("Cargo.toml")).expect("a Cargo.toml");
    let manifest: toml::Table = text.parse().expect("a manifest");
    let table = manifest.get("dependencies").and_then(toml::Value::as_table);
    table.map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

fn members() -> Vec<String> {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("the root's Cargo.toml");
    let manifest: toml::Table = text.parse().expect("a manifest");
    let members = manifest["workspace"]["members"].as_array().expect("members");
    members.iter().map(|member| member.as_str().expect("a path").to_owned()).collect()
}

/// Fails with every place that breaks a rule, and what to do about it.
#[track_caller]
pub fn assert_none(broken: &[String], what_to_do: &str) {
    assert!(broken.is_empty(), "{what_to_do}\n  {}", broken.join("\n  "));
}

/// Places outside `allowed` where a line of code has one of these words.
pub fn uses(words: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut places = Vec::new();
    for source in sources().iter().filter(|s| !s.is_test()) {
        if allowed.iter().any(|path| source.path.starts_with(path)) {
            continue;
        }
        for (number, line) in source.code().filter(|(_, line)| words.iter().any(|word| has_word(line, word)))
        {
            places.push(format!("{}:{number}: {}", source.path, line.trim()));
        }
    }
    places
}

/// Whether a word stands in a line and is not the end of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(part_of_name))
}

#[test]
fn the_machine_reaches_nothing_that_is_not_deterministic() {
    let allowed = ["bytes", "prost", "quorate-simpoint", "thiserror", "twox-hash"].map(str::to_owned);
    let more: Vec<String> = dependencies("node/machine").difference(&allowed.into()).cloned().collect();
    assert_none(
        &more,
        "node/machine is a pure function: do this work in the shell, and give the machine the result",
    );
    let broken: Vec<String> = sources()
        .iter()
        .filter(|source| source.path.starts_with("node/machine/src") && !source.is_test())
        .flat_map(|source| {
            let banned = [
                "HashMap",
                "HashSet",
                "f32",
                "f64",
                "std::time",
                "std::thread",
                "std::fs",
                "std::net",
                "std::env",
            ];
            let lines = source.code().filter(move |(_, line)| banned.iter().any(|word| has_word(line, word)));
            lines
                .map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none(
        &broken,
        "node/machine must give the same bytes everywhere: use ordered maps, integers, and the entry's time",
    );
}

#[test]
fn layers_know_only_what_is_below_them() {
    let banned = |member: &str, names: &[&str]| {
        let found = dependencies(member);
        let of = |name: &&&str| found.contains(**name);
        names.iter().filter(of).map(|name| format!("{member} depends on {name}")).collect::<Vec<_>>()
    };
    let wire = [
        "tonic",
        "tonic-prost",
        "prost",
        "quorate-proto",
        "openraft",
        "quorate-raft",
        "quorate-node",
        "quorate-client",
    ];
    assert_none(&banned("node/storage", &wire), "storage keeps bytes: convert in node/src/edge or node/raft");
    let server = ["quorate-node", "quorate-raft", "quorate-storage", "quorate-machine", "heed", "openraft"];
    assert_none(&banned("client", &server), "the client knows the wire and nothing of the server");
    assert_none(
        &banned("node/raft", &["quorate-node", "quorate-client", "heed"]),
        "raft knows neither queues' clients nor LMDB",
    );
    let elsewhere: Vec<String> = members()
        .into_iter()
        .filter(|member| member != "node/raft")
        .filter(|member| dependencies(member).iter().any(|name| name.starts_with("openraft")))
        .collect();
    assert_none(&elsewhere, "only node/raft instantiates openraft: give its face (Replica) what is missing");
    let lmdb: Vec<String> = members()
        .into_iter()
        .filter(|member| member != "node/storage" && dependencies(member).contains("heed"))
        .collect();
    assert_none(&lmdb, "only node/storage knows LMDB: give its face what is missing");
}

#[test]
fn every_dependency_is_pinned_in_the_workspace_table() {
    let mut broken = Vec::new();
    for member in members() {
        let text = fs::read_to_string(root().join(&member).join("Cargo.toml")).expect("a Cargo.toml");
        let own = text.lines().filter(|line| {
            line.contains("version = \"") || line.contains("path = \".") && line.contains("quorate-")
        });
        broken.extend(own.map(|line| format!("{member}: {line}")));
    }
    assert_none(
        &broken,
        "versions stand in the root's [workspace.dependencies] only: write `workspace = true`",
    );
}

#[test]
fn nondeterminism_enters_at_one_place_each() {
    assert_none(
        &uses(&["SystemTime::now", "Utc::now"], &["node/src/clock.rs"]),
        "take the injected Clock; only node/src/clock.rs reads the system's",
    );
    assert_none(
        &uses(&["rand::", "getrandom::"], &["node/src/random.rs", "client/src/random.rs"]),
        "take the injected Random; only node/src/random.rs and client/src/random.rs draw from the system",
    );
    // A simulation has the one thread of `on_a_fresh_thread`; a bench, which no simulation runs, the one that keeps its pace.
    let starting = ["node/storage/src/disk.rs", "sim/src/interpose/mod.rs", "node/src/cli/bench/alarm.rs"];
    assert_none(
        &uses(&["thread::spawn", "thread::scope", "thread::Builder", "spawn_blocking"], &starting),
        "take the injected DiskRunner; only node/storage/src/disk.rs starts threads",
    );
    // The simulator's commands run simulations in processes of their own: they count the cores, and sleep while they wait.
    let waiting =
        ["sim/src/cli/mutants.rs", "sim/src/cli/process.rs", "sim/src/cli/sweep.rs", "sim/src/explore.rs"];
    assert_none(
        &uses(&["std::thread"], &[&starting[..], &waiting].concat()),
        "whatever runs in a simulation knows nothing of threads: take the injected DiskRunner",
    );
    assert_none(
        &uses(&["statvfs"], &["node/storage/src/disk.rs"]),
        "ask the injected DiskRunner what the disk has left",
    );
    assert_none(&uses(&["std::time::Instant"], &[]), "use tokio::time::Instant, which a simulation can move");
    assert_none(
        &uses(
            &["TcpListener::bind", "TcpStream::connect"],
            // Those of the simulator are turmoil's: they stand in for the network.
            &["node/raft/src/transport.rs", "client/src/connect.rs", "sim/src/world/"],
        ),
        "take the injected Transport or Connector, which a simulation replaces",
    );
}

/// Every `buggify("…")` of the product: where it stands and its name.
fn sites() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for source in sources().iter().filter(|s| !s.is_test() && !s.path.starts_with("node/simpoint/")) {
        for part in source.product().split("buggify(\"").skip(1) {
            found.push((source.path.clone(), part.split('"').next().unwrap_or_default().to_owned()));
        }
    }
    found
}

/// The beginning of the name of a site in this file: its crate and its file, or the directory of a `mod.rs`.
fn site_prefix(path: &str) -> String {
    let (krate, below) = path.split_once("/src/").unwrap_or_default();
    let file = below.trim_end_matches("/mod.rs").trim_end_matches(".rs").rsplit('/').next();
    format!("{}/{}/", krate.rsplit('/').next().unwrap_or_default(), file.unwrap_or_default())
}

#[test]
fn sites_are_named_after_their_place_and_once() {
    let mut seen = BTreeSet::new();
    let mut broken = Vec::new();
    for (path, site) in sites() {
        let what = site.strip_prefix(&site_prefix(&path)).unwrap_or_default();
        let formed = !what.is_empty() && what.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if !formed || !seen.insert(site.clone()) {
            broken.push(format!("{path}: {site:?}"));
        }
    }
    assert!(seen.len() >= 20, "the sites are found: {}", seen.len());
    assert_none(&broken, "name a site `crate/file/what`, each with a name of its own");
    assert_eq!(site_prefix("node/src/shards/proposal/mod.rs"), "node/proposal/");
    assert_eq!(site_prefix("node/storage/src/log/writer.rs"), "storage/writer/");
}

#[test]
fn every_bug_is_planted_and_only_the_simulator_can_ask_for_one() {
    let text = fs::read_to_string(root().join("node/simpoint/src/bug.rs")).expect("the list of bugs");
    let listed =
        text.lines().filter_map(|line| line.trim().split_once(" = \"").map(|(name, _)| name.to_owned()));
    let product: Vec<Source> =
        sources().into_iter().filter(|s| !s.is_test() && !s.path.starts_with("node/simpoint/")).collect();
    let unused: Vec<String> = listed
        .filter(|name| {
            let point = format!("planted(Bug::{name})");
            !product.iter().any(|source| source.product().contains(&point))
        })
        .collect();
    assert_none(&unused, "plant the bug somewhere, or take it off the list");
    let asking: Vec<String> = members()
        .into_iter()
        .filter(|member| member != "sim" && member != "node/simpoint")
        .filter(|member| {
            let text = fs::read_to_string(root().join(member).join("Cargo.toml")).expect("a Cargo.toml");
            text.contains("\"simulation\"") || text.contains("quorate-simpoint/")
        })
        .collect();
    assert_none(
        &asking,
        "the feature `simulation` is for sim/ alone: no build of the product has its points",
    );
}

#[test]
fn every_select_is_biased() {
    let mut broken = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (index, line) in
            lines.iter().enumerate().filter(|(_, line)| line.trim_end().ends_with("select! {"))
        {
            if lines.get(index + 1).is_none_or(|next| next.trim() != "biased;") {
                broken.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
            }
        }
    }
    assert_none(
        &broken,
        "write `biased;` first: an unbiased select draws from a random generator that no seed reaches",
    );
}

#[test]
fn only_the_translators_see_both_sides_of_the_wire() {
    assert_none(
        &uses(
            &["quorate_proto"],
            &[
                "proto/",
                "client/",
                "node/raft/",
                "node/src/edge/grpc/",
                // How a cluster forms is raft's, and passes by here.
                "node/src/node.rs",
                // What a client was answered, as it came over the wire, beside the log: the checks compare both sides.
                "sim/src/history.rs",
                "sim/src/check/",
            ],
        ),
        "the wire's types stop at the edge and at raft: convert there (node/src/edge/grpc/convert.rs)",
    );
    assert_none(
        &uses(
            &["v1::Message {", "message::Message {"],
            &["node/src/edge/grpc/convert.rs", "client/src/message.rs", "node/machine/"],
        ),
        "messages are converted in node/src/edge/grpc/convert.rs and client/src/message.rs only",
    );
    assert_none(
        &uses(&["ErrorDetails::"], &["node/src/edge/grpc/status.rs"]),
        "errors become gRPC statuses in node/src/edge/grpc/status.rs only",
    );
    assert_none(
        &uses(
            &["unsafe"],
            &[
                "node/storage/src/map.rs",
                // One system call that takes no pointer, by the name that a simulation answers.
                "node/storage/src/stretch.rs",
                // System calls, and the symbols that answer them in the system's place.
                "sim/src/interpose/",
                "sim/src/disk/mod.rs",
                "sim/src/disk/medium.rs",
            ],
        ),
        "only node/storage/src/map.rs may be unsafe, where LMDB's map is opened, and stretch.rs beside it",
    );
}

#[test]
fn only_the_simulator_stands_in_for_the_system() {
    let links = |member: &String| {
        let text = fs::read_to_string(root().join(member).join("Cargo.toml")).expect("a Cargo.toml");
        let manifest: toml::Table = text.parse().expect("a manifest");
        let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
        let tables = sections.iter().filter_map(|section| manifest.get(*section)?.as_table());
        tables.flat_map(toml::Table::keys).any(|name| name == "turmoil" || name == "libc")
    };
    // The storage takes room by libc's name for it, since that is what a simulation answers.
    let may = |member: &String| member != "sim" && member != "node/storage";
    let linking: Vec<String> = members().into_iter().filter(may).filter(links).collect();
    assert_none(&linking, "only sim/ simulates hosts and answers system calls");
    assert!(links(&"sim".to_owned()), "the rule sees what it is about");
    assert_none(
        &uses(&["interpose!"], &["sim/src/main.rs", "sim/src/interpose/mod.rs", "sim/examples/"]),
        "only a binary says `interpose!`: a library must not change the clock of whoever links it",
    );
}

#[test]
fn files_stay_small() {
    let long = sources().into_iter().map(|s| (s.text.lines().count(), s.path));
    let long = long
        .filter(|(lines, _)| *lines >= FILE_LINES_MAX)
        .map(|(lines, path)| format!("{path}: {lines} lines"));
    assert_none(&long.collect::<Vec<_>>(), "split it by responsibility: a file has fewer than 500 lines");
}

#[test]
fn functions_stay_small() {
    let mut long = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (name, line, length) in functions(source.product()) {
            if length > FUNCTION_LINES_MAX {
                long.push(format!("{}:{line}: {name} has {length} lines", source.path));
            }
        }
    }
    assert_none(&long, "split it: a function has at most 70 lines");
}

/// Name, first line and length of every function with a body, in code that rustfmt has formatted: it closes a function
/// with a brace at the indentation of its first line.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let ends = |l: &&str| {
            l.strip_prefix(indent)
                .is_some_and(|rest| rest.starts_with('}') || rest.starts_with(')') && rest.ends_with(';'))
        };
        let one_line = line.ends_with(';') || line.ends_with('}');
        let length = if one_line { 1 } else { lines[index..].iter().position(ends).map_or(1, |end| end + 1) };
        found.push((name.to_owned(), index + 1, length));
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let words = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    let is_function = before.split_whitespace().all(|word| words.contains(&word));
    is_function.then(|| after.split(['(', '<']).next().unwrap_or_default())
}

#[test]
fn nothing_is_left_undone() {
    let words = ["todo!", "unimplemented!", "dbg!"].map(|word| format!("{word}("));
    let marks = ["FIX", "TO", "XX"].iter().zip(["ME", "DO", "X"]).map(|(a, b)| format!("{a}{b}"));
    let words: Vec<String> = words.into_iter().chain(marks).collect();
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.path != "tests/blackbox/architecture.rs") {
        for (index, line) in source.text.lines().enumerate() {
            if words.iter().any(|word| has_word(line, word)) {
                broken.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
            }
        }
    }
    assert_none(&broken, "finish it, or write an issue and say there what is missing");
}

/// What ARCHITECTURE.md points to, above all the tests that guard the invariants, is there.
#[test]
fn the_architecture_page_names_files_that_exist() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("an ARCHITECTURE.md at the root");
    let named = page.split('`').skip(1).step_by(2).filter(|name| !name.contains([' ', '*', ':', '<']));
    let rooted = |name: &&str| {
        ["node/", "client/", "proto/", "tests/", "docs/", "sim/"].iter().any(|top| name.starts_with(top))
    };
    let missing: Vec<String> =
        named.filter(rooted).filter(|name| !root().join(name).exists()).map(str::to_owned).collect();
    assert_none(
        &missing,
        "ARCHITECTURE.md names what is not there: correct the page, or bring the file back",
    );
}

#[test]
fn the_rules_can_fail() {
    let long = format!("fn long() {{\n{}}}\n", "    x();\n".repeat(FUNCTION_LINES_MAX));
    assert_eq!(functions(&long), [("long".to_owned(), 1, FUNCTION_LINES_MAX + 2)]);
    let short =
        "    pub async fn a(\n        b: u8,\n    ) -> u8 {\n        b\n    }\n    fn c();\n    fn d() {}\n";
    let lengths: Vec<usize> = functions(short).into_iter().map(|(_, _, length)| length).collect();
    assert_eq!(lengths, [5, 1, 1]);
    assert!(has_word("let x = rand::random();", "rand::") && !has_word("operand::x", "rand::"));
    assert!(!uses(&["SystemTime::now"], &[]).is_empty(), "the one place is seen when it is not allowed");
}
