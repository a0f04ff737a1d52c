//! Rows in memory, tombstones among them.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

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
    in_log: u64,
}

impl Overlay {
    /// About how much memory it takes, in bytes.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Length of the bodies that its rows have in the log.
    pub fn in_log(&self) -> u64 {
        self.in_log
    }

    /// What it says about `key`: nothing, removed, or a value.
    pub fn get(&self, key: &[u8]) -> Option<&Option<Value>> {
        self.rows.get(key)
    }

    /// Notes a change; the value is made independent of its entry if it is short.
    pub fn set(&mut self, key: &[u8], value: Option<Value>) {
        let value = value.map(independent);
        self.add(key.len(), value.as_ref());
        if let Some(slot) = self.rows.get_mut(key) {
            let old = std::mem::replace(slot, value);
            self.subtract(key.len(), old.as_ref());
        } else {
            self.rows.insert(Bytes::copy_from_slice(key), value);
        }
    }

    /// Says nothing about `key` any more.
    pub fn forget(&mut self, key: &[u8]) {
        if let Some(old) = self.rows.remove(key) {
            self.subtract(key.len(), old.as_ref());
        }
    }

    /// Puts the changes of `newer` over its own.
    pub fn absorb(&mut self, newer: Overlay) {
        if self.rows.is_empty() {
            *self = newer;
            return;
        }
        for (key, value) in newer.rows {
            let key_bytes = key.len();
            self.add(key_bytes, value.as_ref());
            if let Some(old) = self.rows.insert(key, value) {
                self.subtract(key_bytes, old.as_ref());
            }
        }
    }

    /// The changes from `key` on, ascending. The tree is searched once: a second bound would cost as much again.
    pub fn from(&self, key: &[u8]) -> impl Iterator<Item = (&Bytes, &Option<Value>)> {
        self.rows.range::<[u8], _>((Included(key), Unbounded))
    }

    /// The changes below `key`, descending.
    pub fn below(&self, key: &[u8]) -> impl Iterator<Item = (&Bytes, &Option<Value>)> {
        self.rows.range::<[u8], _>((Unbounded, Excluded(key))).rev()
    }

    /// All changes in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Option<Value>)> {
        self.rows.iter()
    }

    fn add(&mut self, key_bytes: usize, value: Option<&Value>) {
        let (cost, in_log) = figures(key_bytes, value);
        self.cost += cost;
        self.in_log += in_log;
    }

    fn subtract(&mut self, key_bytes: usize, value: Option<&Value>) {
        let (cost, in_log) = figures(key_bytes, value);
        self.cost -= cost;
        self.in_log -= in_log;
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// What a row takes in memory, and how much it has in the log, in bytes.
fn figures(key_bytes: usize, value: Option<&Value>) -> (u64, u64) {
    let (inline, in_log) = match value {
        None => (0, 0),
        Some(Value::Inline(bytes)) => (bytes.len() as u64, 0),
        Some(Value::InLog(place)) => (0, u64::from(place.len)),
    };
    (ROW_COST + key_bytes as u64 + inline, in_log)
}

fn independent(value: Value) -> Value {
    match value {
        Value::Inline(v) if v.len() < COPY_BELOW && !v.is_unique() => {
            Value::Inline(Bytes::copy_from_slice(&v))
        }
        value => value,
    }
}
