//! The keyed state of a namespace: small values that transactions write. A key has a version, which grows with every write in the
//! namespace: so no two values ever had the same, and a key that went and came again is told from one that stayed.

use bytes::Bytes;
use prost::Message as _;

use super::Stop;
use crate::command::Put;
use crate::effect::Effect;
use crate::limits::{STATE_BYTES_MAX, STATE_KEYS_MAX};
use crate::names::StateKey;
use crate::reply::Refusal;
use crate::store::{Store, StoreError};
use crate::tables::row::{self, Namespace, Value};
use crate::tables::{Key, key};
use crate::tx::Tx;

/// The version of a key; 0 if it is absent.
pub(super) fn version<S: Store>(
    tx: &Tx<'_, S>,
    namespace: u32,
    key: StateKey<'_>,
) -> Result<u64, StoreError> {
    let found: Option<Value> = row::get(&tx.rows, &key::state(namespace, key))?;
    Ok(found.map_or(0, |value| value.version))
}

/// Writes or deletes a key. Returns its version; of one that was deleted, that of the deletion.
pub(super) fn put<S: Store>(tx: &mut Tx<'_, S>, namespace: u32, put: &Put) -> Result<u64, Stop> {
    let name = StateKey::of(&put.key)?;
    let key = key::state(namespace, name);
    let old: Option<Value> = row::get(&tx.rows, &key)?;
    let counts_key = key::namespace(namespace);
    let mut counts: Namespace = row::get(&tx.rows, &counts_key)?.unwrap_or_default();
    counts.last_version += 1;
    let version = counts.last_version;
    let size = |value: &[u8]| (put.key.len() + value.len()) as u64;
    if let Some(old) = &old {
        counts.state_keys = counts.state_keys.saturating_sub(1);
        counts.state_bytes = counts.state_bytes.saturating_sub(size(&old.value));
        if old.expires_ms != 0 {
            tx.rows.remove(&key::deadline_state(old.expires_ms, namespace, name), &[])?;
        }
    }
    if put.delete {
        tx.put_message(&counts_key, &counts)?;
        tx.rows.delete(&key)?;
    } else {
        counts.state_keys += 1;
        counts.state_bytes += size(&put.value);
        if counts.state_keys > STATE_KEYS_MAX {
            let what = "keys in the state of a namespace";
            return Err(Refusal::LimitReached { what, limit: STATE_KEYS_MAX }.into());
        }
        if counts.state_bytes > STATE_BYTES_MAX {
            let what = "bytes in the state of a namespace";
            return Err(Refusal::LimitReached { what, limit: STATE_BYTES_MAX }.into());
        }
        let expires_ms = if put.ttl_ms == 0 { 0 } else { tx.now_ms.saturating_add(put.ttl_ms) };
        if expires_ms != 0 {
            tx.rows.insert(&key::deadline_state(expires_ms, namespace, name), Bytes::new())?;
        }
        tx.put_message(&counts_key, &counts)?;
        let value = Value { version, value: put.value.clone(), expires_ms };
        tx.rows.put(&key, value.encode_to_vec().into())?;
    }
    tx.effects.push(changed(namespace, &put.key));
    Ok(version)
}

/// The time to live of a key is over.
pub(super) fn expire<S: Store>(tx: &mut Tx<'_, S>, row: &[u8]) -> Result<(), StoreError> {
    let deadline = Key::read(row)?;
    let (namespace, name) = key::of_deadline_state(row)?;
    let key = key::state(namespace, StateKey::stored(&name)?);
    let old: Value = row::get(&tx.rows, &key)?
        .ok_or_else(|| StoreError(format!("the key {name:?} expires and is not there")))?;
    let counts_key = key::namespace(namespace);
    let mut counts: Namespace = row::get(&tx.rows, &counts_key)?.unwrap_or_default();
    counts.state_keys = counts.state_keys.saturating_sub(1);
    counts.state_bytes = counts.state_bytes.saturating_sub((name.len() + old.value.len()) as u64);
    tx.put_message(&counts_key, &counts)?;
    tx.rows.remove(&deadline, &[])?;
    tx.rows.delete(&key)?;
    tx.effects.push(changed(namespace, &name));
    Ok(())
}

fn changed(namespace: u32, key: &str) -> Effect {
    Effect::StateChanged { namespace, key: crate::effect::key_hash(key) }
}
