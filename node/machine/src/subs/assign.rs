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

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_simpoint::{Bug, planted};

use super::lanes::{self, LaneId};
use super::runs::{self, Run, State};
use crate::effect::Effect;
use crate::limits::ASSIGN_ROWS_MIN;
use crate::store::{Read, Store, StoreError};
use crate::tables::{Key, SubId, Table, key};
use crate::tx::Tx;
use crate::work::{Kind, rows_per_message};

/// Rows that are touched at least to lease something to another consumer.
const ROWS_PER_LEASE: u64 = 8;

/// Assigns the subscriptions that the entry touched, and goes on with those that earlier ones left. There is room for some rows in any case; who is not reached has its turn before
/// any other has another.
pub(crate) fn assign_all<S: Store>(tx: &mut Tx<'_, S>) -> Result<(), StoreError> {
    let all = key::all_unassigned();
    let mut room = Room { until: tx.until_at_least(ASSIGN_ROWS_MIN), none_yet: true };
    let mut done = BTreeSet::new();
    while room.is_left(tx) {
        // Those that were not reached come first.
        let Some((row, _)) = tx.rows.first(&all, &all.end())? else { break };
        let id = key::Fields::of(&row).sub()?;
        if done.contains(&id) {
            break; // all of them had a turn
        }
        tx.rows.delete(&Key::read(&row)?)?;
        if tx.find_sub(id)?.is_some() {
            done.insert(id);
            assign(tx, id, &mut room, true)?;
        }
    }
    for id in tx.take_dirty().difference(&done) {
        let left_before = [true, false].map(|reached| key::unassigned(reached, *id));
        let [unreached, reached] = [tx.rows.get(&left_before[0])?, tx.rows.get(&left_before[1])?];
        if unreached.is_none() && reached.is_none() {
            assign(tx, *id, &mut room, false)?;
        }
    }
    Ok(())
}

/// What an entry may do to hand out messages.
struct Room {
    until: u64,
    /// Nothing was handed out yet: something is in any case.
    none_yet: bool,
}

impl Room {
    fn is_left<S: Store>(&self, tx: &Tx<'_, S>) -> bool {
        self.none_yet || tx.rows.touched() < self.until
    }

    /// How many things that touch so many rows each there is room for, at least one.
    fn count<S: Store>(&self, tx: &Tx<'_, S>, rows_each: u64) -> u64 {
        (self.until.saturating_sub(tx.rows.touched()) / rows_each).max(1)
    }
}

/// Leases what can be leased, as far as there is room. What is left is left to the next entry; `was_left`: by one before. The subscription may be gone.
fn assign<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    room: &mut Room,
    was_left: bool,
) -> Result<(), StoreError> {
    let Some(sub) = *tx.find_sub(id)? else { return Ok(()) };
    let tail = sub.seen_end(tx.queue(id.queue)?.next_position);
    let reached = room.is_left(tx);
    let is_over = sub.waiting == 0 || sub.paused;
    let stopped = !is_over
        && match reached {
            true if sub.is_total() => in_order(tx, id, tail, room)?,
            true => deal(tx, id, tail, room)?,
            false => true,
        };
    let given = tx.sub(id)?.next_token - sub.next_token;
    let more = stopped && has_more(tx, id, tail)?;
    if more {
        tx.rows.put(&key::unassigned(given > 0, id), Bytes::new())?;
    }
    if more || was_left {
        tx.did(Kind::Assigned, id, u64::from(more), given);
    }
    Ok(())
}

/// Whether there may be something that a consumer could have.
fn has_more<S: Store>(tx: &mut Tx<'_, S>, id: SubId, tail: u64) -> Result<bool, StoreError> {
    let sub = tx.sub(id)?;
    let offered = sub.returned + tail.saturating_sub(sub.cursor);
    Ok(sub.waiting > 0 && (offered > 0 || sub.settings.per_key_inflight > 1))
}

/// Returns whether it stopped because there is no more room.
fn deal<S: Store>(tx: &mut Tx<'_, S>, id: SubId, tail: u64, room: &mut Room) -> Result<bool, StoreError> {
    loop {
        if continue_keys(tx, id, room)? {
            return Ok(true);
        }
        let sub = *tx.sub(id)?;
        let mut left = sub.returned + tail.saturating_sub(sub.cursor);
        if left == 0 || sub.waiting == 0 {
            return Ok(false);
        }
        if !room.is_left(tx) {
            return Ok(true);
        }
        let share = left.div_ceil(u64::from(sub.waiting));
        // Everyone who waits now is served at most once in a round, or as many as there is room for.
        let wanted = left.min(sub.waiting.into());
        let some = room.count(tx, ROWS_PER_LEASE).min(wanted);
        for consumer in next_waiting(&tx.rows, id, sub.last_served, some)? {
            let take = tx.consumer(consumer)?.free().min(share).min(left);
            let given = hand_out(tx, id, consumer, take, (tail, &mut *room))?;
            if given > 0 {
                tx.sub(id)?.last_served = consumer;
            }
            left -= given;
            if given < take {
                return Ok(true);
            }
            if left == 0 {
                break;
            }
        }
        if some < wanted {
            return Ok(true);
        }
    }
}

