//! Routes: under their first tokens stands what the queues have, and nothing else.

use std::collections::BTreeMap;

use super::{View, ensure, failed, scan};
use crate::names::Name;
use crate::store::Read;
use crate::tables::key::Fields;
use crate::tables::row::{self, Routed, Routes};
use crate::tables::{QueueId, Table, key};

pub(super) fn check(store: &impl Read, view: &View) -> Result<(), String> {
    let mut expected: BTreeMap<QueueId, Vec<String>> = BTreeMap::new();
    for (key, value) in scan(store, &key::all(Table::Routes))? {
        let id = Fields::of(&key).queue().map_err(failed)?;
        let mut patterns = row::decode::<Routes>(&key, value).map_err(failed)?.patterns;
        patterns.sort();
        ensure(view.queues.contains_key(&id) && !patterns.is_empty(), || format!("routes without {id:?}"))?;
        expected.insert(id, patterns);
    }
    let mut found: BTreeMap<QueueId, Vec<String>> = BTreeMap::new();
    for (key, value) in scan(store, &key::all(Table::Route))? {
        let namespace = u32::from_be_bytes(key[1..5].try_into().map_err(|_| "a short key")?);
        let id = QueueId { namespace, queue: key::last_u64(&key).map_err(failed)? };
        let Routed { name, patterns } = row::decode(&key, value).map_err(failed)?;
        let name_key = key::queue_name(namespace, Name::stored(&name).map_err(failed)?);
        let named = row::get_u64(store, &name_key).map_err(failed)?;
        ensure(named == Some(id.queue), || format!("a route of {id:?} names {name:?}"))?;
        let found = found.entry(id).or_default();
        found.extend(patterns);
        found.sort();
    }
    ensure(found == expected, || format!("the routes are {found:?}, and should be {expected:?}"))
}
