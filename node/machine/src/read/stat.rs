//! How a subscription stands.

use quorate_simpoint::{Bug, planted};

use super::{ReadError, find, now_ms};
use crate::runs;
use crate::store::{Read, StoreError};
use crate::tables::chunk;

/// Exact counts of a subscription. `length` = `ready` + `leased` + `delayed` + `retrying` + `parked`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Messages that are not done.
    pub length: u64,
    /// Those that could be leased now.
    pub ready: u64,
    /// Those that a consumer holds.
    pub leased: u64,
    /// Those that are not due yet; always 0, there is no `deliver_at` yet.
    pub delayed: u64,
    /// Those that wait for their backoff.
    pub retrying: u64,
    /// Those that are parked; always 0, nothing parks yet.
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
}

/// Counts a subscription; an empty name means `default`. Refused if it does not exist.
pub fn stat(store: &impl Read, namespace: &str, queue: &str, sub: &str) -> Result<Stat, ReadError> {
    let (id, queue, sub) = find(store, namespace, queue, sub)?;
    let never_leased = queue.next_position - sub.cursor;
    let first_position = match runs::from(store, id, 0)? {
        Some(run) => run.first,
        None if never_leased > 0 => sub.cursor,
        None => 0,
    };
    let oldest_age_ms = match first_position {
        0 => 0,
        first => {
            let chunk = chunk::at(store, id.queue, first)?;
            let chunk =
                chunk.ok_or_else(|| StoreError(format!("the chunk of position {first} is missing")))?;
            now_ms(store)?.saturating_sub(chunk.published_at_ms())
        }
    };
    let ready = never_leased + sub.returned;
    let counted = if planted(Bug::LengthMiscounted) { 0 } else { sub.retrying };
    Ok(Stat {
        length: ready + sub.leased + counted,
        ready,
        leased: sub.leased,
        retrying: sub.retrying,
        bytes: queue.bytes_published - sub.bytes_done,
        first_position,
        last_position: queue.next_position - 1,
        oldest_age_ms,
        consumers: sub.consumers,
        ..Stat::default()
    })
}
