//! Ids of messages: unique in a queue as long as some subscription is not done with the message.
//!
//! An id points to the last message that had it, until that is deleted. Whether the message is still in the queue is looked up when
//! somebody asks: leaving it costs nothing.

use std::collections::BTreeMap;

use crate::store::{Store, StoreError};
use crate::subs::runs;
use crate::tables::chunk::{Chunk, id_of};
use crate::tables::{QueueId, SubId, key, row};
use crate::tx::Tx;

/// For each of the ids of messages that are to be published together (0: none) the position of the message that has it: one that is
/// in the queue, or one of these before it.
pub(crate) fn resolve<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    ids: &[u128],
) -> Result<Vec<Option<u64>>, StoreError> {
    let mut next = tx.queue(queue)?.next_position;
    let (mut known, mut new) = (Vec::with_capacity(ids.len()), BTreeMap::new());
    for id in ids {
        let at = match (*id, new.get(id)) {
            (0, _) => None,
            (_, Some(position)) => Some(*position),
            (id, None) => find(tx, queue, id)?,
        };
        if at.is_none() {
            new.insert(*id, next);
            next += 1;
        }
        known.push(at);
    }
    Ok(known)
}

/// The position of the message with this id, if it is in the queue.
pub(crate) fn position_of<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    id: &str,
) -> Result<Option<u64>, StoreError> {
    if id.is_empty() { Ok(None) } else { find(tx, queue, id_of(id)) }
}

fn find<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, id: u128) -> Result<Option<u64>, StoreError> {
    match row::get_u64(&tx.rows, &key::message_id(queue, id))? {
        Some(position) if is_in_queue(tx, queue, position)? => Ok(Some(position)),
        _ => Ok(None),
    }
}

/// Whether some subscription is not done with a message.
fn is_in_queue<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, position: u64) -> Result<bool, StoreError> {
    for at in 0..tx.queue(queue)?.subs.len() {
        let sub = SubId { queue, sub: tx.queue(queue)?.subs[at] };
        let row = tx.sub(sub)?;
        let (cursor, in_runs) = (row.cursor, row.length(row.cursor));
        if position >= cursor || in_runs > 0 && runs::at(&tx.rows, sub, position)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A chunk is deleted: what points to its messages goes too.
pub(crate) fn forget<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, chunk: &Chunk) -> Result<(), StoreError> {
    for (position, id) in chunk.ids() {
        let key = key::message_id(queue, id);
        if row::get_u64(&tx.rows, &key)? == Some(position) {
            tx.rows.remove(&key, &position.to_be_bytes())?;
        }
    }
    Ok(())
}
