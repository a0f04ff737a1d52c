//! The limits of a queue: exact, because they are applied here. The length of a queue is that of its longest subscription.

use super::leave::{Why, let_go};
use super::look::end_tail;
use super::runs::{self, State};
use crate::command::{OnFull, QueueSettings};
use crate::effect::Effect;
use crate::limits::DROP_MESSAGES_MAX;
use crate::ops::Stop;
use crate::reply::Refusal;
use crate::store::{Store, StoreError};
use crate::tables::{QueueId, SubId};
use crate::tx::Tx;

/// Refuses messages of these lengths that do not fit into a queue, or could not stay in it whatever is dropped for them.
pub(crate) fn check_room<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, lengths: &[u32]) -> Result<(), Stop> {
    let QueueSettings { max_length, max_bytes, .. } = tx.queue(queue)?.settings;
    let drops = tx.queue(queue)?.settings.on_full() == OnFull::DropOldest;
    if max_length == 0 && max_bytes == 0 || lengths.is_empty() {
        return Ok(());
    }
    let (mut longest, mut biggest) = (0, 0);
    for (_, length, bytes) in sizes(tx, queue)? {
        (longest, biggest) = (longest.max(length), biggest.max(bytes));
    }
    let lengths = lengths.iter().copied().map(u64::from);
    let (count, bytes) = (lengths.len() as u64, lengths.clone().sum::<u64>());
    let refused = |what, holds, more, limit| Err(Refusal::QueueFull { what, holds, more, limit }.into());
    if drops {
        let largest = lengths.max().unwrap_or(0);
        return match max_bytes {
            1.. if largest > max_bytes => refused("bytes", biggest, largest, max_bytes),
            _ => Ok(()),
        };
    }
    if max_length != 0 && longest + count > max_length {
        return refused("messages", longest, count, max_length);
    }
    if max_bytes != 0 && biggest + bytes > max_bytes {
        return refused("bytes", biggest, bytes, max_bytes);
    }
    Ok(())
}

/// Drops the oldest of what each subscription has too much of since messages were published.
pub(crate) fn make_room<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId) -> Result<(), StoreError> {
    let settings = tx.queue(queue)?.settings;
    let QueueSettings { max_length, max_bytes, .. } = settings;
    if settings.on_full() != OnFull::DropOldest || max_length == 0 && max_bytes == 0 {
        return Ok(());
    }
    let over = |holds: u64, limit: u64| if limit == 0 { 0 } else { holds.saturating_sub(limit) };
    for (id, length, bytes) in sizes(tx, queue)? {
        drop_oldest(tx, id, over(length, max_length), over(bytes, max_bytes))?;
    }
    Ok(())
}

/// How many messages, and of how many bytes, each subscription of a queue has.
fn sizes<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId) -> Result<Vec<(SubId, u64, u64)>, StoreError> {
    let row = tx.queue(queue)?;
    let (tail, published) = (row.next_position, row.bytes_published);
    let ids = row.subs.clone().into_iter().map(|sub| SubId { queue, sub });
    ids.map(|id| {
        let sub = tx.sub(id)?;
        Ok((id, sub.length(tail), published.saturating_sub(sub.bytes_done)))
    })
    .collect()
}

/// Drops the oldest messages until so many, of so many bytes, are gone, or as many as one entry may drop.
fn drop_oldest<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    mut messages: u64,
    mut bytes: u64,
) -> Result<(), StoreError> {
    let mut left = DROP_MESSAGES_MAX;
    while (messages > 0 || bytes > 0) && left > 0 {
        let before = tx.sub(id)?.bytes_done;
        let most = if bytes > 0 { 1 } else { messages.min(left) };
        let run = match runs::from(&tx.rows, id, 0)? {
            Some(run) => run,
            None => {
                let tail = tx.queue(id.queue)?.next_position;
                let sub = tx.sub(id)?;
                let first = sub.cursor;
                let end = sub.seen_end(tail).min(first + most);
                if first >= end {
                    return Ok(()); // the rest is not looked at yet
                }
                end_tail(tx, id, end)?;
                continue;
            }
        };
        let to = run.end().min(run.first + most);
        if let (State::Leased { .. }, Some((consumer, lease))) =
            (run.state, run.part(run.first, to).lease(id))
        {
            tx.effects.push(Effect::Revoked { consumer, lease });
        }
        let_go(tx, id, &run, to, Why::Dropped)?;
        tx.touch(id);
        let dropped = to - run.first;
        messages = messages.saturating_sub(dropped);
        bytes = bytes.saturating_sub(tx.sub(id)?.bytes_done - before);
        left -= dropped;
    }
    Ok(())
}
