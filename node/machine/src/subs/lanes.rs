//! Order `key`: the order inside each key, whose lane is named by a hash of the key.
//!
//! Of the messages of a key that are neither done, delayed nor parked away, one stands outside its queue: the one on offer, in a ready run like
//! any message of a subscription without order. Leased ones are listed in the lane. All others are queued: in waiting runs, or in
//! retrying or blocked ones. While a key is leased or parked nothing of it is on offer. So nothing here grows with the number of messages
//! that wait, but their own rows on disk.
//!
//! Whoever changes a lane calls [`advance`] at the end, which offers what can be offered.

use quorate_simpoint::{Bug, planted};

use super::runs::{self, Run, State};
use crate::store::{Read, Store, StoreError};
use crate::tables::row::Lane;
use crate::tables::{QueueId, SubId, chunk, key, row};
use crate::tx::Tx;

/// Names a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneId {
    pub(crate) sub: SubId,
    /// [`chunk::lane_of`] its key.
    pub(crate) lane: u64,
}

impl LaneId {
    fn queued(self, position: u64) -> crate::tables::Key {
        key::queued(self.sub, self.lane, position)
    }
}

impl Lane {
    pub(crate) fn is_void(&self) -> bool {
        self.leased.is_empty() && self.offered == 0 && self.queued == 0 && !self.parked
    }
}

/// Each position of `from..to` with its lane, if it has one and the subscription orders by keys.
pub(crate) fn of(
    rows: &impl Read,
    queue: QueueId,
    from: u64,
    to: u64,
) -> Result<Vec<(u64, u64)>, StoreError> {
    let (mut found, mut at) = (Vec::new(), from);
    while at < to {
        let chunk = super::leave::chunk_of(rows, queue, at)?;
        let stop = chunk.end().min(to);
        found.extend((at..stop).map(|position| (position, chunk.lane(position))));
        at = stop;
    }
    Ok(found)
}

/// The lane of one message; 0: none.
pub(crate) fn lane_at(rows: &impl Read, queue: QueueId, position: u64) -> Result<u64, StoreError> {
    Ok(chunk::at(rows, queue, position)?.map_or(0, |chunk| chunk.lane(position)))
}

/// A message becomes ready: on offer if it is alone, otherwise behind the others.
pub(crate) fn join<S: Store>(tx: &mut Tx<'_, S>, id: LaneId, run: Run) -> Result<(), StoreError> {
    let lane = tx.lane(id)?;
    if lane.is_void() {
        lane.offered = run.first;
        return runs::place(tx, id.sub, Run { state: State::Ready, ..run });
    }
    queue(tx, id, Run { state: State::Waiting, ..run })?;
    advance(tx, id)
}

/// Queues a message: waiting, retrying or blocked.
pub(crate) fn queue<S: Store>(tx: &mut Tx<'_, S>, id: LaneId, run: Run) -> Result<(), StoreError> {
    tx.rows.insert(&id.queued(run.first), bytes::Bytes::new())?;
    count(tx, id, run.state, 1)?;
    runs::place(tx, id.sub, run)
}

/// Takes a message out of the queue; its run is the caller's.
fn unqueue<S: Store>(tx: &mut Tx<'_, S>, id: LaneId, position: u64, state: State) -> Result<(), StoreError> {
    tx.rows.remove(&id.queued(position), &[])?;
    count(tx, id, state, -1)
}

fn count<S: Store>(tx: &mut Tx<'_, S>, id: LaneId, state: State, by: i64) -> Result<(), StoreError> {
    let lane = tx.lane(id)?;
    lane.queued = lane.queued.saturating_add_signed(by);
    if state != State::Waiting {
        return Ok(());
    }
    lane.waiting = lane.waiting.saturating_add_signed(by);
    if lane.parked {
        let sub = tx.sub(id.sub)?;
        sub.queued_parked = sub.queued_parked.saturating_add_signed(by);
    }
    Ok(())
}

/// A message that is not leased leaves; its run, which stood in `state`, is the caller's.
pub(crate) fn remove<S: Store>(
    tx: &mut Tx<'_, S>,
    id: LaneId,
    position: u64,
    state: State,
) -> Result<(), StoreError> {
    let lane = tx.lane(id)?;
    if lane.offered == position {
        lane.offered = 0;
    } else {
        unqueue(tx, id, position, state)?;
    }
    advance(tx, id)
}

/// The backoff of a queued message is over; `run`, which retried, is gone from the rows and the counters.
pub(crate) fn retried<S: Store>(tx: &mut Tx<'_, S>, id: LaneId, run: Run) -> Result<(), StoreError> {
    unqueue(tx, id, run.first, run.state)?;
    queue(tx, id, Run { state: State::Waiting, ..run })?;
    advance(tx, id)
}

/// A message was leased, which was on offer or the holder's next.
pub(crate) fn leased<S: Store>(
    tx: &mut Tx<'_, S>,
    id: LaneId,
    position: u64,
    consumer: u64,
) -> Result<(), StoreError> {
    let lane = tx.lane(id)?;
    if lane.offered == position {
        lane.offered = 0;
    } else {
        unqueue(tx, id, position, State::Waiting)?;
    }
    held(tx, id, position, consumer)?;
    set_next(tx, id)
}

/// A message is not leased any more. What becomes of it, and of its lane, is the caller's.
pub(crate) fn unleased<S: Store>(tx: &mut Tx<'_, S>, id: LaneId, position: u64) -> Result<(), StoreError> {
    tx.lane(id)?.leased.retain(|held| *held != position);
    Ok(())
}

