//! Messages that a subscription is done with: their bytes are counted, and chunks that nobody needs any more are deleted.

use super::lanes::{self, LaneId};
use super::runs::{Run, State};
use super::{failures, retain, runs};
use crate::effect::Effect;
use crate::ids;
use crate::message::EXPIRES;
use crate::store::{Read, Store, StoreError};
use crate::tables::chunk::{self, Chunk};
use crate::tables::{QueueId, SubId, key};
use crate::tx::Tx;

/// Why they left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Done,
    Expired,
    Discarded,
    Dropped,
}

/// The messages of a run, which is gone already from the rows and the counters, leave.
pub(crate) fn leave<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, run: &Run, why: Why) -> Result<(), StoreError> {
    leave_all(tx, sub, &[(*run, why)])
}

/// The part `from..to` of a run is dropped, whatever state it is in. Who holds it is told.
pub(crate) fn drop_part<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    run: &Run,
    from: u64,
    to: u64,
) -> Result<(), StoreError> {
    if let Some((consumer, lease)) = run.part(from, to).lease(sub) {
        tx.effects.push(Effect::Revoked { consumer, lease });
    }
    let_go(tx, sub, run, (from, to), Why::Dropped)?;
    tx.touch(sub);
    Ok(())
}

/// The part `from..to` of a run leaves, whatever state it is in. Who holds it is not told.
pub(crate) fn let_go<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    run: &Run,
    (from, to): (u64, u64),
    why: Why,
) -> Result<(), StoreError> {
    take_out(tx, sub, run, (from, to))?;
    leave(tx, sub, &run.part(from, to), why)
}

/// Takes the part `from..to` of a run out of everything, whatever state it is in.
pub(crate) fn take_out<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    run: &Run,
    (from, to): (u64, u64),
) -> Result<(), StoreError> {
    let in_lanes = !matches!(run.state, State::Parked | State::Delayed { .. });
    if !in_lanes || !tx.sub(sub)?.is_keyed() {
        return runs::take(tx, sub, run, from, to).map(drop);
    }
    for (position, lane) in lanes::of(&tx.rows, sub.queue, from, to)? {
        // What left before it may have changed where it stands.
        let run =
            runs::at(&tx.rows, sub, position)?.ok_or_else(|| lanes::lost(LaneId { sub, lane }, position))?;
        runs::take(tx, sub, &run, position, position + 1)?;
        if lane != 0 {
            let id = LaneId { sub, lane };
            match run.state {
                State::Leased { .. } => {
                    lanes::unleased(tx, id, position)?;
                    lanes::advance(tx, id)?;
                }
                state => lanes::remove(tx, id, position, state)?,
            }
        }
    }
    Ok(())
}

/// The messages of several runs leave together: what is not in a row while this goes on, because it is about to leave as well, must not be
/// taken for gone already.
pub(crate) fn leave_all<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    runs: &[(Run, Why)],
) -> Result<(), StoreError> {
    for (run, why) in runs {
        count_out(tx, sub, run, *why)?;
    }
    for (run, _) in runs {
        release(tx, sub.queue, run.first, run.end())?;
    }
    Ok(())
}

/// Counts the messages of a run that is gone from the rows as having left. Whether their chunks are needed is the caller's to ask.
pub(crate) fn count_out<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    run: &Run,
    why: Why,
) -> Result<(), StoreError> {
    if run.noted {
        failures::forget(tx, sub, run.first, run.end())?;
    }
    let bytes = bytes_of(&tx.rows, sub.queue, run.first, run.end())?;
    let row = tx.sub(sub)?;
    row.bytes_done += bytes;
    match why {
        Why::Done => {}
        Why::Expired => row.expired += run.count,
        Why::Discarded => row.discarded += run.count,
        Why::Dropped => row.dropped += run.count,
    }
    Ok(())
}

/// Deletes those of the chunks of `from..to` that nobody needs any more; what the entry has no room to look at is left to ticks.
pub(crate) fn release<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    from: u64,
    to: u64,
) -> Result<(), StoreError> {
    let mut at = from;
    while at < to {
        // It may be gone already.
        let Some(chunk) = chunk::at_or_after(&tx.rows, queue, at)?.filter(|chunk| chunk.first < to) else {
            break;
        };
        if tx.is_full() {
            tx.rows.put(&key::garbage_chunk(queue, chunk.first), bytes::Bytes::new())?;
        } else if unneeded(tx, queue, &chunk)? {
            delete(tx, queue, &chunk)?;
        }
        at = chunk.end();
    }
    Ok(())
}

