//! Which producer sessions there are.

use super::ReadError;
use crate::limits::{PAGE_MAX, PRODUCER_NAME_BYTES_MAX};
use crate::names;
use crate::store::{Read, StoreError};
use crate::tables::row::{self, Producer};
use crate::tables::{Key, key};

/// A producer session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerInfo {
    /// Its name.
    pub name: String,
    /// Counts how often it was opened.
    pub epoch: u64,
    /// The last sequence number that it has published; 0 if none.
    pub last_seq: u64,
    /// The producer has the receipts up to here.
    pub acked_seq: u64,
    /// When it was used last, by replicated time.
    pub used_at_ms: u64,
    /// How long it is remembered without use, in milliseconds.
    pub ttl_ms: u64,
}

/// The producer sessions of a namespace whose names come after `after` (empty: from the first), in the order of their
/// names' bytes, at most `limit` (0 or more than 1000 mean 1000); and whether there are more. Refused if there is no such namespace.
pub fn producers(
    store: &impl Read,
    namespace: &str,
    after: &str,
    limit: u32,
) -> Result<(Vec<ProducerInfo>, bool), ReadError> {
    let namespace = names::namespace(namespace)?;
    let limit = if limit == 0 { PAGE_MAX } else { limit.min(PAGE_MAX) } as usize;
    let all = key::producer_names(namespace);
    let end = all.end();
    let mut from = super::behind(&all, after, PRODUCER_NAME_BYTES_MAX)?;
    let mut found = Vec::new();
    while let Some((row, value)) = store.first(&from, &end)? {
        if found.len() == limit {
            return Ok((found, true));
        }
        let unreadable = || StoreError("a producer's name cannot be read".into());
        let id = value[..].try_into().map(u64::from_be_bytes).map_err(|_| unreadable())?;
        let producer: Option<Producer> = row::get(store, &key::producer(id))?;
        let producer = producer.ok_or_else(|| StoreError(format!("producer {id} has a name and no row")))?;
        let Producer { name, epoch, last_seq, acked_seq, used_at_ms, ttl_ms, .. } = producer;
        found.push(ProducerInfo { name, epoch, last_seq, acked_seq, used_at_ms, ttl_ms });
        from = Key::read(&row)?.next();
    }
    Ok((found, false))
}
