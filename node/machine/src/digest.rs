//! The digest of the whole state (P10), kept up as rows change and never by a scan.
//!
//! It is the sum, wrapping at 2^128, of the xxh3-128 of every row: a sum does not depend on the order in which
//! rows were written, and a row is taken out by subtracting it. Left out are the digest's own row, and the bodies:
//! hashing them a second time would cost as much as storing them, and each chunk row holds its body's hash.

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use twox_hash::XxHash3_128;

use crate::limits::LONG_ROW_BYTES;
use crate::store::{Read, Store, StoreError};
use crate::tables::{Key, Table, key};

/// A store that keeps the digest while rows change, and counts how many are touched. [`Digested::finish`] writes it.
pub(crate) struct Digested<'a, S> {
    store: &'a mut S,
    sum: u128,
    scratch: Vec<u8>,
    touched: Cell<u64>,
    /// The chunk that was asked for last: long, and asked for message by message.
    memo: RefCell<Option<Memo>>,
    undo: Option<Undo>,
}

/// See [`Read::remember`].
struct Memo {
    key: Bytes,
    value: Bytes,
    until: Vec<u8>,
}

/// How it was before what may be taken back.
struct Undo {
    sum: u128,
    /// What was written since, in order, with what was there before.
    rows: Vec<(Key, Option<Bytes>)>,
}

impl<'a, S: Store> Digested<'a, S> {
    pub(crate) fn open(store: &'a mut S) -> Result<Self, StoreError> {
        let sum = stored(store)?;
        Ok(Self {
            store,
            sum,
            scratch: Vec::new(),
            touched: Cell::new(0),
            memo: RefCell::new(None),
            undo: None,
        })
    }

    /// Rows read and written so far, a long one for several.
    pub(crate) fn touched(&self) -> u64 {
        self.touched.get()
    }

    /// Counts work that touches no row as if it touched so many.
    pub(crate) fn work(&self, rows: u64) {
        self.touched.set(self.touched.get() + rows);
    }

    /// A row is about to change: it is not remembered, and neither is what was the last before it.
    fn forget(&self, key: &[u8]) {
        if key.first() == Some(&(Table::Chunk as u8)) {
            *self.memo.borrow_mut() = None;
        }
    }

    fn touch(&self, bytes: usize) {
        self.touched.set(self.touched.get() + 1 + (bytes / LONG_ROW_BYTES) as u64);
    }

    /// Sets a row whose former value is not at hand.
    pub(crate) fn put(&mut self, key: &Key, value: Bytes) -> Result<(), StoreError> {
        let old = self.get(key)?;
        self.replace(key, old.as_deref(), value)
    }

    /// Sets a row whose former value the caller read: saves reading it again.
    pub(crate) fn replace(&mut self, key: &Key, old: Option<&[u8]>, value: Bytes) -> Result<(), StoreError> {
        if let Some(old) = old {
            self.subtract(key, old);
        }
        self.add(key, &value);
        self.touch(value.len());
        self.forget(key);
        self.note(key)?;
        self.store.put(key, value)
    }

    /// Sets a row that is known to be absent.
    pub(crate) fn insert(&mut self, key: &Key, value: Bytes) -> Result<(), StoreError> {
        // A look that costs too much in production. A row that cannot be read is the store's to report.
        if cfg!(debug_assertions) && matches!(self.store.get(key), Ok(Some(_))) {
            return Err(contradiction("is there already", key));
        }
        self.replace(key, None, value)
    }

