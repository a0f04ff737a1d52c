use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::sync::watch;

use super::writer::Job;
use super::*;
use crate::disk::{Inline, Threads};
use crate::testing::{Held, Quick, counting, gone, id, member, open_log, record, runner, runtime};

const ALL: u64 = u64::MAX;

fn ok() -> writer::Done {
    Box::new(|result| result.unwrap())
}

#[derive(Debug, Clone)]
enum Op {
    Append { shard: u32, count: u64, bytes: usize },
    Truncate { shard: u32, keep: u64 },
    Purge { shard: u32, upto: u64, beyond: bool },
    Vote { shard: u32, term: u64 },
    Commit { shard: u32 },
    Reopen { close: bool },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let shard = 0u32..3;
    let op = prop_oneof![
        6 => (shard.clone(), 1..8u64, 0..3000usize).prop_map(|(shard, count, bytes)| Op::Append { shard, count, bytes }),
        2 => (shard.clone(), 0..6u64).prop_map(|(shard, keep)| Op::Truncate { shard, keep }),
        2 => (shard.clone(), 0..9u64, prop::bool::weighted(0.2))
            .prop_map(|(shard, upto, beyond)| Op::Purge { shard, upto, beyond }),
        1 => (shard.clone(), 1..99u64).prop_map(|(shard, term)| Op::Vote { shard, term }),
        1 => shard.prop_map(|shard| Op::Commit { shard }),
        2 => any::<bool>().prop_map(|close| Op::Reopen { close }),
    ];
    prop::collection::vec(op, 1..40)
}

/// What a log must look like, kept in the plainest way.
#[derive(Default, Clone)]
struct Model {
    records: Vec<Record>,
    purged: Option<LogId>,
    vote: Option<Vote>,
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.records.last().map(|r| r.id).or(self.purged)
    }

    fn check(&self, log: &ShardLog) {
        assert_eq!(log.last(), self.last());
        assert_eq!(log.purged(), self.purged);
        assert_eq!(log.vote(), self.vote);
        let bytes: u64 = self.records.iter().map(record::encoded_bytes).sum();
        assert_eq!(log.bytes(), bytes);
        let first =
            self.records.first().map_or_else(|| self.purged.map_or(0, |id| id.index + 1), |r| r.id.index);
        assert_eq!(log.read(first, ALL, ALL).unwrap(), self.records);
        let half = self.records.len() / 2;
        assert_eq!(
            log.read(first + half as u64, ALL, 0).unwrap(),
            self.records.iter().skip(half).take(1).cloned().collect::<Vec<_>>()
        );
        if let Some(purged) = self.purged {
            assert!(matches!(log.read(purged.index, ALL, ALL), Err(Error::Purged { .. })));
        }
    }
}

