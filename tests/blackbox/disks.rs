//! Disks that vanish, run full or hang under a node: it says so, stays within its memory, ends when it is asked to, and
//! goes on by itself when the disk does.

use std::fs;
use std::time::Duration;

use crate::bounds::anonymous;
use crate::harness::{Cluster, SmallVolume, Stall, s, until};

const MIB: u64 = 1 << 20;

/// Removes a directory that somebody still writes to.
fn remove(dir: &std::path::Path) {
    until("the directory to be gone", s(10), || {
        let _ = fs::remove_dir_all(dir);
        (!dir.exists()).then_some(())
    });
}

/// P1, P8: nothing is acknowledged into files that nobody will find again; another leads within seconds, and the node comes
/// back as a new member.
#[test]
fn a_node_whose_directory_is_removed_ends_with_a_code_of_its_own() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    cluster.quorate(&["publish", "q", "before"]).ok();
    cluster.converge();
    let leader = cluster.leader();
    remove(&cluster.nodes()[leader].data_dir);
    let ended = cluster.node(leader).wait_end(s(5));
    ended.fails(5, &["is not what was opened", "is gone", "comes back as a new member"]);
    cluster.quorate(&["publish", "q", "after", "--timeout", "5s"]).ok();
    assert_ne!(cluster.leader(), leader);
    cluster.restart(leader);
    let received = cluster.quorate(&["receive", "q", "--count", "2", "--body"]).ok();
    assert_eq!(received.stdout, "before\nafter\n");
}

/// The same when another directory has taken its name.
#[test]
fn a_node_whose_directory_was_replaced_ends() {
    let mut cluster = Cluster::start(1, &[]);
    let dir = cluster.nodes()[0].data_dir.clone();
    let aside = dir.with_extension("aside");
    fs::rename(&dir, &aside).and_then(|()| fs::create_dir(&dir)).expect("it is replaced");
    cluster.node(0).wait_end(s(5)).fails(5, &["another one now", "Put the directory back"]);
    fs::remove_dir(&dir).and_then(|()| fs::rename(&aside, &dir)).expect("it is put back");
    cluster.restart(0);
    cluster.quorate(&["queue", "list"]).ok();
}

/// The first message fails for a reason. Returns what is known of it then.
fn fail(cluster: &Cluster, reason: &str) -> String {
    cluster.quorate(&["receive", "q", "--count", "1", "--retry", "1ms", "--reason", reason]).ok();
    cluster.quorate(&["peek", "q", "--count", "1", "-o", "json"]).ok().stdout
}

/// P11: a small disk is never written full by clients: they are refused with the figures, what makes room goes on, and then
/// they are not refused any more.
#[test]
#[ignore = "one time in three it fails: pages of the log that are free again do not always lie so that a long record fits, and then a full volume stays full"]
fn a_small_disk_keeps_its_reserve_and_pages_that_are_free_again_are_room() {
    let Some(volume) = SmallVolume::mount(96) else { return };
    let mut cluster = Cluster::prepare(1, &["--disk-reserve", "24MiB"]);
    cluster.node(0).data_dir = volume.path().join("n1");
    cluster.node(0).start();
    cluster.node(0).wait_ready();
    cluster.quorate(&["queue", "create", "q"]).ok();
    let lines = cluster.file("lines", format!("{}\n", "b".repeat(8_000)).repeat(500));
    for round in 0..3 {
        let refused = until("a publish that is refused for want of room", s(120), || {
            let publish = cluster.quorate(&["publish", "q", "--file", &lines, "--timeout", "20s"]);
            (publish.code != 0).then_some(publish)
        });
        for told in ["NO_SPACE", "n1 has ", " free of a reserve of "] {
            assert!(refused.stderr.contains(told), "round {round}: {}", refused.stderr);
        }
        let create = cluster.quorate(&["queue", "create", "new"]);
        assert!(create.stderr.contains("NO_SPACE"), "round {round}: {}", create.stderr);
        cluster.quorate(&["queue", "create", "q"]).ok();
        assert!(cluster.stat("q", "length") > 1000, "there was room for something");
        fail(&cluster, "failing goes on");
        cluster.quorate(&["queue", "purge", "q"]).ok();
        until("room again", s(60), || (cluster.quorate(&["publish", "q", "again"]).code == 0).then_some(()));
        assert!(fail(&cluster, "room for this").contains("room for this"), "round {round}");
    }
}

