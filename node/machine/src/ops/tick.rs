//! Letting time pass: leases end, retries and delayed messages fall due, messages expire, batches get too old to be retained, jobs go on, idle producer sessions and deleted
//! queues go.
//!
//! A tick carries out a bounded number of deadlines in the order of their keys; the leader proposes another for the rest.

use quorate_simpoint::{Bug, local_clock_ms, planted};

use super::close_producer::forget_producer;
use super::{Done, garbage, put, unpark};
use crate::limits::TICK_DEADLINES_MAX;
use crate::reply::Reply;
use crate::store::{Read, Store, StoreError};
use crate::subs::back::{self, leave_leased};
use crate::subs::lanes::{self, LaneId};
use crate::subs::leave::Why;
use crate::subs::runs::{self, Run, State};
use crate::subs::{expire, look, retain};
use crate::tables::key::{Due, Fields};
use crate::tables::{Key, SubId, Table, key};
use crate::tx::Tx;

pub(crate) fn tick<S: Store>(tx: &mut Tx<'_, S>) -> Done {
    let all = key::all(Table::Deadline);
    let mut left = TICK_DEADLINES_MAX;
    let now_ms = if planted(Bug::ExpireByLocalClock) { local_clock_ms() } else { tx.now_ms };
    while left > 0 {
        let Some((row, value)) = tx.rows.first(&all, &all.end())? else { break };
        let (time_ms, kind) = key::deadline(&row)?;
        if time_ms > now_ms {
            break;
        }
        let carried_out = match kind {
            Some(Due::Lease) => lease_over(tx, &row)?,
            Some(Due::Retry) => retry(tx, &row)?,
            Some(Due::IdleProducer) => check_idle(tx, &row)?,
            Some(Due::Delay) => due(tx, &row)?,
            Some(Due::Expiry) => expiry(tx, &row, &value)?,
            Some(Due::Job) => unpark::carry_on(tx, &row)?,
            Some(Due::State) => put::expire(tx, &row)?,
            Some(Due::Retain) => retain::due(tx, &row, time_ms)?,
            None => 0,
        };
        if carried_out == 0 {
            // Its queue was deleted: the sweep of the runs need not come by here any more.
            tx.rows.delete(&Key::read(&row)?)?;
        }
        left = left.saturating_sub(carried_out.max(1));
    }
    look::go_on(tx)?;
    garbage::sweep(tx)?;
    Ok(Reply::Done)
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
    Ok(Some((sub, run)))
}

/// A lease is over. Returns how many runs that concerned.
fn lease_over<S: Store>(tx: &mut Tx<'_, S>, row: &[u8]) -> Result<usize, StoreError> {
    let Some((sub, run)) = run_of(tx, row)? else { return Ok(0) };
    if !matches!(run.state, State::Leased { .. }) {
        return Ok(0);
    }
    tx.touch(sub);
    if planted(Bug::DroppedOnExpiry) {
        let part = runs::take(tx, sub, &run, run.first, run.end())?;
        leave_leased(tx, sub, &part, Why::Done)?;
        return Ok(1);
    }
    back::expire(tx, sub, &run)
}

/// A backoff is over.
fn retry<S: Store>(tx: &mut Tx<'_, S>, row: &[u8]) -> Result<usize, StoreError> {
    let Some((sub, run)) = run_of(tx, row)? else { return Ok(0) };
    tx.touch(sub);
    let part = runs::take(tx, sub, &run, run.first, run.end())?;
    if tx.sub(sub)?.is_keyed() {
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
    Ok(1)
}

/// Delayed messages are due.
fn due<S: Store>(tx: &mut Tx<'_, S>, row: &[u8]) -> Result<usize, StoreError> {
    let Some((sub, run)) = run_of(tx, row)? else { return Ok(0) };
    tx.touch(sub);
    let part = runs::take(tx, sub, &run, run.first, run.end())?;
    look::make_ready(tx, sub, part)?;
    Ok(1)
}

/// Messages expire, in every subscription in which nobody holds them and they are not parked.
fn expiry<S: Store>(tx: &mut Tx<'_, S>, row: &[u8], value: &[u8]) -> Result<usize, StoreError> {
    let mut fields = Fields::of(row);
    let first = fields.u64()?;
    let queue = fields.queue()?;
    let count = value.try_into().map(u32::from_be_bytes);
    let count = count.map_err(|_| StoreError("an expiry does not say of how many".into()))?;
    tx.rows.remove(&Key::read(row)?, value)?;
    if tx.find_queue(queue)?.is_none() {
        return Ok(1);
    }
    for at in 0..tx.queue(queue)?.subs.len() {
        let sub = SubId { queue, sub: tx.queue(queue)?.subs[at] };
        tx.touch(sub);
        expire::expire(tx, sub, first, first + u64::from(count))?;
    }
    Ok(1)
}

/// A producer session may have been idle for long enough. A publish does not move the deadline: that is done here.
fn check_idle<S: Store>(tx: &mut Tx<'_, S>, row: &[u8]) -> Result<usize, StoreError> {
    let id = key::last_u64(row)?;
    let now_ms = tx.now_ms;
    let Some(producer) = tx.find_producer(id)?.as_mut() else { return Ok(0) };
    let idle_at_ms = producer.used_at_ms.saturating_add(producer.ttl_ms);
    if idle_at_ms <= now_ms {
        forget_producer(tx, id)?;
        return Ok(1);
    }
    producer.idle_check_ms = idle_at_ms;
    tx.rows.delete(&Key::read(row)?)?;
    tx.rows.insert(&key::deadline_producer(idle_at_ms, id), bytes::Bytes::new())?;
    Ok(1)
}
