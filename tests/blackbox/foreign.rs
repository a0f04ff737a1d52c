//! A client in another language: `tests/foreign` is a Python program that needs `docs/protocol.md` and the `.proto` files and nothing
//! else. Here it runs against a cluster whose leader dies or goes silent meanwhile, and what it says is held against what is in the queues.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use quorate_client::{Peek, Start};
use serde_json::{Value, json};

use crate::architecture::root;
use crate::harness::{Cluster, Command, Running, runtime, s, until};

const NEEDED: &str = "the test of the foreign client needs Python 3.9 or newer with venv and pip, found as `python3`: \
                      install python3, python3-venv and python3-pip, or take it from python.org";

/// The Python of an environment with what `requirements.txt` names, made when it is not there yet or is another.
fn python() -> PathBuf {
    let wanted = fs::read_to_string(root().join("tests/foreign/requirements.txt")).expect("requirements.txt");
    let check = "import sys, venv, ensurepip; assert sys.version_info >= (3, 9); print(sys.version)";
    let found = std::process::Command::new("python3").args(["-c", check]).output();
    let version = match found {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => panic!("{NEEDED}\n{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("{NEEDED}\n{error}"),
    };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign-python");
    let (python, marker) = (dir.join("bin/python"), dir.join("installed"));
    let content = format!("{version}{wanted}");
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == content) {
        return python;
    }
    let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
    let list = text(&root().join("tests/foreign/requirements.txt"));
    let run = |program: &str, args: &[&str]| {
        Command::of(program, "", args).timeout(s(300)).run().ok();
    };
    run("python3", &["-m", "venv", "--clear", &text(&dir)]);
    run(&text(&python), &["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "-r", &list]);
    fs::write(&marker, content).expect("a note of what is installed");
    python
}

/// The program, at work.
struct Foreign {
    running: Running,
}

impl Foreign {
    fn start(endpoint: &str) -> Self {
        let program = root().join("tests/foreign/scenario.py");
        let protos = root().join("proto/proto");
        let [python, program, protos] =
            [python(), program, protos].map(|path| path.to_str().expect("a path in UTF-8").to_owned());
        let args = ["-E", "-B", &program, "--endpoint", endpoint, "--protos", &protos];
        Self { running: Command::of(&python, "", &args).timeout(s(90)).start() }
    }

    /// What it says of a step; waits for it.
    #[track_caller]
    fn step(&mut self, step: &str) -> Value {
        let told = until(&format!("the foreign client says {step:?}"), s(60), || {
            let ended = !self.running.is_running();
            let said = self.running.said();
            let whole = said.rsplit_once('\n').map_or("", |(lines, _)| lines);
            let steps = whole.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
            let found = steps.into_iter().find(|told: &Value| told["step"] == step);
            found.map(Some).or_else(|| ended.then_some(None))
        });
        told.unwrap_or_else(|| panic!("the foreign client ended before {step:?}"))
    }
}

/// Everything that a queue stores, by position.
fn stored(cluster: &Cluster, queue: &str) -> BTreeMap<u64, String> {
    let client = cluster.client(s(30));
    runtime().block_on(async {
        let mut reader = client.queues().read(queue, Start::Position(1), 0, false);
        let mut all = BTreeMap::new();
        while let Some(message) = reader.next().await {
            let message = message.expect("a queue that can be read");
            let body = String::from_utf8(message.body.to_vec()).expect("texts were published");
            assert_eq!(all.insert(message.position, body), None, "a position is read once");
        }
        all
    })
}

/// Receipts as the program tells them: sequence number, position, whether it was there already.
fn receipts(told: &Value) -> BTreeMap<u64, (u64, bool)> {
    let receipts = told.as_object().expect("receipts").iter();
    let one = |(seq, receipt): (&String, &Value)| {
        let position = receipt[0].as_u64().expect("a position");
        (seq.parse().expect("a number"), (position, receipt[1].as_bool().expect("a flag")))
    };
    receipts.map(one).collect()
}

#[test]
fn a_python_client_made_from_the_proto_files_loses_nothing_and_does_nothing_twice_when_the_leader_dies() {
    run_while(|cluster, leader| cluster.kill(leader));
}

#[test]
fn a_python_client_made_from_the_proto_files_leaves_a_leader_that_goes_silent() {
    run_while(|cluster, leader| cluster.node(leader).freeze());
}

/// Everything that the program does, and at last this to the leader.
fn run_while(happens: impl FnOnce(&mut Cluster, usize)) {
    let mut cluster = Cluster::start(3, &[]);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let mut foreign = Foreign::start(&cluster.nodes()[follower].client_addr);

    let found = foreign.step("found");
    assert_eq!(found["leader"], cluster.nodes()[leader].client_addr, "the follower tells who leads");
    let members: BTreeSet<&str> = cluster.nodes().iter().map(|node| &node.client_addr[..]).collect();
    assert_eq!(found["members"], json!(members), "the leader tells who else there is");
    assert_eq!(found["created"], json!([true, true, true, true, false]));

    let once = foreign.step("once");
    assert_eq!(receipts(&once["first"]), [(1, (1, false)), (2, (2, false))].into());
    let fresh = (3..=5).map(|seq| (seq, (seq, false)));
    let repeated = [(1, (1, true)), (2, (2, true))];
    assert_eq!(receipts(&once["receipts"]), repeated.into_iter().chain(fresh).collect());
    assert_eq!(once["refused"], "UNKNOWN_QUEUE");
    let resumed = foreign.step("resumed");
    assert_eq!(resumed["last_seq"], 5, "what was refused used up no number");
    assert_eq!(receipts(&resumed["receipts"]), [(6, (6, false))].into(), "another holder goes on behind it");
    assert_eq!(foreign.step("fenced")["reason"], "PRODUCER_FENCED");
    check_verbs(&foreign.step("verbs"), &cluster);
    check_transact(&foreign.step("transact"), &cluster);

    foreign.step("working");
    happens(&mut cluster, leader);
    let done = foreign.step("done");
    foreign.running.wait().ok();
    if cluster.node(leader).is_running() {
        cluster.node(leader).thaw();
    }
    check_stream(&done, &cluster);
    check_steps(&done, &cluster);
}

fn check_verbs(told: &Value, cluster: &Cluster) {
    let seen = [
        "a 1 release done",
        "a 1 retry done",
        "a 2 extend done",
        "then ack done",
        "b 1 park done",
        "c 1 ack unknown",
        "d 1 ack unknown",
        "e 1 ack unknown",
        "f 1 ack unknown",
    ];
    assert_eq!(told["seen"], json!(seen), "what was given back comes first, and nothing before it");
    assert_eq!(told["tokens_grow"], true);
    assert_eq!(told["stale"], "STALE_LEASE");
    assert_eq!(told["headers"], json!([["traceparent", "00-1-2-01"]]));
    assert_eq!((cluster.stat("verbs", "length"), cluster.stat("verbs", "parked")), (1, 1));
    let client = cluster.client(s(30));
    let page = runtime().block_on(async { client.queues().peek("verbs", &Peek::default()).await });
    let page = page.expect("a look into the queue");
    let reasons: Vec<&str> = page.messages[0].failures.iter().map(|failure| &failure.reason[..]).collect();
    assert_eq!((page.messages[0].position, reasons), (2, vec!["poison"]));
}

fn check_transact(told: &Value, cluster: &Cluster) {
    assert_eq!(told["duplicate"], json!([false, true]), "{told}");
    assert_eq!(told["same"], true, "a repeat has the first answer");
    let version = told["version"].to_string();
    assert_eq!(told["refused"], json!(["PRECONDITION_FAILED", "require", "0", version]));
    let bodies: Vec<String> = stored(cluster, "work").into_values().collect();
    assert_eq!(bodies, ["order", "ship"], "once, though it was sent twice and refused once");
    assert_eq!(cluster.stat("work", "length"), 1, "the first is acknowledged");
}

/// Nothing is lost, nothing is twice, and each position has what was sent, though a leader died.
fn check_stream(done: &Value, cluster: &Cluster) {
    let sent = done["sent"].as_u64().expect("a figure");
    assert!(done["resent"].as_u64() > Some(0), "something was under way when the leader died");
    assert!(done["attached_again"].as_u64() > Some(0), "the consumer lost its leader");
    let receipts = receipts(&done["receipts"]);
    assert!(receipts.keys().copied().eq(1..=sent), "each message has a receipt");
    let stored = stored(cluster, "stream");
    let expected = receipts.iter().map(|(seq, (position, _))| (*position, format!("message {seq}")));
    assert_eq!(stored, expected.collect(), "positions hold what was sent, and there is nothing else");
    let bodies = stored.values().cloned();
    assert!(bodies.eq((1..=sent).map(|seq| format!("message {seq}"))), "in the order in which it was sent");

    let handed = done["handed"].as_array().expect("what was handed out");
    let once = stored.iter().map(|(position, body)| (json!(position), json!(1), json!(body)));
    let handed_out = handed.iter().map(|one| (one[0].clone(), one[1].clone(), one[2].clone()));
    assert!(handed_out.eq(once), "each is handed out once, in order, as its first attempt: {handed:?}");
    let settled = |one: &Value| one[3] == "done" || one[3] == "unknown";
    assert!(handed.iter().all(settled), "the session kept its leases: {handed:?}");
    assert_eq!(
        cluster.stat("stream", "length"),
        0,
        "each acknowledgement counts, also those without an answer"
    );
}

/// Transactions that were repeated for want of an answer happened once.
fn check_steps(done: &Value, cluster: &Cluster) {
    let steps = done["steps"].as_u64().expect("a figure");
    assert!(done["reopened"].as_u64() > Some(0), "an answer was lost with the leader");
    let bodies: Vec<String> = stored(cluster, "steps").into_values().collect();
    assert_eq!(bodies, (1..=steps).map(|number| number.to_string()).collect::<Vec<_>>());
    let client = cluster.client(s(30));
    let state = runtime().block_on(async { client.state().get("steps").await });
    assert_eq!(state.expect("a leader").expect("it is there").value, steps.to_string());
}

/// What the client follows.
fn page() -> String {
    fs::read_to_string(root().join("docs/protocol.md")).expect("docs/protocol.md")
}

/// The files of a directory that end like this.
fn texts(dir: &str, end: &str) -> Vec<String> {
    let files = fs::read_dir(root().join(dir)).expect("a directory");
    let paths = files.map(|entry| entry.expect("an entry").path());
    let paths = paths.filter(|path| path.to_string_lossy().ends_with(end));
    paths.map(|path| fs::read_to_string(path).expect("a source file")).collect()
}

#[test]
fn the_page_of_the_protocol_names_every_reason_that_the_client_knows() {
    let page = page();
    let list = fs::read_to_string(root().join("client/src/error.rs")).expect("the client's reasons");
    let (_, list) = list.split_once("\nreasons! {").expect("the list of reasons");
    let (list, _) = list.split_once("\n}\n").expect("the end of the list");
    let reasons: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    let missing: Vec<&&str> =
        reasons.iter().filter(|reason| !page.contains(&format!("\n| `{reason}` | "))).collect();
    assert!(reasons.len() >= 30 && missing.is_empty(), "{missing:?} of {} are missing", reasons.len());
}

#[test]
fn the_page_of_the_protocol_names_every_call() {
    let page = page();
    let (mut service, mut calls, mut missing) = (String::new(), 0, Vec::new());
    for text in texts("proto/proto/quorate/v1", ".proto") {
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("service ") {
                service = name.trim_end_matches(" {").to_owned();
            }
            if let Some(rpc) = line.trim_start().strip_prefix("rpc ") {
                let call = format!("`{service}.{}`", rpc.split('(').next().unwrap_or_default());
                calls += 1;
                if !page.contains(&call) {
                    missing.push(call);
                }
            }
        }
    }
    assert!(calls >= 25 && missing.is_empty(), "{missing:?} of {calls} are missing");
}
