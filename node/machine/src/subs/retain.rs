//! What a queue retains. A batch of messages, a chunk, leaves the disk when it is not within the bounds that are set and every subscription is done with
//! it; without `until_done` it leaves as soon as it is not within the bounds, and what is not done of it is dropped.
//!
//! Of age, size and number the oldest batches are beyond first, so one position per queue says how far that has got ([`Queue::kept_from`]). Which messages are
//! the latest of their keys is kept in two indexes. [`keeps`] is the only place that says whether the bounds keep a chunk.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::leave::{self, Why};
use super::look::end_tail;
use super::runs::{self, Run, State};
use crate::limits::RETAIN_ROWS_MIN;
use crate::store::{Read, Store, StoreError};
use crate::tables::chunk::{self, Chunk};
use crate::tables::key::Fields;
use crate::tables::row::{self, Queue};
use crate::tables::{Key, QueueId, SubId, key};
use crate::tx::Tx;

/// Whether a chunk is within the bounds, as far as they were carried out. Reads nothing for a queue that has none.
pub(crate) fn keeps<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, chunk: &Chunk) -> Result<bool, StoreError> {
    let row = tx.queue(queue)?;
    let retain = row.settings.retain;
    if !retain.has_bounds() || retain.has_front() && chunk.first < row.kept_from {
        return Ok(false);
    }
    Ok(!retain.latest_per_key || tx.rows.get(&key::latest_in(queue, chunk.first))?.is_some())
}

/// Whether a chunk is beyond the bounds of size and number, or of age at a time.
pub(crate) fn is_beyond(queue: &Queue, chunk: &Chunk, time_ms: u64) -> bool {
    let retain = &queue.settings.retain;
    let messages_after = queue.next_position.saturating_sub(chunk.end());
    let bytes_to_end = chunk.bytes_before().saturating_add(chunk.bytes(chunk.first, chunk.end()));
    let bytes_after = queue.bytes_published.saturating_sub(bytes_to_end);
    retain.count != 0 && messages_after >= retain.count
        || retain.bytes != 0 && bytes_after >= retain.bytes
        || retain.for_ms != 0 && too_old_ms(queue, chunk) <= time_ms
}

/// When a chunk is beyond the bound of age.
pub(crate) fn too_old_ms(queue: &Queue, chunk: &Chunk) -> u64 {
    chunk.published_at_ms().saturating_add(queue.settings.retain.for_ms)
}

/// Notes that the messages of a new chunk are the latest of their keys. Returns the positions that are not that any more, ascending.
pub(crate) fn note_latest<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    chunk: &Chunk,
) -> Result<Vec<u64>, StoreError> {
    let (mut superseded, mut latest) = (Vec::new(), 0);
    // How many messages of other chunks are not the latest any more, by the first positions.
    let mut former: BTreeMap<u64, i32> = BTreeMap::new();
    for position in chunk.first..chunk.end() {
        let Some(hash) = chunk.key_hash(position) else { return Ok(superseded) };
        let key = key::latest(queue, hash);
        let old = row::get_u64(&tx.rows, &key)?;
        let value = old.map(row::of_u64);
        tx.rows.replace(&key, value.as_deref(), row::of_u64(position))?;
        superseded.extend(old);
        match old {
            Some(old) if old >= chunk.first => {}
            Some(old) => {
                *former.entry(leave::chunk_of(&tx.rows, queue, old)?.first).or_insert(0) -= 1;
                latest += 1;
            }
            None => latest += 1,
        }
    }
    for (first, fewer) in former {
        count_latest(tx, queue, first, fewer)?;
    }
    count_latest(tx, queue, chunk.first, latest)?;
    superseded.sort_unstable();
    Ok(superseded)
}

fn count_latest<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    first: u64,
    more: i32,
) -> Result<(), StoreError> {
    let key = key::latest_in(queue, first);
    let old = row::get_u32(&tx.rows, &key)?.unwrap_or(0);
    match (old, old.saturating_add_signed(more)) {
        (0, 0) => Ok(()),
        (0, new) => tx.rows.insert(&key, row::of_u32(new)),
        (old, 0) => tx.rows.remove(&key, &row::of_u32(old)),
        (old, new) => tx.rows.replace(&key, Some(&row::of_u32(old)), row::of_u32(new)),
    }
}

