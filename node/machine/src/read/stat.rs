//! How a subscription stands.

use quorate_simpoint::{Bug, planted};

use super::{ReadError, find, now_ms};
use crate::store::Read;
use crate::subs::leave::chunk_of;
use crate::subs::runs;

/// Exact counts of a subscription. `length` = `ready` + `leased` + `delayed` + `retrying` + `parked`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Messages that are not done.
    pub length: u64,
    /// Those that could be leased now.
    pub ready: u64,
    /// Those that a consumer holds.
    pub leased: u64,
    /// Those that are not due yet.
    pub delayed: u64,
    /// Those that wait for their backoff.
    pub retrying: u64,
    /// Those that are parked.
    pub parked: u64,
    /// Encoded size of the messages that are not done, in bytes.
    pub bytes: u64,
    /// The first position that is not done; 0 if there is none.
    pub first_position: u64,
    /// Of the last message ever published; 0 if there was none.
    pub last_position: u64,
    /// Age of the message at `first_position` by replicated time, in milliseconds.
    pub oldest_age_ms: u64,
    /// Attached consumers.
    pub consumers: u32,
    /// Messages that expired, since the subscription began.
    pub expired: u64,
    /// Messages that were discarded, since the subscription began.
    pub discarded: u64,
    /// Messages that were dropped because the queue was full or retained them no longer, since the subscription began.
    pub dropped: u64,
    /// Positions that a new or moved subscription has not looked at yet: not in the figures above.
    pub unseen: u64,
}

/// Counts a subscription; an empty name means `default`. Refused if it does not exist.
pub fn stat(store: &impl Read, namespace: &str, queue: &str, sub: &str) -> Result<Stat, ReadError> {
    let (id, queue, sub) = find(store, namespace, queue, sub)?;
    let seen_end = sub.seen_end(queue.next_position);
    let in_tail = seen_end - sub.cursor;
    let first_position = match runs::from(store, id, 0)? {
        Some(run) => run.first,
        None if in_tail > 0 => sub.cursor,
        None => 0,
    };
    let oldest_age_ms = match first_position {
        0 => 0,
        first => {
            let chunk = chunk_of(store, id.queue, first)?;
            now_ms(store)?.saturating_sub(chunk.published_at_ms())
        }
    };
    let ready = in_tail + sub.returned + sub.queued - sub.queued_parked;
    let parked = sub.parked + sub.queued_parked;
    let counted = if planted(Bug::LengthMiscounted) { 0 } else { sub.retrying };
    Ok(Stat {
        length: ready + sub.leased + sub.delayed + counted + parked,
        ready,
        leased: sub.leased,
        delayed: sub.delayed,
        retrying: sub.retrying,
        parked,
        bytes: queue.bytes_published - sub.bytes_done,
        first_position,
        last_position: queue.next_position - 1,
        oldest_age_ms,
        consumers: sub.consumers,
        expired: sub.expired,
        discarded: sub.discarded,
        dropped: sub.dropped,
        unseen: queue.next_position - seen_end,
    })
}