async fn run_model(threads: bool, tail_bytes: u64, ops: Vec<Op>) {
    let tmp = tempfile::tempdir().unwrap();
    let dir = member(tmp.path());
    let options = LogOptions { tail_bytes, batch_jobs: 3, ..LogOptions::default() };
    let mut log = Log::open(&dir, options.clone(), &runner(threads)).unwrap();
    let mut models: BTreeMap<u32, Model> = (0..3).map(|shard| (shard, Model::default())).collect();
    let mut shards: Vec<ShardLog> = (0..3).map(|shard| log.shard(shard).unwrap()).collect();
    let mut term = 1;
    for op in ops {
        match op {
            Op::Append { shard, count, bytes } => {
                let model = models.get_mut(&shard).unwrap();
                let next = model.last().map_or(0, |id| id.index + 1);
                let records: Vec<_> =
                    (next..next + count).map(|i| record(term, i, bytes + i as usize)).collect();
                shards[shard as usize].append(records.clone(), ok()).unwrap();
                model.records.extend(records);
            }
            Op::Truncate { shard, keep } => {
                let model = models.get_mut(&shard).unwrap();
                model.records.truncate(keep as usize);
                shards[shard as usize].truncate_after(model.last()).await.unwrap();
                term += 1;
            }
            Op::Purge { shard, upto, beyond } => {
                let model = models.get_mut(&shard).unwrap();
                let target = if beyond {
                    id(term, model.last().map_or(5, |last| last.index + 5))
                } else if let Some(record) = model.records.get(upto as usize) {
                    record.id
                } else {
                    continue;
                };
                shards[shard as usize].purge(target).unwrap();
                model.records.retain(|r| r.id.index > target.index);
                model.purged = Some(target);
            }
            Op::Vote { shard, term } => {
                let vote = Vote { term, node: 2, committed: term % 2 == 0 };
                shards[shard as usize].save_vote(vote).await.unwrap();
                models.get_mut(&shard).unwrap().vote = Some(vote);
            }
            Op::Commit { shard } => {
                if let Some(last) = models[&shard].last() {
                    shards[shard as usize].save_committed(last);
                    assert_eq!(shards[shard as usize].committed(), Some(last));
                }
            }
            Op::Reopen { close } => {
                shards.clear();
                if close {
                    log.close().await
                } else {
                    drop(log)
                }
                gone(&dir.log_path()).await;
                log = Log::open(&dir, options.clone(), &runner(threads)).unwrap();
                shards = (0..3).map(|shard| log.shard(shard).unwrap()).collect();
                for (shard, model) in shards.iter().zip(models.values()) {
                    assert_eq!(shard.durable(), model.last());
                    assert!(shard.committed().map(|c| c.index) <= shard.last().map(|l| l.index));
                }
            }
        }
        shards.iter().zip(models.values()).for_each(|(shard, model)| model.check(shard));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 16, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_a_list_inline(ops in ops(), tail in prop_oneof![Just(0), Just(5000), Just(1 << 20)]) {
        runtime().block_on(run_model(false, tail, ops));
    }

    #[test]
    fn a_log_is_a_list_with_threads(ops in ops(), tail in prop_oneof![Just(0), Just(5000), Just(1 << 20)]) {
        runtime().block_on(run_model(true, tail, ops));
    }
}

#[test]
fn completions_come_in_order_and_only_after_the_commit() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let dir = member(tmp.path());
        let held = Arc::new(Held(watch::Sender::new(false)));
        let runner: Arc<dyn DiskRunner> = held.clone();
        let log = Log::open(&dir, LogOptions { batch_jobs: 7, ..LogOptions::default() }, &runner).unwrap();
        let shards: Vec<_> = (0..3).map(|s| log.shard(s).unwrap()).collect();
        let order = Arc::new(Mutex::new(Vec::new()));
        for index in 0..20 {
            for (n, shard) in shards.iter().enumerate() {
                let (order, seen) = (Arc::clone(&order), shard.clone());
                let done = Box::new(move |result: Result<(), Error>| {
                    result.unwrap();
                    assert!(seen.durable().unwrap().index >= index);
                    order.lock().push((index, n));
                });
                shard.append(vec![record(1, index, 100)], done).unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(order.lock().is_empty());
        assert_eq!(shards[0].durable(), None);
        assert_eq!(shards[0].read(0, ALL, ALL).unwrap().len(), 20);
        held.0.send_replace(true);
        for shard in &shards {
            shard.wait_durable(19).await.unwrap();
        }
        log.close().await;
        let expected: Vec<_> = (0..20).flat_map(|i| (0..3).map(move |n| (i, n))).collect();
        assert_eq!(*order.lock(), expected);
        assert_eq!(shards[0].append(vec![record(1, 20, 1)], ok()), Err(Error::Closed));
        assert_eq!(shards[0].wait_durable(99).await, Err(Error::Closed));
    });
}

#[test]
fn a_gap_is_refused_and_changes_nothing() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let log = open_log(&member(tmp.path()), true);
        let shard = log.shard(0).unwrap();
        shard.append(vec![record(1, 4, 10), record(1, 5, 10)], ok()).unwrap();
        assert_eq!(shard.first(), 4);
        let gap = vec![record(1, 6, 10), record(1, 8, 10)];
        assert!(matches!(shard.append(gap, ok()), Err(Error::Misuse { .. })));
        assert!(matches!(shard.append(vec![record(1, 5, 10)], ok()), Err(Error::Misuse { .. })));
        assert!(matches!(shard.purge(id(9, 5)), Err(Error::Misuse { .. })));
        assert_eq!(shard.last(), Some(id(1, 5)));
        shard.append(vec![record(1, 6, 10)], ok()).unwrap();
        shard.wait_durable(6).await.unwrap();
        log.close().await;
    });
}

