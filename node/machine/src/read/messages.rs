//! Reading a queue like a log: what it stores, from a position or a time on, whoever is done with it.

use bytes::Bytes;

use super::{ReadError, queue_row};
use crate::command::{Start, StartKind};
use crate::limits::{PEEK_BYTES_MAX, PEEK_ROWS_MAX};
use crate::names;
use crate::ops::create_sub::at_time;
use crate::reply::Refusal;
use crate::store::{Read, StoreError};
use crate::subs::retain;
use crate::tables::QueueId;
use crate::tables::chunk::{self, Chunk};

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
    /// In order of position. A queue that retains the latest message of each key shows only those.
    pub messages: Vec<Stored>,
    /// The positions between `from` and `next` that are not stored any more, from the first of them to the one after the last, ascending. Those of
    /// messages that were superseded are not among them, as far as they can be told from those that left for their age, or the size or number of what came
    /// after them.
    pub missing: Vec<(u64, u64)>,
    /// Where the page begins: the start that was asked for, as a position.
    pub from: u64,
    /// Where to go on; at `end` there is nothing yet.
    pub next: u64,
    /// Of the next message that is published.
    pub end: u64,
}

/// The messages that a queue stores from a start on, at most `count` and [`PEEK_BYTES_MAX`] bytes, but for a single one that is
/// longer. A call looks at no more than [`PEEK_ROWS_MAX`] superseded messages, so it may return less than there is. A position below the first that is stored is
/// no error: the page says what is missing. Refused if there is no such queue, or the position is beyond the end.
pub fn messages(
    store: &impl Read,
    namespace: &str,
    queue: &str,
    start: &Start,
    count: u64,
) -> Result<Page, ReadError> {
    let id = names::queue(store, namespace, queue)?;
    let row = queue_row(store, id)?;
    let end = row.next_position;
    let first = chunk::from(store, id, 0)?.map_or(end, |chunk| chunk.first);
    let from = match StartKind::try_from(start.kind) {
        Ok(StartKind::Unspecified | StartKind::Earliest) => first,
        Ok(StartKind::Latest) => end,
        Ok(StartKind::Position) => start.at.max(1),
        Ok(StartKind::Time) => at_time(store, id, start.at, first, end)?,
        Err(_) => {
            let problem = format!("{} is not known", start.kind);
            return Err(Refusal::Invalid { field: "start", problem: problem.into() }.into());
        }
    };
    if from > end {
        return Err(Refusal::OutOfRange { position: from, first, next: end }.into());
    }
    // Where only the latest of each key are retained, what is gone was superseded, unless another bound took it.
    let missing_end = if row.settings.retain.latest_per_key { row.passed_to } else { u64::MAX };
    let page = Page { messages: Vec::new(), missing: Vec::new(), from, next: from, end };
    let mut filling = Filling { page, missing_end, count, bytes: 0, superseded: 0 };
    while filling.page.next < end && (filling.page.messages.len() as u64) < count {
        let at = filling.page.next;
        let chunk = chunk::at_or_after(store, id, at)?;
        filling.skip_to(chunk.as_ref().map_or(end, |chunk| chunk.first));
        if let Some(chunk) = chunk
            && !filling.add(store, id, &chunk)?
        {
            break;
        }
    }
    Ok(filling.page)
}

/// A page, and what it took.
struct Filling {
    page: Page,
    /// From here on nothing is missing.
    missing_end: u64,
    count: u64,
    bytes: usize,
    superseded: usize,
}

impl Filling {
    /// Nothing is stored up to a position.
    fn skip_to(&mut self, position: u64) {
        let (from, to) = (self.page.next, position.min(self.missing_end));
        if from < to {
            self.page.missing.push((from, to));
        }
        self.page.next = self.page.next.max(position);
    }

    /// Adds what is left of a chunk. False if not all of it fits.
    fn add(&mut self, store: &impl Read, id: QueueId, chunk: &Chunk) -> Result<bool, StoreError> {
        let mut body = None;
        while self.page.next < chunk.end() {
            let position = self.page.next;
            if retain::is_superseded(store, id, chunk, position)? {
                self.superseded += 1;
                if self.superseded > PEEK_ROWS_MAX {
                    return Ok(false);
                }
                self.page.next += 1;
                continue;
            }
            if self.page.messages.len() as u64 >= self.count {
                return Ok(false);
            }
            let body = match &body {
                Some(body) => body,
                None => body.insert(chunk::body(store, id, chunk)?),
            };
            let message = chunk.message(body, position)?;
            if self.bytes + message.len() > PEEK_BYTES_MAX && !self.page.messages.is_empty() {
                return Ok(false);
            }
            self.bytes += message.len();
            let published_at_ms = chunk.published_at_ms();
            self.page.messages.push(Stored { position, published_at_ms, message });
            self.page.next += 1;
        }
        Ok(true)
    }
}
