//! Every verb of the product has its file here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What the protocol and the machine offer, and the files that use it.
const USED: &[(&str, &[&str])] = &[
    ("rpc Members", &["members"]),
    ("rpc Status", &["status"]),
    ("rpc RemoveMember", &["remove_member"]),
    ("rpc Version", &["version"]),
    ("rpc RaiseVersion", &["raise_version"]),
    ("rpc Receive", &["attach", "credit", "detach", "ack", "retry", "release", "extend", "park"]),
    ("rpc Publish", &["open_producer", "publish", "close_producer"]),
    ("rpc Create", &["create_queue", "create_subscription"]),
    ("rpc List", &["list_queues", "list_subscriptions", "list_producers", "list_state"]),
    ("rpc Open", &["transact"]),
    ("rpc Transact", &["transact"]),
    ("rpc Get", &["get_state"]),
    ("rpc Await", &["await_state"]),
    ("rpc Show", &["show_queue"]),
    ("rpc Delete", &["delete_queue", "delete_subscription"]),
    ("rpc Update", &["update_queue", "update_subscription"]),
    ("rpc Purge", &["purge"]),
    ("rpc Reschedule", &["reschedule"]),
    ("rpc Pause", &["pause"]),
    ("rpc Seek", &["seek"]),
    ("rpc Unpark", &["unpark"]),
    ("rpc Read", &["read"]),
    ("rpc Explain", &["explain"]),
    ("rpc Peek", &["peek"]),
    ("rpc Stat", &["stat"]),
    ("Verb::CreateQueue", &["create_queue"]),
    ("Verb::DeleteQueue", &["delete_queue"]),
    ("Verb::OpenProducer", &["open_producer"]),
    ("Verb::CloseProducer", &["close_producer"]),
    ("Verb::Publish", &["publish"]),
    ("Verb::Attach", &["attach"]),
    ("Verb::Credit", &["credit"]),
    ("Verb::Detach", &["detach"]),
    ("Verb::Settle", &["ack", "retry", "release", "extend", "park"]),
    ("Verb::UpdateQueue", &["update_queue"]),
    ("Verb::Purge", &["purge"]),
    ("Verb::CreateSub", &["create_subscription"]),
    ("Verb::UpdateSub", &["update_subscription"]),
    ("Verb::DeleteSub", &["delete_subscription"]),
    ("Verb::Pause", &["pause"]),
    ("Verb::Seek", &["seek"]),
    ("Verb::Reschedule", &["reschedule"]),
    ("Verb::Unpark", &["unpark"]),
    ("Verb::Transact", &["transact"]),
    ("Verb::Tick", &[]),        // time is nobody's to ask for: the leader proposes it
    ("Verb::GiveNodeIds", &[]), // the leader proposes it for a new member: see `faults/process/remove.rs`
    ("Verb::RaiseVersion", &["raise_version"]),
    ("Outcome::Unspecified", &[]),
    ("Outcome::Ack", &["ack"]),
    ("Outcome::Retry", &["retry"]),
    ("Outcome::Release", &["release"]),
    ("Outcome::Extend", &["extend"]),
    ("Outcome::Park", &["park"]),
];

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn names_in(dir: &str, extension: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(at(dir)).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|e| e == extension));
    files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The word at the start of a text.
fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn rpcs(proto: &str) -> Vec<String> {
    let lines = proto.lines().filter_map(|line| line.trim().strip_prefix("rpc "));
    lines.map(|line| format!("rpc {}", word(line))).collect()
}

/// The variants of an enum of the machine's, which are written one a line.
fn variants(source: &str, of: &str) -> Vec<String> {
    let (_, rest) = source.split_once(&format!("pub enum {of} {{")).expect("the enum is there");
    let (inside, _) = rest.split_once("\n}").expect("the enum ends");
    let lines = inside.lines().map(str::trim);
    let variants = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    variants.map(|line| format!("{of}::{}", word(line))).collect()
}

fn offered() -> BTreeSet<String> {
    let protos = names_in("../proto/proto/quorate/v1", "proto");
    let mut offered = BTreeSet::new();
    for proto in protos {
        let text = std::fs::read_to_string(at(&format!("../proto/proto/quorate/v1/{proto}.proto")));
        offered.extend(rpcs(&text.unwrap()));
    }
    let machine = |file| std::fs::read_to_string(at("../node/machine/src/command").join(file)).unwrap();
    offered.extend(variants(&machine("mod.rs"), "Verb"));
    offered.extend(variants(&machine("consumer.rs"), "Outcome"));
    offered
}

#[test]
fn every_verb_has_a_workload() {
    let known: BTreeSet<String> = USED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(offered(), known, "left: what the product offers; right: what has a workload");
    let used: BTreeSet<String> =
        USED.iter().flat_map(|(_, files)| files.iter().map(|file| (*file).to_owned())).collect();
    let mut files = names_in("src/workload/verbs", "rs");
    assert!(files.remove("mod") && files.remove("coverage"));
    assert_eq!(files, used, "left: files here; right: files named in the table");
}

#[test]
fn a_new_verb_would_be_seen() {
    assert_eq!(rpcs("service S {\n  // rpc.\n  rpc Move(A) returns (B);\n}"), ["rpc Move"]);
    let source =
        "pub enum Verb {\n    /// Parks.\n    #[prost(message)]\n    Park(Park),\n    Tick(Tick),\n}\n";
    assert_eq!(variants(source, "Verb"), ["Verb::Park", "Verb::Tick"]);
}