    /// Removes a row, present or not.
    pub(crate) fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        match self.get(key)? {
            Some(old) => self.remove(key, &old),
            None => Ok(()),
        }
    }

    /// Removes a row whose value is known.
    pub(crate) fn remove(&mut self, key: &Key, old: &[u8]) -> Result<(), StoreError> {
        if cfg!(debug_assertions) && self.store.get(key).is_ok_and(|row| row.is_none_or(|row| row != old)) {
            return Err(contradiction("is not what it was", key));
        }
        self.subtract(key, old);
        self.touch(old.len());
        self.forget(key);
        self.note(key)?;
        self.store.delete(key)
    }

    /// Removes a body row, which no digest counts: it need not be read for that.
    pub(crate) fn forget_body(&mut self, key: &Key) -> Result<(), StoreError> {
        debug_assert!(!counted(key));
        self.touch(0);
        self.note(key)?;
        self.store.delete(key)
    }

    /// From now on writes can be taken back.
    pub(crate) fn begin(&mut self) {
        self.undo = Some(Undo { sum: self.sum, rows: Vec::new() });
    }

    /// The writes since [`Digested::begin`] stay.
    pub(crate) fn keep(&mut self) {
        self.undo = None;
    }

    /// Takes back the writes since [`Digested::begin`].
    pub(crate) fn take_back(&mut self) -> Result<(), StoreError> {
        let Some(undo) = self.undo.take() else { return Ok(()) };
        *self.memo.borrow_mut() = None;
        self.sum = undo.sum;
        for (key, old) in undo.rows.into_iter().rev() {
            match old {
                Some(value) => self.store.put(&key, value)?,
                None => self.store.delete(&key)?,
            }
        }
        Ok(())
    }

    /// Remembers a row that is about to be written, if that may be taken back.
    fn note(&mut self, key: &Key) -> Result<(), StoreError> {
        if let Some(undo) = &mut self.undo {
            undo.rows.push((key.clone(), self.store.get(key)?));
        }
        Ok(())
    }

    /// Writes the digest itself.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        self.store.put(&key::digest(), Bytes::copy_from_slice(&self.sum.to_be_bytes()))
    }

    fn add(&mut self, key: &Key, value: &[u8]) {
        if counted(key) {
            self.sum = self.sum.wrapping_add(row_hash(&mut self.scratch, key, value));
        }
    }

    fn subtract(&mut self, key: &Key, value: &[u8]) {
        if counted(key) {
            self.sum = self.sum.wrapping_sub(row_hash(&mut self.scratch, key, value));
        }
    }
}

impl<S: Store> Read for Digested<'_, S> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self.store.get(key)?;
        self.touch(found.as_ref().map_or(0, Bytes::len));
        Ok(found)
    }

    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let found = self.store.first(from, to)?;
        self.touch(found.as_ref().map_or(0, |(_, value)| value.len()));
        Ok(found)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let found = self.store.last(from, to)?;
        self.touch(found.as_ref().map_or(0, |(_, value)| value.len()));
        Ok(found)
    }

    fn recall(&self, to: &[u8]) -> Option<(Bytes, Bytes)> {
        let memo = self.memo.borrow();
        let memo = memo.as_ref().filter(|memo| memo.key[..] < *to && *to <= memo.until[..])?;
        self.touch(0);
        Some((memo.key.clone(), memo.value.clone()))
    }

    fn remember(&self, key: &Bytes, value: &Bytes, until: &[u8]) {
        let (key, value, until) = (key.clone(), value.clone(), until.to_vec());
        *self.memo.borrow_mut() = Some(Memo { key, value, until });
    }
}

fn counted(key: &[u8]) -> bool {
    key.first() != Some(&(Table::Body as u8)) && key != &key::digest()[..]
}

/// The key's length goes in, so that no byte can move between key and value unseen.
fn row_hash(scratch: &mut Vec<u8>, key: &[u8], value: &[u8]) -> u128 {
    scratch.clear();
    scratch.extend_from_slice(&(key.len() as u64).to_be_bytes());
    scratch.extend_from_slice(key);
    scratch.extend_from_slice(value);
    XxHash3_128::oneshot(scratch)
}

/// The digest as the state holds it; zero for a state without rows.
pub(crate) fn stored(store: &impl Read) -> Result<u128, StoreError> {
    let Some(row) = store.get(&key::digest())? else { return Ok(0) };
    let bytes: [u8; 16] =
        row[..].try_into().map_err(|_| StoreError("the digest row is not 16 bytes".into()))?;
    Ok(u128::from_be_bytes(bytes))
}

/// The digest computed anew by a scan of every row: for tests and checks, never on a path that serves. Fails
/// like the store.
pub fn recount(store: &impl Read) -> Result<[u8; 16], StoreError> {
    let mut sum = 0u128;
    let mut scratch = Vec::new();
    let mut from = vec![0u8];
    while let Some((key, value)) = store.first(&from, &[u8::MAX])? {
        if counted(&key) {
            sum = sum.wrapping_add(row_hash(&mut scratch, &key, &value));
        }
        from.clear();
        from.extend_from_slice(&key);
        from.push(0);
    }
    Ok(sum.to_be_bytes())
}

/// Rows that do not go together: the disk holds an older one than it was given, which no checksum tells, or the machine has a bug.
fn contradiction(what: &str, key: &Key) -> StoreError {
    StoreError(format!("the state is damaged: the row {} {what}", key.escape_ascii()))
}
