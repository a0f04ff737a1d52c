//! Without a majority nothing is acknowledged, and that is said; with it, what was in doubt is resolved.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::FutureExt as _;
use quorate_client::{Pending, Producer, Raw};

use crate::harness::{Cluster, Output, runtime, s};
use crate::sessions::peek_all;

/// Time that a command may take beyond its `--timeout`: its own start and end on a busy machine.
const SLACK_SECONDS: u64 = 5;

/// How two of three nodes go away, and come back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    /// SIGSTOP: their connections stay open and silent.
    Silent,
    /// SIGKILL: their ports are closed.
    Dead,
}

#[test]
fn nothing_is_acknowledged_while_two_nodes_are_silent() {
    lose_the_majority(Away::Silent, true);
}

#[test]
fn nothing_is_acknowledged_while_two_nodes_are_dead() {
    lose_the_majority(Away::Dead, true);
}

/// The leader is among the two: nobody leads at all.
#[test]
fn nothing_is_acknowledged_while_the_leader_and_another_are_dead() {
    lose_the_majority(Away::Dead, false);
}

/// P1, P5, P8, P11: see the name of each test.
fn lose_the_majority(away: Away, leader_stays: bool) {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let client = cluster.client(s(120));
    let confirmed = runtime().block_on(async {
        let producer = client.raw_queue("q").producer().window(512).open().await.expect("a session");
        let mut confirmed = BTreeMap::new();
        for (text, pending) in send(&producer, "before", 100).await {
            confirmed.insert(text, pending.await.expect("a receipt").position);
        }

        let leader = cluster.leader();
        let stays = if leader_stays { leader } else { (leader + 1) % 3 };
        let gone: Vec<usize> = (0..3).filter(|index| *index != stays).collect();
        for &index in &gone {
            leave(&mut cluster, index, away);
        }
        let mut in_doubt = send(&producer, "during", 100).await;
        let refused = publish_in_vain(&cluster);
        assert!(!refused.stderr.contains("transport error"), "why, not where: {}", refused.stderr);
        for (text, pending) in &mut in_doubt {
            let answer = pending.now_or_never();
            assert!(answer.is_none(), "{text} was answered without a majority: {answer:?}");
        }

        for &index in &gone {
            come_back(&mut cluster, index, away);
        }
        for (text, pending) in in_doubt {
            let receipt = pending.await.expect("in doubt before, a receipt now");
            assert_eq!(confirmed.insert(text, receipt.position), None);
        }
        producer.close().await.expect("an orderly end");
        confirmed
    });
    assert_stored(&peek_all(&cluster, "q"), &confirmed);
    cluster.converge();
}

async fn send(producer: &Producer<Bytes, Raw>, what: &str, count: usize) -> Vec<(String, Pending)> {
    let mut sent = Vec::new();
    for number in 0..count {
        let text = format!("{what} {number}");
        let pending = producer.send(Bytes::from(text.clone())).await.expect("room in the window");
        sent.push((text, pending));
    }
    sent
}

fn leave(cluster: &mut Cluster, index: usize, away: Away) {
    match away {
        Away::Silent => cluster.node(index).freeze(),
        Away::Dead => cluster.kill(index),
    }
}

fn come_back(cluster: &mut Cluster, index: usize, away: Away) {
    match away {
        Away::Silent => cluster.node(index).thaw(),
        Away::Dead => cluster.node(index).start(),
    }
}

/// The command fails within its time and says that there is no majority.
fn publish_in_vain(cluster: &Cluster) -> Output {
    let refused = cluster.quorate(&["publish", "q", "in vain", "--timeout", "3s"]);
    assert!([3, 4].contains(&refused.code), "exit code {}: {}", refused.code, refused.stderr);
    assert_eq!(refused.stdout, "", "nothing was stored, and nothing says so");
    assert!(refused.took < s(3 + SLACK_SECONDS), "it took {:?}", refused.took);
    let told = &refused.stderr;
    assert!(
        told.contains("quorum") || told.contains("majority"),
        "there is no quorum, it should say: {told}"
    );
    refused
}

/// Everything confirmed is where its receipt says, once; the command that gave up has stored its message at most once.
fn assert_stored(all: &[(u64, String)], confirmed: &BTreeMap<String, u64>) {
    let mut in_vain = 0;
    for (index, (position, text)) in all.iter().enumerate() {
        assert_eq!(*position, index as u64 + 1, "P2: no gap, nothing twice");
        match text.as_str() {
            "in vain" => in_vain += 1,
            text => assert_eq!(confirmed.get(text), Some(position), "P5: {text}"),
        }
    }
    assert!(in_vain <= 1, "P5: {in_vain} copies of a message that was sent once");
    assert_eq!(all.len() - in_vain, confirmed.len(), "P1: every receipt stands for a message");
}
