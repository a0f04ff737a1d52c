//! Installing a snapshot: what is there at each point of it, and that nothing of it stays.

use std::fs;
use std::path::Path;

use super::tests::{Rows, all, open, put, states, transfer};
use super::*;
use crate::log::{Log, LogOptions};
use crate::testing::{Quick, gone, id, member, open_log, record, runner, runtime};

/// A node's directory with a state of so many rows of 20 kB.
struct Node {
    _tmp: tempfile::TempDir,
    dir: DataDir,
    _log: Log,
    shard: ShardLog,
    state: State,
}

impl Node {
    fn new(rows: u64, options: StateOptions, runner: &Arc<dyn DiskRunner>) -> Node {
        let tmp = tempfile::tempdir().unwrap();
        let dir = member(tmp.path());
        let log = Log::open(&dir, LogOptions::default(), runner).unwrap();
        let shard = log.shard(0).unwrap();
        let state = State::open(&dir, &shard, options, runner).unwrap();
        for index in 0..rows {
            shard.append(vec![record(1, index, 10)], Box::new(|r| r.unwrap())).unwrap();
            put(&state, index, &index.to_be_bytes(), 20_000);
        }
        Node { _tmp: tmp, dir, _log: log, shard, state }
    }

    fn of(rows: u64) -> Node {
        Node::new(rows, StateOptions::default(), &runner(true))
    }

    fn states(&self) -> Vec<String> {
        states(self.dir.path())
    }

    /// All jobs before it are done when it returns.
    async fn settled(&self) {
        self.state.bring_in(0).await.unwrap();
    }
}

