//! Disks as the cluster sees them: on three real replicas, one or more of whose disks hang or are full.

mod cluster;

use std::time::Duration;

use cluster::{Node, RESERVE, ROOMY, cluster, leader, settings, until};
use quorate_raft::NotDone;
use tokio::time::Instant;

/// The two that are not at `at`.
fn others(nodes: &[Node], at: usize) -> Vec<&Node> {
    nodes.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, node)| node).collect()
}

fn refusal(node: &Node) -> Option<String> {
    node.replica.refusal().borrow().as_ref().map(ToString::to_string)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_log_stands_still_lets_another_lead() {
    let nodes = cluster(settings()).await;
    let old = leader(&nodes).await;
    nodes[old].serves().await;
    nodes[old].disk.hang(true);
    let hung = Instant::now();
    // A sync that was under way may still have let something through: what waits comes after it.
    while !others(&nodes, old).into_iter().any(Node::leads) && hung.elapsed() < Duration::from_secs(15) {
        drop(nodes[old].propose(100).await); // the others are a majority, until one of them leads
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(hung.elapsed() < Duration::from_secs(6), "after {:?}", hung.elapsed());
    let new = nodes.iter().enumerate().position(|(at, node)| at != old && node.leads()).expect("it leads");
    for _ in 0..10 {
        nodes[new].serves().await;
    }
    // Its vote for the new one cannot get to its disk, and yet it sends clients there.
    let elsewhere = NotDone::NotLeader { leader: Some(nodes[new].id) };
    until("the old one knows", || nodes[old].leadership().leader == Some(nodes[new].id)).await;
    assert_eq!(nodes[old].commit(100).await, Err(elsewhere));
    assert_eq!(nodes[old].replica.status().expect("a status").role, "follower");
    let term = nodes[new].leadership().term;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(nodes[new].leadership().term, term, "it does not take it back");
    nodes[old].disk.hang(false);
    until("it has caught up", || nodes[old].replica.log().durable() == nodes[new].replica.log().durable())
        .await;
    assert_eq!((nodes[new].leadership().term, nodes[new].leads()), (term, true));
}

/// P8: writes wait for a log that takes no more, so they do not wait until it counts as stalled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_log_takes_no_more_lets_another_lead_at_once() {
    let log_stall_after = Duration::from_secs(4);
    let nodes = cluster(quorate_raft::Settings { log_stall_after, ..settings() }).await;
    let old = leader(&nodes).await;
    let fill = async || {
        while nodes[old].replica.log().queued_bytes() <= nodes[old].replica.log().queue_bytes_max() {
            // It waits once the log takes no more.
            drop(tokio::time::timeout(Duration::from_millis(50), nodes[old].propose(1 << 20)).await);
        }
    };
    let stays = async |hangs_for: Duration| {
        nodes[old].disk.hang(true);
        fill().await;
        tokio::time::sleep(hangs_for).await;
        let stays = nodes[old].leads();
        nodes[old].disk.hang(false);
        stays
    };
    let began = Instant::now();
    assert!(stays(Duration::from_secs(2)).await, "it has not led for long: {:?}", began.elapsed());
    tokio::time::sleep(log_stall_after).await;
    nodes[old].serves().await;
    let led = Instant::now();
    assert!(!stays(Duration::from_secs(2)).await, "after {:?}", led.elapsed());
    let new = leader(&nodes).await;
    nodes[new].serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_hangs_does_not_hold_the_log() {
    const BOUND: u64 = 512 << 10;
    const ENTRY: usize = 16 << 10;
    let nodes = cluster(quorate_raft::Settings { log_bytes_max: BOUND, ..settings() }).await;
    let lead = leader(&nodes).await;
    let slow = (lead + 1) % 3;
    nodes[slow].disk.hang(true);
    let began = Instant::now();
    let (mut most, mut written) = (0, 0);
    while written < 24 * BOUND || began.elapsed() < Duration::from_secs(4) {
        assert!(began.elapsed() < Duration::from_secs(60), "too slow to tell: {written}");
        // The others are a majority; on a machine that is busy a heartbeat may be late.
        written += nodes[lead].commit(ENTRY).await.map_or(0, |()| ENTRY as u64);
        most = most.max(nodes[lead].replica.log().bytes());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Four times its bound while a snapshot is on its way, once more while the follower is waited for, and what is written between
    // looks.
    assert!(most < 7 * BOUND, "{most} of {written}");
    nodes[slow].disk.hang(false);
    until("it has caught up", || {
        let applied = |node: &Node| node.replica.state().applied().last;
        applied(&nodes[slow]) == applied(&nodes[lead])
    })
    .await;
    let digest = |node: &Node| node.replica.status().expect("a status").digest;
    assert_eq!(digest(&nodes[slow]), digest(&nodes[lead]));
    assert!(nodes[lead].leads());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_bytes_are_refused_before_a_majority_is_full() {
    let nodes = cluster(settings()).await;
    let lead = leader(&nodes).await;
    let followers = others(&nodes, lead);
    followers[0].disk.has(RESERVE / 4 + (1 << 19));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(refusal(&nodes[lead]), None, "a minority that is full stops nobody");
    followers[1].disk.has(RESERVE / 2 + (1 << 19));
    until("it is refused", || refusal(&nodes[lead]).is_some()).await;
    let why = refusal(&nodes[lead]).expect("just seen");
    for (follower, figure) in followers.iter().zip(["16 MiB", "32 MiB"]) {
        let named = format!("n{} has {figure} free of a reserve of 64 MiB", follower.id);
        assert!(why.contains(&named), "{why}");
    }
    nodes[lead].serves().await; // what is proposed all the same goes on: settles make room
    followers[0].disk.has(ROOMY);
    until("it is taken again", || refusal(&nodes[lead]).is_none()).await;
    assert!(nodes[lead].leads(), "nobody was better off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_close_to_its_reserve_lets_another_lead_and_is_not_asked_back() {
    let nodes = cluster(settings()).await;
    let old = leader(&nodes).await;
    nodes[old].disk.has(RESERVE + RESERVE / 8);
    until("another one leads", || others(&nodes, old).into_iter().any(Node::leads)).await;
    let new = leader(&nodes).await;
    assert_eq!((refusal(&nodes[old]), refusal(&nodes[new])), (None, None), "there was room all the time");
    nodes[new].serves().await;
    let term = nodes[new].leadership().term;
    // The new one is no better off now, and neither is the third: it stays where it is.
    others(&nodes, new).into_iter().for_each(|node| node.disk.has(RESERVE + RESERVE / 8));
    tokio::time::sleep(Duration::from_secs(1)).await;
    nodes[new].disk.has(RESERVE + RESERVE / 8);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((nodes[new].leadership().term, nodes[new].leads()), (term, true));
}

/// What would make room lies behind more entries than it can hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_nearly_full_gets_no_entries_and_then_a_snapshot() {
    let every = Duration::from_secs(3);
    let nodes = cluster(quorate_raft::Settings { retention_interval: every, ..settings() }).await;
    let lead = leader(&nodes).await;
    let full = (lead + 1) % 3;
    let (full, lead) = (&nodes[full], &nodes[lead]);
    full.disk.has(RESERVE / 4);
    let last = |node: &Node| node.replica.log().last().expect("it has entries").index;
    let began = Instant::now();
    while last(lead) < last(full) + 50 {
        assert!(began.elapsed() < every, "it gets entries");
        lead.serves().await;
    }
    assert_eq!((refusal(lead), full.leadership().leader), (None, Some(lead.id)));
    let mark = last(lead);
    until("it has a snapshot", || full.replica.log().purged().is_some_and(|id| id.index >= mark)).await;
    lead.serves().await;
    full.disk.has(ROOMY);
    until("it has caught up", || last(full) == last(lead)).await;
    assert!(lead.leads());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_are_full_one_leads_all_the_same() {
    let mut nodes = cluster(settings()).await;
    let old = leader(&nodes).await;
    // The leader comes last: it would hand over while the others have room.
    others(&nodes, old).into_iter().for_each(|node| node.disk.has(RESERVE / 4));
    until("it is refused", || refusal(&nodes[old]).is_some()).await;
    nodes[old].disk.has(RESERVE / 4);
    let term = nodes[old].leadership().term;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((nodes[old].leadership().term, nodes[old].leads()), (term, true), "nobody is better off");
    nodes.remove(old).kill().await;
    let killed = Instant::now();
    let new = leader(&nodes).await;
    assert!(killed.elapsed() < Duration::from_secs(8), "after {:?}", killed.elapsed());
    nodes[new].serves().await; // what makes room goes on
    nodes.iter().for_each(|node| node.disk.has(ROOMY));
    until("it is taken again", || refusal(&nodes[new]).is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_majority_hangs_nothing_is_answered_and_then_all_of_it() {
    let nodes = cluster(settings()).await;
    let lead = leader(&nodes).await;
    let followers = others(&nodes, lead);
    followers.iter().for_each(|node| node.disk.hang(true));
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(nodes[lead].propose(100).await);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut answered = 0;
    for told in &mut open {
        answered += usize::from(matches!(told.try_recv(), Ok(Ok(()))));
    }
    assert_eq!(answered, 0, "nobody else has it on disk");
    assert_eq!(refusal(&nodes[lead]), None, "it is not room that is missing");
    followers.iter().for_each(|node| node.disk.hang(false));
    let lead = leader(&nodes).await;
    nodes[lead].serves().await; // all goes on by itself
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_whose_disks_are_slow_are_a_majority_until_their_disks_stand_still() {
    let log_stall_after = Duration::from_secs(4);
    let nodes = cluster(quorate_raft::Settings { log_stall_after, ..settings() }).await;
    let lead = leader(&nodes).await;
    nodes[lead].serves().await;
    let followers = others(&nodes, lead);
    followers.iter().for_each(|node| node.disk.hang(true));
    let hung = Instant::now();
    // A sync that was under way may still let something through: what waits for their disks comes after it.
    for _ in 0..5 {
        drop(nodes[lead].propose(100).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Its lease is long over by then, but for what the followers say of their own.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let reads = || nodes[lead].replica.read_barrier(Duration::from_millis(500));
    let mut read = 0;
    while read < 5 && hung.elapsed() < Duration::from_millis(3500) {
        read += usize::from(reads().await.is_ok());
    }
    assert_eq!(read, 5, "the followers are there");
    tokio::time::sleep_until(hung + log_stall_after).await;
    let mut refused = false;
    while !refused && hung.elapsed() < Duration::from_secs(20) {
        refused = reads().await.is_err();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(refused, "after {:?}", hung.elapsed());
    followers.iter().for_each(|node| node.disk.hang(false));
    let lead = leader(&nodes).await;
    nodes[lead].serves().await;
}
