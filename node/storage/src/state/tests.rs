use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_machine::store::{Read, Store};
use quorate_machine::tables::Table;
use tokio::sync::watch;

use super::row::Value;
use super::*;
use crate::log::{Log, LogOptions, Record};
use crate::testing::{Held, counting, gone, id, member, open_log, record, runner, runtime};

pub(super) type Rows = BTreeMap<Vec<u8>, Bytes>;

const END: &[u8] = &[0xff; 8];

pub(super) fn open(dir: &DataDir, log: &ShardLog, threads: bool, flush_bytes: u64) -> State {
    State::open(dir, log, StateOptions { flush_bytes, ..StateOptions::default() }, &runner(threads)).unwrap()
}

/// All rows, by the reads that a machine has.
pub(super) fn all(reader: &impl Read) -> Rows {
    let (mut rows, mut from) = (Rows::new(), vec![0]);
    while let Some((key, value)) = reader.first(&from, END).unwrap() {
        assert_eq!(reader.get(&key).unwrap().as_ref(), Some(&value));
        from = [&key[..], &[0]].concat();
        rows.insert(key.to_vec(), value);
    }
    rows
}

pub(super) fn check(reader: &impl Read, model: &Rows) {
    assert_eq!(&all(reader), model);
    let first = |from: &[u8], to: &[u8]| model.range(from.to_vec()..to.to_vec()).next().map(own);
    let last = |from: &[u8], to: &[u8]| model.range(from.to_vec()..to.to_vec()).next_back().map(own);
    for at in 0..12u8 {
        let (from, to) = (vec![at], vec![at + at % 5]);
        assert_eq!(reader.first(&from, &to).unwrap(), first(&from, &to));
        assert_eq!(reader.last(&from, &to).unwrap(), last(&from, &to));
        assert_eq!(reader.last(&[0], &to).unwrap(), last(&[0], &to));
        assert_eq!(reader.get(&key_of(at)).unwrap().as_ref(), model.get(&key_of(at)));
    }
    assert_eq!(reader.first(&[9], &[1]).unwrap(), None);
    assert_eq!(reader.last(&[9], &[1]).unwrap(), None);
}

/// A third of the keys are those of bodies, which stay in the log.
pub(super) fn key_of(at: u8) -> Vec<u8> {
    vec![at.min(Table::Body as u8), at]
}

fn own((key, value): (&Vec<u8>, &Bytes)) -> (Bytes, Bytes) {
    (Bytes::copy_from_slice(key), value.clone())
}

/// A record with the values of all changes, one after the other.
pub(super) fn entry(index: u64, changes: &[(u8, Option<usize>)]) -> Record {
    let value = |(key, length): &(u8, Option<usize>)| vec![key ^ index as u8; length.unwrap_or(0)];
    let payload: Vec<u8> = changes.iter().flat_map(value).collect();
    Record { payload: payload.into(), ..record(1, index, 0) }
}

pub(super) async fn transfer(from: &State, to: &State) {
    let mut snapshot = from.snapshot().await.unwrap();
    let (mut installer, mut rows) = (to.install(0).await.unwrap(), 0);
    while let Some(chunk) = snapshot.next_chunk().unwrap() {
        installer.chunk(chunk.bytes).await.unwrap();
        rows += chunk.rows;
    }
    installer.finish(rows, snapshot.applied().unwrap(), snapshot.membership()).await.unwrap();
}

/// The other one has rows of its own, which go.
pub(super) async fn transfer_to_a_new_one(state: &State, now: &Rows, threads: bool) {
    if state.applied().last.is_none() {
        return; // there is nothing to send yet
    }
    let tmp = tempfile::tempdir().unwrap();
    let dir = member(tmp.path());
    let log = open_log(&dir, threads);
    let other = open(&dir, &log.shard(3).unwrap(), threads, 1 << 20);
    let mut writer = other.write();
    writer.put(&[3, 3], Bytes::from_static(b"to go")).unwrap();
    writer.commit(id(0, 0), None).unwrap();
    transfer(state, &other).await;
    check(&other.read(), now);
    assert_eq!(other.applied(), state.applied());
    assert_eq!(other.flushed(), state.applied().last);
    assert_eq!(states(tmp.path()), ["state-3.1"], "and nothing is beside it");
}