/// Puts on offer what can be, and only that.
pub(crate) fn advance<S: Store>(tx: &mut Tx<'_, S>, id: LaneId) -> Result<(), StoreError> {
    let lane = tx.lane(id)?;
    let (offered, closed) = (lane.offered, lane.parked || !lane.leased.is_empty());
    let low = match lane.queued {
        0 => None,
        _ if planted(Bug::KeyLostOnRetry) => waiting_from(&tx.rows, id, 0)?,
        _ => lowest(&tx.rows, id)?,
    };
    if offered != 0 && (closed || low.is_some_and(|low| low < offered)) {
        withdraw(tx, id, offered)?;
    }
    if !closed
        && tx.lane(id)?.offered == 0
        && let Some(low) = low
        && let Some(run) = waiting(&tx.rows, id.sub, low)?
    {
        let part = runs::take(tx, id.sub, &run, low, low + 1)?;
        unqueue(tx, id, low, State::Waiting)?;
        tx.lane(id)?.offered = low;
        runs::place(tx, id.sub, Run { state: State::Ready, ..part })?;
    }
    set_next(tx, id)
}

fn withdraw<S: Store>(tx: &mut Tx<'_, S>, id: LaneId, offered: u64) -> Result<(), StoreError> {
    let run = runs::at(&tx.rows, id.sub, offered)?.ok_or_else(|| lost(id, offered))?;
    let part = runs::take(tx, id.sub, &run, offered, offered + 1)?;
    tx.lane(id)?.offered = 0;
    queue(tx, id, Run { state: State::Waiting, ..part })
}

fn lowest(rows: &impl Read, id: LaneId) -> Result<Option<u64>, StoreError> {
    let queued = key::queued_in(id.sub, id.lane);
    rows.first(&queued, &queued.end())?.map(|(key, _)| key::last_u64(&key)).transpose()
}

/// The run of a queued message, if it waits.
fn waiting(rows: &impl Read, sub: SubId, position: u64) -> Result<Option<Run>, StoreError> {
    Ok(runs::at(rows, sub, position)?.filter(|run| run.state == State::Waiting))
}

/// Keeps the row that says which message the holder may get next.
fn set_next<S: Store>(tx: &mut Tx<'_, S>, id: LaneId) -> Result<(), StoreError> {
    let most = tx.sub(id.sub)?.settings.per_key_inflight as usize;
    let lane = tx.lane(id)?;
    let (holder, old) = (lane.holder, lane.next);
    let open = lane.queued > 0 && !lane.parked && (1..most).contains(&lane.leased.len());
    let next = match if open { lowest(&tx.rows, id)? } else { None } {
        Some(low) if waiting(&tx.rows, id.sub, low)?.is_some() => low,
        _ => 0,
    };
    if next == old {
        return Ok(());
    }
    if old != 0 {
        tx.rows.remove(&key::next(id.sub, holder, old), &row::of_u64(id.lane))?;
    }
    if next != 0 {
        tx.rows.insert(&key::next(id.sub, holder, next), row::of_u64(id.lane))?;
    }
    tx.lane(id)?.next = next;
    Ok(())
}

/// Parks a key: what waits in it, now and later, is parked.
pub(crate) fn park<S: Store>(tx: &mut Tx<'_, S>, id: LaneId) -> Result<(), StoreError> {
    if !tx.lane(id)?.parked {
        let lane = tx.lane(id)?;
        lane.parked = true;
        let waiting = lane.waiting;
        tx.sub(id.sub)?.queued_parked += waiting;
        tx.rows.insert(&key::parked_lane(id.sub, id.lane), bytes::Bytes::new())?;
    }
    advance(tx, id)
}

/// Ends the parking of a key. Returns how many messages that frees.
pub(crate) fn unpark<S: Store>(tx: &mut Tx<'_, S>, id: LaneId) -> Result<u64, StoreError> {
    let lane = tx.lane(id)?;
    if !lane.parked {
        return Ok(0);
    }
    lane.parked = false;
    let waiting = lane.waiting;
    let sub = tx.sub(id.sub)?;
    sub.queued_parked = sub.queued_parked.saturating_sub(waiting);
    tx.rows.remove(&key::parked_lane(id.sub, id.lane), &[])?;
    advance(tx, id)?;
    Ok(waiting)
}

/// The lowest message that waits in a lane at `from` or later.
pub(crate) fn waiting_from(rows: &impl Read, id: LaneId, from: u64) -> Result<Option<u64>, StoreError> {
    let end = key::queued_in(id.sub, id.lane).end();
    let mut at = from;
    while let Some((key, _)) = rows.first(&id.queued(at), &end)? {
        let position = key::last_u64(&key)?;
        if waiting(rows, id.sub, position)?.is_some() {
            return Ok(Some(position));
        }
        at = position + 1;
    }
    Ok(None)
}

pub(crate) fn lost(id: LaneId, position: u64) -> StoreError {
    StoreError(format!("{id:?} has a message at {position} that has no run"))
}

/// Takes note of a lease that a subscription brought along under a new number.
pub(crate) fn held<S: Store>(
    tx: &mut Tx<'_, S>,
    id: LaneId,
    position: u64,
    consumer: u64,
) -> Result<(), StoreError> {
    let lane = tx.lane(id)?;
    lane.holder = consumer;
    let at = lane.leased.partition_point(|held| *held < position);
    lane.leased.insert(at, position);
    Ok(())
}