/// Encoded size of the messages `from..to`, in bytes.
pub(crate) fn bytes_of(rows: &impl Read, queue: QueueId, from: u64, to: u64) -> Result<u64, StoreError> {
    let (mut at, mut bytes) = (from, 0);
    while at < to {
        let chunk = chunk_of(rows, queue, at)?;
        let stop = chunk.end().min(to);
        bytes += chunk.bytes(at, stop);
        at = stop;
    }
    Ok(bytes)
}

/// Whether every subscription is done with every message of the chunk, and no bound of what the queue retains keeps it.
pub(crate) fn unneeded<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    chunk: &Chunk,
) -> Result<bool, StoreError> {
    if retain::keeps(tx, queue, chunk)? {
        return Ok(false);
    }
    // Who needed one before is likely to need this one, too: mostly one subscription is behind the others.
    if let Some(last) = tx.last_needed_by(queue)
        && needs(tx, last, chunk)?
    {
        return Ok(false);
    }
    for at in 0..tx.queue(queue)?.subs.len() {
        let sub = SubId { queue, sub: tx.queue(queue)?.subs[at] };
        if needs(tx, sub, chunk)? {
            tx.needed_by(sub);
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a subscription is not done with every message of the chunk. It may be gone.
fn needs<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, chunk: &Chunk) -> Result<bool, StoreError> {
    let Some(row) = *tx.find_sub(sub)? else { return Ok(false) };
    if row.cursor < chunk.end() {
        return Ok(true);
    }
    Ok(runs::before(&tx.rows, sub, chunk.end())?.is_some_and(|run| run.end() > chunk.first))
}

/// Removes a chunk with everything that goes with it.
pub(crate) fn delete<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, chunk: &Chunk) -> Result<(), StoreError> {
    tx.rows.delete(&key::chunk(queue, chunk.first))?;
    retain::forget_latest(tx, queue, chunk)?;
    forget_with(tx, queue, chunk)
}

/// Removes what goes with a chunk, but for its place in the index of the latest messages.
pub(crate) fn forget_with<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    chunk: &Chunk,
) -> Result<(), StoreError> {
    for (time_ms, first, _) in expiries(chunk) {
        // Those that have fallen due are gone already.
        tx.rows.delete(&key::deadline_expiry(time_ms, queue, first))?;
    }
    ids::forget(tx, queue, chunk)?;
    tx.rows.forget_body(&key::body(queue, chunk.first))
}

/// The expiries of a chunk: time, first position and number of messages, for each stretch of messages that expire together.
pub(crate) fn expiries(chunk: &Chunk) -> Vec<(u64, u64, u32)> {
    let mut found: Vec<(u64, u64, u32)> = Vec::new();
    if !chunk.has(EXPIRES) {
        return found;
    }
    for position in chunk.first..chunk.end() {
        let time_ms = chunk.expires_ms(position);
        match found.last_mut() {
            Some((last, first, count)) if *last == time_ms && *first + u64::from(*count) == position => {
                *count += 1
            }
            _ if time_ms != 0 => found.push((time_ms, position, 1)),
            _ => {}
        }
    }
    found
}

/// Has a tick look at messages when they expire.
pub(crate) fn note_expiry<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    time_ms: u64,
    first: u64,
    count: u32,
) -> Result<(), StoreError> {
    let count = bytes::Bytes::copy_from_slice(&count.to_be_bytes());
    tx.rows.insert(&key::deadline_expiry(time_ms, queue, first), count)
}

/// Of how many messages an expiry is, and of how many of them it was carried out.
pub(crate) fn expiry_counts(value: &[u8]) -> Result<(u32, u32), StoreError> {
    let bad = || StoreError("an expiry does not say of how many".into());
    let (count, done) = value.split_first_chunk().ok_or_else(bad)?;
    let done = if done.is_empty() { [0; 4] } else { done.try_into().map_err(|_| bad())? };
    let (count, done) = (u32::from_be_bytes(*count), u32::from_be_bytes(done));
    if done < count { Ok((count, done)) } else { Err(bad()) }
}

/// The chunk of a message that some subscription is not done with.
pub(crate) fn chunk_of(rows: &impl Read, queue: QueueId, position: u64) -> Result<Chunk, StoreError> {
    chunk::at(rows, queue, position)?
        .ok_or_else(|| StoreError(format!("the chunk of position {position} is missing")))
}