/// The names of the environments of states.
pub(super) fn states(dir: &std::path::Path) -> Vec<String> {
    let names =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("state-")).collect();
    names.sort();
    names
}

pub(super) fn put(state: &State, index: u64, key: &[u8], bytes: usize) {
    let mut writer = state.write();
    writer.put(key, Bytes::from(vec![index as u8; bytes])).unwrap();
    writer.commit(id(1, index), None).unwrap();
}

#[test]
fn the_state_on_disk_is_never_ahead_of_the_log_on_disk() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let dir = member(tmp.path());
        let held = Arc::new(Held(watch::Sender::new(false)));
        let slow: Arc<dyn DiskRunner> = held.clone();
        let log = Log::open(&dir, LogOptions::default(), &slow).unwrap();
        let shard = log.shard(0).unwrap();
        let state = open(&dir, &shard, false, 1);
        shard.append(vec![record(1, 0, 10)], Box::new(|r| r.unwrap())).unwrap();
        put(&state, 0, b"k", 10);
        assert!(tokio::time::timeout(Duration::from_millis(20), state.flush()).await.is_err());
        assert_eq!(state.flushed(), None);
        // Meanwhile what is frozen can be read, and the next overlay fills.
        put(&state, 1, b"l", 10);
        assert!(state.read().get(b"k").unwrap().is_some() && state.read().get(b"l").unwrap().is_some());
        held.0.send_replace(true);
        shard.append(vec![record(1, 1, 10)], Box::new(|r| r.unwrap())).unwrap();
        assert_eq!(state.flush().await.unwrap(), Some(id(1, 1)));
    });
}

/// Rows that come and go between two flushes leave nothing behind that scans would have to step over; a row that is on
/// the disk, or on its way there, leaves a tombstone until the next flush.
#[test]
fn a_removed_row_leaves_a_tombstone_only_where_it_hides_something() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let dir = member(tmp.path());
        let log = Log::open(&dir, LogOptions::default(), &runner(false)).unwrap();
        let shard = log.shard(0).unwrap();
        let state = open(&dir, &shard, false, 1 << 20);
        let remove = |index: u64, key: &[u8]| {
            let mut writer = state.write();
            writer.delete(key).unwrap();
            writer.commit(id(1, index), None).unwrap();
        };
        let rows_in_memory = || state.core.levels.read().active.iter().count();
        for index in 1..=4 {
            shard.append(vec![record(1, index, 10)], Box::new(|r| r.unwrap())).unwrap();
        }
        put(&state, 1, b"came and went", 10);
        remove(2, b"came and went");
        assert_eq!(rows_in_memory(), 0);
        put(&state, 3, b"flushed", 10);
        state.flush().await.unwrap();
        remove(4, b"flushed");
        assert_eq!(rows_in_memory(), 1, "without it the row on the disk would show again");
        assert!(all(&state.read()).is_empty());
    });
}

#[test]
fn a_state_over_its_bound_holds_back_until_it_is_flushed() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let dir = member(tmp.path());
        let held = Arc::new(Held(watch::Sender::new(false)));
        let slow: Arc<dyn DiskRunner> = held.clone();
        let log = Log::open(&dir, LogOptions::default(), &slow).unwrap();
        let shard = log.shard(0).unwrap();
        let state = open(&dir, &shard, false, 10_000);
        for index in 0..2 {
            shard.append(vec![record(1, index, 10)], Box::new(|r| r.unwrap())).unwrap();
            state.ready().await;
            put(&state, index, &[b'k', index as u8], 15_000);
        }
        let wait = tokio::time::timeout(Duration::from_millis(20), state.ready()).await;
        assert!(wait.is_err(), "two overlays are full and the disk stands still");
        held.0.send_replace(true);
        tokio::time::timeout(Duration::from_secs(10), state.ready()).await.unwrap();
    });
}

