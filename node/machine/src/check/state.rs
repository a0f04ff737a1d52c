//! The keyed state of the namespaces: what is counted, and when it expires. And the receipts of transactions.

use std::collections::BTreeMap;

use super::{View, ensure, failed, scan};
use crate::names::StateKey;
use crate::reply::Transacted;
use crate::store::Read;
use crate::tables::row::{self, Namespace, Producer, Value};
use crate::tables::{Table, key};

/// Checks the rows. Returns for each namespace what its counters should say; the last version only as the highest that is there.
pub(super) fn check(store: &impl Read, view: &mut View) -> Result<BTreeMap<u32, Namespace>, String> {
    let mut counts: BTreeMap<u32, Namespace> = BTreeMap::new();
    for (key, value) in scan(store, &key::all(Table::State))? {
        let namespace = u32::from_be_bytes(key[1..5].try_into().map_err(|_| "a short key")?);
        let name = String::from_utf8(key[5..].to_vec()).map_err(|_| "a key that is no text")?;
        let Value { version, value, expires_ms } = row::decode(&key, value).map_err(failed)?;
        let counts = counts.entry(namespace).or_default();
        counts.state_keys += 1;
        counts.state_bytes += (name.len() + value.len()) as u64;
        counts.last_version = counts.last_version.max(version);
        if expires_ms != 0 {
            let name = StateKey::stored(&name).map_err(failed)?;
            view.expected.insert(key::deadline_state(expires_ms, namespace, name).to_vec());
        }
    }
    for (key, value) in scan(store, &key::all(Table::Receipt))? {
        let (id, seq) =
            (key[1..9].try_into().map_err(|_| "a short key")?, key::last_u64(&key).map_err(failed)?);
        let id = u64::from_be_bytes(id);
        row::decode::<Transacted>(&key, value).map_err(failed)?;
        let producer: Option<Producer> = row::get(store, &key::producer(id)).map_err(failed)?;
        let needed = match producer {
            Some(row) => seq > row.transactions_acked,
            None => store.get(&key::garbage_producer(id)).map_err(failed)?.is_some(),
        };
        ensure(needed, || format!("the receipt of transaction {seq} of producer {id} is left over"))?;
    }
    Ok(counts)
}
