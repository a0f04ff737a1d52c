//! What a queue retains: how far its bounds were carried out, and which messages are the latest of their keys.

use std::collections::BTreeMap;

use super::{View, ensure, failed, scan};
use crate::store::Read;
use crate::subs::retain::{is_beyond, too_old_ms};
use crate::tables::chunk::Chunk;
use crate::tables::row::{self, Queue};
use crate::tables::{QueueId, Table, key};

pub(super) fn check(store: &impl Read, view: &mut View, id: QueueId, queue: &Queue) -> Result<(), String> {
    let mut chunks = Vec::new();
    for (key, value) in scan(store, &key::of_queue(Table::Chunk, id))? {
        chunks.push(Chunk::decode(&key, value).map_err(failed)?);
    }
    front(store, id, queue, &chunks)?;
    if queue.retain_due_ms != 0 {
        view.expected.insert(key::deadline_retain(queue.retain_due_ms, id).to_vec());
    }
    latest(store, id, queue, &chunks)
}

/// What is before `kept_from` is beyond the bounds, what comes after it is not, and a tick comes before the next one is.
fn front(store: &impl Read, id: QueueId, queue: &Queue, chunks: &[Chunk]) -> Result<(), String> {
    let swept = store.get(&key::garbage_retain(id)).map_err(failed)?.is_some();
    let bounds = queue.settings.retain;
    ensure(bounds.until_done || bounds.has_bounds(), || format!("{id:?} retains nothing"))?;
    ensure(bounds.has_front() || queue.kept_from == 0, || format!("{id:?}: nothing moves kept_from"))?;
    let ends = [queue.kept_from, queue.passed_to, queue.next_position];
    ensure(ends.is_sorted(), || format!("{id:?} has passed its end: {ends:?}"))?;
    let mut last_bytes = 0;
    for chunk in chunks {
        let what = |problem: &str| format!("{id:?}: the chunk at {} {problem}", chunk.first);
        ensure(chunk.bytes_before() >= last_bytes, || what("begins before the one before it ends"))?;
        last_bytes = chunk.bytes_before() + chunk.bytes(chunk.first, chunk.end());
        ensure(last_bytes <= queue.bytes_published, || what("ends beyond what was published"))?;
        let passed = chunk.first < queue.kept_from;
        ensure(!passed || chunk.end() <= queue.kept_from, || what("is passed in part"))?;
        ensure(passed || swept || !is_beyond(queue, chunk, 0), || what("is beyond the bounds"))?;
        // By time a passed one may have been beyond them, too: that is in the past.
        let now_ms = crate::read::now_ms(store).map_err(failed)?;
        ensure(!passed || is_beyond(queue, chunk, now_ms), || what("was passed too early"))?;
        let is_looked_at = (1..=too_old_ms(queue, chunk)).contains(&queue.retain_due_ms);
        ensure(passed || bounds.for_ms == 0 || is_looked_at, || what("is looked at too late"))?;
    }
    let has_age = bounds.for_ms != 0;
    ensure(has_age || queue.retain_due_ms == 0, || format!("{id:?} looks at ages for nothing"))
}

/// Each row of the index names the last stored message of its key, and each chunk counts its own.
fn latest(store: &impl Read, id: QueueId, queue: &Queue, chunks: &[Chunk]) -> Result<(), String> {
    let bounds = queue.settings.retain;
    let mut last: BTreeMap<u128, (u64, u64)> = BTreeMap::new();
    for chunk in chunks {
        ensure(chunk.has_key_hashes() == bounds.latest_per_key, || {
            format!("{id:?}: the chunk at {} is of another kind of queue", chunk.first)
        })?;
        for position in chunk.first..chunk.end() {
            if let Some(hash) = chunk.key_hash(position) {
                last.insert(hash, (position, chunk.first));
            }
        }
    }
    let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
    let rows = scan(store, &key::of_queue(Table::Latest, id))?;
    // Where other bounds let go as well, or did, the latest of a key may be gone before an earlier one that somebody needs.
    ensure(bounds.has_front() || queue.passed_to != 0 || rows.len() == last.len(), || {
        format!("{id:?} knows the latest of {} keys, not of {}", rows.len(), last.len())
    })?;
    for (key, value) in rows {
        let hash = u128::from_be_bytes(key[13..].try_into().map_err(|_| "a hash that is not 16 bytes long")?);
        let position = u64::from_be_bytes(value[..].try_into().map_err(|_| "a position that is none")?);
        let found = last.get(&hash).filter(|(last, _)| *last == position);
        let (_, first) = found.ok_or_else(|| format!("{id:?}: {position} is not the latest of its key"))?;
        *counts.entry(*first).or_default() += 1;
    }
    let mut known = BTreeMap::new();
    for (key, _) in scan(store, &key::of_queue(Table::LatestIn, id))? {
        let count = row::get_u32(store, &key::Key::read(&key).map_err(failed)?).map_err(failed)?;
        known.insert(key::last_u64(&key).map_err(failed)?, count.unwrap_or(0));
    }
    ensure(known == counts, || format!("{id:?}: the latest messages of chunks are {counts:?}, not {known:?}"))
}
