//! Messages whose time to live is over.

use super::lanes::{self, LaneId};
use super::leave::{Why, count_out, take_out};
use super::look::end_tail;
use super::runs::{self, Run, State};
use crate::store::{Store, StoreError};
use crate::tables::SubId;
use crate::tx::Tx;

/// Lets go of `from..to`, but for what a consumer holds, which is seen to when it goes back, and for what is parked,
/// which never expires any more. Whether their chunks are still needed is the caller's to ask.
pub(crate) fn expire<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, from: u64, to: u64) -> Result<(), StoreError> {
    let tail = tx.queue(sub.queue)?.next_position;
    // What it has not looked at yet, it finds expired when it does.
    let to = to.min(tx.sub(sub)?.seen_end(tail));
    let cursor = tx.sub(sub)?.cursor;
    let mut at = from;
    while at < to.min(cursor) {
        let run = runs::at_or_after(&tx.rows, sub, at)?;
        let Some(run) = run.filter(|run| run.first < to) else { break };
        let stop = run.end().min(to);
        expire_part(tx, sub, &run, at.max(run.first), stop)?;
        at = stop;
    }
    let at = from.max(cursor);
    if at < to {
        end_tail(tx, sub, at)?;
        tx.sub(sub)?.cursor = to;
        count_out(tx, sub, &Run::fresh(at, to - at, State::Ready), Why::Expired)?;
    }
    Ok(())
}

fn expire_part<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    run: &Run,
    from: u64,
    to: u64,
) -> Result<(), StoreError> {
    let keyed = tx.sub(sub)?.is_keyed();
    match run.state {
        State::Leased { .. } => Ok(()),
        _ if run.kept => Ok(()),
        State::Parked | State::Blocked => Ok(()), // they are kept
        // Only in a key that is parked anything waits for more than others of its key.
        State::Waiting if keyed => expire_waiting(tx, sub, run, from, to),
        _ => {
            take_out(tx, sub, run, (from, to))?;
            count_out(tx, sub, &run.part(from, to), Why::Expired)
        }
    }
}

/// Messages that wait in their keys: those whose key is parked are kept.
fn expire_waiting<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    run: &Run,
    from: u64,
    to: u64,
) -> Result<(), StoreError> {
    // In stretches that have one fate; where one of them leaves, the others of its key are as parked as before.
    let mut next: Option<(u64, bool)> = None;
    for (position, lane) in lanes::of(&tx.rows, sub.queue, from, to)? {
        let parked = tx.lane(LaneId { sub, lane })?.parked;
        match next {
            Some((_, last)) if last == parked => {}
            Some((first, last)) => {
                expire_stretch(tx, sub, run, (first, position), last)?;
                next = Some((position, parked));
            }
            None => next = Some((position, parked)),
        }
    }
    match next {
        Some((first, parked)) => expire_stretch(tx, sub, run, (first, to), parked),
        None => Ok(()),
    }
}

fn expire_stretch<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    run: &Run,
    (from, to): (u64, u64),
    parked: bool,
) -> Result<(), StoreError> {
    if !parked {
        take_out(tx, sub, run, (from, to))?;
        return count_out(tx, sub, &run.part(from, to), Why::Expired);
    }
    // What left before it may have cut its run.
    let run = runs::at(&tx.rows, sub, from)?.ok_or_else(|| lanes::lost(LaneId { sub, lane: 0 }, from))?;
    let part = runs::take(tx, sub, &run, from, to)?;
    runs::place(tx, sub, Run { kept: true, ..part })
}