#[test]
fn a_damaged_or_incomplete_snapshot_changes_nothing() {
    runtime().block_on(async {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from_dir, to_dir) = (member(one.path()), member(two.path()));
        let (from_log, to_log) = (open_log(&from_dir, true), open_log(&to_dir, true));
        let from_shard = from_log.shard(0).unwrap();
        let from = open(&from_dir, &from_shard, true, 1 << 20);
        let to = open(&to_dir, &to_log.shard(0).unwrap(), true, 1 << 20);
        for index in 0..40 {
            from_shard.append(vec![record(1, index, 10)], Box::new(|r| r.unwrap())).unwrap();
            put(&from, index, &[1, index as u8], 20_000);
        }
        put(&to, 0, b"mine", 5);
        let before = all(&to.read());
        let mut snapshot = from.snapshot().await.unwrap();
        let mut chunks = Vec::new();
        while let Some(chunk) = snapshot.next_chunk().unwrap() {
            chunks.push(chunk);
        }
        assert!(chunks.len() > 2);
        for at in [0, 5, 1000, chunks[0].bytes.len() - 1] {
            let mut bad = chunks[0].bytes.to_vec();
            bad[at] ^= 1;
            let damaged = to.install(0).await.unwrap().chunk(bad.into()).await;
            assert!(matches!(damaged, Err(Error::BadChunk { .. })), "byte {at}");
        }
        let mut disordered = to.install(0).await.unwrap();
        disordered.chunk(chunks[1].bytes.clone()).await.unwrap();
        assert!(matches!(disordered.chunk(chunks[0].bytes.clone()).await, Err(Error::BadChunk { .. })));
        let mut short = to.install(0).await.unwrap();
        short.chunk(chunks[0].bytes.clone()).await.unwrap();
        let finished = short.finish(40, id(1, 39), Bytes::new()).await;
        assert!(matches!(finished, Err(Error::BadChunk { .. })));
        assert_eq!(all(&to.read()), before);
        transfer(&from, &to).await;
        assert_eq!(all(&to.read()), all(&from.read()));
    });
}

#[test]
fn a_damaged_row_is_an_error_and_never_an_answer_and_ends_the_node() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let dir = member(tmp.path());
        let (log, (on_fatal, count)) = (open_log(&dir, true), counting());
        let shard = log.shard(0).unwrap();
        let options = StateOptions { on_fatal, ..StateOptions::default() };
        let state = State::open(&dir, &shard, options, &runner(true)).unwrap();
        shard.append(vec![record(1, 0, 10)], Box::new(|r| r.unwrap())).unwrap();
        put(&state, 0, b"key", 100);
        state.flush().await.unwrap();
        let mut damage = |map: &Map, txn: &mut heed::RwTxn| {
            let mut row = map.rows.get(txn, b"key")?.unwrap().to_vec();
            row[50] ^= 1;
            Ok(map.rows.put(txn, b"key", &row)?)
        };
        state.core.map().write(None, &mut damage, || ()).unwrap();
        let mut snapshot = state.snapshot().await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 0);
        assert!(state.read().get(b"key").is_err());
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert!(state.read().first(b"a", b"z").is_err());
        assert!(matches!(snapshot.next_chunk(), Err(Error::Corrupt { .. })));
        assert_eq!(count.load(Ordering::SeqCst), 1, "told once");
        drop(snapshot);
        assert!(state.close().await.is_err(), "it stopped before");
        drop(shard);
        log.close().await;
        drop(dir);
        let again = DataDir::open(tmp.path());
        assert!(matches!(&again, Err(Error::Corrupt { what, .. }) if what.contains("checksum")), "{again:?}");
        DataDir::set_aside(tmp.path()).unwrap();
        assert!(DataDir::open(tmp.path()).is_ok());
    });
}

