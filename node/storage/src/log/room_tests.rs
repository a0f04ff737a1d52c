//! A log whose volume runs full, as its runner tells.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;

use super::*;
use crate::disk::{DiskRunner, Inline, Running, Volume};
use crate::space::Bound;
use crate::testing::{counting, id, member, record, runtime};

const MIB: u64 = 1 << 20;

/// A volume with so many bytes left. Waits are short.
#[derive(Clone, Default)]
struct Small(Arc<AtomicU64>);

impl DiskRunner for Small {
    fn run(&self, name: &str, actor: BoxFuture<'static, ()>) -> Running {
        Inline.run(name, actor)
    }

    fn pause(&self, d: Duration) -> BoxFuture<'static, ()> {
        Inline.pause(d / 100)
    }

    fn volume(&self, _path: &Path) -> Volume {
        let free_bytes = self.0.load(Ordering::Relaxed);
        Volume { free_bytes, total_bytes: 1 << 40, is_read_only: false, writes_in_place: true }
    }
}

fn open(dir: &DataDir, volume: &Small) -> (Log, Arc<AtomicUsize>) {
    let (on_fatal, failures) = counting();
    let options = LogOptions { reserve_bytes: 4 * MIB, on_fatal, ..LogOptions::default() };
    let runner: Arc<dyn DiskRunner> = Arc::new(volume.clone());
    (Log::open(dir, options, &runner).unwrap(), failures)
}

/// Appends records of 100 KB until one is not on disk in time; the index of the last that is.
async fn fill(log: &ShardLog, mut next: u64) -> u64 {
    loop {
        log.append(vec![record(1, next, 100_000)], Box::new(drop)).unwrap();
        let durable = tokio::time::timeout(Duration::from_millis(500), log.wait_durable(next));
        if durable.await.is_err() {
            return next - 1;
        }
        next += 1;
    }
}

#[test]
fn a_full_volume_is_waited_for_and_what_is_purged_is_room_again() {
    runtime().block_on(async {
        let (tmp, volume) = (tempfile::tempdir().unwrap(), Small::default());
        volume.0.store(1 << 40, Ordering::Relaxed);
        let dir = member(tmp.path());
        let (log, failures) = open(&dir, &volume);
        let shard = log.shard(0).unwrap();
        shard.append(vec![record(1, 0, 100_000)], Box::new(|r| r.unwrap())).unwrap();
        shard.wait_durable(0).await.unwrap();
        volume.0.store(0, Ordering::Relaxed);
        shard.look();
        let room = shard.room();
        assert!(room.free_bytes > 7 * MIB && room.admits(0) && room.bound == Bound::Volume, "{room:?}");
        let last = fill(&shard, 1).await;
        assert!(last > 40, "the stretch that was taken ahead is used to its end: {last}");
        let room = shard.room();
        assert!(room.waiting && !room.admits(0) && room.free_bytes < 2 * MIB, "{room:?}");
        volume.0.store(64 * MIB, Ordering::Relaxed);
        tokio::time::timeout(Duration::from_secs(20), shard.wait_durable(last + 1)).await.unwrap().unwrap();
        assert!(!shard.room().waiting);
        volume.0.store(0, Ordering::Relaxed);
        let last = fill(&shard, last + 2).await;
        assert!(shard.room().waiting);
        // The purge goes ahead of what waits, and what waits finds pages, though the volume has nothing.
        shard.purge(id(1, last - 5)).unwrap();
        tokio::time::timeout(Duration::from_secs(20), shard.wait_durable(last + 1)).await.unwrap().unwrap();
        let room = shard.room();
        assert!(!room.waiting && room.free_bytes > 10 * MIB && room.admits(0), "{room:?}");
        assert_eq!((failures.load(Ordering::SeqCst), shard.queued_bytes()), (0, 0));
    });
}

#[test]
fn a_log_that_is_closed_while_it_waits_for_room_has_not_failed() {
    runtime().block_on(async {
        let (tmp, volume) = (tempfile::tempdir().unwrap(), Small::default());
        let dir = member(tmp.path());
        let (log, failures) = open(&dir, &volume);
        let shard = log.shard(0).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        for index in 0..2 {
            let told = Arc::clone(&told);
            let done = move |result: Result<(), Error>| told.lock().push(result);
            shard.append(vec![record(1, index, 900_000)], Box::new(done)).unwrap();
        }
        tokio::time::timeout(Duration::from_millis(200), shard.wait_durable(0)).await.unwrap_err();
        assert!(shard.room().waiting);
        log.lose_patience();
        tokio::time::timeout(Duration::from_secs(5), log.close())
            .await
            .expect("nobody waits for room any more");
        assert_eq!(*told.lock(), [Err(Error::Closed), Err(Error::Closed)]);
        assert_eq!(failures.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn what_is_owed_counts_against_the_volume_and_the_quota() {
    runtime().block_on(async {
        let (tmp, volume) = (tempfile::tempdir().unwrap(), Small::default());
        volume.0.store(100 * MIB, Ordering::Relaxed);
        let dir = member(tmp.path());
        let runner: Arc<dyn DiskRunner> = Arc::new(volume.clone());
        let map = MapSize { initial_bytes: 20 * MIB, max_bytes: 20 * MIB };
        let options = LogOptions { map, reserve_bytes: 99 * MIB, ..LogOptions::default() };
        let shard = Log::open(&dir, options, &runner).unwrap().shard(0).unwrap();
        let room = shard.room();
        assert_eq!((room.bound, room.reserve_bytes), (Bound::Volume, 99 * MIB));
        let before = room.free_bytes;
        shard.append(vec![record(1, 0, 1_000_000)], Box::new(|r| r.unwrap())).unwrap();
        let owed = before - shard.room().free_bytes;
        assert!((1_000_000..1_001_000).contains(&owed), "{owed}");
        volume.0.store(500 * MIB, Ordering::Relaxed);
        shard.look();
        let room = shard.room();
        assert_eq!((room.bound, room.reserve_bytes), (Bound::Quota, 2 * MIB));
        assert!(room.free_bytes < 20 * MIB - 1_000_000);
    });
}
