//! Looking at messages without leasing them.

use bytes::Bytes;

use super::{ReadError, find};
use crate::limits::{PAGE_MAX, PEEK_BYTES_MAX, PEEK_ROWS_MAX};
use crate::store::{Read, StoreError};
use crate::subs::lanes;
use crate::subs::runs::{self, Run};
use crate::tables::chunk::{self, Chunk};
use crate::tables::row::{self, Failures, Lane, Sub};
use crate::tables::{SubId, key};

const COUNT_DEFAULT: u32 = 20;

/// Where a message stands in a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It could be leased now.
    Ready,
    /// A consumer holds it.
    Leased,
    /// It is not due yet.
    Delayed,
    /// It waits for its backoff.
    Retrying,
    /// It is parked.
    Parked,
    /// It is done, but its bytes are still there.
    Done,
}

/// A message that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// Its position.
    pub position: u64,
    /// Where it stands.
    pub state: State,
    /// Failures so far, plus one; 0 if it is done, since that is not kept.
    pub attempt: u32,
    /// When it was published, by replicated time.
    pub published_at_ms: u64,
    /// Token of its current lease; 0 if not leased.
    pub token: u64,
    /// When its lease ends, it is due, or it is ready again, by replicated time; 0 if none of them.
    pub due_at_ms: u64,
    /// Its last failures that left a reason, oldest first.
    pub failures: Vec<Failure>,
    /// The encoded [`crate::message::Message`].
    pub message: Bytes,
}

/// Why a message failed once.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Failure {
    /// When, by replicated time.
    #[prost(uint64, tag = "1")]
    pub time_ms: u64,
    /// Which attempt it was.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    /// As its consumer said.
    #[prost(string, tag = "3")]
    pub reason: String,
}

/// Consecutive positions that share a state.
struct Stretch {
    first: u64,
    end: u64,
    run: Option<Run>,
    state: State,
}

/// Messages from position `from` on (0: from the oldest), at most `count` (0 means 20, more than 1000 mean 1000), of one
/// state, or all that are not done. Also returns where to go on, 0 at the end of the queue: a call looks at no more than
/// [`PEEK_ROWS_MAX`] rows and [`PEEK_BYTES_MAX`] bytes, so it may return less than there is. Refused if there is no such subscription.
pub fn peek(
    store: &impl Read,
    namespace: &str,
    queue: &str,
    sub: &str,
    from: u64,
    count: u32,
    state: Option<State>,
) -> Result<(Vec<Peeked>, u64), ReadError> {
    let (id, queue, sub) = find(store, namespace, queue, sub)?;
    let count = if count == 0 { COUNT_DEFAULT } else { count.min(PAGE_MAX) } as usize;
    let tail = sub.seen_end(queue.next_position);
    let mut page = Page { id, found: Vec::new(), count, bytes: 0, rows: 0, chunk: None };
    let mut at = from.max(1);
    while at < tail {
        if page.rows >= PEEK_ROWS_MAX {
            return Ok((page.found, at));
        }
        let stretch = stretch(store, id, &sub, at, tail)?;
        page.rows += 1;
        if state.map_or(stretch.state != State::Done, |state| state == stretch.state)
            && let Some(stopped_at) = page.add(store, &stretch)?
        {
            return Ok((page.found, stopped_at));
        }
        at = stretch.end;
    }
    Ok((page.found, 0))
}

/// The longest stretch of one state that begins at `at`, which is below `tail`.
fn stretch(store: &impl Read, id: SubId, sub: &Sub, at: u64, tail: u64) -> Result<Stretch, StoreError> {
    if at >= sub.cursor {
        return Ok(Stretch { first: at, end: tail, run: None, state: State::Ready });
    }
    let covering = runs::before(store, id, at.saturating_add(1))?.filter(|run| run.end() > at);
    if let Some(run) = covering {
        // Messages that wait in one run may be of keys of which some are parked.
        let singly = run.state == runs::State::Waiting && sub.queued_parked > 0;
        let state = match run.state {
            runs::State::Leased { .. } => State::Leased,
            runs::State::Waiting if singly && is_key_parked(store, id, at)? => State::Parked,
            runs::State::Ready | runs::State::Waiting => State::Ready,
            runs::State::Retrying { .. } => State::Retrying,
            runs::State::Delayed { .. } => State::Delayed,
            runs::State::Parked | runs::State::Blocked => State::Parked,
        };
        let end = if singly { at + 1 } else { run.end() };
        return Ok(Stretch { first: at, end, run: Some(run), state });
    }
    let end = runs::from(store, id, at)?.map_or(sub.cursor, |run| run.first);
    Ok(Stretch { first: at, end, run: None, state: State::Done })
}

