//! Consumer sessions, and the indexes that lead to them.

use std::collections::BTreeMap;

use super::{View, ensure, failed, scan};
use crate::names::SessionName;
use crate::store::Read;
use crate::subs::runs;
use crate::tables::row::Consumer;
use crate::tables::{Table, key, row};

pub(super) fn check(store: &impl Read, view: &View) -> Result<(), String> {
    let consumers = scan(store, &key::all(Table::Consumer))?;
    for table in [Table::ConsumerName, Table::SubConsumer] {
        let rows = scan(store, &key::all(table))?.len();
        ensure(rows == consumers.len(), || {
            format!("{rows} rows of {table:?}, {} consumers", consumers.len())
        })?;
    }
    let (mut waiting, mut attached) = (0, BTreeMap::new());
    for (key, value) in &consumers {
        let id = key::last_u64(key).map_err(failed)?;
        let row: Consumer = row::decode(key, value.clone()).map_err(failed)?;
        let (sub, seat) = (row.sub_id(), row.seat_id());
        let follows = || is_there(store, &key::following(seat));
        let is_here = view.subs.get(&sub).is_some_and(|its| its.seat == seat.sub);
        let comes = || is_there(store, &key::ending(seat)).and_then(|ends| Ok(ends || follows()?));
        ensure(is_here || comes()?, || format!("consumer {id} is attached to nothing"))?;
        let session = SessionName::stored(&row.session).map_err(failed)?;
        let name = key::consumer_name(row.namespace, session);
        let named = row::get_u64(store, &name).map_err(failed)?;
        ensure(named == Some(id), || format!("the session of consumer {id} names {named:?}"))?;
        let is_attached = is_there(store, &key::sub_consumer(seat, id))?;
        ensure(is_attached, || format!("consumer {id} is not listed at {seat:?}"))?;
        let waits = is_there(store, &key::waiting(sub, id))?;
        ensure(waits == (row.free() > 0), || {
            format!("consumer {id} with {} free waits: {waits}", row.free())
        })?;
        waiting += usize::from(waits);
        if let Some(its) = view.seated(seat) {
            *attached.entry(its).or_insert(0) += 1;
        }
        let runs = runs::held(store, sub, id, 0, u64::MAX).map_err(failed)?;
        let held: u64 = runs.iter().map(|run| run.count).sum();
        ensure(held == row.outstanding, || {
            format!("consumer {id} counts {} and holds {held}", row.outstanding)
        })?;
    }
    let rows = scan(store, &key::all(Table::Waiting))?.len();
    ensure(rows == waiting, || format!("{rows} rows of Waiting, {waiting} consumers that wait"))?;
    for (id, sub) in &view.subs {
        let listed = attached.get(id).copied().unwrap_or(0);
        let waits = scan(store, &key::of_sub(Table::Waiting, *id))?.len();
        let kept = (sub.consumers as usize, sub.waiting as usize);
        ensure(kept == (listed, waits), || format!("{id:?} counts {kept:?}, not ({listed}, {waits})"))?;
    }
    Ok(())
}

fn is_there(store: &impl Read, key: &key::Key) -> Result<bool, String> {
    Ok(store.get(key).map_err(failed)?.is_some())
}
