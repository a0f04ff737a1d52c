//! Mistakes that people make: each is told with what happened, why, and what to do, in the right exit code.

use serde_json::{Value, json};

use crate::harness::{Cluster, Command, Output, ports, s};

fn with_queues() -> Cluster {
    let cluster = Cluster::start(1, &[]);
    for queue in ["orders", "orders-eu", "payments", "q"] {
        cluster.quorate(&["queue", "create", queue]).ok();
    }
    cluster.quorate(&["sub", "create", "orders", "billing"]).ok();
    cluster
}

/// What was said, without standard output.
fn told(output: &Output) -> &str {
    output.stderr.as_str()
}

#[test]
fn a_misspelt_name_is_told_with_those_that_are_like_it() {
    let cluster = with_queues();
    for args in [
        &["stat", "ordres"][..],
        &["publish", "ordres", "m"],
        &["receive", "ordres", "--wait", "1s"],
        &["peek", "Ordres"],
        &["read", "ordres"],
        &["queue", "show", "order"],
        &["sub", "list", "ordres"],
        &["transact", "--publish", "ordres=m"],
        &["explain", "ordres", "--watch"],
    ] {
        let name = if args[1] == "Ordres" {
            "Ordres"
        } else if args[2..].contains(&"order") {
            "order"
        } else {
            "ordres"
        };
        let asked = format!("there is no queue {name:?}; did you mean \"orders\"");
        cluster.quorate(args).fails(1, &[&asked, "UNKNOWN_QUEUE", "what to do:", "quorate queue list"]);
    }
    for args in [
        &["stat", "orders", "--sub", "biling"][..],
        &["sub", "show", "orders", "biling"],
        &["sub", "pause", "orders", "biling"],
        &["receive", "orders", "--sub", "biling", "--wait", "1s"],
    ] {
        let asked = "there is no subscription \"biling\"; did you mean \"billing\"?";
        cluster.quorate(args).fails(1, &[asked, "UNKNOWN_SUBSCRIPTION", "quorate sub list orders"]);
    }
    let member = cluster.quorate(&["cluster", "remove", "n2"]);
    member.fails(
        1,
        &["there is no member \"n2\"; did you mean \"n1\"?", "UNKNOWN_MEMBER", "quorate cluster status"],
    );
    let far = cluster.quorate(&["stat", "invoices"]);
    far.fails(
        1,
        &["there is no queue \"invoices\" (UNKNOWN_QUEUE)", "quorate queue list", "create the queue"],
    );
    assert!(!told(&far).contains("did you mean"), "nothing is like it: {}", told(&far));
}

/// Many are like it: the three likest.
#[test]
fn at_most_three_names_are_told() {
    let cluster = Cluster::start(1, &[]);
    for number in 1..=9 {
        cluster.quorate(&["queue", "create", &format!("jobs-{number}")]).ok();
    }
    let refused = cluster.quorate(&["stat", "jobs-0", "-o", "json"]);
    refused.fails(1, &[]);
    let told: Value = serde_json::from_str(told(&refused)).expect("JSON");
    assert_eq!(told["did_you_mean"], json!(["jobs-1", "jobs-2", "jobs-3"]));
}

#[test]
fn verbs_options_and_values_are_suggested() {
    for (args, tip) in [
        (&["queu", "list"][..], "'queue'"),
        (&["queue", "creat", "q"], "'create'"),
        (&["stat", "q", "--outptu", "json"], "'--output'"),
        (&["queue", "create", "q", "--max-atempts", "3"], "'--max-attempts'"),
        (&["queue", "create", "q", "--order", "totl"], "'total'"),
        (&["stat", "q", "-o", "jsn"], "'json'"),
    ] {
        Command::new("", args).run().fails(2, &["similar", tip]);
    }
}