fn is_key_parked(store: &impl Read, id: SubId, position: u64) -> Result<bool, StoreError> {
    let lane = lanes::lane_at(store, id.queue, position)?;
    let row: Option<Lane> = row::get(store, &key::lane(id, lane))?;
    Ok(row.is_some_and(|row| row.parked))
}

/// What was found, and what it took.
struct Page {
    id: SubId,
    found: Vec<Peeked>,
    count: usize,
    bytes: usize,
    rows: usize,
    /// The chunk looked at last, with its body.
    chunk: Option<(Chunk, Bytes)>,
}

impl Page {
    /// Adds the messages of a stretch. Returns the position that did not fit any more.
    fn add(&mut self, store: &impl Read, stretch: &Stretch) -> Result<Option<u64>, StoreError> {
        let mut at = stretch.first;
        while at < stretch.end {
            if !self.load(store, at)? {
                // Done in every subscription: what is there begins later.
                at = chunk::from(store, self.id.queue, at)?.map_or(stretch.end, |chunk| chunk.first);
                continue;
            }
            let Some((chunk, body)) = &self.chunk else { break };
            let message = chunk.message(body, at)?;
            let first = self.found.is_empty();
            let full = self.found.len() == self.count || self.rows >= PEEK_ROWS_MAX;
            if !first && (full || self.bytes + message.len() > PEEK_BYTES_MAX) {
                return Ok(Some(at));
            }
            self.bytes += message.len();
            let published_at_ms = chunk.published_at_ms();
            self.found.push(peeked(store, self.id, stretch, at, published_at_ms, message)?);
            at += 1;
        }
        Ok(None)
    }

    /// Makes the chunk of a position the current one; false if it is gone.
    fn load(&mut self, store: &impl Read, position: u64) -> Result<bool, StoreError> {
        if self.chunk.as_ref().is_some_and(|(chunk, _)| (chunk.first..chunk.end()).contains(&position)) {
            return Ok(true);
        }
        self.rows += 1;
        let Some(chunk) = chunk::at(store, self.id.queue, position)? else { return Ok(false) };
        let body = chunk::body(store, self.id.queue, &chunk)?;
        self.chunk = Some((chunk, body));
        Ok(true)
    }
}

fn peeked(
    store: &impl Read,
    id: SubId,
    stretch: &Stretch,
    position: u64,
    published_at_ms: u64,
    message: Bytes,
) -> Result<Peeked, StoreError> {
    let (attempt, token, due_at_ms) = match (&stretch.run, stretch.state) {
        (_, State::Done) => (0, 0, 0),
        (None, _) => (1, 0, 0),
        (Some(run), _) => match run.state {
            runs::State::Leased { first_token, deadline_ms, .. } => {
                (run.attempt, first_token + (position - run.first), deadline_ms)
            }
            runs::State::Retrying { at_ms } | runs::State::Delayed { at_ms } => (run.attempt, 0, at_ms),
            _ => (run.attempt, 0, 0),
        },
    };
    let noted = stretch.run.is_some_and(|run| run.noted);
    let failures: Option<Failures> =
        if noted { row::get(store, &key::failures(id, position))? } else { None };
    let failures = failures.unwrap_or_default().failures;
    Ok(Peeked {
        position,
        state: stretch.state,
        attempt,
        published_at_ms,
        token,
        due_at_ms,
        failures,
        message,
    })
}
