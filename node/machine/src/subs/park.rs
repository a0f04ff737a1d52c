//! Setting messages aside, and taking them up again.

use std::collections::BTreeSet;

use super::back::Behind;
use super::lanes::{self, LaneId};
use super::leave::{Why, leave};
use super::look::make_ready;
use super::runs::{self, Run, State};
use crate::store::{Store, StoreError};
use crate::tables::SubId;
use crate::tx::Tx;

/// Parks leased messages, and with `whole_key` whatever follows them under their keys. `part` is a leased run that is
/// gone from the rows and the counters.
pub(crate) fn park<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    part: Run,
    whole_key: bool,
    behind: &mut Behind,
) -> Result<(), StoreError> {
    // From now on somebody decides about it, and no clock.
    runs::place(tx, sub, Run { state: State::Parked, kept: true, ..part })?;
    if !tx.sub(sub)?.is_keyed() {
        return Ok(());
    }
    for (position, lane) in lanes::of(&tx.rows, sub.queue, part.first, part.end())? {
        if lane == 0 {
            continue;
        }
        let id = LaneId { sub, lane };
        lanes::unleased(tx, id, position)?;
        if whole_key {
            behind.note(lane, position);
            lanes::park(tx, id)?;
        } else {
            lanes::advance(tx, id)?;
        }
    }
    Ok(())
}

/// Takes a part of a parked or blocked run out of everything.
fn take<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, run: &Run, from: u64, to: u64) -> Result<Run, StoreError> {
    let part = runs::take(tx, sub, run, from, to)?;
    if run.state == State::Blocked && tx.sub(sub)?.is_keyed() {
        for (position, lane) in lanes::of(&tx.rows, sub.queue, from, to)? {
            if lane != 0 {
                lanes::remove(tx, LaneId { sub, lane }, position, State::Blocked)?;
            }
        }
    }
    Ok(part)
}

/// Parked messages are ready again, and so is what was parked with their keys. Returns how many messages that is.
pub(crate) fn redrive<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    run: &Run,
    from: u64,
    to: u64,
) -> Result<u64, StoreError> {
    let part = take(tx, sub, run, from, to)?;
    let mut freed = part.count;
    let mut keys = BTreeSet::new();
    if tx.sub(sub)?.is_keyed() {
        for (_, lane) in lanes::of(&tx.rows, sub.queue, from, to)? {
            let id = LaneId { sub, lane };
            if lane != 0 && tx.lane(id)?.parked && keys.insert(lane) {
                freed += tx.lane(id)?.waiting;
            }
        }
    }
    make_ready(tx, sub, Run { attempt: 1, ..part })?;
    for lane in keys {
        lanes::unpark(tx, LaneId { sub, lane })?;
    }
    Ok(freed)
}

/// Parked messages are done.
pub(crate) fn discard<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    run: &Run,
    from: u64,
    to: u64,
) -> Result<(), StoreError> {
    let part = take(tx, sub, run, from, to)?;
    leave(tx, sub, &part, Why::Discarded)
}

/// Discards what waits in a parked key below `end`, at most `most` messages. Returns how many those were; the key is
/// free when nothing is left.
pub(crate) fn discard_key<S: Store>(
    tx: &mut Tx<'_, S>,
    id: LaneId,
    end: u64,
    most: u64,
) -> Result<u64, StoreError> {
    let (mut discarded, mut from) = (0, 0);
    while discarded < most {
        let next = lanes::waiting_from(&tx.rows, id, from)?.filter(|position| *position < end);
        let Some(position) = next else {
            lanes::unpark(tx, id)?;
            break;
        };
        let run = runs::at(&tx.rows, id.sub, position)?.ok_or_else(|| lanes::lost(id, position))?;
        let part = runs::take(tx, id.sub, &run, position, position + 1)?;
        lanes::remove(tx, id, position, State::Waiting)?;
        leave(tx, id.sub, &part, Why::Discarded)?;
        discarded += 1;
        from = position + 1;
    }
    Ok(discarded)
}
