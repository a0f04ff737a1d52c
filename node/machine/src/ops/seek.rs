//! Moving a subscription, and emptying a queue: the subscription begins anew under another number, so that nothing has to go through
//! what it has been at, however much that is. Its consumers follow, see [`following`].

use super::create_sub::{add_sub, begin_to_look, position_of};
use super::delete_sub::{give_up, sweep_chunks};
use super::update_sub::find;
use super::{Done, Stop};
use crate::command::{Filter, Purge, Seek};
use crate::limits::PURGE_HELD_MAX;
use crate::names::{self, Name};
use crate::reply::{Refusal, Reply};
use crate::store::{Read, Store, StoreError};
use crate::subs::lanes::{self, LaneId};
use crate::subs::leave::bytes_of;
use crate::subs::runs::{self, Run, State};
use crate::subs::{failures, following};
use crate::tables::row::{self, Queue, Sub};
use crate::tables::{Key, SubId, Table, key};
use crate::tx::Tx;

pub(crate) fn seek<S: Store>(tx: &mut Tx<'_, S>, command: &Seek) -> Done {
    let id = find(tx, &command.namespace, &command.queue, &command.name)?;
    let position = position_of(tx, id.queue, &command.to)?;
    let name = Name::or_default("name", &command.name)?;
    let new = renumber(tx, id, name, position)?;
    following::begin(tx, new)?;
    begin_to_look(tx, new)?;
    tx.touch(new);
    Ok(Reply::Sought { position })
}

pub(crate) fn purge<S: Store>(tx: &mut Tx<'_, S>, command: &Purge) -> Done {
    let queue = names::queue(&tx.rows, &command.namespace, &command.name)?;
    let (mut subs, mut left) = (Vec::new(), PURGE_HELD_MAX);
    for (name, sub) in names::subs(&tx.rows, queue)? {
        subs.push((name, sub, held_in(tx, sub, &mut left)?));
    }
    for (name, sub, held) in subs {
        purge_sub(tx, sub, Name::stored(&name)?, held)?;
    }
    sweep_chunks(tx, queue)?;
    Ok(Reply::Done)
}

/// What is held in a subscription, which a purge leaves where it is. Takes as many as that counts for from `left`, and refuses what is more: all of it goes along at once, since
/// its holders may settle it at any time.
fn held_in<S: Store>(tx: &mut Tx<'_, S>, id: SubId, left: &mut u64) -> Result<Vec<Run>, Stop> {
    let sub = *tx.sub(id)?;
    let mut found = Vec::new();
    if sub.leased == 0 {
        return Ok(found);
    }
    let held = key::of_sub(Table::Held, id);
    let mut from = held.clone();
    while let Some((row, _)) = tx.rows.first(&from, &held.end())? {
        from = Key::read(&row)?.next();
        let first = key::last_u64(&row)?;
        let run = runs::get(&tx.rows, id, first)?
            .ok_or_else(|| StoreError(format!("the held run at {first} has no row")))?;
        let cost = if sub.is_keyed() || run.noted { run.count } else { 1 };
        *left = left.checked_sub(cost).ok_or(Refusal::LimitReached {
            what: "leases that are held while a queue is purged (a seek of each subscription to the latest message takes leases away)",
            limit: PURGE_HELD_MAX,
        })?;
        // What a consumer holds that has ended is as good as ready.
        if let State::Leased { consumer, .. } = run.state
            && tx.sub_of(consumer)?.is_some()
        {
            found.push(run);
        }
    }
    Ok(found)
}

/// Nothing is left but what is held.
fn purge_sub<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    name: Name<'_>,
    held: Vec<Run>,
) -> Result<(), StoreError> {
    let Sub { expired, discarded, dropped, .. } = *tx.sub(id)?;
    let tail = tx.queue(id.queue)?.next_position;
    let new = renumber(tx, id, name, tail)?;
    let sub = tx.sub(new)?;
    (sub.expired, sub.discarded, sub.dropped) = (expired, discarded, dropped);
    for run in held {
        bring_along(tx, id, new, &run)?;
    }
    following::begin(tx, new)
}

/// A lease goes along with its holder from a subscription's former number to the new one.
fn bring_along<S: Store>(tx: &mut Tx<'_, S>, old: SubId, new: SubId, run: &Run) -> Result<(), StoreError> {
    runs::erase_abandoned(tx, old, run)?;
    if let State::Leased { consumer, .. } = run.state
        && tx.consumer(consumer)?.sub_id() == old
    {
        tx.set_consumer(consumer, |row| {
            if let Some(row) = row {
                (row.sub, row.outstanding) = (new.sub, 0);
            }
        })?;
    }
    runs::write(tx, new, run)?;
    runs::count(tx, new, run)?;
    if run.noted {
        failures::bring_along(tx, old, new, run.first, run.end())?;
    }
    let bytes = bytes_of(&tx.rows, old.queue, run.first, run.end())?;
    let sub = tx.sub(new)?;
    sub.bytes_done = sub.bytes_done.saturating_sub(bytes);
    if let (true, Some((consumer, _))) = (sub.is_keyed(), run.lease(new)) {
        for (position, lane) in lanes::of(&tx.rows, old.queue, run.first, run.end())? {
            if lane != 0 {
                lanes::held(tx, LaneId { sub: new, lane }, position, consumer)?;
            }
        }
    }
    Ok(())
}

/// Gives a subscription another number, under which it begins at a position and holds nothing. Tokens and seat go with it.
fn renumber<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    name: Name<'_>,
    start: u64,
) -> Result<SubId, StoreError> {
    let Sub { settings, next_token, revision, paused, last_served, consumers, seat, .. } = *tx.sub(id)?;
    let filter: Option<Filter> = row::get(&tx.rows, &key::filter(id))?;
    tx.rows.delete(&key::sub_name(id.queue, name))?;
    let new = add_sub(tx, id.queue, name, settings, filter.as_ref(), start)?;
    let sub = tx.sub(new)?;
    (sub.next_token, sub.revision, sub.paused, sub.last_served) = (next_token, revision, paused, last_served);
    (sub.consumers, sub.seat) = (consumers, seat);
    give_up(tx, id)?;
    let Queue { subs, seats, .. } = tx.queue(id.queue)?;
    for (_, its) in subs.iter().zip(seats).filter(|(sub, _)| **sub == new.sub) {
        *its = seat;
    }
    Ok(new)
}
