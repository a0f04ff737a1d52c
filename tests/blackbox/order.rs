//! Nothing lost, nothing doubled, nothing reordered, while leaders, consumers and whole clusters are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Cluster, Running, orders, s, until};
use crate::sessions::{body, peek_all, publish_until_killed};

/// How far the queue must have grown before the next leader is killed: far enough that the window is full, and near
/// enough that three kills fit into the input.
const STEP: u64 = 2_000;
const KILLS: u64 = 3;

/// P1, P2, P5: what goes in through three leaders' deaths comes out byte for byte.
#[test]
fn a_file_survives_three_dead_leaders_byte_for_byte() {
    let mut cluster = Cluster::start(3, &[]);
    let text = orders::file(orders::COUNT);
    let input = cluster.file("orders.jsonl", &text);
    cluster.quorate(&["queue", "create", "orders"]).ok();

    let published = publish_through_kills(&mut cluster, &input, |_, _| {});
    let count = orders::COUNT as u64;
    for (key, expected) in [("published", count), ("first_position", 1), ("last_position", count)] {
        assert_eq!(published[key].as_u64(), Some(expected), "{key} in {published}");
    }
    assert_eq!(cluster.stat("orders", "length"), count);

    let output = cluster.dir().join("received.jsonl");
    let count = count.to_string();
    let receive = ["receive", "orders", "--count", &count, "--body"];
    cluster.command(&receive).stdout_to(&output).timeout(s(180)).run().ok();
    assert_same_lines(&fs::read_to_string(&output).expect("the output is text"), &text);
    assert_eq!(cluster.stat("orders", "length"), 0);
    cluster.converge();
}

/// P3, P4: two consumers of a totally ordered queue, one of which dies; the order of first acknowledgements is the
/// order of the input.
///
/// What is checked is stronger than what can be seen of single acknowledgements. A line that `receive` prints carries
/// the token of its lease, and tokens grow with every lease of the subscription, so the lines of both processes,
/// sorted by token, are the leases in the order in which the replicated machine gave them. From this follows all:
///
/// * each process prints the leases it gets in their order, and acknowledges what it has printed, in the order in which
///   it printed it: its file must be sorted by token;
/// * no lease is held by two (P4): no token is in both files;
/// * the first leases of the messages, in the order of their tokens, are positions 1, 2, 3, …: no message was shown to
///   anybody before an earlier one;
/// * the last leases of the messages, in the order of their tokens, are positions 1, 2, 3, …, too. Only the last lease
///   of a message can have been acknowledged, since a lease is given again only when the one before it has ended, and
///   whoever holds several acknowledges them in order. So no message was done before an earlier one (P3): had a
///   message been leased again after a later one was done, its last token would be the greater;
/// * what the survivor repeats, the dead one had printed and not acknowledged: not more than its credit.
#[test]
fn first_acknowledgements_keep_the_order_when_a_consumer_dies() {
    let mut cluster = Cluster::start(3, &[]);
    let text = orders::file(orders::COUNT);
    let input = cluster.file("orders.jsonl", &text);
    cluster.quorate(&["queue", "create", "orders", "--order", "total"]).ok();
    let files = ["first.jsonl", "second.jsonl"].map(|name| cluster.dir().join(name));
    let receive = ["receive", "orders", "--follow", "--credit", "256", "-o", "json"];
    let start = |file| cluster.command(&receive).stdout_to(file).timeout(s(300)).start();
    let mut consumers: Vec<Running> = files.iter().map(|file| start(file)).collect();

    publish_through_kills(&mut cluster, &input, |cluster, kill| {
        if kill == 2 {
            let active = half_way(cluster, &files);
            consumers.remove(active).kill();
        }
    });
    until("an empty queue", s(180), || (cluster.stat("orders", "length") == 0).then_some(()));
    let survivor = consumers.remove(0);
    survivor.signal(Signal::TERM);
    survivor.wait().ok();

    let leases = files.map(|file| printed(&file));
    assert_leases(&leases, &text);
    cluster.converge();
}

/// P1, P2: all processes killed at once; whatever had a receipt is there, where the receipt says.
#[test]
fn receipts_hold_when_all_processes_are_killed_at_once() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "orders"]).ok();
    let mut stored = 0;
    let mut term = cluster.converge()[0].term;
    for round in 0..5_u64 {
        let receipts = publish_until_killed(&mut cluster, "orders", round);
        for index in 0..3 {
            cluster.node(index).start();
        }
        (0..3).for_each(|index| cluster.node(index).wait_ready());
        let all = peek_all(&cluster, "orders");
        let positions: Vec<u64> = all.iter().map(|(position, _)| *position).collect();
        assert_eq!(positions, (1..=all.len() as u64).collect::<Vec<_>>(), "P2: no gap, nothing twice");
        assert!(receipts.len() > 500, "the kill came before there was anything to lose: {}", receipts.len());
        for (text, position) in &receipts {
            let found = all.get(*position as usize - 1).map(|(_, text)| text);
            assert_eq!(found, Some(text), "P1: what was confirmed at {position}");
        }
        // One producer handed them in one after the other: what is stored is what was sent, up to some point.
        let sent = (1..).map(|number| body(round, number));
        let of_round: Vec<&String> = all[stored..].iter().map(|(_, text)| text).collect();
        assert!(
            of_round.into_iter().eq(sent.take(all.len() - stored).collect::<Vec<_>>().iter()),
            "round {round}"
        );
        assert!(all.len() - stored >= receipts.len());
        stored = all.len();
        assert_eq!(cluster.stat("orders", "length"), stored as u64);
        assert_eq!(cluster.stat("orders", "last_position"), stored as u64);
        // A leader may have sent what it had not stored itself. If it led on in its old term after its death, other
        // entries would get the same index and term, and the nodes' states would part: it has to be elected again.
        let status = cluster.converge();
        assert!(
            status.iter().all(|replica| replica.term > term),
            "P10: no election after {term}: {status:#?}"
        );
        term = status[0].term;
    }
}

