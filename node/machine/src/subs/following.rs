//! Consumers whose subscription got another number, or was deleted.
//!
//! They are listed under the subscription's seat, which stays. A seek or a purge gives the subscription another number at once; its consumers follow one after the other, as
//! many as there is room for, and ticks go on with the rest. Who follows loses what it held under the former number, lease by lease, and gets something again when it has.
//! Until then its leases are as good as lost already: they stand under a number that nobody looks at. In the same way the consumers of a deleted subscription end one after
//! the other, and nothing is to be had from any of them in the meantime.

use bytes::Bytes;
use quorate_simpoint::{Bug, planted};

use super::runs;
use crate::effect::Effect;
use crate::names::SessionName;
use crate::store::{Read, Store, StoreError};
use crate::tables::key::{self, Fields, last_u64};
use crate::tables::row::get_u64;
use crate::tables::{Key, SubId, Table, row};
use crate::tx::Tx;
use crate::work::Kind;

/// A subscription has a new number: its consumers begin to follow it.
pub(crate) fn begin<S: Store>(tx: &mut Tx<'_, S>, sub: SubId) -> Result<(), StoreError> {
    let row = tx.sub(sub)?;
    let (seat, some) = (SubId { sub: row.seat, ..sub }, row.consumers > 0);
    let left = if some { follow(tx, sub, seat, 0, false)? } else { None };
    leave_rest(tx, seat, left.filter(|_| !planted(Bug::RestOfSessionForgotten)))
}

/// A subscription is deleted, and its row gone: its consumers begin to end.
pub(crate) fn begin_to_end<S: Store>(tx: &mut Tx<'_, S>, seat: SubId) -> Result<(), StoreError> {
    tx.rows.delete(&key::following(seat))?;
    if !end(tx, seat, false)? {
        tx.rows.insert(&key::ending(seat), Bytes::new())?;
    }
    Ok(())
}

/// Goes on where there is something left, as far as there is room; at least with one consumer. True if nothing is left.
pub(crate) fn go_on<S: Store>(tx: &mut Tx<'_, S>) -> Result<bool, StoreError> {
    let all = key::all_ending();
    let before = tx.steps.len();
    while let Some((row, _)) = tx.rows.first(&all, &all.end())? {
        let seat = Fields::of(&row).sub()?;
        let nothing_yet = tx.steps.len() == before;
        if !end(tx, seat, nothing_yet)? {
            return Ok(false);
        }
        tx.rows.delete(&key::ending(seat))?;
    }
    let all = key::all_following();
    while let Some((row, _)) = tx.rows.first(&all, &all.end())? {
        let seat = Fields::of(&row).sub()?;
        let from = get_u64(&tx.rows, &key::following(seat))?.unwrap_or(0);
        let nothing_yet = tx.steps.len() == before;
        let left = match tx.seated(seat)? {
            Some(sub) => follow(tx, sub, seat, from, nothing_yet)?,
            None => None,
        };
        leave_rest(tx, seat, left)?;
        if left.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// From which consumer on it is to be gone on.
fn leave_rest<S: Store>(tx: &mut Tx<'_, S>, seat: SubId, left: Option<u64>) -> Result<(), StoreError> {
    match left {
        Some(consumer) => tx.rows.put(&key::following(seat), row::of_u64(consumer)),
        None => tx.rows.delete(&key::following(seat)),
    }
}

/// The consumers from `from` on follow, as far as there is room; with `in_any_case` something is done. Returns at which one it stopped.
fn follow<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    seat: SubId,
    from: u64,
    mut in_any_case: bool,
) -> Result<Option<u64>, StoreError> {
    tx.touch(sub);
    let (mut at, end) = (key::sub_consumer(seat, from), key::of_sub(Table::SubConsumer, seat).end());
    while let Some((row, _)) = tx.rows.first(&at, &end)? {
        let consumer = last_u64(&row)?;
        if tx.consumer(consumer)?.sub_id() != sub {
            if tx.is_full() && !in_any_case {
                return Ok(Some(consumer));
            }
            let left = lose(tx, consumer, std::mem::take(&mut in_any_case))?;
            tx.did(Kind::Followed, sub, consumer, left.unwrap_or(u64::MAX));
            if left.is_some() {
                return Ok(Some(consumer));
            }
            tx.set_consumer(consumer, |row| {
                if let Some(row) = row {
                    (row.sub, row.outstanding) = (sub.sub, 0);
                }
            })?;
        }
        at = Key::read(&row)?.next();
    }
    Ok(None)
}

/// A consumer loses what it holds under a number that its subscription has no more. Returns the position of what it still holds.
fn lose<S: Store>(
    tx: &mut Tx<'_, S>,
    consumer: u64,
    mut in_any_case: bool,
) -> Result<Option<u64>, StoreError> {
    let former = tx.consumer(consumer)?.sub_id();
    let held = key::held_by(former, consumer);
    while let Some((row, _)) = tx.rows.first(&held, &held.end())? {
        let first = last_u64(&row)?;
        if tx.is_full() && !std::mem::take(&mut in_any_case) {
            return Ok(Some(first));
        }
        let run = runs::get(&tx.rows, former, first)?
            .ok_or_else(|| StoreError(format!("the held run at {first} has no row")))?;
        runs::erase_abandoned(tx, former, &run)?;
        if let Some((consumer, lease)) = run.lease(former) {
            tx.effects.push(Effect::Revoked { consumer, lease });
        }
        tx.set_consumer(consumer, |row| {
            if let Some(row) = row {
                row.outstanding = row.outstanding.saturating_sub(run.count);
            }
        })?;
    }
    Ok(None)
}

/// The consumers of a deleted subscription end, as far as there is room. True if none is left.
fn end<S: Store>(tx: &mut Tx<'_, S>, seat: SubId, mut in_any_case: bool) -> Result<bool, StoreError> {
    let attached = key::of_sub(Table::SubConsumer, seat);
    while let Some((row, _)) = tx.rows.first(&attached, &attached.end())? {
        if tx.is_full() && !std::mem::take(&mut in_any_case) {
            return Ok(false);
        }
        let consumer = last_u64(&row)?;
        forget(tx, consumer)?;
        tx.effects.push(Effect::Ended { consumer });
        tx.did(Kind::Ended, seat, consumer, consumer.saturating_add(1));
    }
    Ok(true)
}

/// Removes a consumer's rows, but for its leases.
pub(crate) fn forget<S: Store>(tx: &mut Tx<'_, S>, consumer: u64) -> Result<(), StoreError> {
    let row = tx.consumer(consumer)?;
    let (session, seat) = (row.session.clone(), row.seat_id());
    tx.rows.delete(&key::consumer_name(seat.queue.namespace, SessionName::stored(&session)?))?;
    tx.rows.remove(&key::sub_consumer(seat, consumer), &[])?;
    if let Some(sub) = tx.seated(seat)? {
        let row = tx.sub(sub)?;
        row.consumers = row.consumers.saturating_sub(1);
    }
    tx.set_consumer(consumer, |row| *row = None)
}
