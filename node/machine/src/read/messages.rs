//! Reading a queue like a log: what it stores, from a position or a time on, whoever is done with it.

use bytes::Bytes;

use super::{ReadError, queue_row};
use crate::command::{Start, StartKind};
use crate::limits::PEEK_BYTES_MAX;
use crate::names;
use crate::ops::create_sub::at_time;
use crate::reply::Refusal;
use crate::store::Read;
use crate::tables::chunk;

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its position.
    pub position: u64,
    /// When it was published, by replicated time.
    pub published_at_ms: u64,
    /// The encoded [`crate::message::Message`].
    pub message: Bytes,
}

/// A page of stored messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In order of position. Positions in between are not stored any more.
    pub messages: Vec<Stored>,
    /// Where the page begins: the start that was asked for, as a position. What is missing from here to the first message is not stored
    /// any more.
    pub from: u64,
    /// Where to go on; at `end` there is nothing yet.
    pub next: u64,
    /// Of the next message that is published.
    pub end: u64,
}

/// The messages that a queue stores from a start on, at most `count` and [`PEEK_BYTES_MAX`] bytes, but for a single one that is
/// longer. A position below the first that is stored is no error: the page says where it begins. Refused if there is no such queue, or the
/// position is beyond the end.
pub fn messages(
    store: &impl Read,
    namespace: &str,
    queue: &str,
    start: &Start,
    count: u64,
) -> Result<Page, ReadError> {
    let id = names::queue(store, namespace, queue)?;
    let end = queue_row(store, id)?.next_position;
    let first = chunk::from(store, id, 0)?.map_or(end, |chunk| chunk.first);
    let from = match StartKind::try_from(start.kind) {
        Ok(StartKind::Unspecified | StartKind::Earliest) => first,
        Ok(StartKind::Latest) => end,
        Ok(StartKind::Position) => start.at.max(1),
        Ok(StartKind::Time) => at_time(store, id, start.at, first, end)?,
        Err(_) => {
            let problem = format!("{} is not known", start.kind);
            return Err(Refusal::Invalid { field: "start", problem }.into());
        }
    };
    if from > end {
        return Err(Refusal::OutOfRange { position: from, first, next: end }.into());
    }
    let (mut messages, mut at, mut bytes) = (Vec::new(), from, 0);
    while at < end && (messages.len() as u64) < count {
        let chunk = match chunk::at(store, id, at)? {
            Some(chunk) => chunk,
            None => match chunk::from(store, id, at)? {
                Some(chunk) => chunk,
                None => {
                    at = end;
                    break;
                }
            },
        };
        at = at.max(chunk.first);
        let body = chunk::body(store, id, &chunk)?;
        while at < chunk.end() && (messages.len() as u64) < count {
            let message = chunk.message(&body, at)?;
            if bytes + message.len() > PEEK_BYTES_MAX && !messages.is_empty() {
                return Ok(Page { messages, from, next: at, end });
            }
            bytes += message.len();
            let published_at_ms = chunk.published_at_ms();
            messages.push(Stored { position: at, published_at_ms, message });
            at += 1;
        }
    }
    Ok(Page { messages, from, next: at, end })
}