/// The latest messages of a chunk that is deleted are no longer known as such: what comes next supersedes nothing.
pub(crate) fn forget_latest<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    chunk: &Chunk,
) -> Result<(), StoreError> {
    let key = key::latest_in(queue, chunk.first);
    let Some(count) = (if chunk.has_key_hashes() { tx.rows.get(&key)? } else { None }) else { return Ok(()) };
    tx.rows.remove(&key, &count)?;
    for position in chunk.first..chunk.end() {
        let Some(hash) = chunk.key_hash(position) else { continue };
        let key = key::latest(queue, hash);
        if row::get_u64(&tx.rows, &key)? == Some(position) {
            tx.rows.remove(&key, &row::of_u64(position))?;
        }
    }
    Ok(())
}

/// Whether a message has a key, and is not the latest of it, in a queue that retains those.
pub(crate) fn is_superseded(
    rows: &impl Read,
    queue: QueueId,
    chunk: &Chunk,
    position: u64,
) -> Result<bool, StoreError> {
    let Some(hash) = chunk.key_hash(position) else { return Ok(false) };
    Ok(row::get_u64(rows, &key::latest(queue, hash))? != Some(position))
}

/// The messages `from..to` of a chunk that are superseded.
pub(crate) fn superseded(
    rows: &impl Read,
    queue: QueueId,
    chunk: &Chunk,
    (from, to): (u64, u64),
) -> Result<Vec<u64>, StoreError> {
    let mut found = Vec::new();
    if chunk.has_key_hashes() {
        for position in from..to {
            if is_superseded(rows, queue, chunk, position)? {
                found.push(position);
            }
        }
    }
    Ok(found)
}

/// After a publish, which superseded messages: what is not retained any more because of it leaves. Nothing leaves for its age: that is for ticks.
pub(crate) fn after_publish<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    superseded: &[u64],
) -> Result<(), StoreError> {
    let row = tx.queue(queue)?;
    let (retain, due_ms) = (row.settings.retain, row.retain_due_ms);
    if retain.for_ms != 0 && due_ms == 0 {
        set_due(tx, queue)?;
    }
    if let Some(left) = let_go_of_superseded(tx, queue, superseded)? {
        leave_to_sweep(tx, queue, left)?;
    }
    if (retain.count != 0 || retain.bytes != 0) && !advance(tx, queue, 0)? {
        let from = tx.queue(queue)?.kept_from;
        leave_to_sweep(tx, queue, from)?;
    }
    Ok(())
}

/// Messages that are superseded leave, unless somebody has to be done with them first, and so do batches that keep none; as far as there is room. Returns the position of what is
/// left.
fn let_go_of_superseded<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    superseded: &[u64],
) -> Result<Option<u64>, StoreError> {
    let until = tx.until(RETAIN_ROWS_MIN);
    if !tx.queue(queue)?.settings.retain.until_done
        && let Some(left) = drop_superseded(tx, queue, superseded, until)?
    {
        return Ok(Some(left));
    }
    let mut at = 0;
    for position in superseded.iter().copied() {
        if position < at {
            continue;
        }
        if tx.rows.touched() >= until {
            return Ok(Some(position));
        }
        at = position + 1;
        if let Some(chunk) = chunk::at(&tx.rows, queue, position)? {
            at = chunk.end();
            if !keeps(tx, queue, &chunk)?
                && let Some(left) = pass_kept_for_key(tx, queue, &chunk, until)?
            {
                return Ok(Some(left));
            }
        }
    }
    Ok(None)
}

/// Ticks look from a position on for what is not within the bounds any more, or from where they are if that is before.
fn leave_to_sweep<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, from: u64) -> Result<(), StoreError> {
    let garbage = key::garbage_retain(queue);
    let from = Bytes::copy_from_slice(&key::chunk(queue, from));
    match tx.rows.get(&garbage)? {
        Some(at) if at <= from => Ok(()),
        old => tx.rows.replace(&garbage, old.as_deref(), from),
    }
}

/// A batch goes of which no message is the latest of its key, unless somebody has to be done with it first. Returns up to where it was dropped, if there is no room for all of it.
fn pass_kept_for_key<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    chunk: &Chunk,
    until: u64,
) -> Result<Option<u64>, StoreError> {
    if !tx.queue(queue)?.settings.retain.until_done {
        let mut from = first_open(tx, queue, chunk)?;
        while from < chunk.end() {
            if tx.rows.touched() >= until {
                return Ok(Some(from));
            }
            let to = from.saturating_add(super::room_everywhere(tx, queue)?).min(chunk.end());
            drop_everywhere(tx, queue, from, to)?;
            from = to;
        }
    }
    pass(tx, queue, chunk).map(|()| None)
}