#[test]
fn purging_by_bytes_leaves_about_that_many() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let dir = member(tmp.path());
        let log =
            Log::open(&dir, LogOptions { tail_bytes: 0, ..LogOptions::default() }, &runner(true)).unwrap();
        let shard = log.shard(0).unwrap();
        let each = 1000 + record::HEADER_BYTES as u64;
        for index in 0..100 {
            shard.append(vec![record(1, index, 1000)], ok()).unwrap();
        }
        shard.wait_durable(99).await.unwrap();
        assert_eq!(shard.bytes(), 100 * each);
        assert_eq!(shard.index_leaving(10 * each).unwrap(), Some(id(1, 89)));
        assert_eq!(shard.index_leaving(10 * each - 1).unwrap(), Some(id(1, 89)));
        assert_eq!(shard.index_leaving(10 * each + 1).unwrap(), Some(id(1, 88)));
        assert_eq!(shard.index_leaving(0).unwrap(), Some(id(1, 99)));
        assert_eq!(shard.index_leaving(100 * each).unwrap(), None);
        shard.purge(id(1, 89)).unwrap();
        assert_eq!(shard.bytes(), 10 * each);
        log.close().await;
    });
}

fn small(max_bytes: u64, fatal: crate::OnFatal) -> LogOptions {
    let map = MapSize { initial_bytes: 1 << 17, max_bytes };
    LogOptions { map, tail_bytes: 0, batch_bytes: 1 << 15, on_fatal: fatal, ..LogOptions::default() }
}

#[test]
fn a_full_map_grows() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let (fatal, count) = counting();
        let log = Log::open(&member(tmp.path()), small(1 << 26, fatal), &runner(true)).unwrap();
        let shard = log.shard(0).unwrap();
        for index in 0..1000 {
            shard.append(vec![record(1, index, 10_000)], ok()).unwrap();
            if index % 50 == 49 {
                shard.wait_durable(index).await.unwrap();
                assert_eq!(shard.read(index / 2, index / 2 + 2, ALL).unwrap().len(), 2);
            }
        }
        shard.wait_durable(999).await.unwrap();
        assert!(shard.quota().used_bytes > 10_000_000);
        assert_eq!(shard.read(0, ALL, ALL).unwrap().len(), 1000);
        assert_eq!(count.load(Ordering::SeqCst), 0);
        drop(shard);
        log.close().await;
    });
}

#[test]
fn a_log_at_its_maximum_waits_and_goes_on_when_there_is_room() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let (fatal, count) = counting();
        let runner: Arc<dyn DiskRunner> = Arc::new(Quick);
        let log = Log::open(&member(tmp.path()), small(1 << 20, fatal), &runner).unwrap();
        let shard = log.shard(0).unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        for index in 0..300 {
            let done = Arc::clone(&done);
            let done = Box::new(move |result: Result<(), Error>| {
                result.unwrap();
                done.fetch_add(1, Ordering::SeqCst);
            });
            shard.append(vec![record(1, index, 8000)], done).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = done.load(Ordering::SeqCst);
        assert!((50..300).contains(&before), "{before} of 300 fit");
        assert_eq!(shard.durable().unwrap().index + 1, before as u64);
        // Nothing is lost, and what waits can be read.
        assert_eq!(shard.read(0, ALL, ALL).unwrap().len(), 300);
        while done.load(Ordering::SeqCst) < 300 {
            shard.purge(shard.durable().unwrap()).unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(count.load(Ordering::SeqCst), 0);
        assert_eq!(shard.last(), Some(id(1, 299)));
        log.close().await;
    });
}

