//! No command of the README or of a page stands there untried: each is run by a test, here or where it belongs.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::architecture::root;
use crate::harness::pages::{bin, blocks, fenced};
use crate::harness::{Cluster, Command, Running, ports, s, take_turn, until};

/// All of whose commands are run as they stand there: by `features.rs`, `guide.rs` and this file.
const WHOLE: [&str; 4] = ["docs/features.md", "docs/guide.md", "docs/cli.md", "docs/members.md"];
/// Commands that begin like this are run by `readme.rs` and by the simulator's `sim/tests/suite.rs`.
const BEGINNINGS: [&str; 7] = [
    "cargo run --release -- ",
    "cargo test --workspace",
    "cargo build -p quorate-sim",
    "target/debug/quorate-sim ",
    "cargo run -p quorate-sim -- ",
    "cargo run -p quorate-sim --example payment -- ",
    "cargo run -p quorate-sim --example saga -- ",
];
/// These take from half an hour to hours, or other brokers: they are run by hand. What they run has to be there.
const BY_HAND: [(&str, &str); 4] = [
    ("bench/compare.sh", "bench/compare.sh"),
    ("bench/alone.sh", "bench/alone.sh"),
    ("cargo bench --manifest-path bench/micro/Cargo.toml", "bench/micro/Cargo.toml"),
    ("QUORATE_CASES=1000000 cargo test -p quorate-machine --test model", "node/machine/tests/model/main.rs"),
];

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The README and the pages.
fn names() -> Vec<String> {
    let entries = fs::read_dir(root().join("docs")).expect("docs");
    let files = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let mut names: Vec<String> =
        files.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    names.push("README.md".into());
    names
}

#[test]
fn every_command_of_every_page_is_run_by_something() {
    let mut untried = Vec::new();
    for name in names().iter().filter(|name| !WHOLE.contains(&name.as_str())) {
        for block in fenced(&page(name)).into_iter().filter(|block| block.language == "sh") {
            for line in block.lines.iter().filter(|line| !line.trim().is_empty()) {
                let run = BEGINNINGS.iter().any(|beginning| line.starts_with(beginning));
                if !run && !BY_HAND.iter().any(|(command, _)| command == line) {
                    untried.push(format!("{name}: {line}"));
                }
            }
        }
    }
    assert!(untried.is_empty(), "no test runs these:\n{}", untried.join("\n"));
    for (_, file) in BY_HAND {
        assert!(root().join(file).exists(), "{file}");
    }
}

/// A number as the page writes it.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let thousands = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<&str> = thousands.map(|group| std::str::from_utf8(group).expect("digits")).collect();
    if digits.len() > 4 { groups.join(",") } else { digits }
}

/// What the page says of messages and names.
fn limits_of_messages() -> Vec<String> {
    use quorate_machine::limits as l;
    let n = |number: usize| grouped(number as u64);
    let (kib, mib) = (|bytes: usize| bytes / 1024, |bytes: usize| bytes >> 20);
    vec![
        format!(
            "a request, encoded; its fields and theirs, counted before it is decoded | {} bytes; {}",
            n(l::REQUEST_BYTES_MAX),
            n(quorate_proto::codec::REQUEST_PARTS_MAX)
        ),
        format!("body | {} MiB", mib(l::BODY_BYTES_MAX)),
        format!(
            "messages in a batch; its encoded bytes | {}; {}",
            n(l::PUBLISH_MESSAGES_MAX),
            n(l::PUBLISH_BYTES_MAX)
        ),
        format!(
            "id; key; subject; content type | {}; {}; {}; {} bytes",
            l::MESSAGE_ID_BYTES_MAX,
            l::MESSAGE_KEY_BYTES_MAX,
            l::SUBJECT_BYTES_MAX,
            l::CONTENT_TYPE_BYTES_MAX
        ),
        format!("headers | {}, {} KiB with their names", l::HEADERS_MAX, kib(l::HEADER_BYTES_MAX)),
        format!("name of a queue, subscription | {} characters of a-z", l::NAME_BYTES_MAX),
        format!(
            "name of a producer session; of a consumer, for people | {} bytes",
            l::PRODUCER_NAME_BYTES_MAX
        ),
    ]
}

/// What it says of what there may be, and of commands.
fn limits_of_commands() -> Vec<String> {
    use quorate_machine::limits as l;
    let n = |number: usize| grouped(number as u64);
    let kib = |bytes: usize| bytes / 1024;
    vec![
        format!("credit | {}", grouped(l::CREDIT_MAX.into())),
        format!(
            "ranges in a settle; messages that they name; a reason | {}; {}; {} bytes",
            n(l::SETTLE_RANGES_MAX),
            grouped(l::SETTLE_MESSAGES_MAX),
            l::REASON_BYTES_MAX
        ),
        format!("delay of a retry | {} days", l::BACKOFF_MS_MAX / (24 * 60 * 60 * 1000)),
        format!(
            "transaction | {parts} requirements, {} ranges, {parts} batches with together {} messages and {} bytes, {parts} puts; the queues that it publishes to have at most {} subscriptions together",
            n(l::SETTLE_RANGES_MAX),
            n(l::TRANSACTION_MESSAGES_MAX),
            n(l::PUBLISH_BYTES_MAX),
            grouped(l::TRANSACTION_REACH_MAX),
            parts = l::TRANSACTION_PARTS_MAX
        ),
        format!(
            "key of the state; value | {} bytes; {} KiB",
            l::STATE_KEY_BYTES_MAX,
            kib(l::STATE_VALUE_BYTES_MAX)
        ),
        format!(
            "in a namespace | {} queues, {} producer sessions, {} keys and {} GiB of state",
            grouped(l::QUEUES_MAX),
            grouped(l::PRODUCERS_MAX),
            grouped(l::STATE_KEYS_MAX),
            l::STATE_BYTES_MAX >> 30
        ),
        format!(
            "of a queue; of a subscription | {} subscriptions, {} routes; {} consumers",
            l::SUBSCRIPTIONS_MAX,
            l::ROUTES_MAX,
            l::CONSUMERS_MAX
        ),
        format!(
            "pattern of a route or filter; a filter, encoded | {} bytes; {} headers, {} bytes",
            l::SUBJECT_BYTES_MAX,
            l::FILTER_HEADERS_MAX,
            n(l::FILTER_BYTES_MAX)
        ),
    ]
}

