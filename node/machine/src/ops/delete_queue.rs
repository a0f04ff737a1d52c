//! Deleting a queue: its names and sessions go at once, its messages and leases with the ticks after it.

use super::Done;
use crate::command::DeleteQueue;
use crate::effect::Effect;
use crate::former;
use crate::names::{self, Name, SessionName};
use crate::reply::Reply;
use crate::routes;
use crate::store::{Read, Store, StoreError};
use crate::tables::row::{self, Namespace, Queue};
use crate::tables::{Key, SubId, Table, key};
use crate::tx::Tx;

pub(crate) fn delete_queue<S: Store>(tx: &mut Tx<'_, S>, command: &DeleteQueue) -> Done {
    let id = names::queue(&tx.rows, &command.namespace, &command.name)?;
    let name = Name::of("name", &command.name)?;
    tx.rows.delete(&key::queue_name(id.namespace, name))?;
    let Queue { subs, next_position, first_token: mut next_token, .. } = tx.queue(id)?.clone();
    for sub in subs {
        let sub = SubId { queue: id, sub };
        next_token = next_token.max(tx.sub(sub)?.next_token);
        end_consumers(tx, sub)?;
        *tx.find_sub(sub)? = None;
        tx.forget_lanes(sub);
    }
    let names = key::of_queue(Table::SubName, id);
    while let Some((name, _)) = tx.rows.first(&names, &names.end())? {
        tx.rows.delete(&Key::read(&name)?)?;
    }
    let due_ms = tx.queue(id)?.retain_due_ms;
    if due_ms != 0 {
        tx.rows.remove(&key::deadline_retain(due_ms, id), &[])?;
    }
    routes::remove(tx, id)?;
    *tx.find_queue(id)? = None;
    let counts_key = key::namespace(id.namespace);
    let mut counts: Namespace = row::get(&tx.rows, &counts_key)?.unwrap_or_default();
    counts.queues = counts.queues.saturating_sub(1);
    former::keep(tx, &mut counts, id.namespace, name, (next_position, next_token))?;
    tx.put_message(&counts_key, &counts)?;
    tx.rows.insert(&key::garbage_queue(id), bytes::Bytes::new())?;
    Ok(Reply::Done)
}

/// Ends every session. What they hold is left to the sweep.
pub(super) fn end_consumers<S: Store>(tx: &mut Tx<'_, S>, sub: SubId) -> Result<(), StoreError> {
    let attached = key::of_sub(Table::SubConsumer, sub);
    while let Some((row, _)) = tx.rows.first(&attached, &attached.end())? {
        let consumer = key::last_u64(&row)?;
        forget_consumer(tx, sub, consumer)?;
        tx.effects.push(Effect::Ended { consumer });
    }
    Ok(())
}

/// Removes a consumer's rows, but for its leases.
pub(super) fn forget_consumer<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    consumer: u64,
) -> Result<(), StoreError> {
    let session = tx.consumer(consumer)?.session.clone();
    tx.rows.delete(&key::consumer_name(sub.queue.namespace, SessionName::stored(&session)?))?;
    tx.rows.remove(&key::sub_consumer(sub, consumer), &[])?;
    tx.set_consumer(consumer, |row| *row = None)?;
    let row = tx.sub(sub)?;
    row.consumers = row.consumers.saturating_sub(1);
    Ok(())
}
