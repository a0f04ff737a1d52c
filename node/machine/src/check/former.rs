//! What is left of deleted queues: each name once, none that a queue has, in the order in which they were given up.

use super::{View, ensure, failed, scan};
use crate::limits::FORMER_NAMES_MAX;
use crate::names::Name;
use crate::store::Read;
use crate::tables::row::{self, Former, Namespace};
use crate::tables::{Table, key};

pub(super) fn check(store: &impl Read, view: &View) -> Result<(), String> {
    for (key, value) in scan(store, &key::all(Table::Namespace))? {
        let namespace = u32::from_be_bytes(key[1..5].try_into().map_err(|_| "a short key")?);
        let counters: Namespace = row::decode(&key, value).map_err(failed)?;
        let orders = scan(store, &key::former_orders(namespace))?;
        let formers = scan(store, &key::formers(namespace))?;
        let counts = [counters.formers, orders.len() as u64, formers.len() as u64];
        ensure(counts == [counters.formers; 3] && counters.formers <= FORMER_NAMES_MAX, || {
            format!("former names are counted as {counts:?}")
        })?;
        for (order, name) in orders {
            let name = std::str::from_utf8(&name).map_err(|error| error.to_string())?;
            let name = Name::stored(name).map_err(failed)?;
            let number = key::last_u64(&order).map_err(failed)?;
            let former: Option<Former> = row::get(store, &key::former(namespace, name)).map_err(failed)?;
            let is_known = former.is_some_and(|row| row.number == number && number <= counters.last_former);
            ensure(is_known, || format!("the former name {} is not number {number}", name.as_str()))?;
            let is_taken = store.get(&key::queue_name(namespace, name)).map_err(failed)?.is_some();
            ensure(!is_taken, || format!("{} is the name of a queue, and a former one", name.as_str()))?;
        }
    }
    for (id, queue) in &view.queues {
        ensure(queue.first_token > 0 && queue.next_position > 0, || format!("{id:?} begins with nothing"))?;
    }
    Ok(())
}
