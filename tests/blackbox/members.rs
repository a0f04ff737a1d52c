//! Members that come and go while the cluster works.

use crate::harness::{Cluster, Node, s, until};

fn ids(cluster: &Cluster) -> Vec<(String, u64)> {
    let mut ids: Vec<_> = cluster.status().into_iter().map(|replica| (replica.name, replica.id)).collect();
    ids.sort();
    ids
}

fn until_members(cluster: &Cluster, expected: &[(&str, u64)]) {
    let expected: Vec<_> = expected.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect();
    until(&format!("the members {expected:?}, all with a vote"), s(30), || {
        let votes = cluster.status().iter().all(|replica| replica.role != "learner");
        (votes && ids(cluster) == expected).then_some(())
    });
}

/// P8 and rule 6: ids are given out once; a node that was removed is told, and nothing is lost on the way.
#[test]
fn a_node_joins_the_leader_is_removed_and_comes_back_under_a_new_id() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    cluster.quorate(&["publish", "q", "one"]).ok();
    let fourth = cluster.add("n4");
    cluster.restart(fourth);
    until_members(&cluster, &[("n1", 1), ("n2", 2), ("n3", 3), ("n4", 4)]);

    let leader = cluster.leader();
    let gone = cluster.nodes()[leader].name.clone();
    let told = cluster.quorate(&["cluster", "remove", &gone]).ok();
    assert_eq!(told.stdout.trim(), format!("{gone} is no member any more"));
    let ended = cluster.node(leader).wait_end(s(30));
    ended.fails(1, &["was removed from the cluster", "empty data directory", "--join"]);
    cluster.quorate(&["cluster", "remove", &gone]).fails(1, &["UNKNOWN_MEMBER", &gone]);
    let removed = cluster.forget(leader);
    cluster.quorate(&["publish", "q", "two"]).ok();
    cluster.converge();

    // Its data is of no use any more: started again, it is told again.
    let mut removed = removed;
    removed.start();
    removed.wait_end(s(30)).fails(1, &["was removed from the cluster"]);
    drop(removed);
    let back = cluster.add(&gone);
    std::fs::remove_dir_all(&cluster.nodes()[back].data_dir).expect("the directory is emptied");
    cluster.restart(back);
    until("a new id for an old name", s(30), || ids(&cluster).contains(&(gone.clone(), 5)).then_some(()));
    cluster.converge();
    let received = cluster.quorate(&["receive", "q", "--count", "2", "--body"]).ok();
    assert_eq!(received.stdout, "one\ntwo\n");
}

/// P11: what would stop the cluster, or means nobody, is refused.
#[test]
fn a_removal_that_would_cost_the_quorum_is_refused() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["cluster", "remove", "n9"]).fails(1, &["UNKNOWN_MEMBER", "n9", "cluster status"]);
    let down = cluster.follower();
    cluster.kill(down);
    let leader = cluster.leader();
    let other = (0..3).find(|index| ![leader, down].contains(index)).expect("three nodes");
    let name = |index: usize| cluster.nodes()[index].name.clone();
    let (other, down) = (name(other), name(down));
    let refused = cluster.quorate(&["cluster", "remove", &other]);
    refused.fails(1, &["QUORUM_AT_RISK", "of the 2 others only 1 answer"]);
    cluster.quorate(&["cluster", "remove", &down]).ok();
    assert_eq!(cluster.status().len(), 2);
    cluster.quorate(&["queue", "create", "q"]).ok();

    drop(cluster); // the turn is its
    let alone = Cluster::start(1, &[]);
    alone.quorate(&["cluster", "remove", "n1"]).fails(1, &["QUORUM_AT_RISK", "only member that votes"]);
}

/// A name belongs to one node: whoever else comes with it is refused while that one is there.
#[test]
fn a_second_node_of_a_name_is_refused() {
    let cluster = Cluster::start(3, &[]);
    let dir = cluster.dir().join("elsewhere");
    std::fs::create_dir(&dir).expect("a directory");
    let mut second = Node::new("n2", &dir);
    second.set_flags(vec!["--join".into(), cluster.nodes()[0].peer_addr.clone()]);
    second.start_in_vain().fails(1, &["n2 is a member (id 2)", "two nodes cannot have one name"]);
    assert_eq!(ids(&cluster).len(), 3);

    let mut hidden = Node::new("n7", &dir);
    hidden.peer_addr = "0.0.0.0:7999".into();
    hidden.set_flags(vec!["--join".into(), cluster.nodes()[0].peer_addr.clone()]);
    hidden.start_in_vain().fails(2, &["peer-addr", "wildcard"]);
}