/// The oldest batch that is retained for a time may be too old. Returns from where to where messages were let go.
pub(crate) fn due<S: Store>(tx: &mut Tx<'_, S>, row: &[u8]) -> Result<(u64, u64), StoreError> {
    let queue = Fields::of(row).queue()?;
    let (time_ms, _) = key::deadline(row)?;
    tx.rows.delete(&Key::read(row)?)?;
    let Some(found) = tx.find_queue(queue)? else { return Ok((0, 0)) };
    found.retain_due_ms = 0;
    let from = found.kept_from;
    let to = match chunk::from(&tx.rows, queue, from)? {
        Some(chunk) if is_beyond(tx.queue(queue)?, &chunk, time_ms) => pass_part(tx, queue, &chunk)?,
        _ => from,
    };
    set_due(tx, queue)?;
    Ok((from, to))
}

/// Lets go of a chunk that is beyond the bounds, or of as many of its messages as there is room for. Returns up to where that is done.
fn pass_part<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, chunk: &Chunk) -> Result<u64, StoreError> {
    if !tx.queue(queue)?.settings.retain.until_done {
        let from = first_open(tx, queue, chunk)?;
        let to = from.saturating_add(super::room_everywhere(tx, queue)?).min(chunk.end());
        if to < chunk.end() {
            // It is passed when nothing of it is left.
            drop_everywhere(tx, queue, from, to)?;
            return Ok(to);
        }
    }
    tx.queue(queue)?.pass(chunk.end());
    pass(tx, queue, chunk)?;
    Ok(chunk.end())
}

/// The first message of a chunk that some subscription is not done with, or else its end.
fn first_open<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, chunk: &Chunk) -> Result<u64, StoreError> {
    let mut first = chunk.end();
    for at in 0..tx.queue(queue)?.subs.len() {
        let sub = SubId { queue, sub: tx.queue(queue)?.subs[at] };
        let run = runs::at_or_after(&tx.rows, sub, chunk.first)?;
        let in_run = run.map_or_else(|| chunk.end(), |run| run.first.max(chunk.first));
        let tail = tx.queue(queue)?.next_position;
        let row = tx.sub(sub)?;
        // What it has not looked at leaves with the chunk.
        let in_tail = if row.cursor < row.seen_end(tail) { row.cursor.max(chunk.first) } else { chunk.end() };
        first = first.min(in_run).min(in_tail);
    }
    Ok(first)
}

/// The settings were changed: the new bounds apply at once, to everything that is stored.
pub(crate) fn changed<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId) -> Result<(), StoreError> {
    tx.queue(queue)?.kept_from = 0;
    let mut at = None;
    let until = tx.until(RETAIN_ROWS_MIN);
    let through = sweep(tx, queue, &mut at, until)?;
    set_due(tx, queue)?;
    let garbage = key::garbage_retain(queue);
    match at {
        Some(at) if !through => tx.rows.put(&garbage, Bytes::copy_from_slice(&at)),
        _ => tx.rows.delete(&garbage), // of an earlier change
    }
}

/// Goes through the chunks from `at` on, and lets go what is not within the bounds; leaves in `at` where to go on. True if nothing is left.
pub(crate) fn sweep<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    at: &mut Option<Key>,
    until: u64,
) -> Result<bool, StoreError> {
    if tx.find_queue(queue)?.is_none() {
        return Ok(true); // it was deleted: everything goes
    }
    let now_ms = tx.now_ms;
    while tx.rows.touched() < until {
        // It may have stopped within a chunk.
        let from = at.as_ref().map_or(Ok(0), |at| key::last_u64(at))?;
        let Some(chunk) = chunk::at_or_after(&tx.rows, queue, from)? else { return Ok(true) };
        *at = Some(key::chunk(queue, from.max(chunk.first)));
        let next = key::chunk(queue, chunk.end());
        let row = tx.queue(queue)?;
        let retain = row.settings.retain;
        if retain.has_front() && is_beyond(row, &chunk, now_ms) {
            if !pass_all(tx, queue, &chunk, until)? {
                return Ok(false);
            }
            *at = Some(next);
            continue;
        }
        let mut left = None;
        if !keeps(tx, queue, &chunk)? {
            left = pass_kept_for_key(tx, queue, &chunk, until)?;
        } else if !retain.latest_per_key {
            return Ok(true); // and so is everything after it
        } else if !retain.until_done {
            let stretch = (from.max(chunk.first), chunk.end());
            let superseded = superseded(&tx.rows, queue, &chunk, stretch)?;
            left = drop_superseded(tx, queue, &superseded, until)?;
        }
        *at = Some(left.map_or(next, |left| key::chunk(queue, left)));
    }
    Ok(false)
}

