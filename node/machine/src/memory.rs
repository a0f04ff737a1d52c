//! A store in memory: for tests, and for the simulator's models.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::store::{Read, Store, StoreError};

/// Rows in an ordered map. Two stores are equal if every row is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStore {
    rows: BTreeMap<Vec<u8>, Bytes>,
}

impl MemoryStore {
    /// A store without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// All rows, in the order of their keys.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], &Bytes)> {
        self.rows.iter().map(|(key, value)| (key.as_slice(), value))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn range(&self, from: &[u8], to: &[u8]) -> std::collections::btree_map::Range<'_, Vec<u8>, Bytes> {
        // BTreeMap panics on an inverted range; a store answers it with nothing.
        let to = to.max(from);
        self.rows.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
    }
}

/// Applies an entry. In a build for tests the machine on this store is compiled here once, and not again in every test that uses it.
#[cfg(debug_assertions)]
pub fn apply(
    store: &mut MemoryStore,
    entry: &Bytes,
    rows_max: u64,
) -> Result<crate::Applied, crate::ApplyError> {
    crate::apply_within(store, entry, rows_max)
}

/// Collects rows; of two with one key the last stays.
impl FromIterator<(Vec<u8>, Bytes)> for MemoryStore {
    fn from_iter<I: IntoIterator<Item = (Vec<u8>, Bytes)>>(rows: I) -> Self {
        Self { rows: rows.into_iter().collect() }
    }
}

fn owned((key, value): (&Vec<u8>, &Bytes)) -> (Bytes, Bytes) {
    (Bytes::copy_from_slice(key), value.clone())
}

impl Read for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.rows.get(key).cloned())
    }

    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        Ok(self.range(from, to).next().map(owned))
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        Ok(self.range(from, to).next_back().map(owned))
    }
}

impl Store for MemoryStore {
    fn put(&mut self, key: &[u8], value: Bytes) -> Result<(), StoreError> {
        match self.rows.get_mut(key) {
            Some(row) => *row = value,
            None => {
                self.rows.insert(key.to_vec(), value);
            }
        }
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.rows.remove(key);
        Ok(())
    }
}
