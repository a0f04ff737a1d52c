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
    let in_lanes = !matches!(run.state, State::Parked | State::Delayed { .. });
    if !in_lanes || !tx.sub(sub)?.is_keyed() {
        let part = runs::take(tx, sub, run, from, to)?;
        return leave(tx, sub, &part, why);
    }
    for (position, lane) in lanes::of(&tx.rows, sub.queue, from, to)? {
        // What left before it may have changed where it stands.
        let run =
            runs::at(&tx.rows, sub, position)?.ok_or_else(|| lanes::lost(LaneId { sub, lane }, position))?;
        let part = runs::take(tx, sub, &run, position, position + 1)?;
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
        leave(tx, sub, &part, why)?;
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
    }
    for (run, _) in runs {
        let mut at = run.first;
        while at < run.end() {
            // It may have gone with the run before this one.
            let Some(chunk) = chunk::at(&tx.rows, sub.queue, at)? else {
                at += 1;
                continue;
            };
            if unneeded(tx, sub.queue, &chunk)? {
                delete(tx, sub.queue, &chunk)?;
            }
            at = chunk.end();
        }
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
    for at in 0..tx.queue(queue)?.subs.len() {
        let sub = SubId { queue, sub: tx.queue(queue)?.subs[at] };
        if tx.sub(sub)?.cursor < chunk.end() {
            return Ok(false);
        }
        if runs::before(&tx.rows, sub, chunk.end())?.is_some_and(|run| run.end() > chunk.first) {
            return Ok(false);
        }
    }
    Ok(true)
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

/// The chunk of a message that some subscription is not done with.
pub(crate) fn chunk_of(rows: &impl Read, queue: QueueId, position: u64) -> Result<Chunk, StoreError> {
    chunk::at(rows, queue, position)?
        .ok_or_else(|| StoreError(format!("the chunk of position {position} is missing")))
}
