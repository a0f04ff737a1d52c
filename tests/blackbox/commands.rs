//! Every command as a user runs it: what it says to people, and the JSON keys that programs rely on.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Cluster, Dev, s, until};

/// The keys of an object, which are part of the interface.
#[track_caller]
fn assert_keys(value: &Value, keys: &[&str]) {
    let found: BTreeSet<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(found, keys.iter().copied().collect::<BTreeSet<_>>(), "{value}");
}

#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
    assert!(!said.contains('\x1b'), "no colours where nobody looks: {said:?}");
}

const QUEUE_KEYS: [&str; 16] = [
    "name",
    "order",
    "lease_ms",
    "backoff_first_ms",
    "backoff_last_ms",
    "jitter_percent",
    "max_attempts",
    "auto_ack",
    "ttl_ms",
    "priorities",
    "retain",
    "routes",
    "max_length",
    "max_bytes",
    "on_full",
    "created_at",
];
const STAT_KEYS: [&str; 10] = [
    "length",
    "ready",
    "leased",
    "delayed",
    "retrying",
    "parked",
    "bytes",
    "first_position",
    "last_position",
    "oldest_age_ms",
];

#[test]
fn queues_are_created_listed_shown_and_deleted() {
    let cluster = Cluster::start(1, &[]);
    let create = ["queue", "create", "orders", "--order", "total", "--lease", "5s", "--backoff", "2s..10s"];
    let created = cluster.json(&create);
    assert_keys(&created, &[&QUEUE_KEYS[..], &["created"]].concat());
    for (key, value) in [
        ("name", json!("orders")),
        ("order", json!("total")),
        ("lease_ms", json!(5_000)),
        ("backoff_first_ms", json!(2_000)),
        ("backoff_last_ms", json!(10_000)),
        ("created", json!(true)),
    ] {
        assert_eq!(created[key], value, "{key}");
    }
    assert_eq!(cluster.json(&create)["created"], json!(false), "creating it again is no error");
    assert_says(&cluster.quorate(&create).ok().stdout, &["orders", "already"]);
    assert_says(&cluster.quorate(&["queue", "create", "alpha"]).ok().stdout, &["created alpha"]);

    let listed = cluster.quorate(&["queue", "list", "-o", "json"]).ok().lines();
    assert_eq!(listed.len(), 2);
    listed.iter().for_each(|queue| assert_keys(queue, &QUEUE_KEYS));
    assert_eq!((&listed[0]["name"], &listed[1]["name"]), (&json!("alpha"), &json!("orders")), "by name");
    assert_eq!(listed[0]["lease_ms"], json!(30_000), "the default");
    let table = cluster.quorate(&["queue", "list"]).ok().stdout;
    assert_says(
        &table,
        &["NAME", "ORDER", "LEASE", "BACKOFF", "alpha", "none", "30s", "orders", "total", "5s", "2s..10s"],
    );

    let shown = cluster.json(&["queue", "show", "orders"]);
    assert_keys(&shown, &[&QUEUE_KEYS[..], &["stat", "consumers"]].concat());
    assert_keys(&shown["stat"], &STAT_KEYS);
    assert_says(&cluster.quorate(&["queue", "show", "orders"]).ok().stdout, &["orders", "total", "LENGTH"]);

    let deleted = cluster.json(&["queue", "delete", "orders"]);
    assert_eq!(deleted, json!({"name": "orders", "deleted": true}));
    assert_says(&cluster.quorate(&["queue", "delete", "alpha"]).ok().stdout, &["deleted alpha"]);
    assert_eq!(cluster.quorate(&["queue", "list", "-o", "json"]).ok().stdout, "");
}

/// A queue of the same name is a new queue: nothing of the old one shows in it, and no position is used again.
#[test]
fn a_deleted_queue_leaves_nothing_behind() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    cluster.command(&["publish", "q", "--file", "-"]).stdin(b"a\nb\nc\n").run().ok();
    cluster.quorate(&["queue", "delete", "q"]).ok();
    cluster.quorate(&["queue", "create", "q", "--order", "total"]).ok();
    assert_eq!((cluster.stat("q", "length"), cluster.stat("q", "last_position")), (0, 3));
    assert_eq!(cluster.json(&["publish", "q", "new"])["first_position"], json!(4));
    assert_eq!(cluster.quorate(&["receive", "q", "--count", "1", "--body"]).ok().stdout, "new\n");
}