/// Lets go the oldest batches that are beyond the bounds, at a time. False if there may be more.
fn advance<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, time_ms: u64) -> Result<bool, StoreError> {
    let until = tx.until(RETAIN_ROWS_MIN);
    while tx.rows.touched() < until {
        let from = tx.queue(queue)?.kept_from;
        let Some(chunk) = chunk::from(&tx.rows, queue, from)? else { return Ok(true) };
        let row = tx.queue(queue)?;
        if !is_beyond(row, &chunk, time_ms) {
            return Ok(true);
        }
        if !pass_all(tx, queue, &chunk, until)? {
            return Ok(false);
        }
    }
    Ok(false)
}

/// Lets go of a chunk that is beyond the bounds. False if there is no room for all of it.
fn pass_all<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    chunk: &Chunk,
    until: u64,
) -> Result<bool, StoreError> {
    while pass_part(tx, queue, chunk)? < chunk.end() {
        if tx.rows.touched() >= until {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Has a tick look when the oldest batch within the bounds is too old.
fn set_due<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId) -> Result<(), StoreError> {
    let row = tx.queue(queue)?;
    let (old, has_age, from) = (row.retain_due_ms, row.settings.retain.for_ms != 0, row.kept_from);
    let oldest = if has_age { chunk::from(&tx.rows, queue, from)? } else { None };
    let row = tx.queue(queue)?;
    let new = oldest.map_or(0, |chunk| too_old_ms(row, &chunk));
    row.retain_due_ms = new;
    if old != new {
        if old != 0 {
            tx.rows.remove(&key::deadline_retain(old, queue), &[])?;
        }
        if new != 0 {
            tx.rows.insert(&key::deadline_retain(new, queue), Bytes::new())?;
        }
    }
    Ok(())
}

/// A chunk that is not within the bounds goes, unless somebody has to be done with it first and is not.
fn pass<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, chunk: &Chunk) -> Result<(), StoreError> {
    if !tx.queue(queue)?.settings.retain.until_done {
        drop_everywhere(tx, queue, chunk.first, chunk.end())?;
    } else if !leave::unneeded(tx, queue, chunk)? {
        return Ok(());
    }
    // A subscription that has not looked at it yet will find that it is gone.
    leave::delete(tx, queue, chunk)
}

/// Drops messages that are superseded, whose positions ascend, until so many rows are touched. Returns the first that is left.
fn drop_superseded<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    positions: &[u64],
    until: u64,
) -> Result<Option<u64>, StoreError> {
    for stretch in positions.chunk_by(|left, right| left + 1 == *right) {
        let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else { continue };
        let mut from = *first;
        while from <= *last {
            if tx.rows.touched() >= until {
                return Ok(Some(from));
            }
            let to = from.saturating_add(super::room_everywhere(tx, queue)?).min(last + 1);
            drop_everywhere(tx, queue, from, to)?;
            from = to;
        }
    }
    Ok(None)
}

/// Drops `from..to` in every subscription, as far as it has looked, whatever state it is in.
fn drop_everywhere<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    from: u64,
    to: u64,
) -> Result<(), StoreError> {
    for at in 0..tx.queue(queue)?.subs.len() {
        let sub = SubId { queue, sub: tx.queue(queue)?.subs[at] };
        drop_part(tx, sub, from, to)?;
    }
    Ok(())
}

fn drop_part<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, from: u64, to: u64) -> Result<(), StoreError> {
    let tail = tx.queue(sub.queue)?.next_position;
    let row = tx.sub(sub)?;
    let (cursor, to) = (row.cursor, to.min(row.seen_end(tail)));
    let mut at = from;
    while at < to.min(cursor) {
        let run = runs::at_or_after(&tx.rows, sub, at)?;
        let Some(run) = run.filter(|run| run.first < to) else { break };
        let stop = run.end().min(to);
        leave::drop_part(tx, sub, &run, at.max(run.first), stop)?;
        at = stop;
    }
    let at = from.max(cursor);
    if at < to {
        end_tail(tx, sub, at)?;
        tx.sub(sub)?.cursor = to;
        leave::leave(tx, sub, &Run::fresh(at, to - at, State::Ready), Why::Dropped)?;
        tx.touch(sub);
    }
    Ok(())
}