/// Consumers that hold messages of a key get more of them: one after the other, each the lowest first. Returns whether it stopped because there is no more room.
fn continue_keys<S: Store>(tx: &mut Tx<'_, S>, id: SubId, room: &mut Room) -> Result<bool, StoreError> {
    if tx.sub(id)?.settings.per_key_inflight <= 1 {
        return Ok(false);
    }
    let all = key::of_sub(Table::Next, id);
    let mut from = all.clone();
    while let Some((row, value)) = tx.rows.first(&from, &all.end())? {
        let mut fields = key::Fields::of(&row);
        let (position, consumer) = (fields.u64()?, fields.u64()?);
        // Whoever ended gets nothing more of a key, though what it held is not released yet.
        if tx.find_consumer(consumer)?.is_none_or(|row| row.free() == 0) {
            from = key::next_of(id, consumer).end();
            continue;
        }
        if !room.is_left(tx) {
            return Ok(true);
        }
        let lane = u64::from_be_bytes(
            value[..].try_into().map_err(|_| StoreError("a key's hash is not 8 bytes".into()))?,
        );
        let run = runs::at(&tx.rows, id, position)?
            .ok_or_else(|| lanes::lost(LaneId { sub: id, lane }, position))?;
        let part = runs::take(tx, id, &run, position, position + 1)?;
        lease(tx, id, consumer, part, room)?;
    }
    Ok(false)
}

/// The waiting consumers after `last`, then those up to it: at most so many.
fn next_waiting(rows: &impl Read, id: SubId, last: u64, most: u64) -> Result<Vec<u64>, StoreError> {
    let all = key::of_sub(Table::Waiting, id);
    let split = key::waiting(id, last).next();
    let mut found = Vec::new();
    for (start, to) in [(split.clone(), all.end()), (all, split)] {
        let mut from = start;
        while (found.len() as u64) < most {
            let Some((key, _)) = rows.first(&from, &to)? else { break };
            found.push(key::last_u64(&key)?);
            from = key::Key::read(&key)?.next();
        }
    }
    if found.is_empty() {
        return Err(StoreError(format!("{id:?} counts waiting consumers and has none")));
    }
    Ok(found)
}

/// Leases `take` messages that are there, the lowest first, as far as there is room. Returns how many.
fn hand_out<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    consumer: u64,
    mut take: u64,
    (tail, room): (u64, &mut Room),
) -> Result<u64, StoreError> {
    let wanted = take;
    while take > 0 && room.is_left(tx) {
        let sub = *tx.sub(id)?;
        let run = match sub.returned {
            0 => None,
            _ => runs::first_ready(&tx.rows, id, 0)?,
        };
        take -= match run {
            // In order `key` each message of a run is leased on its own.
            Some(run) => {
                let most =
                    if sub.is_keyed() { take.min(room.count(tx, rows_per_message(true))) } else { take };
                lease_ready(tx, id, consumer, (&run, most), room)?.count
            }
            None => lease_new(tx, id, consumer, take.min(tail.saturating_sub(sub.cursor)), room)?.count,
        };
    }
    Ok(wanted - take)
}

/// Returns whether it stopped because there is no more room.
fn in_order<S: Store>(tx: &mut Tx<'_, S>, id: SubId, tail: u64, room: &mut Room) -> Result<bool, StoreError> {
    let attached = key::of_sub(Table::SubConsumer, SubId { sub: tx.sub(id)?.seat, ..id });
    let Some((key, _)) = tx.rows.first(&attached, &attached.end())? else { return Ok(false) };
    let active = key::last_u64(&key)?;
    let row = tx.consumer(active)?;
    // Whoever has not followed its subscription yet gets nothing, and stays the first.
    let mut free = if row.sub_id() == id { row.free() } else { 0 };
    let mut next = 0;
    while free > 0 {
        if !room.is_left(tx) {
            return Ok(true);
        }
        let sub = *tx.sub(id)?;
        let run = match sub.returned + sub.retrying + sub.parked {
            0 => None,
            _ => runs::first_ready(&tx.rows, id, next)?,
        };
        let leased = match run {
            Some(run) if run.state == State::Ready => lease_ready(tx, id, active, (&run, free), room)?,
            Some(Run { state: State::Retrying { .. }, .. }) if planted(Bug::OrderLostOnRetry) => {
                next = run.map_or(next, |run| run.end());
                continue;
            }
            Some(_) => break,
            None if sub.cursor < tail => lease_new(tx, id, active, free.min(tail - sub.cursor), room)?,
            None => break,
        };
        free -= leased.count;
        next = leased.end();
    }
    Ok(false)
}

/// Leases up to `most` messages from the front of a ready run.
fn lease_ready<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    consumer: u64,
    (run, most): (&Run, u64),
    room: &mut Room,
) -> Result<Run, StoreError> {
    let end = run.first + run.count.min(most);
    let part = runs::take(tx, id, run, run.first, end)?;
    lease(tx, id, consumer, part, room)
}

/// Leases `count` messages of the tail.
fn lease_new<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    consumer: u64,
    count: u64,
    room: &mut Room,
) -> Result<Run, StoreError> {
    if count == 0 {
        return Err(StoreError(format!("{id:?} counts ready messages and has none")));
    }
    let sub = tx.sub(id)?;
    let first = sub.cursor;
    sub.cursor += count;
    // A message in the tail has no key, or the order asks for none.
    room.none_yet = false;
    lease_run(tx, id, consumer, Run::fresh(first, count, State::Ready))
}

/// Leases messages that are gone from the rows and the counters.
fn lease<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    consumer: u64,
    part: Run,
    room: &mut Room,
) -> Result<Run, StoreError> {
    room.none_yet = false;
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
