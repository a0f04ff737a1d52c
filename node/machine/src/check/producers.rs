//! Producer sessions, their receipts and their deadlines; and the namespace's counters.

use std::collections::BTreeMap;

use super::{View, ensure, failed, scan};
use crate::names::ProducerName;
use crate::store::Read;
use crate::tables::row::{self, Namespace, Producer, ProducerRun};
use crate::tables::{Table, key};

pub(super) fn check(store: &impl Read, view: &mut View) -> Result<(), String> {
    let producers = scan(store, &key::all(Table::Producer))?;
    let names = scan(store, &key::all(Table::ProducerName))?.len();
    ensure(names == producers.len(), || format!("{names} names, {} producers", producers.len()))?;
    let mut counts: BTreeMap<u32, Namespace> = super::state::check(store, view)?;
    for id in view.queues.keys() {
        counts.entry(id.namespace).or_default().queues += 1;
    }
    for (key, value) in &producers {
        let id = key::last_u64(key).map_err(failed)?;
        let row: Producer = row::decode(key, value.clone()).map_err(failed)?;
        counts.entry(row.namespace).or_default().producers += 1;
        let name = key::producer_name(row.namespace, ProducerName::stored(&row.name).map_err(failed)?);
        let named = row::get_u64(store, &name).map_err(failed)?;
        ensure(named == Some(id), || format!("the name of producer {id} names {named:?}"))?;
        ensure(row.idle_check_ms <= row.used_at_ms.saturating_add(row.ttl_ms), || {
            format!("producer {id} is looked at too late")
        })?;
        view.expected.insert(key::deadline_producer(row.idle_check_ms, id).to_vec());
        receipts(store, id, &row)?;
    }
    for (key, _) in scan(store, &key::all(Table::ProducerRun))? {
        let id = u64::from_be_bytes(key[1..9].try_into().map_err(|_| "a short key")?);
        let known = store.get(&key::producer(id)).map_err(failed)?.is_some()
            || store.get(&key::garbage_producer(id)).map_err(failed)?.is_some();
        ensure(known, || format!("receipts of producer {id} are left over"))?;
    }
    for (namespace, counted) in counts {
        let row: Namespace = row::get(store, &key::namespace(namespace)).map_err(failed)?.unwrap_or_default();
        let Namespace { queues, producers, state_keys, state_bytes, last_version, .. } = counted;
        let expected = Namespace { queues, producers, state_keys, state_bytes, ..row };
        ensure(row == expected && row.last_version >= last_version, || {
            format!("namespace {namespace} has {row:?}, and its rows {counted:?}")
        })?;
    }
    Ok(())
}

/// They cover what may still be asked for, without gaps. What may not be any more goes with the next publish.
fn receipts(store: &impl Read, id: u64, row: &Producer) -> Result<(), String> {
    let mut next = None;
    for (key, value) in scan(store, &key::producer_runs(id))? {
        let first = key::last_u64(&key).map_err(failed)?;
        let run: ProducerRun = row::decode(&key, value).map_err(failed)?;
        if next.is_none() && first + run.count <= row.acked_seq + 1 {
            continue;
        }
        let fits = match next {
            None => first <= row.acked_seq + 1 && first + run.count > row.acked_seq + 1,
            Some(next) => first == next,
        };
        ensure(fits, || format!("producer {id}: receipts at {first} do not continue {next:?}"))?;
        next = Some(first + run.count);
    }
    let end = next.unwrap_or(row.acked_seq + 1);
    ensure(end == row.last_seq + 1, || {
        format!("producer {id}: receipts end before {end}, not {}", row.last_seq)
    })
}
