//! The limits of a queue and of its subscriptions: exact, because they are applied here. The length of a queue is that of its longest subscription.

use super::leave::drop_part;
use super::look::end_tail;
use super::runs;
use crate::command::{OnFull, QueueSettings};
use crate::names;
use crate::ops::Stop;
use crate::reply::Refusal;
use crate::store::{Store, StoreError};
use crate::tables::row::{Queue, Sub};
use crate::tables::{QueueId, SubId};
use crate::tx::Tx;
use crate::work::Kind;

/// Refuses messages of these lengths that do not fit into a queue or a subscription, or could not stay whatever is dropped for them.
pub(crate) fn check_room<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, lengths: &[u32]) -> Result<(), Stop> {
    if lengths.is_empty() || !is_limited(tx, queue)? {
        return Ok(());
    }
    let sizes = sizes(tx, queue)?;
    let settings = tx.queue(queue)?.settings;
    match judge(&settings, &sizes, lengths, || names::subs(&tx.rows, queue))? {
        Some(refusal) => Err(refusal.into()),
        None => Ok(()),
    }
}

/// The same of rows that were read: why messages would be refused. The first subscription that lags too far is named, of those that `names` tells.
pub(crate) fn refusal_of(
    queue: &Queue,
    subs: &[(SubId, Sub)],
    lengths: &[u32],
    names: impl FnOnce() -> Result<Vec<(String, SubId)>, StoreError>,
) -> Result<Option<Refusal>, StoreError> {
    let size = |(id, sub): &(SubId, Sub)| Size::of(*id, sub, queue.next_position, queue.bytes_published);
    let sizes: Vec<Size> = subs.iter().map(size).collect();
    judge(&queue.settings, &sizes, lengths, names)
}

fn judge(
    settings: &QueueSettings,
    sizes: &[Size],
    lengths: &[u32],
    names: impl FnOnce() -> Result<Vec<(String, SubId)>, StoreError>,
) -> Result<Option<Refusal>, StoreError> {
    let longest = sizes.iter().map(|size| size.messages).max().unwrap_or(0);
    let biggest = sizes.iter().map(|size| size.bytes).max().unwrap_or(0);
    let QueueSettings { max_length, max_bytes, .. } = *settings;
    let lengths = lengths.iter().copied().map(u64::from);
    let (count, bytes) = (lengths.len() as u64, lengths.clone().sum::<u64>());
    let refused = |what, holds, more, limit| Ok(Some(Refusal::QueueFull { what, holds, more, limit }));
    if settings.on_full() == OnFull::DropOldest {
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
        return Ok(None);
    }
    for (subscription, id) in names()? {
        if let Some(size) = sizes.iter().filter(lags).find(|size| size.id == id) {
            let (holds, limit) = (size.messages, size.max_lag);
            return Ok(Some(Refusal::LagReached { subscription, holds, more: count, limit }));
        }
    }
    Ok(None)
}

/// Drops the oldest of what each subscription has too much of since these messages were published.
pub(crate) fn make_room<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    (published, bytes): (u64, u64),
) -> Result<(), StoreError> {
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
        let too_much = (over(size.messages, max_length).max(lag), over(size.bytes, max_bytes));
        drop_oldest(tx, size.id, too_much, (published, bytes))?;
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

impl Size {
    fn of(id: SubId, sub: &Sub, tail: u64, published: u64) -> Self {
        Self {
            id,
            messages: sub.length(tail),
            bytes: published.saturating_sub(sub.bytes_done),
            max_lag: sub.settings.max_lag,
            drops: sub.settings.on_lag() == OnFull::DropOldest,
        }
    }
}

fn sizes<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId) -> Result<Vec<Size>, StoreError> {
    let row = tx.queue(queue)?;
    let (tail, published) = (row.next_position, row.bytes_published);
    let ids = row.subs.clone().into_iter().map(|sub| SubId { queue, sub });
    ids.map(|id| Ok(Size::of(id, tx.sub(id)?, tail, published))).collect()
}

/// Drops the oldest messages until so many, of so many bytes, are gone. When the entry is full it stops, but not before it has dropped as
/// many as were published: what is too much never grows.
fn drop_oldest<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    (mut messages, mut bytes): (u64, u64),
    published: (u64, u64),
) -> Result<(), StoreError> {
    let (mut dropped, mut dropped_bytes) = (0, 0);
    while messages > 0 || bytes > 0 {
        if dropped >= published.0 && dropped_bytes >= published.1 && tx.is_full() {
            tx.did(Kind::Dropped, id, 0, dropped);
            return Ok(());
        }
        let before = tx.sub(id)?.bytes_done;
        let most = if bytes > 0 { 1 } else { messages.min(super::room(tx, id)?.max(published.0)) };
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
        let done = tx.sub(id)?.bytes_done - before;
        messages = messages.saturating_sub(to - run.first);
        bytes = bytes.saturating_sub(done);
        dropped += to - run.first;
        dropped_bytes += done;
    }
    Ok(())
}