#[test]
fn a_state_that_lacks_what_the_log_purged_is_corrupt() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let dir = member(tmp.path());
        let log = open_log(&dir, true);
        let shard = log.shard(0).unwrap();
        shard.purge(id(1, 7)).unwrap();
        let opened = State::open(&dir, &shard, StateOptions::default(), &runner(true));
        assert!(matches!(opened, Err(Error::Corrupt { .. })));
    });
}

#[test]
fn a_full_map_grows_while_it_is_read() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let dir = member(tmp.path());
        let log = open_log(&dir, true);
        let shard = log.shard(0).unwrap();
        let map = MapSize { initial_bytes: 1 << 17, max_bytes: 1 << 27 };
        let options = StateOptions { map, flush_bytes: 1 << 20, ..StateOptions::default() };
        let state = State::open(&dir, &shard, options, &runner(true)).unwrap();
        let mut snapshot = None;
        for index in 0..400 {
            shard.append(vec![record(1, index, 10)], Box::new(|r| r.unwrap())).unwrap();
            state.ready().await;
            put(&state, index, &index.to_be_bytes(), 20_000);
            if index == 20 {
                snapshot = Some(state.snapshot().await.unwrap());
            }
            if index == 60 {
                // It stayed as it was, and while it lived the map could not grow.
                let mut rows = 0;
                while let Some(chunk) = snapshot.as_mut().unwrap().next_chunk().unwrap() {
                    rows += chunk.rows;
                }
                assert_eq!(rows, 21);
                snapshot = None;
            }
        }
        assert_eq!(state.flush().await.unwrap(), Some(id(1, 399)));
        assert_eq!(all(&state.read()).len(), 400);
        assert!(state.quota().used_bytes > 8_000_000);
    });
}

#[test]
fn the_bytes_of_the_applied_row() {
    let applied = Applied { last: Some(id(3, 7)), membership: Bytes::from_static(b"abc") };
    let row = super::applied::encode(&applied);
    let fixed = [
        &b"QAPP\x01\0\x01\0"[..],
        &3u64.to_le_bytes(),
        &1u64.to_le_bytes(),
        &7u64.to_le_bytes(),
        b"\x03\0\0\0abc",
    ]
    .concat();
    assert_eq!(row[..row.len() - 8], fixed);
    assert_eq!(super::applied::decode(&row, "x").unwrap(), applied);
    for bit in 0..row.len() * 8 {
        let mut bad = row.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(super::applied::decode(&bad, "x").is_err(), "bit {bit}");
    }
}

#[test]
fn an_overlay_costs_what_it_holds() {
    let mut overlay = Overlay::default();
    overlay.set(b"a", Some(Value::Inline(Bytes::from(vec![0; 1000]))));
    overlay.set(b"b", None);
    let before = overlay.cost();
    overlay.set(b"a", Some(Value::Inline(Bytes::from(vec![0; 3000]))));
    assert_eq!(overlay.cost(), before + 2000);
    overlay.set(b"a", None);
    assert_eq!(overlay.cost(), before - 1000);
    let mut newer = Overlay::default();
    newer.set(b"b", Some(Value::Inline(Bytes::from(vec![0; 500]))));
    overlay.absorb(newer);
    assert_eq!(overlay.cost(), before - 500);
    assert!(!overlay.is_empty());
}

