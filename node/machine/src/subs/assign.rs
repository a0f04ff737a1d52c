//! Who gets what, once for each touched subscription after the commands of an entry.
//!
//! Order `none`: what was given back goes first, by position, then the tail. The consumers with credit left are
//! served in the order of their ids, beginning after the one served last; each is given at most its share of
//! what is there, rounded up, so that one with a large credit does not take a small backlog from all others. What
//! remains because some had less credit than their share is dealt again in the same way.
//!
//! Order `key`: the same with what is on offer. Before each round, whoever holds messages of a key gets more of them.
//!
//! Order `total`: only the consumer that attached first is served, with the lowest message that is in its order and not
//! leased. If that waits for a retry, or is blocked, it holds up everything behind it.

use bytes::Bytes;
use quorate_simpoint::{Bug, planted};

use super::lanes::{self, LaneId};
use super::runs::{self, Run, State};
use crate::effect::Effect;
use crate::store::{Read, Store, StoreError};
use crate::tables::{SubId, Table, key};
use crate::tx::Tx;
use crate::work::Kind;

/// Leases what can be leased, as far as there is room; something in any case. What is left is left to a tick. The subscription may be gone.
pub(crate) fn assign<S: Store>(tx: &mut Tx<'_, S>, id: SubId) -> Result<(), StoreError> {
    let Some(sub) = *tx.find_sub(id)? else { return Ok(()) };
    if sub.waiting == 0 || sub.paused {
        return Ok(());
    }
    let tail = sub.seen_end(tx.queue(id.queue)?.next_position);
    if sub.is_total() {
        in_order(tx, id, tail)?
    } else {
        deal(tx, id, tail)?
    }
    if !is_over(tx, id, sub.next_token)? || !has_more(tx, id, tail)? {
        return Ok(());
    }
    let given = tx.sub(id)?.next_token - sub.next_token;
    tx.did(Kind::Assigned, id, 0, given);
    tx.rows.put(&key::unassigned(id), Bytes::new())
}

/// Whether there may be something that a consumer could have.
fn has_more<S: Store>(tx: &mut Tx<'_, S>, id: SubId, tail: u64) -> Result<bool, StoreError> {
    let sub = tx.sub(id)?;
    let offered = sub.returned + tail.saturating_sub(sub.cursor);
    Ok(sub.waiting > 0 && (offered > 0 || sub.settings.per_key_inflight > 1))
}

/// Whether the entry has no room for more leases; `before`: the next token when the assignment began.
fn is_over<S: Store>(tx: &mut Tx<'_, S>, id: SubId, before: u64) -> Result<bool, StoreError> {
    Ok(tx.is_full() && tx.sub(id)?.next_token > before)
}

/// Subscriptions that could not hand out everything in the entry before are assigned with those that this one touches.
pub(crate) fn go_on<S: Store>(tx: &mut Tx<'_, S>) -> Result<(), StoreError> {
    let all = key::all_unassigned();
    while let Some((row, _)) = tx.rows.first(&all, &all.end())? {
        tx.touch(key::Fields::of(&row).sub()?);
        tx.rows.delete(&key::Key::read(&row)?)?;
    }
    Ok(())
}

fn deal<S: Store>(tx: &mut Tx<'_, S>, id: SubId, tail: u64) -> Result<(), StoreError> {
    let before = tx.sub(id)?.next_token;
    loop {
        continue_keys(tx, id, before)?;
        let sub = *tx.sub(id)?;
        let mut left = sub.returned + tail.saturating_sub(sub.cursor);
        if left == 0 || sub.waiting == 0 || is_over(tx, id, before)? {
            return Ok(());
        }
        let share = left.div_ceil(u64::from(sub.waiting));
        // Everyone who waits now is served at most once in a round.
        for consumer in next_waiting(&tx.rows, id, sub.last_served, sub.waiting.into(), left)? {
            let take = tx.consumer(consumer)?.free().min(share).min(left);
            let given = hand_out(tx, id, consumer, take, (tail, before))?;
            if given > 0 {
                tx.sub(id)?.last_served = consumer;
            }
            left -= given;
            if left == 0 || is_over(tx, id, before)? {
                break;
            }
        }
    }
}

/// Consumers that hold messages of a key get more of them: one after the other, each the lowest first.
fn continue_keys<S: Store>(tx: &mut Tx<'_, S>, id: SubId, before: u64) -> Result<(), StoreError> {
    let sub = *tx.sub(id)?;
    if sub.settings.per_key_inflight <= 1 {
        return Ok(());
    }
    let all = key::of_sub(Table::Waiting, id);
    let mut from = all.clone();
    while let Some((row, _)) = tx.rows.first(&from, &all.end())? {
        let consumer = key::last_u64(&row)?;
        let next = key::next_of(id, consumer);
        while tx.consumer(consumer)?.free() > 0
            && !is_over(tx, id, before)?
            && let Some((row, value)) = tx.rows.first(&next, &next.end())?
        {
            let lane = u64::from_be_bytes(
                value[..].try_into().map_err(|_| StoreError("a key's hash is not 8 bytes".into()))?,
            );
            let position = key::last_u64(&row)?;
            let run = runs::at(&tx.rows, id, position)?
                .ok_or_else(|| lanes::lost(LaneId { sub: id, lane }, position))?;
            let part = runs::take(tx, id, &run, position, position + 1)?;
            lease(tx, id, consumer, part)?;
        }
        from = key::Key::read(&row)?.next();
    }
    Ok(())
}

