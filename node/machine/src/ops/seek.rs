//! Moving a subscription, and emptying a queue: the subscription begins anew under another number, so that nothing has to go through
//! what it has been at, however much that is.

use bytes::Bytes;

use super::Done;
use super::create_sub::{add_sub, begin_to_look, position_of};
use super::delete_sub::{give_up, sweep_chunks};
use super::update_sub::find;
use crate::command::{Filter, Purge, Seek};
use crate::effect::Effect;
use crate::names::{self, Name};
use crate::reply::Reply;
use crate::store::{Read, Store, StoreError};
use crate::subs::failures;
use crate::subs::lanes::{self, LaneId};
use crate::subs::leave::bytes_of;
use crate::subs::runs::{self, Run};
use crate::tables::row::{self, Sub};
use crate::tables::{SubId, Table, key};
use crate::tx::Tx;

pub(crate) fn seek<S: Store>(tx: &mut Tx<'_, S>, command: &Seek) -> Done {
    let id = find(tx, &command.namespace, &command.queue, &command.name)?;
    let position = position_of(tx, id.queue, &command.to)?;
    for run in all_held(tx, id)? {
        if let Some((consumer, lease)) = run.lease(id) {
            tx.effects.push(Effect::Revoked { consumer, lease });
        }
        take_lease(tx, id, &run)?;
    }
    let name = Name::or_default("name", &command.name)?;
    let new = renumber(tx, id, name, position)?;
    begin_to_look(tx, new)?;
    tx.touch(new);
    Ok(Reply::Sought { position })
}

pub(crate) fn purge<S: Store>(tx: &mut Tx<'_, S>, command: &Purge) -> Done {
    let queue = names::queue(&tx.rows, &command.namespace, &command.name)?;
    for (name, sub) in names::subs(&tx.rows, queue)? {
        purge_sub(tx, sub, Name::stored(&name)?)?;
    }
    sweep_chunks(tx, queue)?;
    Ok(Reply::Done)
}

/// Nothing is left but what is held.
fn purge_sub<S: Store>(tx: &mut Tx<'_, S>, id: SubId, name: Name<'_>) -> Result<(), StoreError> {
    let held = all_held(tx, id)?;
    for run in &held {
        take_lease(tx, id, run)?;
    }
    let tail = tx.queue(id.queue)?.next_position;
    let Sub { expired, discarded, dropped, .. } = *tx.sub(id)?;
    let new = renumber(tx, id, name, tail)?;
    let sub = tx.sub(new)?;
    (sub.expired, sub.discarded, sub.dropped) = (expired, discarded, dropped);
    for run in held {
        runs::write(tx, new, &run)?;
        runs::count(tx, new, &run)?;
        if run.noted {
            failures::bring_along(tx, id, new, run.first, run.end())?;
        }
        let bytes = bytes_of(&tx.rows, id.queue, run.first, run.end())?;
        let sub = tx.sub(new)?;
        sub.bytes_done = sub.bytes_done.saturating_sub(bytes);
        if let (true, Some((consumer, _))) = (sub.is_keyed(), run.lease(new)) {
            for (position, lane) in lanes::of(&tx.rows, id.queue, run.first, run.end())? {
                if lane != 0 {
                    lanes::held(tx, LaneId { sub: new, lane }, position, consumer)?;
                }
            }
        }
    }
    Ok(())
}

/// Everything that is leased in a subscription.
fn all_held<S: Store>(tx: &mut Tx<'_, S>, id: SubId) -> Result<Vec<Run>, StoreError> {
    let attached = key::of_sub(Table::SubConsumer, id);
    let (mut found, mut from) = (Vec::new(), attached.clone());
    while let Some((row, _)) = tx.rows.first(&from, &attached.end())? {
        found.extend(runs::held(&tx.rows, id, key::last_u64(&row)?, 0, u64::MAX)?);
        from = key::Key::read(&row)?.next();
    }
    Ok(found)
}

fn take_lease<S: Store>(tx: &mut Tx<'_, S>, id: SubId, run: &Run) -> Result<(), StoreError> {
    runs::erase(tx, id, run)?;
    runs::uncount(tx, id, run)
}

/// Gives a subscription that holds nothing another number, under which it begins at a position. Tokens and consumers
/// go with it.
fn renumber<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    name: Name<'_>,
    start: u64,
) -> Result<SubId, StoreError> {
    let Sub { settings, next_token, revision, paused, last_served, .. } = *tx.sub(id)?;
    let filter: Option<Filter> = row::get(&tx.rows, &key::filter(id))?;
    let attached = key::of_sub(Table::SubConsumer, id);
    let mut consumers = Vec::new();
    while let Some((row, _)) = tx.rows.first(&attached, &attached.end())? {
        let consumer = key::last_u64(&row)?;
        tx.rows.remove(&key::sub_consumer(id, consumer), &[])?;
        consumers.push(consumer);
    }
    tx.rows.delete(&key::sub_name(id.queue, name))?;
    let new = add_sub(tx, id.queue, name, settings, filter.as_ref(), start)?;
    let sub = tx.sub(new)?;
    (sub.next_token, sub.revision, sub.paused, sub.last_served) = (next_token, revision, paused, last_served);
    sub.consumers = u32::try_from(consumers.len()).unwrap_or(u32::MAX);
    for consumer in consumers {
        tx.rows.insert(&key::sub_consumer(new, consumer), Bytes::new())?;
        tx.set_consumer(consumer, |row| {
            if let Some(row) = row {
                row.sub = new.sub;
            }
        })?;
    }
    give_up(tx, id)?;
    Ok(new)
}
