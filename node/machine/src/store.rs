//! The ordered key-value store that the machine works on, as a trait.
//!
//! The machine keeps nothing in memory between two entries: everything it knows is in the store, so a
//! machine that is dropped and opened again on the same store goes on as if nothing had happened.

use bytes::Bytes;

/// A failed read or write of the store. The entry that met it was not applied, and the process must not go
/// on with this store: what it holds is no longer known.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the state store failed: {0}")]
pub struct StoreError(pub String);

/// Ordered reads. Keys are at most [`crate::limits::KEY_BYTES_MAX`] long and never empty.
pub trait Read {
    /// The value at `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The first row with `from <= key < to`.
    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError>;

    /// The last row with `from <= key < to`.
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError>;

    /// The last row below `to` that was [remembered](Read::remember), if no other can lie between. Who remembers nothing has none.
    fn recall(&self, _to: &[u8]) -> Option<(Bytes, Bytes)> {
        None
    }

    /// Takes note of a row that may be asked for again: for every bound above its key and up to `until` it is the last below it.
    fn remember(&self, _key: &Bytes, _value: &Bytes, _until: &[u8]) {}
}

/// Ordered writes; a write is visible to the reads after it.
pub trait Store: Read {
    /// Sets the value at `key`. The store may keep `value` itself: it must not pin more than the entry it
    /// came from.
    fn put(&mut self, key: &[u8], value: Bytes) -> Result<(), StoreError>;

    /// Removes `key`; nothing happens if it is absent.
    fn delete(&mut self, key: &[u8]) -> Result<(), StoreError>;
}
