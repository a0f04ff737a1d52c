//! Data directories, addresses and lists that a node must not start with, and a disk that is full.

use std::fs;
use std::path::Path;

use crate::harness::{Cluster, Node, identity, orders, s, until};

/// The node is stopped; runs it with these flags in place of its own, in vain.
fn refuses(cluster: &mut Cluster, index: usize, told: &[&str]) {
    let refused = cluster.node(index).start_in_vain();
    refused.fails(1, told);
}

#[test]
fn a_directory_of_another_node_is_refused() {
    let mut cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    assert_eq!(cluster.node(0).stop(), 0);
    let dir = cluster.dir().to_owned();
    let mut other = Node::new("n7", &dir);
    other.data_dir.clone_from(&cluster.nodes()[0].data_dir);
    let refused = other.start_in_vain();
    refused.fails(1, &["belongs to the node", "n1", "n7"]);
    cluster.restart(0);
    assert_eq!(cluster.stat("q", "length"), 0, "nothing was touched");
}

#[test]
fn a_log_of_another_cluster_is_refused() {
    let mut cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    cluster.quorate(&["publish", "q", "kept"]).ok();
    assert_eq!(cluster.node(0).stop(), 0);
    let mut foreign = Node::new("n1", &cluster.dir().join("elsewhere"));
    fs::create_dir(cluster.dir().join("elsewhere")).expect("a directory");
    let bootstrap = format!("n1={}", foreign.peer_addr);
    foreign.set_flags(vec!["--bootstrap".into(), bootstrap]);
    foreign.start();
    foreign.wait_ready();
    assert_eq!(foreign.stop(), 0);

    let ours = cluster.nodes()[0].data_dir.clone();
    for environment in ["log", "state-0"] {
        let aside = ours.join("kept-by-the-test");
        fs::rename(ours.join(environment), &aside).expect("ours steps aside");
        copy_dir(&foreign.data_dir.join(environment), &ours.join(environment));
        refuses(&mut cluster, 0, &[environment, "was written by", "belongs to", "put the right files back"]);
        fs::remove_dir_all(ours.join(environment)).expect("the foreign one goes");
        fs::rename(&aside, ours.join(environment)).expect("ours comes back");
    }
    cluster.restart(0);
    assert_eq!(cluster.stat("q", "length"), 1, "nothing was touched");
}

/// A whole directory of another cluster, under the right name: its node is no member, and does not become one.
#[test]
fn a_whole_directory_of_another_cluster_does_not_take_part() {
    let mut other = Cluster::start(3, &[]);
    let stolen = tempfile::tempdir().expect("a temporary directory");
    assert_eq!(other.node(2).stop(), 0);
    copy_dir(&other.nodes()[2].data_dir, &stolen.path().join("n3"));
    drop(other);

    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let term = cluster.converge()[0].term;
    let replaced = if cluster.leader() == 2 {
        assert_eq!(cluster.node(2).stop(), 0, "hand over first");
        cluster.restart(2);
        cluster.converge()[0].term
    } else {
        term
    };
    assert_eq!(cluster.node(2).stop(), 0);
    let data_dir = cluster.nodes()[2].data_dir.clone();
    cluster.node(2).data_dir = stolen.path().join("n3");
    cluster.node(2).start();
    cluster.quorate(&["publish", "q", "m"]).ok();
    until("the others to hear of it and stay as they are", s(20), || {
        let status = cluster.status();
        let refused = status.iter().filter(|r| r.role == "unreachable").count() == 1;
        (refused && (cluster.node(2).has_said("ready") || !cluster.node(2).is_running())).then_some(())
    });
    cluster.quorate(&["publish", "q", "m"]).ok();
    let status = cluster.status();
    assert!(
        status.iter().all(|r| r.role == "unreachable" || r.term == replaced),
        "nobody voted: {status:#?}"
    );
    assert_eq!(cluster.stat("q", "length"), 2);

    if cluster.node(2).is_running() {
        cluster.kill(2);
    }
    cluster.node(2).data_dir = data_dir;
    cluster.restart(2);
    cluster.converge();
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let mut cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    assert_eq!(cluster.node(0).stop(), 0);
    let dir = cluster.nodes()[0].data_dir.clone();
    identity::claim_newer_format(&dir, 2);
    let before = fs::read(dir.join("identity.a")).expect("an identity");
    refuses(&mut cluster, 0, &["has format 2", "reads up to 1", "run the newer program"]);
    assert_eq!(fs::read(dir.join("identity.a")).expect("an identity"), before);
    identity::claim_newer_format(&dir, 1);
    cluster.restart(0);
    assert_eq!(cluster.stat("q", "length"), 0);
}

