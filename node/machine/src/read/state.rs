//! The keyed state of a namespace.

use bytes::Bytes;

use super::ReadError;
use crate::limits::{PAGE_MAX, PEEK_BYTES_MAX, STATE_KEY_BYTES_MAX, TRANSACTION_PARTS_MAX};
use crate::names::{self, StateKey};
use crate::reply::{Problem, Refusal};
use crate::store::{Read, StoreError};
use crate::tables::row::{self, Value};
use crate::tables::{Key, key};

/// A key that is there, with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// The key.
    pub key: String,
    /// Grows with every write in the namespace.
    pub version: u64,
    /// The value.
    pub value: Bytes,
    /// When it expires, by replicated time in milliseconds; 0: never.
    pub expires_ms: u64,
}

/// Keys of the state, those that are there, in the order in which they were asked for. Refused if there are more than
/// [`TRANSACTION_PARTS_MAX`], one cannot be a key, or there is no such namespace.
pub fn state(store: &impl Read, namespace: &str, keys: &[String]) -> Result<Vec<StateEntry>, ReadError> {
    let namespace = names::namespace(namespace)?;
    Refusal::unless_at_most("keys", keys.len(), TRANSACTION_PARTS_MAX, "keys")?;
    let mut found = Vec::new();
    for name in keys {
        let value: Option<Value> = row::get(store, &key::state(namespace, StateKey::of(name)?))?;
        found.extend(value.map(|value| entry(name.clone(), value)));
    }
    Ok(found)
}

/// The keys of the state that begin with `prefix` and come after `after`, in the order of their bytes, at most `limit` (0 or more than
/// 1000 mean 1000) and [`PEEK_BYTES_MAX`] bytes; and whether there are more. Refused if there is no such namespace, or either is longer than a
/// key can be.
pub fn state_keys(
    store: &impl Read,
    namespace: &str,
    prefix: &str,
    after: &str,
    limit: u32,
) -> Result<(Vec<StateEntry>, bool), ReadError> {
    let namespace = names::namespace(namespace)?;
    let limit = if limit == 0 { PAGE_MAX } else { limit.min(PAGE_MAX) } as usize;
    let keys = key::states(namespace);
    let fits = Some(prefix).filter(|prefix| prefix.len() <= STATE_KEY_BYTES_MAX);
    let all = fits.and_then(|prefix| keys.then(prefix)).ok_or_else(|| {
        let (found, limit) = (prefix.len() as u64, STATE_KEY_BYTES_MAX as u64);
        let problem = Problem::Over { found, limit, unit: "bytes" };
        Refusal::Invalid { field: "prefix", problem }
    })?;
    let (end, mut from) = (all.end(), all);
    let next = super::behind(&keys, after, STATE_KEY_BYTES_MAX)?;
    if next[..] > from[..] {
        from = next;
    }
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some((row, value)) = store.first(&from, &end)? {
        if found.len() == limit || bytes > PEEK_BYTES_MAX {
            return Ok((found, true));
        }
        let unreadable = || StoreError("a key of the state cannot be read".into());
        let name = row.get(keys.len()..).ok_or_else(unreadable)?;
        let name = String::from_utf8(name.to_vec()).map_err(|_| unreadable())?;
        bytes += name.len() + value.len();
        found.push(entry(name, row::decode(&row, value)?));
        from = Key::read(&row)?.next();
    }
    Ok((found, false))
}

fn entry(key: String, value: Value) -> StateEntry {
    let Value { version, value, expires_ms } = value;
    StateEntry { key, version, value, expires_ms }
}
