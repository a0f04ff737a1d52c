//! The messages of a lease, for whoever sends them out.

use bytes::Bytes;

use crate::effect::Lease;
use crate::store::{Read, StoreError};
use crate::tables::{QueueId, chunk};

/// One leased message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Its position.
    pub position: u64,
    /// The token of its lease.
    pub token: u64,
    /// When it was published, by replicated time.
    pub published_at_ms: u64,
    /// The encoded [`crate::message::Message`]: a slice of its chunk's row.
    pub message: Bytes,
}

/// The messages of a lease, in order. Leaves out those that are gone meanwhile; does not ask whether the lease is
/// current. Each chunk is read once. Fails like the store.
pub fn lease_messages(store: &impl Read, lease: &Lease) -> Result<Vec<Leased>, StoreError> {
    Ok(lease_part(store, lease, usize::MAX)?.0)
}

/// Like [`lease_messages`], but stops when the messages have `bytes_max` bytes; one message may have more. Also
/// returns how many messages of the lease were looked at: the next part begins after them.
pub fn lease_part(
    store: &impl Read,
    lease: &Lease,
    bytes_max: usize,
) -> Result<(Vec<Leased>, u32), StoreError> {
    let id = QueueId { namespace: lease.namespace, queue: lease.queue };
    let end = lease.first_position.saturating_add(lease.count.into());
    let mut messages = Vec::new();
    let (mut at, mut bytes) = (lease.first_position, 0);
    let mut next = chunk::at(store, id, at)?;
    while at < end {
        let chunk = match next.take() {
            Some(chunk) => chunk,
            None => match chunk::from(store, id, at)? {
                Some(chunk) if chunk.first < end => chunk,
                _ => break,
            },
        };
        let body = chunk::body(store, id, &chunk)?;
        let stop = chunk.end().min(end);
        for position in at.max(chunk.first)..stop {
            if bytes >= bytes_max && !messages.is_empty() {
                // At most the lease's count.
                return Ok((messages, (position - lease.first_position) as u32));
            }
            let message = chunk.message(&body, position)?;
            bytes += message.len();
            let token = lease.first_token.saturating_add(position - lease.first_position);
            messages.push(Leased { position, token, published_at_ms: chunk.published_at_ms(), message });
        }
        at = stop;
    }
    Ok((messages, lease.count))
}
