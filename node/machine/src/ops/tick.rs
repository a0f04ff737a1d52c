//! Letting time pass: leases end, retries and delayed messages fall due, messages expire, batches get too old to be retained, jobs go on, idle producer sessions and deleted
//! queues go.
//!
//! A tick carries out what is due in the order of the keys of its deadlines, as much as an entry may do. Of what concerns many messages it does the first, and leaves the
//! deadline of the others, which stays due: the leader proposes another tick at once. So what stands at one time in one subscription is carried out in order of position, and
//! a message whose time has come and whose turn has not is where it was.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_simpoint::{Bug, local_clock_ms, planted};

use super::close_producer::forget_producer;
use super::{Done, garbage, put, unpark};
use crate::reply::Reply;
use crate::store::{Read, Store, StoreError};
use crate::subs::back::{self, leave_leased};
use crate::subs::lanes::{self, LaneId};
use crate::subs::leave::{self, Why};
use crate::subs::runs::{self, Run, State};
use crate::subs::{self, expire, following, leaving, look, retain};
use crate::tables::key::{Due, Fields};
use crate::tables::{Key, SubId, Table, chunk, key};
use crate::tx::Tx;
use crate::work::{Kind, Step};

pub(crate) fn tick<S: Store>(tx: &mut Tx<'_, S>) -> Done {
    let all = key::all(Table::Deadline);
    let now_ms = if planted(Bug::ExpireByLocalClock) { local_clock_ms() } else { tx.now_ms };
    tx.steps.push(Step { time_ms: tx.now_ms, kind: Kind::Tick, queue: 0, sub: 0, first: 0, end: 0 });
    // What ended sessions hold must not be taken for leases that nobody kept.
    let through = leaving::go_on(tx)? && following::go_on(tx)?;
    let before = tx.steps.len();
    // Something is done in any case: a tick that did nothing would be followed by another.
    while through && (!tx.is_full() || tx.steps.len() == before) {
        let Some((row, value)) = tx.rows.first(&all, &all.end())? else { break };
        let (time_ms, due) = key::deadline(&row)?;
        if time_ms > now_ms {
            break;
        }
        match carry_out(tx, &row, &value, due)? {
            Some(part) if part.first < part.end => tx.steps.extend(due.map(|due| part.step(time_ms, due))),
            Some(_) => {}
            // Its queue was deleted: the sweep of the runs need not come by here any more.
            None => tx.rows.delete(&Key::read(&row)?)?,
        }
    }
    look::go_on(tx)?;
    if through {
        // What stands under a former number is still asked for by those who have not followed.
        garbage::sweep(tx)?;
    }
    Ok(Reply::Done)
}

/// What was carried out of a deadline.
struct Part {
    queue: u64,
    sub: u32,
    first: u64,
    end: u64,
}

impl Part {
    fn of_sub(sub: SubId, first: u64, end: u64) -> Self {
        Self { queue: sub.queue.queue, sub: sub.sub, first, end }
    }

    /// Something that is neither in a queue nor has positions.
    fn single(id: u64) -> Self {
        Self { queue: 0, sub: 0, first: id, end: id.saturating_add(1) }
    }

    fn step(self, time_ms: u64, due: Due) -> Step {
        let Self { queue, sub, first, end } = self;
        Step { time_ms, kind: due.kind(), queue, sub, first, end }
    }
}

/// Carries out a deadline, or as much of it as there is room for. Returns nothing if what it is about is gone.
fn carry_out<S: Store>(
    tx: &mut Tx<'_, S>,
    row: &[u8],
    value: &[u8],
    due: Option<Due>,
) -> Result<Option<Part>, StoreError> {
    match due {
        Some(Due::Lease) => lease_over(tx, row),
        Some(Due::Retry) => retry(tx, row),
        Some(Due::IdleProducer) => check_idle(tx, row),
        Some(Due::Delay) => delay_over(tx, row),
        Some(Due::Expiry) => expiry(tx, row, value),
        Some(Due::Job) => {
            unpark::carry_on(tx, row).map(|()| Some(Part { queue: 0, sub: 0, first: 0, end: 0 }))
        }
        Some(Due::State) => put::expire(tx, row).map(|()| Some(Part::single(0))),
        Some(Due::Retain) => {
            let queue = Fields::of(row).queue()?;
            let (first, end) = retain::due(tx, row)?;
            Ok(Some(Part { queue: queue.queue, sub: 0, first, end }))
        }
        None => Ok(None),
    }
}

/// The run that a deadline is about, if its subscription is still there.
fn run_of<S: Store>(tx: &mut Tx<'_, S>, row: &[u8]) -> Result<Option<(SubId, Run)>, StoreError> {
    let mut fields = Fields::of(row);
    let first = fields.u64()?;
    let sub = fields.sub()?;
    if tx.find_sub(sub)?.is_none() {
        return Ok(None);
    }
    let run = runs::get(&tx.rows, sub, first)?;
    let run = run.ok_or_else(|| StoreError(format!("a deadline of {sub:?} has no run at {first}")))?;
    tx.touch(sub);
    Ok(Some((sub, run)))
}

/// Up to where there is room for the messages of a run, each of them on its own.
fn end_of_part<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, run: &Run) -> Result<u64, StoreError> {
    Ok(run.first + run.count.min(subs::room(tx, sub)?))
}

