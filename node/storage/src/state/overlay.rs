//! Rows in memory, tombstones among them.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use bytes::Bytes;

use super::row::Value;

/// Values shorter than this are copied out of the entry that they came in: a row that stays would otherwise keep the
/// whole entry, which is up to some hundred times as big.
const COPY_BELOW: usize = 16 << 10;
/// About what the tree and two reference-counted buffers take beside the bytes.
const ROW_COST: u64 = 128;

/// An ordered set of changes.
#[derive(Default)]
pub(crate) struct Overlay {
    rows: BTreeMap<Bytes, Option<Value>>,
    cost: u64,
}

impl Overlay {
    /// About how much memory it takes, in bytes.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// What it says about `key`: nothing, removed, or a value.
    pub fn get(&self, key: &[u8]) -> Option<&Option<Value>> {
        self.rows.get(key)
    }

    /// Notes a change; the value is made independent of its entry if it is short.
    pub fn set(&mut self, key: &[u8], value: Option<Value>) {
        let value = value.map(independent);
        self.cost += cost(value.as_ref());
        if let Some(slot) = self.rows.get_mut(key) {
            self.cost -= cost(slot.as_ref());
            *slot = value;
        } else {
            self.cost += ROW_COST + key.len() as u64;
            self.rows.insert(Bytes::copy_from_slice(key), value);
        }
    }

    /// Says nothing about `key` any more.
    pub fn forget(&mut self, key: &[u8]) {
        if let Some(old) = self.rows.remove(key) {
            self.cost -= ROW_COST + key.len() as u64 + cost(old.as_ref());
        }
    }

    /// Puts the changes of `newer` over its own.
    pub fn absorb(&mut self, newer: Overlay) {
        if self.rows.is_empty() {
            *self = newer;
            return;
        }
        for (key, value) in newer.rows {
            self.cost += ROW_COST + key.len() as u64 + cost(value.as_ref());
            let key_bytes = key.len() as u64;
            if let Some(old) = self.rows.insert(key, value) {
                self.cost -= ROW_COST + key_bytes + cost(old.as_ref());
            }
        }
    }

    /// The changes with `from <= key < to`; the caller has seen to `from < to`.
    pub fn range(&self, from: &[u8], to: &[u8]) -> impl DoubleEndedIterator<Item = (&Bytes, &Option<Value>)> {
        self.rows.range::<[u8], _>((Included(from), Excluded(to)))
    }

    /// All changes in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Option<Value>)> {
        self.rows.iter()
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

fn cost(value: Option<&Value>) -> u64 {
    value.map_or(0, Value::cost)
}

fn independent(value: Value) -> Value {
    match value {
        Value::Inline(v) if v.len() < COPY_BELOW && !v.is_unique() => {
            Value::Inline(Bytes::copy_from_slice(&v))
        }
        value => value,
    }
}