/// With `-o json` a program reads why: one object on standard error, nothing on standard output, the same exit codes.
#[test]
fn a_failure_is_an_object_where_json_is_asked_for() {
    let cluster = with_queues();
    let nobody = format!("http://127.0.0.1:{}", ports::free());
    let shape = ["action", "details", "error", "exit", "reason", "retry"];
    for (args, exit, reason, retry) in [
        (&["stat", "nowhere"][..], 1, json!("UNKNOWN_QUEUE"), false),
        (&["queue", "create", "orders", "--order", "total"], 1, json!("QUEUE_EXISTS"), false),
        (&["state", "get", "nothing"], 1, Value::Null, false),
        (&["publish", "orders", "--file", "/does/not/exist"], 1, Value::Null, false),
        (&["stat", "orders", "--timeout", "0"], 2, Value::Null, false),
        (&["receive", "orders", "--count", "1", "--wait", "100ms"], 3, Value::Null, false),
        (&["stat", "orders", "--endpoint", &nobody, "--timeout", "300ms"], 4, Value::Null, true),
    ] {
        let failed = cluster.quorate(&[args, &["-o", "json"]].concat());
        failed.fails(exit, &[]);
        let told: Value = serde_json::from_str(told(&failed)).unwrap_or_else(|e| panic!("{args:?}: {e}"));
        let keys: Vec<&String> = told.as_object().expect("an object").keys().collect();
        assert_eq!(keys, shape, "{args:?}: {told}");
        assert_eq!(
            (&told["exit"], &told["reason"], &told["retry"]),
            (&json!(exit), &reason, &json!(retry)),
            "{told}"
        );
        assert!(
            ["error", "action"].iter().all(|key| told[key].as_str().is_some_and(|text| !text.is_empty())),
            "{told}"
        );
    }
}

/// Suggestions cost a moment, and only where the cluster has just answered.
#[test]
fn nobody_waits_for_suggestions() {
    let mut cluster = with_queues();
    let refused = cluster.quorate(&["stat", "ordres"]);
    assert!(refused.took < s(2), "{:?}", refused.took);
    cluster.kill(0);
    let failed = cluster.quorate(&["stat", "ordres", "--timeout", "200ms"]);
    failed.fails(4, &["no leader", "what to do:"]);
    assert!(failed.took < s(2), "{:?}", failed.took);
}

/// What is wrong, why, and what to do: nobody is left with a bare fact.
#[test]
fn every_mistake_says_what_to_do() {
    let cluster = with_queues();
    let nobody = format!("http://127.0.0.1:{}", ports::free());
    let peers = format!("http://{}", cluster.nodes()[0].peer_addr);
    let http = format!("http://{}", cluster.nodes()[0].http_addr);
    let taken = cluster.nodes()[0].client_addr.rsplit(':').next().expect("a port").to_owned();
    let latin = cluster.file("latin.json", b"{\"customer\":\"J\xfcrgen\"}\n");
    for (args, exit, parts) in MISTAKES {
        let place = |word: &&str| -> String {
            word.replace("NOBODY", &nobody)
                .replace("PEERS", &peers)
                .replace("HTTP", &http)
                .replace("LATIN", &latin)
                .replace("TAKEN", &taken)
        };
        let args: Vec<String> = args.iter().map(place).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        cluster.quorate(&args).fails(*exit, parts);
    }
}