/// P11, P14: somebody else fills the disk to the last byte. Nobody ends, nothing is lost, SIGTERM works, and all goes on when
/// there is room.
#[test]
fn a_disk_that_others_have_filled_is_waited_for() {
    let Some(volume) = SmallVolume::mount(160) else { return };
    let mut cluster = Cluster::prepare(3, &["--disk-reserve", "8MiB"]);
    for index in 0..3 {
        let name = cluster.nodes()[index].name.clone();
        cluster.node(index).data_dir = volume.path().join(name);
        cluster.node(index).start();
    }
    (0..3).for_each(|index| cluster.node(index).wait_ready());
    cluster.quorate(&["queue", "create", "q"]).ok();
    cluster.quorate(&["publish", "q", "kept"]).ok();
    volume.fill();
    let lines = cluster.file("lines", format!("{}\n", "b".repeat(60_000)).repeat(800));
    let refused =
        cluster.command(&["publish", "q", "--file", &lines, "--timeout", "10s"]).timeout(s(60)).run();
    assert_ne!(refused.code, 0, "there is no room");
    assert!((0..3).all(|index| cluster.node(index).is_running()), "nobody ends");
    let follower = cluster.follower();
    assert!([0, 6].contains(&cluster.node(follower).stop()), "it is not waited for");
    volume.relieve();
    cluster.restart(follower);
    until("room again", s(60), || (cluster.quorate(&["publish", "q", "again"]).code == 0).then_some(()));
    cluster.converge();
    let received = cluster.quorate(&["receive", "q", "--count", "1", "--body"]).ok();
    assert_eq!(received.stdout, "kept\n");
}

/// P12: what a disk does not take stays with whoever sends it.
#[test]
fn a_disk_that_hangs_under_load_costs_bounded_memory() {
    let Some(stall) = Stall::build() else { return };
    let mut cluster = Cluster::prepare(3, &[]);
    for index in 0..3 {
        let env = stall.env(&cluster.nodes()[index].name.clone());
        cluster.node(index).set_env(env);
        cluster.node(index).start();
    }
    (0..3).for_each(|index| cluster.node(index).wait_ready());
    for of_leader in [true, false] {
        let hung = if of_leader { cluster.leader() } else { cluster.follower() };
        let name = cluster.nodes()[hung].name.clone();
        // Without a rate a fast machine writes more than a small disk has.
        let load = ["--rate", "1000", "--size", "16KiB", "--seconds", "22", "--warmup", "0s"];
        let load = [&["bench", "publish", "--producers", "4"], &load[..]].concat();
        let load = cluster.command(&load).timeout(s(120)).start();
        std::thread::sleep(s(4));
        let before: Vec<u64> = cluster.nodes().iter().map(|node| anonymous(node.pid())).collect();
        stall.begin(&name);
        let mut most = vec![0; 3];
        for _ in 0..60 {
            std::thread::sleep(Duration::from_millis(250));
            for (index, node) in cluster.nodes().iter().enumerate() {
                most[index] = most[index].max(anonymous(node.pid()).saturating_sub(before[index]));
            }
        }
        stall.end(&name);
        println!(
            "{name} hung, leader {of_leader}: grown by {:?} MiB",
            most.iter().map(|n| n / MIB).collect::<Vec<_>>()
        );
        assert!(most.iter().all(|grown| *grown < 100 * MIB), "{most:?}");
        drop(load);
        cluster.quorate(&["queue", "create", "after", "--timeout", "30s"]).ok();
        cluster.converge();
    }
}

