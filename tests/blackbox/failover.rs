//! A leader goes away, dead or silent: how soon the next one is there, and what must not change with it.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::harness::{Cluster, runtime, s};

/// The next leader is promised within 2 s even after a silence; as much again for two busy cores.
const GAP_MAX: Duration = s(4);

/// P8, as a publisher sees it whose session was open before: the time without a receipt.
#[test]
fn a_dead_leader_and_a_silent_one_are_replaced_within_seconds() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let client = cluster.client(s(30));
    runtime().block_on(async {
        let producer = client.raw_queue("q").producer().open().await.expect("a session");
        producer.send(Bytes::from("before")).await.expect("room").await.expect("a receipt");
        let dead = cluster.leader();
        cluster.kill(dead);
        let start = Instant::now();
        producer.send(Bytes::from("after a death")).await.expect("room").await.expect("a receipt");
        let gap = start.elapsed();
        assert!(gap < GAP_MAX, "{gap:?} after the leader's process had died");
        cluster.restart(dead);
        cluster.converge();

        let silent = cluster.leader();
        cluster.node(silent).freeze();
        let start = Instant::now();
        producer.send(Bytes::from("after a silence")).await.expect("room").await.expect("a receipt");
        let gap = start.elapsed();
        cluster.node(silent).thaw();
        assert!(gap < GAP_MAX, "{gap:?} after the leader had fallen silent");
        producer.close().await.expect("an orderly end");
    });
    cluster.converge();
    assert_eq!(cluster.stat("q", "length"), 3);
}

/// P8: a leader whose process is gone is replaced at once: its host refuses the connection, and nobody waits for the
/// lease to run out. By the timers alone no gap is under a second.
#[test]
fn a_leader_whose_process_died_is_replaced_at_once() {
    const MEDIAN_MAX: Duration = Duration::from_millis(700);
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let client = cluster.client(s(30));
    let mut gaps: Vec<Duration> = Vec::new();
    runtime().block_on(async {
        let producer = client.raw_queue("q").producer().open().await.expect("a session");
        for _ in 0..5 {
            producer.send(Bytes::from("before")).await.expect("room").await.expect("a receipt");
            let dead = cluster.leader();
            cluster.kill(dead);
            let start = Instant::now();
            producer.send(Bytes::from("after")).await.expect("room").await.expect("a receipt");
            gaps.push(start.elapsed());
            cluster.restart(dead);
            cluster.converge();
        }
        producer.close().await.expect("an orderly end");
    });
    gaps.sort_unstable();
    println!("gaps after a death: {gaps:?}");
    assert!(gaps[gaps.len() / 2] < MEDIAN_MAX, "{gaps:?}");
    assert_eq!(cluster.stat("q", "length"), 10);
}

/// P7: a leader that was deposed while it was silent does not answer from what it knew.
#[test]
fn a_deposed_leader_gives_no_stale_figures() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    for round in 1..=3 {
        let deposed = cluster.leader();
        let own = format!("http://{}", cluster.nodes()[deposed].client_addr);
        cluster.node(deposed).freeze();
        cluster.quorate(&["publish", "q", "behind its back"]).ok();
        cluster.node(deposed).thaw();
        // It has been told of nothing yet, and believes that it leads.
        let stat = ["stat", "q", "-o", "json", "--endpoint", &own];
        assert_eq!(cluster.quorate(&stat).ok().json()["length"], round, "round {round}");
        cluster.converge();
    }
}

/// P4: who holds a lease holds it beyond the leader's death, under the same token.
#[test]
fn leases_outlive_the_leader() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q", "--order", "total"]).ok();
    cluster.command(&["publish", "q", "--file", "-"]).stdin(b"a\nb\nc\n").run().ok();
    let client = cluster.client(s(30));
    runtime().block_on(async {
        let mut consumer = client.raw_queue("q").consumer().credit(2).attach().await.expect("a consumer");
        let first = consumer.next().await.expect("a delivery").expect("a delivery");
        let second = consumer.next().await.expect("a delivery").expect("a delivery");
        let leader = cluster.leader();
        cluster.kill(leader);
        first.ack().await.expect("the lease is the holder's still");
        let leased = cluster.quorate(&["peek", "q", "--state", "leased", "-o", "json"]).ok().lines();
        assert_eq!(leased[0]["position"], 2);
        assert_eq!(leased[0]["token"], second.token, "the same lease, not another one");
        second.ack().await.expect("and this one, too");
        let third = consumer.next().await.expect("a delivery").expect("a delivery");
        assert_eq!((third.position, &third.value[..], third.attempt), (3, &b"c"[..], 1));
        assert!(third.token > 2, "tokens only grow");
        third.ack().await.expect("an acknowledgement");
        consumer.detach().await.expect("an orderly end");
    });
    assert_eq!(cluster.stat("q", "length"), 0);
}

/// P1: an acknowledgement of a consumer is as durable as a receipt.
#[test]
fn settles_hold_when_all_processes_are_killed_at_once() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q", "--order", "total"]).ok();
    let text: String = (1..=2_000).map(|number| format!("message {number}\n")).collect();
    cluster.command(&["publish", "q", "--file", "-"]).stdin(text.as_bytes()).run().ok();
    let mut received = String::new();
    for _ in 0..4 {
        received += &cluster.quorate(&["receive", "q", "--count", "500", "--body"]).ok().stdout;
        cluster.kill_all();
        (0..3).for_each(|index| cluster.node(index).start());
        (0..3).for_each(|index| cluster.node(index).wait_ready());
        cluster.converge();
    }
    assert!(received == text, "what was done stays done, and nothing else was: {} bytes", received.len());
    assert_eq!(cluster.stat("q", "length"), 0);
}

/// P5: publishing goes on through a death without a gap, a copy or an error that the program would see.
#[test]
fn a_program_that_publishes_sees_no_error_when_leaders_die() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let client = cluster.client(s(30));
    runtime().block_on(async {
        let producer = client.raw_queue("q").producer().window(64).open().await.expect("a session");
        let mut position = 0;
        for round in 0..3 {
            let mut pending = Vec::new();
            for number in 0..64 {
                let body = Bytes::from(format!("round {round}, {number}"));
                pending.push(producer.send(body).await.expect("room in the window"));
            }
            let leader = cluster.leader();
            cluster.kill(leader);
            for receipt in pending {
                position += 1;
                assert_eq!(receipt.await.expect("a receipt in the end").position, position);
            }
            cluster.restart(leader);
        }
        producer.close().await.expect("an orderly end");
    });
    assert_eq!(cluster.stat("q", "length"), 192);
    cluster.converge();
}