#[test]
fn messages_are_published_from_an_argument_a_file_and_standard_input() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let report = cluster.json(&["publish", "q", "one"]);
    assert_keys(&report, &["published", "duplicates", "first_position", "last_position", "seconds"]);
    assert_eq!((&report["published"], &report["duplicates"]), (&json!(1), &json!(0)));
    assert_says(&cluster.quorate(&["publish", "q", "two"]).ok().stdout, &["stored at position 2"]);

    let file = cluster.file("lines.txt", "three\n\nfive, without a line's end");
    let report = cluster.json(&["publish", "q", "--file", &file, "--window", "2"]);
    assert_eq!((&report["published"], &report["first_position"]), (&json!(3), &json!(3)));
    assert_eq!(report["last_position"], json!(5));
    let said =
        cluster.command(&["publish", "q", "--file", "-"]).stdin("sechs\nsieben ü\n".as_bytes()).run().ok();
    assert_says(&said.stdout, &["2 messages stored at positions 6 to 7"]);
    assert_eq!(said.stderr, "", "no progress bar where nobody looks");
    let nothing = cluster.command(&["publish", "q", "--file", "-", "-o", "json"]).run().ok().json();
    assert_eq!(nothing["published"], json!(0));
    cluster
        .quorate(&["publish", "q", "--file", "/does/not/exist"])
        .fails(1, &["/does/not/exist", "check the path that --file names"]);

    let bodies = cluster.quorate(&["receive", "q", "--count", "7", "--body"]).ok().stdout;
    assert_eq!(bodies, "one\ntwo\nthree\n\nfive, without a line's end\nsechs\nsieben ü\n");
}

#[test]
fn a_message_takes_key_id_headers_and_subject_from_flags_or_fields() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let flags =
        ["--key", "k", "--id", "i-1", "--header", "a=b=c", "--header", "d=", "--subject", "orders.eu"];
    cluster.quorate(&[&["publish", "q", "plain"], &flags[..]].concat()).ok();
    let lines =
        b"{\"id\":\"o-1\",\"customer\":{\"number\":7}}\n{\"id\":\"o-2\",\"customer\":{\"number\":8}}\n";
    let fields = ["publish", "q", "--file", "-", "--key-field", "/customer/number", "--id-field", "/id"];
    cluster.command(&fields).stdin(lines).run().ok();
    let missing = cluster.command(&fields).stdin(b"{\"id\":\"o-3\"}\n").run();
    missing.fails(1, &["line 1", "/customer/number", "what to do:"]);
    cluster.command(&fields).stdin(b"no JSON\n").run().fails(1, &["line 1", "no JSON", "what to do:"]);

    let peeked = cluster.quorate(&["peek", "q", "-o", "json"]).ok().lines();
    assert_eq!(peeked.len(), 3);
    let keys = ["position", "state", "key", "body", "attempt", "id", "subject", "headers", "published_at"];
    assert_keys(&peeked[0], &keys);
    assert_eq!(peeked[0]["key"], json!("k"));
    assert_eq!(peeked[0]["id"], json!("i-1"));
    assert_eq!(peeked[0]["subject"], json!("orders.eu"));
    assert_eq!(peeked[0]["headers"], json!({"a": "b=c", "d": ""}));
    assert_eq!((&peeked[1]["key"], &peeked[1]["id"]), (&json!("7"), &json!("o-1")));
    assert_eq!((&peeked[2]["key"], &peeked[2]["id"]), (&json!("8"), &json!("o-2")));
}

