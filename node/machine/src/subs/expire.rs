//! Messages whose time to live is over.

use super::lanes::{self, LaneId};
use super::leave::{Why, leave, let_go};
use super::look::end_tail;
use super::runs::{self, Run, State};
use crate::store::{Store, StoreError};
use crate::tables::SubId;
use crate::tx::Tx;

/// Lets go of `from..to`, but for what a consumer holds, which is seen to when it goes back, and for what is parked,
/// which never expires any more.
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
        leave(tx, sub, &Run::fresh(at, to - at, State::Ready), Why::Expired)?;
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
        State::Ready | State::Retrying { .. } | State::Waiting if keyed => {
            for (position, lane) in lanes::of(&tx.rows, sub.queue, from, to)? {
                expire_keyed(tx, LaneId { sub, lane }, position)?;
            }
            Ok(())
        }
        _ => {
            let part = runs::take(tx, sub, run, from, to)?;
            leave(tx, sub, &part, Why::Expired)
        }
    }
}

fn keep<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, run: &Run, from: u64, to: u64) -> Result<(), StoreError> {
    let part = runs::take(tx, sub, run, from, to)?;
    runs::place(tx, sub, Run { kept: true, ..part })
}

/// One message of a subscription that orders by keys. Others that left before it may have changed where it stands.
fn expire_keyed<S: Store>(tx: &mut Tx<'_, S>, id: LaneId, position: u64) -> Result<(), StoreError> {
    let run = runs::at(&tx.rows, id.sub, position)?.ok_or_else(|| lanes::lost(id, position))?;
    if id.lane != 0 && run.state == State::Waiting && tx.lane(id)?.parked {
        return keep(tx, id.sub, &run, position, position + 1);
    }
    let_go(tx, id.sub, &run, (position, position + 1), Why::Expired)
}
