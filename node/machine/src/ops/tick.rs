//! Letting time pass: leases expire, retries fall due, idle producer sessions and deleted queues go.
//!
//! A tick carries out a bounded number of deadlines in the order of their keys; the leader proposes another for the rest.

use quorate_simpoint::{Bug, local_clock_ms, planted};

use super::close_producer::forget_producer;
use super::done::done;
use super::settle::revoke;
use super::{Done, garbage};
use crate::limits::TICK_DEADLINES_MAX;
use crate::reply::Reply;
use crate::runs::{self, Run, State};
use crate::store::{Read, Store, StoreError};
use crate::tables::key::{Due, Fields};
use crate::tables::{Key, SubId, Table, key};
use crate::tx::Tx;

pub(crate) fn tick<S: Store>(tx: &mut Tx<'_, S>) -> Done {
    let all = key::all(Table::Deadline);
    let mut left = TICK_DEADLINES_MAX;
    let now_ms = if planted(Bug::ExpireByLocalClock) { local_clock_ms() } else { tx.now_ms };
    while left > 0 {
        let Some((row, _)) = tx.rows.first(&all, &all.end())? else { break };
        let (time_ms, due) = key::deadline(&row)?;
        if time_ms > now_ms {
            break;
        }
        let carried_out = match due {
            Some(Due::Lease) => expire(tx, &row)?,
            Some(Due::Retry) => retry(tx, &row)?,
            Some(Due::IdleProducer) => check_idle(tx, &row)?,
            None => 0,
        };
        if carried_out == 0 {
            // Its queue was deleted: the sweep of the runs need not come by here any more.
            tx.rows.delete(&Key::read(&row)?)?;
        }
        left = left.saturating_sub(carried_out.max(1));
    }
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

/// A lease is over. In order `total` all that are over count an attempt, at whatever position, and those behind the
/// first of them are revoked with it. Returns how many runs that were.
fn expire<S: Store>(tx: &mut Tx<'_, S>, row: &[u8]) -> Result<usize, StoreError> {
    let Some((sub, run)) = run_of(tx, row)? else { return Ok(0) };
    let State::Leased { consumer, .. } = run.state else { return Ok(0) };
    tx.touch(sub);
    if planted(Bug::DroppedOnExpiry) {
        runs::erase(tx, sub, &run)?;
        runs::uncount(tx, sub, &run)?;
        done(tx, sub, run.first, run.end())?;
        return Ok(1);
    }
    if !tx.sub(sub)?.is_total() {
        revoke(tx, sub, &run, run.attempt.saturating_add(1))?;
        return Ok(1);
    }
    let now_ms = tx.now_ms;
    let mut revoked = 0;
    for run in runs::held(&tx.rows, sub, consumer, 0, u64::MAX)? {
        let over = matches!(run.state, State::Leased { deadline_ms, .. } if deadline_ms <= now_ms);
        if over || revoked > 0 && !planted(Bug::RunNotRevoked) {
            revoke(tx, sub, &run, run.attempt.saturating_add(over.into()))?;
            revoked += 1;
        }
    }
    Ok(revoked)
}

/// A backoff is over.
fn retry<S: Store>(tx: &mut Tx<'_, S>, row: &[u8]) -> Result<usize, StoreError> {
    let Some((sub, run)) = run_of(tx, row)? else { return Ok(0) };
    runs::erase(tx, sub, &run)?;
    runs::uncount(tx, sub, &run)?;
    runs::place(tx, sub, Run { state: State::Ready, ..run })?;
    tx.touch(sub);
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