#[test]
fn receive_prints_acknowledges_and_ends_as_asked() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    cluster.command(&["publish", "q", "--file", "-", "--key", "k"]).stdin(b"a\nb\n\xff\xfe\nd\n").run().ok();

    let line = cluster.json(&["receive", "q", "--count", "1"]);
    assert_keys(&line, &["position", "key", "body", "attempt", "token", "headers", "published_at"]);
    for (key, value) in
        [("position", json!(1)), ("key", json!("k")), ("body", json!("a")), ("attempt", json!(1))]
    {
        assert_eq!(line[key], value, "{key}");
    }
    assert_says(line["published_at"].as_str().expect("a time"), &["T", "Z"]);
    assert_eq!(cluster.stat("q", "length"), 3, "what was printed was acknowledged, and no more than that");

    let given_back =
        cluster.quorate(&["receive", "q", "--count", "2", "--no-ack", "-o", "json"]).ok().lines();
    assert_eq!(given_back[0]["body"], json!("b"));
    assert_eq!(given_back[1]["body_base64"], json!("//4="), "bytes that are no text");
    assert!(given_back[1].get("body").is_none());
    assert_eq!(cluster.stat("q", "ready"), 3, "given back, without an attempt counted");
    let again = cluster.quorate(&["receive", "q", "--count", "2", "-o", "json"]).ok().lines();
    assert_eq!((&again[0]["position"], &again[0]["attempt"]), (&json!(2), &json!(1)));
    assert!(again[0]["token"].as_u64() > given_back[0]["token"].as_u64(), "tokens only grow");

    assert_says(&cluster.quorate(&["receive", "q", "--count", "1"]).ok().stdout, &["4", "k", "d"]);
    let late = cluster.quorate(&["receive", "q", "--count", "1", "--wait", "300ms"]);
    late.fails(3, &["0 of 1", "--wait"]);
    let empty = cluster.quorate(&["receive", "q", "--wait", "300ms"]).ok();
    assert_eq!(empty.stdout, "", "without --count an empty queue is no failure");
    assert!(empty.took < s(5), "it waited for 300 ms and took {:?}", empty.took);
}

/// Like `tail -f`: goes on until it is asked to stop, and what it has printed is done.
#[test]
fn receive_follow_ends_with_a_signal() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let follower = cluster.command(&["receive", "q", "--follow", "--body"]).start();
    cluster.quorate(&["publish", "q", "first"]).ok();
    crate::harness::until("the first line", s(10), || (follower.said() == "first\n").then_some(()));
    cluster.quorate(&["publish", "q", "second"]).ok();
    crate::harness::until("the second line", s(10), || (follower.said() == "first\nsecond\n").then_some(()));
    follower.signal(rustix::process::Signal::INT);
    follower.wait().ok();
    assert_eq!(cluster.stat("q", "length"), 0);
}

#[test]
fn peek_and_stat_tell_the_state_and_change_nothing() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let empty = cluster.json(&["stat", "q"]);
    assert_keys(&empty, &STAT_KEYS);
    assert!(STAT_KEYS.iter().all(|key| empty[key] == json!(0)), "{empty}");
    assert_eq!(cluster.quorate(&["peek", "q", "-o", "json"]).ok().stdout, "");

    let lines: String = (1..=30).map(|number| format!("message {number}\n")).collect();
    cluster.command(&["publish", "q", "--file", "-"]).stdin(lines.as_bytes()).run().ok();
    let peek = |flags: &[&str]| {
        let lines = cluster.quorate(&[&["peek", "q", "-o", "json"], flags].concat()).ok().lines();
        lines.iter().map(|line| line["position"].as_u64().expect("a position")).collect::<Vec<_>>()
    };
    assert_eq!(peek(&[]), (1..=20).collect::<Vec<_>>(), "20 if nothing is said");
    assert_eq!(peek(&["--from", "29", "--count", "1000"]), [29, 30]);
    assert_eq!(peek(&["--from", "31"]), Vec::<u64>::new());
    assert_eq!(peek(&["--count", "3", "--state", "ready"]), [1, 2, 3]);
    assert_eq!(peek(&["--state", "leased"]), Vec::<u64>::new());
    let table = cluster.quorate(&["peek", "q", "--count", "1"]).ok().stdout;
    assert_says(&table, &["POSITION", "STATE", "ATTEMPT", "KEY", "BODY", "ready", "message 1"]);

    let stat = cluster.json(&["stat", "q"]);
    for (key, value) in [
        ("length", 30),
        ("ready", 30),
        ("leased", 0),
        ("retrying", 0),
        ("first_position", 1),
        ("last_position", 30),
    ] {
        assert_eq!(stat[key], json!(value), "{key}");
    }
    assert!(stat["bytes"].as_u64() >= Some(lines.len() as u64 - 30), "{stat}");
    assert_says(&cluster.quorate(&["stat", "q"]).ok().stdout, &["LENGTH", "READY", "30"]);
    cluster.quorate(&["receive", "q", "--count", "10"]).ok();
    let stat = cluster.json(&["stat", "q"]);
    assert_eq!((&stat["length"], &stat["first_position"]), (&json!(20), &json!(11)));
}