/// P14: SIGTERM ends a node in bounded time, whatever its disk does.
#[test]
fn a_node_on_a_disk_that_hangs_ends_when_it_is_asked_to() {
    let Some(stall) = Stall::build() else { return };
    let mut cluster = Cluster::prepare(1, &[]);
    let env = stall.env("n1");
    cluster.node(0).set_env(env);
    cluster.node(0).start();
    cluster.node(0).wait_ready();
    cluster.quorate(&["queue", "create", "q"]).ok();
    stall.begin("n1");
    let publish = cluster.command(&["publish", "q", "m", "--timeout", "2s"]).run();
    assert_ne!(publish.code, 0, "nothing is acknowledged");
    cluster.node(0).hang_up();
    assert!(cluster.node(0).is_running(), "SIGHUP is ignored");
    assert_eq!(cluster.node(0).stop(), 6);
    // And while it starts.
    cluster.node(0).start();
    std::thread::sleep(s(3));
    assert!([0, 6].contains(&cluster.node(0).stop()));
    stall.end("n1");
    cluster.restart(0);
    cluster.quorate(&["publish", "q", "m"]).ok();
}

#[test]
fn a_node_that_waits_for_the_others_ends_when_it_is_asked_to() {
    let mut cluster = Cluster::prepare(3, &[]);
    cluster.node(0).start();
    until("the wait", s(20), || {
        cluster.node(0).log_tail().contains("waiting for the other nodes").then_some(())
    });
    assert_eq!(cluster.node(0).stop(), 0);
}

/// P14: creating is covered by the quota, so that what was created can be deleted again.
#[test]
fn queues_with_large_filters_do_not_wedge_a_small_map() {
    let mut cluster = Cluster::start(1, &["--map-bytes-max", "16MiB", "--log-bytes-max", "1MiB"]);
    let client = cluster.client(s(20));
    let runtime = crate::harness::runtime();
    let filter = "f".repeat(3_500);
    let mut made = Vec::new();
    let refused = runtime.block_on(async {
        for number in 0..40_000 {
            let name = format!("queue-{number}");
            let default = quorate_client::SubscriptionSettings {
                filter: Some(quorate_client::Filter {
                    headers: vec![("h".into(), filter.clone().into())],
                    ..Default::default()
                }),
                ..Default::default()
            };
            match client.queues().create(&name, quorate_client::QueueSettings::from(default)).await {
                Ok(_) => made.push(name),
                Err(e) => return Some(e),
            }
        }
        None
    });
    let refused = refused.expect("the map is full").to_string();
    assert!(refused.contains("free of a reserve of"), "{refused}");
    println!("{} queues", made.len());
    assert!(cluster.node(0).is_running() && made.len() > 100);
    runtime.block_on(async {
        for some in made.chunks(64) {
            let deleted =
                futures::future::join_all(some.iter().map(async |name| client.queues().delete(name).await))
                    .await;
            deleted.into_iter().for_each(|deleted| deleted.expect("deleting goes on"));
        }
    });
    until("room again", s(60), || (cluster.quorate(&["queue", "create", "again"]).code == 0).then_some(()));
    assert_eq!(cluster.node(0).stop(), 0);
}

/// Nonsense is refused at the start, with the flag.
#[test]
fn sizes_that_cannot_work_are_refused_with_their_flag() {
    let mut cluster = Cluster::prepare(1, &[]);
    let flags = cluster.nodes()[0].flags().to_owned();
    for (flag, value, told) in [
        ("--map-bytes-max", "1", "must be from 16MiB"),
        ("--map-bytes-max", "100000TiB", "must be from 16MiB"),
        ("--disk-reserve", "1KiB", "must be at least 1MiB"),
        ("--log-stall-after", "0s", "must be at least 500ms"),
        ("--disk-reserve", "1000000GiB", "nothing could ever be published"),
        ("--log-bytes-max", "0", "must be more than 0"),
    ] {
        cluster.node(0).set_flags([&flags[..], &[flag.to_owned(), value.to_owned()]].concat());
        let refused = cluster.node(0).start_in_vain();
        refused.fails(2, &[flag.trim_start_matches("--"), told]);
    }
}