#[test]
fn a_body_is_written_once_and_leaves_the_log_only_when_it_is_brought_in() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let dir = member(tmp.path());
        let log = open_log(&dir, false);
        let shard = log.shard(0).unwrap();
        let state = open(&dir, &shard, false, 1 << 20);
        let body = |index: u64| vec![Table::Body as u8, index as u8];
        for index in 0..4 {
            let entry = entry(index, &[(8, Some(100_000))]);
            shard.append(vec![entry.clone()], Box::new(|r| r.unwrap())).unwrap();
            let mut writer = state.write_entry(index, &entry.payload);
            writer.put(&body(index), entry.payload.clone()).unwrap();
            writer.put(&[1, index as u8], entry.payload.slice(..10)).unwrap();
            writer.commit(id(1, index), None).unwrap();
        }
        assert!(state.core.levels.read().active.cost() < 2000, "bodies take no room in memory");
        state.flush().await.unwrap();
        assert_eq!((state.needed_from(), state.bytes_in_log()), (0, 400_000));
        let quota = state.quota();
        assert!(quota.used_bytes < 100_000 && (800_000..900_000).contains(&quota.owed_bytes), "{quota:?}");

        let snapshot = state.snapshot().await.unwrap();
        state.bring_in(1).await.unwrap();
        assert_eq!((state.needed_from(), state.bytes_in_log()), (0, 200_000), "the snapshot needs them");
        drop(snapshot);
        assert_eq!(state.needed_from(), 2);
        shard.purge(id(1, 1)).unwrap();
        let mut writer = state.write_entry(4, &Bytes::new());
        shard.append(vec![record(1, 4, 0)], Box::new(|r| r.unwrap())).unwrap();
        (0..3).for_each(|index| writer.delete(&body(index)).unwrap());
        writer.commit(id(1, 4), None).unwrap();
        assert_eq!(state.needed_from(), 2, "what is on disk needs it still");
        state.flush().await.unwrap();
        assert_eq!((state.needed_from(), state.bytes_in_log()), (3, 100_000));
        assert_eq!(state.read().get(&body(3)).unwrap().unwrap().len(), 100_000);
        assert_eq!(state.read().get(&body(0)).unwrap(), None);
        state.close().await.unwrap();
        gone(&dir.state_path(0, 0)).await;
        shard.truncate_after(Some(id(1, 2))).await.unwrap();
        let error = State::open(&dir, &shard, StateOptions::default(), &runner(false)).err().unwrap();
        assert!(error.to_string().contains("needs the records"), "{error}");
    });
}

#[test]
fn bodies_that_find_no_room_stay_in_the_log_and_hold_up_no_flush() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let dir = member(tmp.path());
        let log = open_log(&dir, true);
        let shard = log.shard(0).unwrap();
        let map = MapSize { initial_bytes: 1 << 21, max_bytes: 1 << 21 };
        let options = StateOptions { map, ..StateOptions::default() };
        let state = State::open(&dir, &shard, options, &runner(true)).unwrap();
        let body = |index: u64| vec![Table::Body as u8, index as u8];
        let ends = |index: u64| {
            shard.append(vec![record(1, index, 50_000)], Box::new(|r| r.unwrap())).unwrap();
            let entry = shard.read(index, index + 1, u64::MAX).unwrap().remove(0);
            (state.write_entry(index, &entry.payload), entry.payload)
        };
        for index in 0..160 {
            let (mut writer, payload) = ends(index);
            writer.put(&body(index), payload).unwrap();
            writer.commit(id(1, index), None).unwrap();
        }
        let (owed, quota) = (state.quota().owed_bytes, state.quota());
        assert!(owed > 16_000_000 && !quota.admits(0), "{quota:?}");
        state.flush().await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), state.bring_in(159)).await.unwrap().unwrap();
        assert!(
            state.needed_from() > 10 && state.bytes_in_log() > 1_000_000,
            "some found room, some did not"
        );
        let (mut writer, _) = ends(160);
        (0..150).for_each(|index| writer.delete(&body(index)).unwrap());
        writer.commit(id(1, 160), None).unwrap();
        state.flush().await.unwrap();
        // LMDB gives freed pages away in the second transaction after.
        ends(161).0.commit(id(1, 161), None).unwrap();
        state.flush().await.unwrap();
        state.bring_in(159).await.unwrap();
        assert_eq!((state.needed_from(), state.bytes_in_log()), (162, 0));
        assert!(state.quota().admits(0), "{:?}", state.quota());
        assert_eq!(state.read().get(&body(155)).unwrap().unwrap().len(), 50_000);
    });
}