/// An installer that has all of it, and how many rows that are.
async fn arrived(from: &State, to: &State) -> (Installer, u64, LogId) {
    let mut snapshot = from.snapshot().await.unwrap();
    let (mut installer, mut rows) = (to.install(snapshot.bytes()).await.unwrap(), 0);
    while let Some(chunk) = snapshot.next_chunk().unwrap() {
        installer.chunk(chunk.bytes).await.unwrap();
        rows += chunk.rows;
    }
    (installer, rows, snapshot.applied().unwrap())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else if !["LOCK", "lock.mdb"].contains(&path.file_name().unwrap().to_str().unwrap()) {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// What a process finds that starts in a copy of a directory, and which environments there are then.
async fn found_in(dir: &Path) -> (Rows, Option<LogId>, Vec<String>) {
    let dir = DataDir::open(dir).unwrap();
    let log = open_log(&dir, true);
    let state = open(&dir, &log.shard(0).unwrap(), true, 1 << 20);
    let found = (all(&state.read()), state.applied().last, states(dir.path()));
    state.close().await.unwrap();
    log.close().await;
    found
}

#[test]
fn a_crash_at_any_point_finds_the_state_before_or_the_state_after() {
    runtime().block_on(async {
        let (from, to) = (Node::of(400), Node::of(3));
        to.state.flush().await.unwrap();
        let (before, after) = (all(&to.state.read()), all(&from.state.read()));
        let crash = |name: &str| {
            let copied = to.dir.path().parent().unwrap().join(format!("{name}-{}", std::process::id()));
            copy(to.dir.path(), &copied);
            copied
        };
        // While it arrives: some of its rows are written.
        let (installer, rows, last) = arrived(&from.state, &to.state).await;
        assert_eq!(to.states(), ["state-0", "state-0.1.new"]);
        let arriving = crash("arriving");
        assert!(fs::metadata(arriving.join("state-0.1.new/data.mdb")).unwrap().len() > 4 << 20);
        assert_eq!(all(&to.state.read()), before, "it is read meanwhile");
        let old = to.dir.path().parent().unwrap().join(format!("old-{}", std::process::id()));
        copy(&to.dir.path().join("state-0"), &old);
        installer.finish(rows, last, Bytes::new()).await.unwrap();
        assert_eq!((to.states(), all(&to.state.read())), (vec!["state-0.1".to_owned()], after.clone()));
        let done = crash("done");
        // It has its name, and the one before it is still there, or a part of that.
        let (both, half) = (crash("both"), crash("half"));
        copy(&old, &both.join("state-0"));
        fs::create_dir(half.join("state-0")).unwrap();
        assert_eq!(found_in(&arriving).await, (before, Some(id(1, 2)), vec!["state-0".into()]));
        for dir in [&both, &half, &done] {
            let (rows, applied, states) = found_in(dir).await;
            assert!(rows == after, "{}", dir.display());
            assert_eq!((applied, states), (Some(id(1, 399)), vec!["state-0.1".to_owned()]));
        }
        for dir in [&arriving, &old, &done, &both, &half] {
            fs::remove_dir_all(dir).unwrap();
        }
    });
}

#[test]
fn a_snapshot_is_installed_again_and_again_and_what_is_being_sent_stays_as_it_was() {
    runtime().block_on(async {
        let (from, to) = (Node::of(30), Node::of(3));
        let mut sent = to.state.snapshot().await.unwrap();
        for generation in 1..4 {
            let next = 30 + generation;
            from.shard.append(vec![record(1, next - 1, 10)], Box::new(|r| r.unwrap())).unwrap();
            put(&from.state, next - 1, &[9, generation as u8], 500);
            transfer(&from.state, &to.state).await;
            assert_eq!(to.states(), [format!("state-0.{generation}")]);
            assert_eq!(all(&to.state.read()), all(&from.state.read()));
        }
        let mut rows = 0;
        while let Some(chunk) = sent.next_chunk().unwrap() {
            rows += chunk.rows;
        }
        assert_eq!(rows, 3, "it reads the environment that it began in");
        drop(sent);
        // The state goes on in its new environment, and is found there.
        to.shard.purge(id(1, 32)).unwrap();
        to.shard.append(vec![record(1, 33, 10)], Box::new(|r| r.unwrap())).unwrap();
        put(&to.state, 33, b"later", 100);
        assert_eq!(to.state.flush().await.unwrap(), Some(id(1, 33)));
        let expected = all(&to.state.read());
        to.state.close().await.unwrap();
        gone(&to.dir.state_path(0, 3)).await;
        let again = open(&to.dir, &to.shard, true, 1 << 20);
        assert_eq!(all(&again.read()), expected);
    });
}

#[test]
fn who_gives_up_leaves_nothing_and_a_later_snapshot_takes_the_place_of_an_earlier() {
    runtime().block_on(async {
        let (from, to) = (Node::of(300), Node::of(3));
        drop(arrived(&from.state, &to.state).await.0);
        to.settled().await;
        assert_eq!(to.states(), ["state-0"]);
        let (first, rows, last) = arrived(&from.state, &to.state).await;
        let (second, ..) = arrived(&from.state, &to.state).await;
        let replaced = first.finish(rows, last, Bytes::new()).await;
        assert_eq!(replaced, Err(Error::SnapshotReplaced { shard: 0 }));
        to.settled().await;
        second.finish(rows, last, Bytes::new()).await.unwrap();
        assert_eq!(all(&to.state.read()), all(&from.state.read()));
        assert_eq!(to.states(), ["state-0.1"]);
    });
}

#[test]
fn a_snapshot_without_room_is_refused_with_figures_and_the_state_goes_on() {
    runtime().block_on(async {
        // The disk says before it begins that there is none.
        let quick: Arc<dyn DiskRunner> = Arc::new(Quick);
        let to = Node::new(3, StateOptions::default(), &quick);
        let refused = to.state.install(48 << 30).await.err().unwrap();
        let expected = (48 << 30, 47 << 30);
        assert!(
            matches!(&refused, Error::NoRoomForSnapshot { needed_bytes, free_bytes, .. } if (*needed_bytes, *free_bytes) == expected),
            "{refused}"
        );
        drop(to.state.install(4711).await.unwrap());

        // The map meets its maximum while it arrives.
        let map = MapSize { initial_bytes: 1 << 17, max_bytes: 1 << 22 };
        let options = StateOptions { map, ..StateOptions::default() };
        let (from, to) = (Node::of(400), Node::new(3, options, &runner(true)));
        let before = all(&to.state.read());
        let mut snapshot = from.state.snapshot().await.unwrap();
        assert!(to.state.install(snapshot.bytes()).await.is_err(), "by what it is announced to take");
        let mut installer = to.state.install(0).await.unwrap();
        let refused = loop {
            let chunk = snapshot.next_chunk().unwrap().expect("there is no room for all of them");
            if let Err(error) = installer.chunk(chunk.bytes).await {
                break error;
            }
        };
        assert!(matches!(refused, Error::NoRoomForSnapshot { .. }), "{refused}");
        drop(installer);
        assert_eq!((all(&to.state.read()), to.states()), (before, vec!["state-0".to_owned()]));
        put(&to.state, 3, b"goes on", 10);
        to.shard.append(vec![record(1, 3, 10)], Box::new(|r| r.unwrap())).unwrap();
        assert_eq!(to.state.flush().await.unwrap(), Some(id(1, 3)));
    });
}

#[test]
fn the_map_of_a_snapshot_grows_as_it_arrives() {
    runtime().block_on(async {
        let map = MapSize { initial_bytes: 1 << 17, max_bytes: 1 << 27 };
        let options = StateOptions { map, ..StateOptions::default() };
        let (from, to) = (Node::of(1000), Node::new(3, options, &runner(true)));
        transfer(&from.state, &to.state).await;
        assert_eq!(all(&to.state.read()), all(&from.state.read()));
        assert!(to.state.quota().used_bytes > 16 << 20);
    });
}
