//! Consumers whose sessions are over: what they held is ready again in its place, without an attempt counted.
//!
//! The session ends at once. Its leases are released in order of position, as many as there is room for, and ticks go on with the rest: until then nobody
//! else gets those messages, and nobody settles them, since whom they were leased to is gone.

use quorate_simpoint::{Bug, planted};

use super::back::{Behind, go_back};
use super::runs::{self, State};
use crate::store::{Read, Store, StoreError};
use crate::tables::key::Fields;
use crate::tables::{Key, SubId, key};
use crate::tx::Tx;
use crate::work::Kind;

/// Begins to release what a consumer holds whose session ends.
pub(crate) fn begin<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, consumer: u64) -> Result<(), StoreError> {
    if let Some(next) = release(tx, sub, consumer)? {
        if planted(Bug::RestOfSessionForgotten) {
            return Ok(());
        }
        tx.rows.insert(&key::leaving(sub, consumer), bytes::Bytes::new())?;
        tx.did(Kind::Leaving, sub, consumer, next);
    }
    Ok(())
}

/// Goes on with those that ended, as far as there is room; at least with one. True if nothing is left.
pub(crate) fn go_on<S: Store>(tx: &mut Tx<'_, S>) -> Result<bool, StoreError> {
    let all = key::all_leaving();
    let mut one_did = false;
    while let Some((row, _)) = tx.rows.first(&all, &all.end())? {
        if one_did && tx.is_full() {
            return Ok(false);
        }
        one_did = true;
        let mut fields = Fields::of(&row);
        let consumer = fields.u64()?;
        let sub = fields.sub()?;
        let next = if tx.find_sub(sub)?.is_some() { release(tx, sub, consumer)? } else { None };
        if next.is_none() {
            tx.rows.delete(&Key::read(&row)?)?;
        }
        tx.did(Kind::Released, sub, consumer, next.unwrap_or(u64::MAX));
    }
    Ok(true)
}

/// Releases what a consumer holds, as far as there is room. Returns the position of what it still holds.
fn release<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, consumer: u64) -> Result<Option<u64>, StoreError> {
    tx.touch(sub);
    // In order `total` nobody may get what comes behind it: it goes back at once, and a consumer holds the less of it.
    let whole = tx.sub(sub)?.is_total();
    let held = key::held_by(sub, consumer);
    let mut begun = false;
    while let Some((row, _)) = tx.rows.first(&held, &held.end())? {
        let first = key::last_u64(&row)?;
        if !whole && begun && tx.is_full() {
            return Ok(Some(first));
        }
        begun = true;
        let run = runs::get(&tx.rows, sub, first)?
            .ok_or_else(|| StoreError(format!("the held run at {first} has no row")))?;
        let to = if whole { run.end() } else { run.first + run.count.min(super::room(tx, sub)?) };
        let part = runs::take(tx, sub, &run, run.first, to)?;
        // Nobody else holds anything behind it.
        go_back(tx, sub, part, State::Ready, &mut Behind::default())?;
    }
    Ok(None)
}