/// The limits of the page are those of the machine, and of the codec.
#[test]
fn the_limits_of_the_protocol_are_true() {
    use quorate_machine::limits as l;
    let rows: Vec<String> = limits_of_messages().into_iter().chain(limits_of_commands()).collect();
    assert_eq!(l::PRODUCER_NAME_BYTES_MAX, l::CONSUMER_LABEL_BYTES_MAX, "one row says both");
    let page = page("docs/protocol.md");
    let wrong: Vec<&String> = rows.iter().filter(|row| !page.contains(&format!("\n| {row}"))).collect();
    assert!(wrong.is_empty(), "not on the page: {wrong:#?}");
}

/// Files appear where the page says, and errors read as it says.
#[test]
fn the_page_of_the_command_line_is_true() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "orders"]).ok();
    let text = page("docs/cli.md");
    let home = cluster.dir().join("home");
    fs::create_dir_all(&home).expect("a home");
    let bin = bin(cluster.dir());
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let all = blocks(&text);
    assert_eq!(all.len(), 1, "one block of commands");
    // Who has no `man` cannot show a page, but get it.
    let has_man = Command::of("sh", "", &["-c", "command -v man"]).run().code == 0;
    let commands = if has_man { all[0].commands.clone() } else { all[0].commands.replace("| man -l -", "") };
    let run = Command::of("sh", &cluster.endpoints(), &["-e", "-c", &commands]);
    run.env("HOME", &home).env("PATH", Path::new(&path)).run().ok();
    let completions = home.join(".local/share/bash-completion/completions/quorate");
    assert!(fs::read_to_string(completions).expect("a script").contains("_quorate"));
    assert!(home.join(".local/share/man/man1/quorate-queue-create.1").exists());

    let block = |language: &str| {
        let found = fenced(&text).into_iter().find(|block| block.language == language);
        found.expect("the block").lines.join("\n")
    };
    let told = cluster.quorate(&["stat", "ordres"]);
    assert_eq!((told.code, told.stderr.trim_end()), (1, &*block("text")));
    let told = cluster.quorate(&["stat", "ordres", "-o", "json"]);
    let object = |text: &str| serde_json::from_str::<Value>(text).expect("an object");
    assert_eq!((told.code, object(&told.stderr)), (1, object(&block("json"))));
}

/// The hosts are this one, with ports that are free, and each node has its own directory.
#[test]
fn the_commands_of_the_page_of_members_work() {
    let _turn = take_turn();
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let bin = bin(scratch.path());
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let commands: Vec<String> = blocks(&page("docs/members.md")).into_iter().map(|b| b.commands).collect();
    let [first, joins, leaves] = &commands[..] else { panic!("three commands: {commands:?}") };
    let base = ports::free_row(40);
    let endpoint = format!("http://127.0.0.1:{}", base + 10);
    let here = |line: &str, node: u16| {
        let mut line = line.replace("--data-dir data", &format!("--data-dir data{node}"));
        for host in 1..=4 {
            line = line.replace(&format!("host{host}:7401"), &format!("127.0.0.1:{}", base + host * 10 - 9));
        }
        let own = |port: u16| format!("127.0.0.1:{}", base + node * 10 - 10 + port);
        format!("exec {line} --client-addr {} --http-addr {}", own(0), own(2))
    };
    let start = |line: String| -> Running {
        let command = Command::of("sh", "", &["-e", "-c", &line]).current_dir(scratch.path());
        command.env("PATH", Path::new(&path)).timeout(s(120)).start()
    };
    let roles = || {
        let status = Command::new(&endpoint, &["cluster", "status", "-o", "json", "--timeout", "5s"]).run();
        let mut roles = if status.code == 0 { status.lines() } else { Vec::new() };
        roles.retain(|line| line["role"] == "leader" || line["role"] == "follower");
        roles.len()
    };
    // The other two of the list are started like the first, each under its own name.
    let others = (2..=3).map(|node| {
        let own = first.replace("--name n1", &format!("--name n{node}"));
        own.replace("--peer-addr host1", &format!("--peer-addr host{node}"))
    });
    let lines: Vec<String> = std::iter::once(first.clone()).chain(others).collect();
    let _nodes: Vec<Running> = (1..).zip(lines).map(|(node, line)| start(here(&line, node))).collect();
    until("three members", s(60), || (roles() == 3).then_some(()));
    let _fourth = start(here(joins, 4));
    until("the fourth to have its vote", s(60), || (roles() == 4).then_some(()));
    let left = Command::of("sh", &endpoint, &["-e", "-c", leaves]).env("PATH", Path::new(&path)).run().ok();
    assert!(left.stdout.contains("n4"), "{}", left.stdout);
    until("the fourth to be gone", s(30), || (roles() == 3).then_some(()));
}