#[test]
fn after_a_fatal_error_nothing_succeeds() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let (on_fatal, count) = counting();
        let options = LogOptions { on_fatal, ..LogOptions::default() };
        let log = Log::open(&member(tmp.path()), options, &runner(true)).unwrap();
        let shard = log.shard(0).unwrap();
        shard.append(vec![record(1, 0, 10)], ok()).unwrap();
        shard.wait_durable(0).await.unwrap();
        // What no caller can ask for: the writer itself finds that a record would not follow the one before.
        let inner = Arc::clone(&log.core.shards.lock()[&0]);
        let (tell, told) = std::sync::mpsc::channel();
        let done = Box::new(move |result| tell.send(result).unwrap());
        assert!(
            log.jobs
                .send(Job::Append { shard: inner, records: vec![record(1, 7, 1)], bytes: 65, done })
                .is_ok()
        );
        let failed = shard.save_vote(Vote { term: 2, node: 1, committed: false }).await;
        assert!(matches!(failed, Err(Error::Poisoned(_))));
        assert!(matches!(told.recv().unwrap(), Err(Error::Poisoned(_))));
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert!(matches!(shard.append(vec![record(1, 1, 1)], ok()), Err(Error::Poisoned(_))));
        assert!(matches!(shard.wait_durable(5).await, Err(Error::Poisoned(_))));
        shard.ready().await;
        assert_eq!(shard.durable(), Some(id(1, 0)));
    });
}

/// Changes the log on disk as no writer would, then opens it and reads all of shard 0.
fn after_damage(damage: impl FnOnce(&Map, &mut heed::RwTxn)) -> Result<Vec<Record>, Error> {
    let tmp = tempfile::tempdir().unwrap();
    let dir = member(tmp.path());
    runtime().block_on(async {
        let log = open_log(&dir, true);
        let shard = log.shard(0).unwrap();
        for index in 0..20 {
            shard.append(vec![record(1, index, 500)], ok()).unwrap();
        }
        shard.wait_durable(19).await.unwrap();
        let mut damage = Some(damage);
        log.core
            .map
            .write(
                None,
                &mut |map, txn| {
                    if let Some(damage) = damage.take() {
                        damage(map, txn);
                    }
                    Ok(())
                },
                || (),
            )
            .unwrap();
        drop(shard);
        log.close().await;
        gone(&dir.log_path()).await;
        let log = open_log(&dir, true);
        log.shard(0)?.read(0, ALL, ALL)
    })
}

fn value(map: &Map, txn: &heed::RwTxn, index: u64) -> Vec<u8> {
    map.rows.get(txn, &record::key(0, index)).unwrap().unwrap().to_vec()
}

#[test]
fn damage_on_disk_is_an_error_and_never_an_answer() {
    assert_eq!(after_damage(|_, _| ()).unwrap().len(), 20);
    type Damage = fn(&Map, &mut heed::RwTxn);
    let cases: [(&str, Damage); 6] = [
        ("a flipped bit", |map, txn| {
            let mut bytes = value(map, txn, 9);
            bytes[100] ^= 4;
            map.rows.put(txn, &record::key(0, 9), &bytes).unwrap();
        }),
        ("a record of another place", |map, txn| {
            let bytes = value(map, txn, 8);
            map.rows.put(txn, &record::key(0, 9), &bytes).unwrap();
        }),
        ("a record of another history", |map, txn| {
            let (header, _) =
                record::header(0, &record(1, 9, 500), record::Link { offset: 9 * 564, checksum: 5 });
            let bytes = [&header[..], &[9; 500]].concat();
            map.rows.put(txn, &record::key(0, 9), &bytes).unwrap();
        }),
        ("a missing record", |map, txn| assert!(map.rows.delete(txn, &record::key(0, 9)).unwrap())),
        ("a missing last record", |map, txn| assert!(map.rows.delete(txn, &record::key(0, 19)).unwrap())),
        ("a missing head", |map, txn| assert!(map.meta.delete(txn, &0u32.to_be_bytes()).unwrap())),
    ];
    for (what, damage) in cases {
        let found = after_damage(damage);
        assert!(matches!(found, Err(Error::Corrupt { .. })), "{what}: {found:?}");
    }
}

#[test]
fn a_runner_waits_for_its_actors() {
    runtime().block_on(async {
        for runner in [Arc::new(Threads) as Arc<dyn DiskRunner>, Arc::new(Inline)] {
            let ran = Arc::new(AtomicUsize::new(0));
            let (seen, pausing) = (Arc::clone(&ran), Arc::clone(&runner));
            let actor = async move {
                pausing.pause(Duration::from_millis(2)).await;
                seen.fetch_add(1, Ordering::SeqCst);
            };
            runner.run("a test", Box::pin(actor)).join().await;
            assert_eq!(ran.load(Ordering::SeqCst), 1);
        }
    });
}
