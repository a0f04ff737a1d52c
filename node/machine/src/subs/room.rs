//! The limits of a queue and of its subscriptions: exact, because they are applied here. The length of a queue is that of its longest subscription.

use super::leave::drop_part;
use super::look::end_tail;
use super::runs;
use crate::command::{OnFull, QueueSettings};
use crate::limits::DROP_MESSAGES_MAX;
use crate::names;
use crate::ops::Stop;
use crate::reply::Refusal;
use crate::store::{Store, StoreError};
use crate::tables::{QueueId, SubId};
use crate::tx::Tx;

/// Refuses messages of these lengths that do not fit into a queue or a subscription, or could not stay whatever is dropped for them.
pub(crate) fn check_room<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, lengths: &[u32]) -> Result<(), Stop> {
    if lengths.is_empty() || !is_limited(tx, queue)? {
        return Ok(());
    }
    let sizes = sizes(tx, queue)?;
    let longest = sizes.iter().map(|size| size.messages).max().unwrap_or(0);
    let biggest = sizes.iter().map(|size| size.bytes).max().unwrap_or(0);
    let QueueSettings { max_length, max_bytes, .. } = tx.queue(queue)?.settings;
    let lengths = lengths.iter().copied().map(u64::from);
    let (count, bytes) = (lengths.len() as u64, lengths.clone().sum::<u64>());
    let refused = |what, holds, more, limit| Err(Refusal::QueueFull { what, holds, more, limit }.into());
    if tx.queue(queue)?.settings.on_full() == OnFull::DropOldest {
        let largest = lengths.max().unwrap_or(0);
        if is_over(largest, max_bytes) {
            return refused("bytes", biggest, largest, max_bytes);
        }
    } else if is_over(longest + count, max_length) {
        return refused("messages", longest, count, max_length);
    } else if is_over(biggest + bytes, max_bytes) {
        return refused("bytes", biggest, bytes, max_bytes);
    }
    let lags = |size: &&Size| !size.drops && is_over(size.messages + count, size.max_lag);
    if !sizes.iter().any(|size| lags(&size)) {
        return Ok(());
    }
    for (subscription, id) in names::subs(&tx.rows, queue)? {
        if let Some(size) = sizes.iter().filter(lags).find(|size| size.id == id) {
            let (holds, limit) = (size.messages, size.max_lag);
            return Err(Refusal::LagReached { subscription, holds, more: count, limit }.into());
        }
    }
    Ok(())
}

/// Drops the oldest of what each subscription has too much of since messages were published.
pub(crate) fn make_room<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId) -> Result<(), StoreError> {
    if !is_limited(tx, queue)? {
        return Ok(());
    }
    let settings = tx.queue(queue)?.settings;
    let (max_length, max_bytes) = match settings.on_full() {
        OnFull::DropOldest => (settings.max_length, settings.max_bytes),
        OnFull::Reject | OnFull::Unspecified => (0, 0),
    };
    let over = |holds: u64, limit: u64| if limit == 0 { 0 } else { holds.saturating_sub(limit) };
    for size in sizes(tx, queue)? {
        let lag = if size.drops { over(size.messages, size.max_lag) } else { 0 };
        drop_oldest(tx, size.id, over(size.messages, max_length).max(lag), over(size.bytes, max_bytes))?;
    }
    Ok(())
}

fn is_over(sum: u64, limit: u64) -> bool {
    limit != 0 && sum > limit
}

/// Whether a queue or one of its subscriptions has a limit.
fn is_limited<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId) -> Result<bool, StoreError> {
    let row = tx.queue(queue)?;
    let (limited, subs) = (row.settings.max_length != 0 || row.settings.max_bytes != 0, row.subs.len());
    for at in 0..subs {
        let sub = SubId { queue, sub: tx.queue(queue)?.subs[at] };
        if limited || tx.sub(sub)?.settings.max_lag != 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How much a subscription has, and how much it may have.
struct Size {
    id: SubId,
    messages: u64,
    bytes: u64,
    max_lag: u64,
    drops: bool,
}

fn sizes<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId) -> Result<Vec<Size>, StoreError> {
    let row = tx.queue(queue)?;
    let (tail, published) = (row.next_position, row.bytes_published);
    let ids = row.subs.clone().into_iter().map(|sub| SubId { queue, sub });
    ids.map(|id| {
        let sub = tx.sub(id)?;
        Ok(Size {
            id,
            messages: sub.length(tail),
            bytes: published.saturating_sub(sub.bytes_done),
            max_lag: sub.settings.max_lag,
            drops: sub.settings.on_lag() == OnFull::DropOldest,
        })
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
        drop_part(tx, id, &run, run.first, to)?;
        let dropped = to - run.first;
        messages = messages.saturating_sub(dropped);
        bytes = bytes.saturating_sub(tx.sub(id)?.bytes_done - before);
        left -= dropped;
    }
    Ok(())
}
