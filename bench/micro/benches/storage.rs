//! The log and the state on a real disk: set `TMPDIR` to the one that is meant.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quorate_bench_micro::{MESSAGES, PRODUCERS, ack, apply, entry, publish, publish_all, setup};
use quorate_storage::DataDir;
use quorate_storage::disk::{DiskRunner, Threads};
use quorate_storage::identity::{FORMAT, Identity};
use quorate_storage::log::{Kind, Log, LogId, LogOptions, Record, ShardLog};
use quorate_storage::state::{State, StateOptions};
use tempfile::TempDir;

struct Disk {
    log: Log,
    shard: ShardLog,
    state: State,
    next: u64,
    _dir: TempDir,
}

impl Disk {
    fn new() -> Disk {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = DataDir::open(dir.path()).expect("a new data directory");
        let identity = Identity {
            format_version: FORMAT,
            cluster_id: [1; 16],
            node_id: 1,
            name: "n1".into(),
            incarnation: [2; 16],
            joined_at: 0,
            voted: false,
        };
        data.create(identity).expect("an identity");
        let runner: Arc<dyn DiskRunner> = Arc::new(Threads);
        let log = Log::open(&data, LogOptions::default(), &runner).expect("a log");
        let shard = log.shard(0).expect("a shard");
        let state = State::open(&data, &shard, StateOptions::default(), &runner).expect("a state");
        Disk { log, shard, state, next: 0, _dir: dir }
    }

    /// Appends an entry without waiting for it.
    fn append(&mut self, payload: &Bytes) -> LogId {
        let id = LogId { term: 1, node: 1, index: self.next };
        self.next += 1;
        let record = Record { id, kind: Kind::Commands, payload: payload.clone() };
        self.shard.append(vec![record], Box::new(|done| done.expect("the disk works"))).expect("it is taken");
        id
    }

    fn apply(&mut self, payload: &Bytes) {
        let id = self.append(payload);
        let mut writer = self.state.write_entry(id.index, payload);
        apply(&mut writer, payload);
        writer.commit(id, None).expect("the state works");
    }

    async fn close(self) {
        self.state.close().await.expect("the disk works");
        drop(self.shard);
        self.log.close().await;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// One entry at a time, synced: the floor of a confirmation; and as many as fit into one sync.
fn appending(c: &mut Criterion) {
    let mut group = c.benchmark_group("log");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    for (name, bytes, at_once) in
        [("1 KiB, synced", 1 << 10, 1), ("256 KiB, synced", 256 << 10, 1), ("256 KiB, 32 at once", 256 << 10, 32)]
    {
        let payload = Bytes::from(vec![7; bytes]);
        group.throughput(Throughput::Bytes((bytes * at_once) as u64));
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                runtime().block_on(async {
                    let mut disk = Disk::new();
                    let began = Instant::now();
                    for _ in 0..rounds {
                        let last = (0..at_once).map(|_| disk.append(&payload)).last();
                        disk.shard.wait_durable(last.map_or(0, |id| id.index)).await.expect("the disk works");
                        // Nobody needs it any more: its pages are used again.
                        let _ = disk.shard.purge(LogId { term: 1, node: 1, index: disk.next - 1 });
                    }
                    let took = began.elapsed();
                    disk.close().await;
                    took
                })
            });
        });
    }
    group.finish();
}

/// Entries through the machine into the overlay, with the flushes behind it.
fn applying(c: &mut Criterion) {
    let mut group = c.benchmark_group("state");
    group.sample_size(20).throughput(Throughput::Elements(u64::from(MESSAGES)));
    for consumes in [false, true] {
        let name = if consumes { "publish, lease and acknowledge 1 KiB" } else { "publish 1 KiB" };
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                runtime().block_on(async {
                    let mut disk = Disk::new();
                    disk.apply(&setup(consumes));
                    let mut took = Duration::ZERO;
                    for n in 0..rounds {
                        let mut entries = vec![entry(n, vec![publish(n, 1024)])];
                        entries.extend(consumes.then(|| entry(n, vec![ack(n)])));
                        disk.state.ready().await;
                        disk.shard.ready().await;
                        let began = Instant::now();
                        entries.iter().for_each(|entry| disk.apply(entry));
                        took += began.elapsed();
                    }
                    disk.close().await;
                    took
                })
            });
        });
    }
    group.finish();
}

/// Entries as a busy leader packs them: a short batch of every producer.
fn applying_short_batches(c: &mut Criterion) {
    const EACH: u32 = 32;
    let mut group = c.benchmark_group("state");
    group.sample_size(20).throughput(Throughput::Elements(PRODUCERS * u64::from(EACH)));
    for body_bytes in [100, 1024] {
        group.bench_function(format!("publish {PRODUCERS} x {EACH} x {body_bytes} B"), |b| {
            b.iter_custom(|rounds| {
                runtime().block_on(async {
                    let mut disk = Disk::new();
                    disk.apply(&setup(false));
                    let mut took = Duration::ZERO;
                    for n in 0..rounds {
                        let entry = entry(n, publish_all(n, EACH, body_bytes));
                        disk.state.ready().await;
                        disk.shard.ready().await;
                        let began = Instant::now();
                        disk.apply(&entry);
                        took += began.elapsed();
                    }
                    disk.close().await;
                    took
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, appending, applying, applying_short_batches);
criterion_main!(benches);
