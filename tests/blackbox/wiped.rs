//! P12, P8: a member that lost its disk takes a backlog in by snapshot without holding it in memory, also if it dies on the way,
//! and its name is listed once afterwards.

use std::fs;

use bytes::Bytes;
use quorate_client::QueueSettings;

use crate::harness::{Cluster, runtime, s, until};

const MIB: u64 = 1024 * 1024;
const BODY: usize = 16 * 1024;
/// More than a node may have in memory.
const BACKLOG: u64 = 256 * MIB;
/// RLIMIT_DATA of a node that comes back.
const LIMIT: u64 = 256 * MIB;
/// How much more anonymous memory it may have than the others.
const MORE: u64 = 64 * MIB;

/// What a process holds in memory of its own, in bytes; mapped files are the system's cache.
fn anonymous(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux says it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

fn fill(cluster: &Cluster) {
    let client = cluster.client(s(60));
    runtime().block_on(async {
        client.queues().create("backlog", QueueSettings::default()).await.expect("a queue");
        let producer = client.raw_queue("backlog").producer().open().await.expect("a session");
        for _ in 0..BACKLOG / BODY as u64 {
            drop(producer.send(Bytes::from(vec![b'x'; BODY])).await.expect("room"));
        }
        producer.close().await.expect("all of it is stored");
    });
}

#[test]
fn a_member_that_was_wiped_takes_a_backlog_in_with_bounded_memory_three_times() {
    let mut cluster = Cluster::start(3, &["--log-bytes-max", "4MiB"]);
    // What has passed leaves the log, so that its beginning is gone and a new member needs a snapshot.
    cluster.quorate(&["queue", "create", "passing"]).ok();
    let load = ["--producers", "2", "--consumers", "2", "--window", "128", "--size", "1KiB"];
    let time = ["--seconds", "3", "--warmup", "0s", "--rate", "8000"];
    cluster.json(&[&["bench", "pipeline"], &load[..], &time].concat());
    until("the log's beginning to be gone", s(60), || {
        cluster.purged().iter().all(|(_, purged)| *purged > 0).then_some(())
    });
    fill(&cluster);
    let wiped = cluster.follower();
    let name = cluster.nodes()[wiped].name.clone();
    let dir = cluster.nodes()[wiped].data_dir.clone();
    let wipe = || fs::remove_dir_all(&dir).and_then(|()| fs::create_dir(&dir)).expect("it is emptied");
    cluster.node(wiped).limit_data(LIMIT);
    for round in 0..3 {
        assert_eq!(cluster.node(wiped).stop(), 0);
        wipe();
        if round == 1 {
            // It dies while it takes the snapshot in, and what it had is gone as well.
            cluster.node(wiped).start();
            until("a snapshot to arrive", s(60), || dir.join("state-0.1.new").exists().then_some(()));
            cluster.kill(wiped);
            wipe();
        }
        cluster.restart(wiped);
        cluster.converge();
        until("a vote for it", s(60), || {
            let status = cluster.status();
            let of_name: Vec<_> = status.iter().filter(|replica| replica.name == name).collect();
            matches!(of_name[..], [one] if one.role == "follower").then_some(())
        });
        assert!(dir.join("state-0.1").exists() && !dir.join("state-0").exists(), "it came by snapshot");
        let memory: Vec<u64> = cluster.nodes().iter().map(|node| anonymous(node.pid()) / MIB).collect();
        println!("round {round}: the nodes have {memory:?} MiB, {name} was wiped");
        let others = memory.iter().enumerate().filter(|(node, _)| *node != wiped).map(|(_, mib)| mib);
        let most = *others.max().expect("others");
        assert!(memory[wiped] <= most + MORE / MIB, "{name} has {} MiB, the others {most}", memory[wiped]);
    }
    assert_eq!(cluster.stat("backlog", "length"), BACKLOG / BODY as u64);
    let received = cluster.quorate(&["receive", "backlog", "--count", "3", "--body"]).ok();
    assert_eq!(received.stdout.len(), 3 * (BODY + 1));
}