#[test]
fn cluster_status_shows_every_member() {
    let mut cluster = Cluster::start(3, &[]);
    let lines = cluster.quorate(&["cluster", "status", "-o", "json"]).ok().lines();
    assert_eq!(lines.len(), 3);
    for (index, line) in lines.iter().enumerate() {
        assert_keys(
            line,
            &[
                "name",
                "id",
                "shard",
                "role",
                "term",
                "last",
                "committed",
                "applied",
                "flushed",
                "digest",
                "client_addr",
                "disk_free",
                "room",
                "reserve",
                "disk",
                "log_stalled_ms",
            ],
        );
        assert_eq!(line["name"], json!(format!("n{}", index + 1)));
        assert_eq!((&line["id"], &line["shard"]), (&json!(index + 1), &json!(0)));
        assert_eq!(line["client_addr"], json!(cluster.nodes()[index].client_addr));
        assert!(line["disk_free"].as_u64() > Some(0) && line["room"].as_u64() > line["reserve"].as_u64());
        assert_eq!((&line["disk"], &line["log_stalled_ms"]), (&json!("ok"), &json!(0)));
    }
    let roles = |lines: &[Value]| {
        let mut roles: Vec<String> =
            lines.iter().map(|line| line["role"].as_str().expect("a role").into()).collect();
        roles.sort();
        roles
    };
    assert_eq!(roles(&lines), ["follower", "follower", "leader"]);
    let gone = cluster.follower();
    cluster.kill(gone);
    let lines = cluster.quorate(&["cluster", "status", "-o", "json"]).ok().lines();
    assert_eq!(roles(&lines), ["follower", "leader", "unreachable"]);
    assert_eq!(lines[gone]["role"], json!("unreachable"));
    for unknown in ["term", "last", "digest", "disk_free", "room", "disk"] {
        assert_eq!(lines[gone][unknown], Value::Null, "{unknown}");
    }
    let table = cluster.quorate(&["cluster", "status"]).ok().stdout;
    assert_says(
        &table,
        &["NAME", "ROLE", "TERM", "DIGEST", "LAG", "n1", "n2", "n3", "leader", "unreachable"],
    );
}

#[test]
fn bench_measures_verifies_and_cleans_up() {
    let cluster = Cluster::start(1, &[]);
    let common = ["work", "messages", "seconds", "msgs_per_second", "mb_per_second", "errors", "verified"];
    let load = ["--seconds", "1", "--warmup", "100ms", "--producers", "2", "--window", "32", "--size", "100"];
    let consumers = ["--consumers", "2"];
    let backlog = [&consumers[..], &["--messages", "1001"]].concat();
    for (work, flags, times) in [
        ("publish", &[][..], &["confirm_us"][..]),
        ("pipeline", &consumers, &["confirm_us", "end_to_end_us"]),
        ("receive", &backlog, &[]),
    ] {
        let report = cluster.json(&[&["bench", work], &load[..], flags].concat());
        assert_keys(&report, &[&common[..], times].concat());
        times.iter().for_each(|key| assert_keys(&report[*key], &["p50", "p99", "p999", "max"]));
        assert!(work != "receive" || report["messages"] == json!(1001), "{report}");
        assert_eq!((&report["work"], &report["errors"]), (&json!(work), &json!(0)));
        assert_eq!(report["verified"], json!(true), "{report}");
        assert!(report["messages"].as_u64() > Some(0), "{report}");
    }
    assert_eq!(cluster.quorate(&["queue", "list", "-o", "json"]).ok().stdout, "", "its queues are gone");
}

