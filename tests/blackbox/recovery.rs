//! A node that comes back: from a log that has moved on without it, and from a directory that was emptied.

use std::fs;
use std::path::Path;

use crate::harness::{Cluster, orders, s, until};

/// P10: a follower that was away past the purge point gets a snapshot, and its state is then the same.
#[test]
fn a_follower_that_was_away_past_the_purge_comes_back_by_snapshot() {
    let mut cluster = Cluster::start(3, &["--log-bytes-max", "1MiB"]);
    cluster.quorate(&["queue", "create", "orders"]).ok();
    let some = cluster.file("some.jsonl", orders::file(200));
    cluster.quorate(&["publish", "orders", "--file", &some]).ok();
    cluster.converge();
    let away = cluster.follower();
    let seen = cluster.replica(away).last;
    assert_eq!(cluster.node(away).stop(), 0, "SIGTERM is an orderly end");

    // What is still in a queue keeps its part of the log, up to a point: the rest has to outweigh it.
    let more = cluster.file("more.jsonl", orders::file(500));
    cluster.quorate(&["publish", "orders", "--file", &more]).ok();
    cluster.quorate(&["queue", "create", "passing"]).ok();
    let many = cluster.file("many.jsonl", orders::file(20_000));
    cluster.quorate(&["publish", "passing", "--file", &many]).ok();
    cluster.quorate(&["receive", "passing", "--count", "20000"]).ok();
    until("the others to purge what the absent node needs", s(60), || {
        let others = cluster.purged();
        (others.len() == 2 && others.iter().all(|(_, purged)| *purged > seen)).then_some(())
    });

    cluster.restart(away);
    cluster.converge();
    let name = &cluster.nodes()[away].name;
    let purged = cluster.purged().into_iter().find(|(of, _)| of == name).expect("it is listed").1;
    assert!(purged > seen, "its log begins after a snapshot, and not at {purged}: it had seen {seen}");

    // It is as good as the others: with one of them gone, it is the majority that everything needs.
    let leader = cluster.leader();
    let other = (0..3).find(|index| ![leader, away].contains(index)).expect("three nodes");
    cluster.kill(other);
    cluster.quorate(&["publish", "orders", "one more"]).ok();
    cluster.kill(leader);
    cluster.restart(other);
    until("a leader after two deaths", s(30), || (cluster.leader() != leader).then_some(()));
    let received = cluster.quorate(&["receive", "orders", "--count", "701", "--body"]).ok();
    let expected = orders::file(200) + &orders::file(500) + "one more\n";
    assert!(received.stdout == expected, "what was stored before and during the absence, in order");
}

/// P8: a node that lost its disk comes back as a new member: under another id, since what the old one had promised is gone.
/// The others go on, undisturbed.
#[test]
fn a_node_whose_directory_was_emptied_comes_back_as_a_new_member() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    cluster.quorate(&["publish", "q", "before"]).ok();
    let lost = cluster.follower();
    assert_eq!(cluster.node(lost).stop(), 0);
    let dir = cluster.nodes()[lost].data_dir.clone();
    fs::remove_dir_all(&dir).and_then(|()| fs::create_dir(&dir)).expect("the directory is emptied");
    let leader = cluster.leader();
    let term = cluster.replica(leader).term;

    cluster.restart(lost);
    let name = cluster.nodes()[lost].name.clone();
    until("a vote for the new member, and none for the old", s(30), || {
        let status = cluster.status();
        let of_name: Vec<_> = status.iter().filter(|replica| replica.name == name).collect();
        matches!(of_name[..], [new] if new.id == 4 && new.role == "follower").then_some(())
    });
    assert_eq!(cluster.leader(), leader, "nobody was deposed");
    assert_eq!(cluster.replica(leader).term, term, "it made nobody campaign");
    cluster.quorate(&["publish", "q", "after"]).ok();
    cluster.converge();

    // It has everything: with one of the others gone it is the majority.
    let other = (0..3).find(|index| ![leader, lost].contains(index)).expect("three nodes");
    cluster.kill(other);
    let received = cluster.quorate(&["receive", "q", "--count", "2", "--body"]).ok();
    assert_eq!(received.stdout, "before\nafter\n");
}