/// Publishes the file with `publish --file` and kills the leader three times while it runs, with a full window on the
/// way. Once there is a next leader, the publisher is stopped for as long as the dead node needs to come back, so that
/// all deaths fall into one run however fast the machine is. `paused` is called meanwhile.
fn publish_through_kills(cluster: &mut Cluster, input: &str, mut paused: impl FnMut(&Cluster, u64)) -> Value {
    let publish = ["publish", "orders", "--file", input, "-o", "json"];
    let mut publisher = cluster.command(&publish).timeout(s(240)).start();
    let mut mark = 0;
    for kill in 1..=KILLS {
        let leader = cluster.leader();
        publisher.signal(Signal::CONT);
        wait_for_growth(cluster, mark + STEP);
        cluster.kill(leader);
        cluster.leader();
        publisher.signal(Signal::STOP);
        cluster.restart(leader);
        paused(cluster, kill);
        mark = cluster.stat("orders", "last_position");
        let unfinished = publisher.is_running() && mark < orders::COUNT as u64;
        assert!(unfinished, "all was published before leader {kill} of {KILLS} had died: lower STEP");
    }
    publisher.signal(Signal::CONT);
    publisher.wait().ok().json()
}

/// Waits until so many messages have been published in all.
fn wait_for_growth(cluster: &Cluster, target: u64) {
    let what = format!("position {target}");
    until(&what, s(120), || (cluster.stat("orders", "last_position") >= target).then_some(()));
}

/// Waits until half of what has been published so far is done. Returns which of the files the active consumer writes.
fn half_way(cluster: &Cluster, files: &[impl AsRef<Path>]) -> usize {
    until("half of it to be done", s(120), || {
        let stat = cluster.json(&["stat", "orders"]);
        let figure = |key: &str| stat[key].as_u64().expect("a figure");
        (figure("length") * 2 <= figure("last_position")).then_some(())
    });
    let length = |file: &&Path| fs::metadata(file).map_or(0, |meta| meta.len());
    let files: Vec<&Path> = files.iter().map(AsRef::as_ref).collect();
    let longest = files.iter().map(length).max();
    files.iter().position(|file| Some(length(file)) == longest).expect("one of them is the longest")
}

/// A lease, as a line of `receive -o json` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lease {
    token: u64,
    position: u64,
    body: String,
}

/// Every whole line of a file, in the order of the file. A process that is killed may leave part of a line, which it
/// has not acknowledged.
fn printed(file: &Path) -> Vec<Lease> {
    let text = fs::read_to_string(file).expect("the output is text");
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let lease = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        Lease {
            token: line["token"].as_u64().expect("a token"),
            position: line["position"].as_u64().expect("a position"),
            body: line["body"].as_str().expect("a body").to_owned(),
        }
    };
    whole.lines().map(lease).collect()
}

/// See [`first_acknowledgements_keep_the_order_when_a_consumer_dies`].
fn assert_leases(files: &[Vec<Lease>; 2], text: &str) {
    for file in files {
        assert!(!file.is_empty(), "both consumers had their turn");
        let unordered = file.windows(2).find(|pair| pair[0].token >= pair[1].token);
        assert_eq!(unordered, None, "a consumer prints its leases in their order, each once");
    }
    let tokens = files.each_ref().map(|file| file.iter().map(|lease| lease.token).collect::<BTreeSet<_>>());
    assert_eq!(tokens[0].intersection(&tokens[1]).next(), None, "P4: a lease that two consumers held");

    let mut leases: Vec<&Lease> = files.iter().flatten().collect();
    leases.sort_by_key(|lease| lease.token);
    let (mut first, mut last) = (BTreeMap::new(), BTreeMap::new());
    for lease in &leases {
        first.entry(lease.position).or_insert(lease.token);
        last.insert(lease.position, lease.token);
    }
    let expected: Vec<&str> = text.lines().collect();
    let positions: Vec<u64> = first.keys().copied().collect();
    assert_eq!(positions.len(), expected.len(), "P9: every message was printed by somebody");
    assert_eq!(positions.last(), Some(&(expected.len() as u64)));
    for (name, tokens) in [("first", &first), ("last", &last)] {
        let mut pairs = tokens.iter().zip(tokens.iter().skip(1));
        let overtaken = pairs.find(|((_, token), (_, next))| token >= next);
        assert_eq!(overtaken, None, "P3: a {name} lease that overtook the one of an earlier message");
    }
    let other = leases.iter().find(|lease| expected[lease.position as usize - 1] != lease.body);
    assert_eq!(other, None, "P2: a message that is not the one of its line");
    let repeated = leases.len() - expected.len();
    assert!(repeated <= 256, "{repeated} messages came again, and the credit is 256");
}

/// Like `assert_eq`, and says where they part instead of printing both.
fn assert_same_lines(found: &str, expected: &str) {
    if found == expected {
        return;
    }
    let pairs = found.lines().zip(expected.lines()).enumerate();
    let difference = pairs.into_iter().find(|(_, (found, expected))| found != expected);
    let lengths = (found.len(), expected.len());
    panic!("what came out is not what went in; lengths {lengths:?}, first other line {difference:#?}");
}