/// Up to where there is room for leases that end, each of which may take with it what is leased of its key.
fn end_of_leases<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, run: &Run) -> Result<u64, StoreError> {
    let of_key = u64::from(tx.sub(sub)?.settings.per_key_inflight.max(1));
    let to = end_of_part(tx, sub, run)?;
    Ok(run.first + (to - run.first).div_ceil(of_key))
}

/// Leases are over.
fn lease_over<S: Store>(tx: &mut Tx<'_, S>, row: &[u8]) -> Result<Option<Part>, StoreError> {
    let Some((sub, run)) = run_of(tx, row)? else { return Ok(None) };
    if !matches!(run.state, State::Leased { .. }) {
        return Ok(None);
    }
    if planted(Bug::DroppedOnExpiry) {
        let part = runs::take(tx, sub, &run, run.first, run.end())?;
        leave_leased(tx, sub, &part, Why::Done)?;
        return Ok(Some(Part::of_sub(sub, run.first, run.end())));
    }
    // In order `total` everything behind the first goes back with it, whether it is of the same run or of another.
    let to = if tx.sub(sub)?.is_total() { run.end() } else { end_of_leases(tx, sub, &run)? };
    back::expire(tx, sub, &run, to)?;
    Ok(Some(Part::of_sub(sub, run.first, to)))
}

/// Backoffs are over.
fn retry<S: Store>(tx: &mut Tx<'_, S>, row: &[u8]) -> Result<Option<Part>, StoreError> {
    let Some((sub, run)) = run_of(tx, row)? else { return Ok(None) };
    let keyed = tx.sub(sub)?.is_keyed();
    let to = if keyed { end_of_part(tx, sub, &run)? } else { run.end() };
    let part = runs::take(tx, sub, &run, run.first, to)?;
    if keyed {
        for (position, lane) in lanes::of(&tx.rows, sub.queue, part.first, part.end())? {
            let single = part.part(position, position + 1);
            match lane {
                0 => runs::place(tx, sub, Run { state: State::Ready, ..single })?,
                lane => lanes::retried(tx, LaneId { sub, lane }, single)?,
            }
        }
    } else {
        runs::place(tx, sub, Run { state: State::Ready, ..part })?;
    }
    Ok(Some(Part::of_sub(sub, run.first, to)))
}

/// Delayed messages are due.
fn delay_over<S: Store>(tx: &mut Tx<'_, S>, row: &[u8]) -> Result<Option<Part>, StoreError> {
    let Some((sub, run)) = run_of(tx, row)? else { return Ok(None) };
    let keyed = tx.sub(sub)?.is_keyed();
    let to = if keyed { end_of_part(tx, sub, &run)? } else { run.end() };
    let part = runs::take(tx, sub, &run, run.first, to)?;
    look::make_ready(tx, sub, part)?;
    Ok(Some(Part::of_sub(sub, run.first, to)))
}

/// Messages expire, in every subscription in which nobody holds them and they are not parked.
fn expiry<S: Store>(tx: &mut Tx<'_, S>, row: &[u8], value: &[u8]) -> Result<Option<Part>, StoreError> {
    let mut fields = Fields::of(row);
    let first = fields.u64()?;
    let queue = fields.queue()?;
    let (count, done) = leave::expiry_counts(value)?;
    let deadline = Key::read(row)?;
    tx.rows.remove(&deadline, value)?;
    let (from, end) = (first + u64::from(done), first + u64::from(count));
    let part = |to| Part { queue: queue.queue, sub: 0, first: from, end: to };
    if tx.find_queue(queue)?.is_none() {
        return Ok(Some(part(end)));
    }
    let to = from.saturating_add(subs::room_everywhere(tx, queue)?).min(end);
    for at in 0..tx.queue(queue)?.subs.len() {
        let sub = SubId { queue, sub: tx.queue(queue)?.subs[at] };
        tx.touch(sub);
        expire::expire(tx, sub, from, to)?;
    }
    leave::release(tx, queue, from, to)?;
    if to < end && chunk::at(&tx.rows, queue, to)?.is_some() && !planted(Bug::RestOfExpiryForgotten) {
        let mut left = BytesMut::from(&count.to_be_bytes()[..]);
        left.put_u32((to - first) as u32); // it is less than the count
        tx.rows.insert(&deadline, left.freeze())?;
    }
    Ok(Some(part(to)))
}

/// A producer session may have been idle for long enough. A publish does not move the deadline: that is done here.
fn check_idle<S: Store>(tx: &mut Tx<'_, S>, row: &[u8]) -> Result<Option<Part>, StoreError> {
    let id = key::last_u64(row)?;
    let now_ms = tx.now_ms;
    let Some(producer) = tx.find_producer(id)?.as_mut() else { return Ok(None) };
    let idle_at_ms = producer.used_at_ms.saturating_add(producer.ttl_ms);
    if idle_at_ms <= now_ms {
        forget_producer(tx, id)?;
        return Ok(Some(Part::single(id)));
    }
    producer.idle_check_ms = idle_at_ms;
    tx.rows.delete(&Key::read(row)?)?;
    tx.rows.insert(&key::deadline_producer(idle_at_ms, id), Bytes::new())?;
    Ok(Some(Part::single(id)))
}