/// The same with a directory that kept its identity and lost its log: amnesia, found without asking anybody.
#[test]
fn a_node_that_lost_its_log_says_so_and_stays_out() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let lost = cluster.follower();
    assert_eq!(cluster.node(lost).stop(), 0);
    let dir = cluster.nodes()[lost].data_dir.clone();
    fs::remove_dir_all(dir.join("log")).expect("the log is removed");
    let refused = cluster.node(lost).start_in_vain();
    refused.fails(1, &["lost its log", "must not vote", "new member"]);
    assert!(!dir.join("log").exists(), "it made no new log over the old identity");
    cluster.quorate(&["publish", "q", "after"]).ok();

    // If it may, it sets aside what is left and comes back as a new member.
    let flags = [cluster.nodes()[lost].flags(), &["--rejoin".to_owned()]].concat();
    cluster.node(lost).set_flags(flags);
    cluster
        .node(lost)
        .start_in_vain()
        .fails(1, &["lost its log", "set aside in", "aside-1", "start the node again"]);
    cluster.restart(lost);
    let name = cluster.nodes()[lost].name.clone();
    until("a new id", s(30), || {
        let status = cluster.status();
        let ids: Vec<u64> = status.iter().filter(|r| r.name == name).map(|r| r.id).collect();
        (ids == [4]).then_some(())
    });
    cluster.converge();
    assert!(dir.join("aside-1/identity.a").exists(), "the evidence is kept");
}

/// P11: a leader that meets damage in its log while it replicates ends and says so; nobody gets damaged bytes, and the
/// others have everything.
#[test]
fn a_leader_that_finds_its_log_damaged_ends_and_loses_nothing() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let away = cluster.follower();
    assert_eq!(cluster.node(away).stop(), 0);
    for number in 0..20 {
        cluster.quorate(&["publish", "q", &format!("message number {number:02}")]).ok();
    }
    let leader = cluster.leader();
    let other = (0..3).find(|index| ![leader, away].contains(index)).expect("three nodes");
    assert_eq!(cluster.node(other).stop(), 0);
    assert_eq!(cluster.node(leader).stop(), 0);
    let data = cluster.nodes()[leader].data_dir.join("log/data.mdb");
    damage(&data, b"message number 07");

    // The one with the longer log leads, and has to send what is damaged to the one that was away.
    cluster.node(leader).start();
    cluster.node(away).start();
    let ended = cluster.node(leader).wait_end(s(60));
    ended.fails(1, &["is damaged", "remove the member"]);

    cluster.node(other).start();
    cluster.quorate(&["publish", "q", "afterwards"]).ok();
    let received = cluster.quorate(&["receive", "q", "--count", "21", "--body"]).ok().stdout;
    let expected: String = (0..20).map(|number| format!("message number {number:02}\n")).collect();
    assert_eq!(received, expected + "afterwards\n");
}

/// Changes one bit in every copy of `text` in a file.
fn damage(file: &Path, text: &[u8]) {
    let mut bytes = fs::read(file).expect("a file of the node");
    let places: Vec<usize> =
        (0..bytes.len() - text.len()).filter(|at| bytes[*at..].starts_with(text)).collect();
    assert!(!places.is_empty(), "the log holds what was published");
    for place in places {
        bytes[place] ^= 1;
    }
    fs::write(file, bytes).expect("the file is damaged");
}

/// P8: SIGTERM hands leadership over: the next leader is there before the old one has gone.
#[test]
fn a_leader_that_is_asked_to_stop_hands_over() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let leader = cluster.leader();
    assert_eq!(cluster.node(leader).stop(), 0);
    cluster.quorate(&["publish", "q", "m", "--timeout", "2s"]).ok();
    assert_ne!(cluster.leader(), leader);
    cluster.restart(leader);
    cluster.converge();
}
