//! Ids of messages: unique in a queue as long as some subscription is not done with the message.
//!
//! An id points to the last message that had it, until that is deleted. Whether the message is still in the queue is looked up when
//! somebody asks: leaving it costs nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::limits::COMMAND_ROWS_MAX;
use crate::ops::Stop;
use crate::reply::Refusal;
use crate::store::{Store, StoreError};
use crate::subs::runs;
use crate::tables::chunk::{self, Chunk, id_of};
use crate::tables::{QueueId, SubId, key, row};
use crate::tx::Tx;

/// For each of the ids of messages that are to be published together (0: none) the position of the message that has it: one that is
/// in the queue, or one of these before it.
pub(crate) fn resolve<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    ids: &[u128],
) -> Result<Vec<Option<u64>>, Stop> {
    let (begun, mut gone) = (tx.rows.touched(), 0..0);
    let mut next = tx.queue(queue)?.next_position;
    let (mut known, mut new) = (Vec::with_capacity(ids.len()), BTreeMap::new());
    for id in ids {
        let at = match (*id, new.get(id)) {
            (0, _) => None,
            (_, Some(position)) => Some(*position),
            (id, None) => find(tx, queue, id, &mut gone)?,
        };
        if tx.rows.touched() - begun > COMMAND_ROWS_MAX {
            let what = "rows in which a publish looks up the ids of its messages (publish fewer at once)";
            return Err(Refusal::LimitReached { what, limit: COMMAND_ROWS_MAX }.into());
        }
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
    if id.is_empty() { Ok(None) } else { find(tx, queue, id_of(id), &mut (0..0)) }
}

/// The position of the message with this id, if it is in the queue. `gone`: where the last one stood that is not, with all of its batch.
fn find<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    id: u128,
    gone: &mut Range<u64>,
) -> Result<Option<u64>, StoreError> {
    match row::get_u64(&tx.rows, &key::message_id(queue, id))? {
        Some(position) if !gone.contains(&position) && is_in_queue(tx, queue, position, gone)? => {
            Ok(Some(position))
        }
        _ => Ok(None),
    }
}

/// Whether some subscription is not done with a message. What was published together is mostly done together: if all of its batch is gone, that is noted, so that nobody goes
/// through the subscriptions for each of them.
fn is_in_queue<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    position: u64,
    gone: &mut Range<u64>,
) -> Result<bool, StoreError> {
    let chunk = chunk::at(&tx.rows, queue, position)?;
    let batch = chunk.map_or(position..position + 1, |chunk| chunk.first..chunk.end());
    let mut all_are_gone = true;
    for at in 0..tx.queue(queue)?.subs.len() {
        let sub = SubId { queue, sub: tx.queue(queue)?.subs[at] };
        let row = tx.sub(sub)?;
        let (cursor, in_runs) = (row.cursor, row.length(row.cursor));
        if position >= cursor {
            return Ok(true);
        }
        let last = if in_runs > 0 { runs::before(&tx.rows, sub, batch.end)? } else { None };
        let some_are_left = last.is_some_and(|run| run.end() > batch.start);
        if some_are_left && runs::at(&tx.rows, sub, position)?.is_some() {
            return Ok(true);
        }
        all_are_gone &= !some_are_left && cursor >= batch.end;
    }
    if all_are_gone {
        *gone = batch;
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