/// Flags, variables and a file give the settings of a node, and it says which applied.
#[test]
fn serve_prints_where_its_settings_come_from() {
    let cluster = Cluster::prepare(1, &[]);
    let file = cluster
        .file("quorate.toml", "name = \"from-file\"\nheartbeat = \"50ms\"\nlog-bytes-max = \"1GiB\"\n");
    let serve = ["serve", "--print-config", "--config", &file, "--data-dir", "/data", "--heartbeat", "60ms"];
    let command = cluster.command(&serve).env("QUORATE_PEER_ADDR", "10.0.0.1:7401".as_ref());
    let said = command.run().ok().stdout;
    for (key, value, source) in [
        ("name", "from-file", file.as_str()),
        ("data-dir", "/data", "flag"),
        ("heartbeat", "60ms", "flag"),
        ("peer-addr", "10.0.0.1:7401", "QUORATE_PEER_ADDR"),
        ("log-bytes-max", "1GiB", file.as_str()),
        ("client-addr", "127.0.0.1:7400", "default"),
    ] {
        let found = said.lines().find(|line| line.starts_with(&format!("{key} ="))).unwrap_or_default();
        assert!(
            found.contains(value) && found.ends_with(source),
            "{key}: {value} from {source}, and not {found:?}"
        );
    }
    let unknown = cluster.file("unknown.toml", "colour = \"blue\"\n");
    cluster.quorate(&["serve", "--config", &unknown]).fails(2, &["colour", "not a setting"]);
}

#[test]
fn dev_runs_three_nodes_and_leaves_nothing_when_ephemeral() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let dev = Dev::start(3, &["--ephemeral"], scratch.path());
    assert_eq!(dev.endpoints.split(',').count(), 3, "{}", dev.endpoints);
    dev.quorate(&["queue", "create", "q"]).ok();
    dev.quorate(&["publish", "q", "hello"]).ok();
    assert_eq!(dev.quorate(&["receive", "q", "--count", "1", "--body"]).ok().stdout, "hello\n");
    assert_eq!(dev.quorate(&["cluster", "status", "-o", "json"]).ok().lines().len(), 3);
    let left = || std::fs::read_dir(scratch.path()).expect("a directory").count();
    assert_eq!(left(), 1, "its data is there while it runs");
    dev.interrupt().ok();
    assert_eq!(left(), 0, "and gone when it has ended");
}

#[test]
fn dev_finds_its_data_again() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let data = scratch.path().join("data");
    let flags = ["--data-dir", data.to_str().expect("a path in UTF-8")];
    let dev = Dev::start(1, &flags, scratch.path());
    dev.quorate(&["queue", "create", "q"]).ok();
    dev.quorate(&["publish", "q", "kept"]).ok();
    dev.interrupt().ok();
    let dev = Dev::start(1, &flags, scratch.path());
    assert_eq!(dev.quorate(&["receive", "q", "--count", "1", "--body"]).ok().stdout, "kept\n");
    dev.interrupt().ok();
}

/// Messages grow older where nothing else happens, too.
#[test]
fn the_oldest_message_of_an_idle_queue_grows_older() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    assert_eq!(cluster.stat("q", "oldest_age_ms"), 0, "there is none");
    cluster.quorate(&["publish", "q", "a"]).ok();
    until("a second to pass", s(4), || (cluster.stat("q", "oldest_age_ms") >= 1000).then_some(()));
    assert!(cluster.json(&["queue", "show", "q"])["stat"]["oldest_age_ms"].as_u64() >= Some(1000));
}
