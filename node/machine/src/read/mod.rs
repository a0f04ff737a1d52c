//! Questions to the state (P7): exact, and never a scan of a backlog. They see what the store holds, so whoever asks
//! chooses a store that is recent enough.

mod consumers;
mod explain;
mod held;
mod leases;
mod messages;
mod peek;
mod producers;
mod queues;
mod stat;
mod state;

pub use consumers::{ConsumerInfo, consumers};
pub use explain::{Obstacle, explain};
pub use held::{Held, held};
pub use leases::{Leased, lease_messages, lease_part};
pub use messages::{Page, Stored, messages};
pub use peek::{Failure, Peeked, State, peek};
pub use producers::{ProducerInfo, producers};
pub use queues::{QueueInfo, SubInfo, queue, queues, subs};
pub use stat::{Stat, stat};
pub use state::{StateEntry, state, state_keys};

use crate::names;
use crate::ops::Stop;
use crate::reply::{Problem, Refusal};
use crate::store::{Read, StoreError};
use crate::tables::row::{self, Consumer, Queue, Sub};
use crate::tables::{Key, QueueId, SubId, key};

/// Why a question has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// It asks for what is not there, or out of range.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Stop> for ReadError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Refused(refusal) => Self::Refused(refusal),
            Stop::Store(error) => Self::Store(error),
        }
    }
}

/// Replicated time, in milliseconds since 1970; 0 before the first entry. Fails like the store.
pub fn now_ms(store: &impl Read) -> Result<u64, StoreError> {
    row::now_ms(store)
}

/// The digest of the state (P10), as [`crate::apply`] keeps it up; zeros before the first entry. Fails like the store.
pub fn digest(store: &impl Read) -> Result<[u8; 16], StoreError> {
    Ok(crate::digest::stored(store)?.to_be_bytes())
}

/// The version that leaders may write: see [`crate::versions`]. Fails like the store.
pub fn active_version(store: &impl Read) -> Result<u32, StoreError> {
    crate::versions::active(store)
}

/// When the next tick has something to do, by replicated time in milliseconds: see
/// [`crate::Applied::next_deadline_ms`]. Fails like the store.
pub fn next_deadline(store: &impl Read) -> Result<Option<u64>, StoreError> {
    crate::apply::next_deadline_ms(store)
}

/// Where a listing goes on behind a name: at the first if it is empty.
fn behind(all: &Key, after: &str, bytes_max: usize) -> Result<Key, Refusal> {
    let problem = || Problem::Over { found: after.len() as u64, limit: bytes_max as u64, unit: "bytes" };
    let invalid = || Refusal::Invalid { field: "after", problem: problem() };
    if after.is_empty() {
        return Ok(all.clone());
    }
    let last = if after.len() <= bytes_max { all.then(after) } else { None };
    Ok(last.ok_or_else(invalid)?.next())
}

fn queue_row(store: &impl Read, id: QueueId) -> Result<Queue, StoreError> {
    row::get(store, &key::queue(id))?.ok_or_else(|| StoreError(format!("{id:?} has no row")))
}

fn sub_row(store: &impl Read, id: SubId) -> Result<Sub, StoreError> {
    row::get(store, &key::sub(id))?.ok_or_else(|| StoreError(format!("{id:?} has no row")))
}

/// The subscription of a consumer, as it is numbered now; none if it was deleted, and the consumer is about to end.
pub(crate) fn place(store: &impl Read, consumer: &Consumer) -> Result<Option<SubId>, StoreError> {
    let (sub, seat) = (consumer.sub_id(), consumer.seat_id());
    if store.get(&key::sub(sub))?.is_some() {
        return Ok(Some(sub));
    }
    let queue: Option<Queue> = row::get(store, &key::queue(sub.queue))?;
    Ok(queue.and_then(|queue| queue.seated(seat.sub)).map(|sub| SubId { sub, ..seat }))
}

fn find(
    store: &impl Read,
    namespace: &str,
    queue: &str,
    sub: &str,
) -> Result<(SubId, Queue, Sub), ReadError> {
    let id = names::queue(store, namespace, queue)?;
    let sub = names::sub(store, id, sub)?;
    Ok((sub, queue_row(store, id)?, sub_row(store, sub)?))
}