/// Words, exit code, and what has to be told.
const MISTAKES: &[(&[&str], i32, &[&str])] = &[
    // Where the cluster is.
    (
        &["stat", "q", "--endpoint", "NOBODY", "--timeout", "300ms"],
        4,
        &["Connection refused", "--endpoint", "quorate dev"],
    ),
    (
        &["stat", "q", "--endpoint", "PEERS", "--timeout", "1s"],
        1,
        &["port for clients, 7400", "neither that for peers"],
    ),
    (
        &["stat", "q", "--endpoint", "HTTP", "--timeout", "1s"],
        1,
        &["port for clients, 7400", "nor that for HTTP"],
    ),
    (
        &["stat", "q", "--endpoint", "not an address"],
        2,
        &["is no endpoint", "http://host:port", "QUORATE_ENDPOINT"],
    ),
    (&["stat", "q", "--timeout", "0"], 2, &["a timeout of zero", "--timeout 1ms or more"]),
    (&["stat", "q", "--timeout", "5"], 2, &["\"5\" is no duration; write 500ms, 5s"]),
    (&["stat", "q", "--namespace", "other"], 1, &["there is no namespace \"other\"", "\"default\""]),
    // Settings.
    (
        &["queue", "create", "x", "--lease", "10ms"],
        1,
        &["must be within 100 to", "correct --lease; `quorate queue create --help`"],
    ),
    (
        &["queue", "create", "x", "--per-key-inflight", "4"],
        1,
        &["needs order key", "correct --per-key-inflight"],
    ),
    (
        &["queue", "create", "x", "--on-exhausted", "block"],
        1,
        &["needs max_attempts", "correct --on-exhausted"],
    ),
    (&["queue", "create", "x", "--route", ""], 1, &["such as orders.*.created", "correct --route"]),
    (&["queue", "create", "a b"], 1, &["1 to 128 characters", "correct NAME"]),
    (
        &["queue", "create", "x", "--retain", "for:1s", "--retain", "for:2s"],
        2,
        &["twice", "name each kind once"],
    ),
    (
        &["queue", "create", "orders", "--order", "total"],
        1,
        &["other settings", "`quorate queue show orders`", "queue update"],
    ),
    (
        &["sub", "create", "orders", "billing", "--order", "key"],
        1,
        &["other settings", "`quorate sub show orders billing`"],
    ),
    (&["sub", "delete", "q", "default"], 1, &["last subscription", "what to do:"]),
    (&["sub", "seek", "q", "default", "--to", "99"], 1, &["position 99 is outside", "earliest or latest"]),
    // Messages.
    (
        &["publish", "q", "--file", "/does/not/exist"],
        1,
        &["No such file", "check the path that --file names"],
    ),
    (&["publish", "q", "--file", "/"], 1, &["/ cannot be read", "directory", "check what --file names"]),
    (
        &["publish", "q", "--file", "LATIN", "--key-field", "/customer"],
        1,
        &["line 1 is no JSON", "correct the line"],
    ),
    (&["publish", "q", "x", "--priority", "3"], 1, &["does not have priorities", "correct --priority"]),
    (&["publish", "q", "x", "--at", "tomorrow"], 2, &["\"tomorrow\" is no time; write 2026-"]),
    (
        &["receive", "q", "--count", "1", "--wait", "100ms"],
        3,
        &["0 of 1 messages", "--wait", "`quorate explain q`"],
    ),
    (&["delayed", "cancel", "q", "99"], 1, &["no subscription has a message at position 99", "quorate peek"]),
    (
        &["delayed", "cancel", "q"],
        2,
        &["Usage: quorate delayed cancel [OPTIONS] <QUEUE> <POSITION|--id <ID>>"],
    ),
    (&["publish", "q"], 2, &["Usage: quorate publish <QUEUE> <BODY>"]),
    (&["route", "foo.bar", "x"], 1, &["no queue has a route", "queue update --route"]),
    (&["transact"], 2, &["would do nothing", "--ack, --publish, --put or --delete"]),
    (&["transact", "--ack", "orders"], 2, &["QUEUE[/SUBSCRIPTION]:POSITION:TOKEN", "orders:7:12"]),
    (&["transact", "--put", "k"], 2, &["\"k\" has no =; write NAME=VALUE"]),
    (&["state", "get", "nothing"], 1, &["the key \"nothing\" is absent", "quorate state put nothing"]),
    (&["state", "wait", "nothing", "--for", "100ms"], 3, &["did not change in time", "--for"]),
    // The cluster.
    (&["cluster", "remove", "n1"], 1, &["only member", "what to do:"]),
    (
        &["bench", "receive", "--consumers", "1", "--queues", "2"],
        2,
        &["1 consumers cannot empty 2 queues", "--consumers"],
    ),
    (&["serve", "--name", "n1"], 2, &["data-dir: must be given", "--data-dir", "QUORATE_DATA_DIR"]),
    (
        &["serve", "--name", "n1", "--data-dir", "/proc/nothing", "--bootstrap", "n1=127.0.0.1:1"],
        1,
        &["/proc/nothing", "--data-dir"],
    ),
    (&["serve", "--config", "/does/not/exist"], 2, &["No such file", "--config"]),
    (
        &["dev", "--nodes", "1", "--ephemeral", "--port-base", "TAKEN"],
        1,
        &["Address already in use", "--port-base"],
    ),
];