#[test]
fn a_damaged_environment_is_reported_and_not_cut_off() {
    let mut cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    assert_eq!(cluster.node(0).stop(), 0);
    let data = cluster.nodes()[0].data_dir.join("log/data.mdb");
    let whole = fs::read(&data).expect("a log");
    for damaged in [&whole[..whole.len().min(4096)], b"not an environment at all"] {
        fs::write(&data, damaged).expect("the log is damaged");
        refuses(&mut cluster, 0, &["is damaged", "Nothing was changed", "new member"]);
        assert_eq!(fs::read(&data).expect("a log"), damaged, "the evidence is kept");
    }
    fs::write(&data, b"").expect("the log is emptied");
    refuses(&mut cluster, 0, &["lost its log", "must not vote"]);
    fs::write(&data, &whole).expect("the log is put back");
    cluster.restart(0);
    assert_eq!(cluster.stat("q", "length"), 0);
}

#[test]
fn two_processes_do_not_share_a_directory_and_ports_in_use_are_named() {
    let mut cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let dir = cluster.dir().to_owned();
    let mut second = Node::new("n1", &dir.join("second"));
    fs::create_dir(dir.join("second")).expect("a directory");
    second.data_dir.clone_from(&cluster.nodes()[0].data_dir);
    second.set_flags(cluster.nodes()[0].flags().to_vec());
    second.start_in_vain().fails(1, &["in use by another process", "stop it"]);

    second.data_dir = dir.join("second").join("data");
    let free = (second.client_addr.clone(), second.peer_addr.clone());
    let taken = (cluster.nodes()[0].client_addr.clone(), cluster.nodes()[0].peer_addr.clone());
    for (client_addr, peer_addr, told) in [(&taken.0, &free.1, &taken.0), (&free.0, &taken.1, &taken.1)] {
        second.client_addr.clone_from(client_addr);
        second.peer_addr.clone_from(peer_addr);
        second.start_in_vain().fails(1, &["cannot listen on", told, "choose another address"]);
    }
    assert!(cluster.node(0).is_running());
    assert_eq!(cluster.stat("q", "length"), 0);
}

#[test]
fn a_list_of_first_members_that_cannot_be_is_refused() {
    let mut cluster = Cluster::prepare(1, &[]);
    let own = cluster.nodes()[0].peer_addr.clone();
    for (list, code, told) in [
        ("n2=127.0.0.1:1".to_owned(), 2, "does not name this node"),
        ("n1".to_owned(), 2, "not name=host:port"),
        (format!("n1={own},n2=nowhere"), 2, "not name=host:port"),
        (format!("n1={own},n1=127.0.0.1:1"), 1, "nobody twice"),
    ] {
        cluster.node(0).set_flags(vec!["--bootstrap".into(), list.clone()]);
        cluster.node(0).start_in_vain().fails(code, &["bootstrap", told]);
    }
    cluster.node(0).set_flags(Vec::new());
    cluster.node(0).start_in_vain().fails(2, &["--bootstrap"]);
    let dir = &cluster.nodes()[0].data_dir;
    let left = fs::read_dir(dir).map_or(0, Iterator::count);
    assert!(left <= 1, "no identity was made: {left} files besides the lock");
}

/// `MDB_MAP_FULL` and its like: the publish is refused, the node lives, and goes on when there is room again.
#[test]
fn a_full_map_refuses_publishes_and_never_kills_the_node() {
    fill_and_drain(&orders::file(20_000));
}

/// The same with bodies that take two pages of the state when the log can keep them no longer.
#[test]
fn a_full_map_of_larger_bodies_is_emptied_again() {
    fill_and_drain(&format!("{}\n", "b".repeat(4_100)).repeat(5_000));
}

fn fill_and_drain(lines: &str) {
    let mut cluster = Cluster::start(1, &["--map-bytes-max", "24MiB", "--log-bytes-max", "2MiB"]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let input = cluster.file("many.jsonl", lines);
    let mut stored = 0;
    until("a publish that is refused for want of room", s(120), || {
        let publish = cluster.quorate(&["publish", "q", "--file", &input, "-o", "json", "--timeout", "20s"]);
        stored += publish.lines()[0]["published"].as_u64().expect("a figure");
        if publish.code == 0 {
            return None;
        }
        assert_eq!(publish.code, 1, "{}", publish.stderr);
        assert!(
            publish.stderr.contains("NO_SPACE") && publish.stderr.contains("\"action\":\"consume"),
            "{}",
            publish.stderr
        );
        Some(())
    });
    assert!(stored > 0, "there was room for something");
    assert!(cluster.node(0).is_running());
    let stat = cluster.stat("q", "length");
    assert!(stat >= stored, "{stat} stored, {stored} confirmed");

    cluster.kill(0);
    cluster.restart(0);
    assert_eq!(cluster.stat("q", "length"), stat, "a full map is no reason to crash at the next start");

    let count = stat.to_string();
    cluster.command(&["receive", "q", "--count", &count, "--body"]).timeout(s(120)).run().ok();
    until("room again", s(60), || (cluster.quorate(&["publish", "q", "again"]).code == 0).then_some(()));
    assert_eq!(cluster.stat("q", "length"), 1);
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory to copy") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a kind").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file is copied");
        }
    }
}