/// The waiting consumers after `last`, then those up to it: at most `waiting`, and no more than there are messages.
fn next_waiting(
    rows: &impl Read,
    id: SubId,
    last: u64,
    waiting: u64,
    messages: u64,
) -> Result<Vec<u64>, StoreError> {
    let all = key::of_sub(Table::Waiting, id);
    let split = key::waiting(id, last).next();
    let mut found = Vec::new();
    for (start, to) in [(split.clone(), all.end()), (all, split)] {
        let mut from = start;
        while (found.len() as u64) < waiting.min(messages) {
            let Some((key, _)) = rows.first(&from, &to)? else { break };
            found.push(key::last_u64(&key)?);
            from = key::Key::read(&key)?.next();
        }
    }
    if found.is_empty() {
        return Err(StoreError(format!("{id:?} counts {waiting} waiting consumers and has none")));
    }
    Ok(found)
}

/// Leases `take` messages that are there, the lowest first, as far as there is room. Returns how many.
fn hand_out<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    consumer: u64,
    mut take: u64,
    (tail, before): (u64, u64),
) -> Result<u64, StoreError> {
    let wanted = take;
    while take > 0 && !is_over(tx, id, before)? {
        let sub = *tx.sub(id)?;
        let run = match sub.returned {
            0 => None,
            _ => runs::first_ready(&tx.rows, id, 0)?,
        };
        take -= match run {
            // In order `key` each message of a run is leased on its own.
            Some(run) => {
                let most = if sub.is_keyed() { take.min(super::room(tx, id)?) } else { take };
                lease_ready(tx, id, consumer, &run, most)?.count
            }
            None => lease_new(tx, id, consumer, take.min(tail.saturating_sub(sub.cursor)))?.count,
        };
    }
    Ok(wanted - take)
}

fn in_order<S: Store>(tx: &mut Tx<'_, S>, id: SubId, tail: u64) -> Result<(), StoreError> {
    let attached = key::of_sub(Table::SubConsumer, id);
    let Some((key, _)) = tx.rows.first(&attached, &attached.end())? else { return Ok(()) };
    let active = key::last_u64(&key)?;
    let mut free = tx.consumer(active)?.free();
    let (mut next, before) = (0, tx.sub(id)?.next_token);
    while free > 0 && !is_over(tx, id, before)? {
        let sub = *tx.sub(id)?;
        let run = match sub.returned + sub.retrying + sub.parked {
            0 => None,
            _ => runs::first_ready(&tx.rows, id, next)?,
        };
        let leased = match run {
            Some(run) if run.state == State::Ready => lease_ready(tx, id, active, &run, free)?,
            Some(Run { state: State::Retrying { .. }, .. }) if planted(Bug::OrderLostOnRetry) => {
                next = run.map_or(next, |run| run.end());
                continue;
            }
            Some(_) => break,
            None if sub.cursor < tail => lease_new(tx, id, active, free.min(tail - sub.cursor))?,
            None => break,
        };
        free -= leased.count;
        next = leased.end();
    }
    Ok(())
}

/// Leases up to `most` messages from the front of a ready run.
fn lease_ready<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    consumer: u64,
    run: &Run,
    most: u64,
) -> Result<Run, StoreError> {
    let end = run.first + run.count.min(most);
    let part = runs::take(tx, id, run, run.first, end)?;
    lease(tx, id, consumer, part)
}

/// Leases `count` messages of the tail.
fn lease_new<S: Store>(tx: &mut Tx<'_, S>, id: SubId, consumer: u64, count: u64) -> Result<Run, StoreError> {
    if count == 0 {
        return Err(StoreError(format!("{id:?} counts ready messages and has none")));
    }
    let sub = tx.sub(id)?;
    let first = sub.cursor;
    sub.cursor += count;
    // A message in the tail has no key, or the order asks for none.
    lease_run(tx, id, consumer, Run::fresh(first, count, State::Ready))
}

/// Leases messages that are gone from the rows and the counters.
fn lease<S: Store>(tx: &mut Tx<'_, S>, id: SubId, consumer: u64, part: Run) -> Result<Run, StoreError> {
    let run = lease_run(tx, id, consumer, part)?;
    if tx.sub(id)?.is_keyed() {
        for (position, lane) in lanes::of(&tx.rows, id.queue, run.first, run.end())? {
            if lane != 0 {
                lanes::leased(tx, LaneId { sub: id, lane }, position, consumer)?;
            }
        }
    }
    Ok(run)
}

fn lease_run<S: Store>(tx: &mut Tx<'_, S>, id: SubId, consumer: u64, part: Run) -> Result<Run, StoreError> {
    let now_ms = tx.now_ms;
    let sub = tx.sub(id)?;
    let first_token = sub.next_token;
    if !(planted(Bug::TokenReused) && part.attempt > 1) {
        sub.next_token += part.count;
    }
    let deadline_ms = now_ms.saturating_add(sub.settings.lease_ms);
    let run = Run { state: State::Leased { consumer, first_token, deadline_ms }, ..part };
    runs::write(tx, id, &run)?;
    runs::count(tx, id, &run)?;
    if let Some((consumer, lease)) = run.lease(id) {
        tx.effects.push(Effect::Assigned { consumer, lease });
    }
    Ok(run)
}
