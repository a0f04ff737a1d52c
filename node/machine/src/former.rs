//! What is left of a deleted queue: where positions and tokens go on if there is one of its name again (P2, P4).
//!
//! Who names a message or a lease from outside, by a transaction, a cursor, a fence in a database, does so by the queue's name. So a
//! name's positions and tokens are never used again, and what is late is stale, not another message. The rows are
//! bounded: beyond [`FORMER_NAMES_MAX`] the oldest becomes part of a floor of the namespace, above which every name without
//! a row begins. That makes numbers larger than they need be, and never used twice.

use bytes::Bytes;
use quorate_simpoint::{Bug, planted};

use crate::limits::FORMER_NAMES_MAX;
use crate::names::Name;
use crate::store::{Read, Store, StoreError};
use crate::tables::row::{self, Former, Namespace};
use crate::tables::{Key, key};
use crate::tx::Tx;

/// A queue's name is given up. The counters are written by the caller.
pub(crate) fn keep<S: Store>(
    tx: &mut Tx<'_, S>,
    counters: &mut Namespace,
    namespace: u32,
    name: Name<'_>,
    (next_position, next_token): (u64, u64),
) -> Result<(), StoreError> {
    let floor = floor(counters);
    if next_position <= floor.next_position && next_token <= floor.next_token {
        return Ok(()); // where the name would go on anyway
    }
    counters.last_former += 1;
    counters.formers += 1;
    let number = counters.last_former;
    tx.put_message(&key::former(namespace, name), &Former { next_position, next_token, number })?;
    tx.rows
        .insert(&key::former_order(namespace, number), Bytes::copy_from_slice(name.as_str().as_bytes()))?;
    if counters.formers > FORMER_NAMES_MAX {
        forget_oldest(tx, counters, namespace)?;
    }
    Ok(())
}

/// A queue gets a name: where it begins. The counters are written by the caller.
pub(crate) fn take<S: Store>(
    tx: &mut Tx<'_, S>,
    counters: &mut Namespace,
    namespace: u32,
    name: Name<'_>,
) -> Result<Former, StoreError> {
    let key = key::former(namespace, name);
    let mut begin = match row::get::<Former>(&tx.rows, &key)? {
        Some(former) => {
            tx.rows.delete(&key)?;
            tx.rows.delete(&key::former_order(namespace, former.number))?;
            counters.formers = counters.formers.saturating_sub(1);
            former
        }
        None => floor(counters),
    };
    if begin.next_token > 1 && planted(Bug::TokensBeginAgain) {
        begin.next_token = 1;
    }
    if begin.next_position > 1 && planted(Bug::PositionsBeginAgain) {
        begin.next_position = 1;
    }
    Ok(begin)
}

/// Where a name without a row begins.
fn floor(counters: &Namespace) -> Former {
    let (next_position, next_token) = (counters.floor_position.max(1), counters.floor_token.max(1));
    Former { next_position, next_token, number: 0 }
}

/// The name that was given up first becomes part of the floor.
fn forget_oldest<S: Store>(
    tx: &mut Tx<'_, S>,
    counters: &mut Namespace,
    namespace: u32,
) -> Result<(), StoreError> {
    let all = key::former_orders(namespace);
    let Some((order, name)) = tx.rows.first(&all, &all.end())? else { return Ok(()) };
    let unreadable = |_| StoreError("a former name cannot be read".into());
    let key = key::former(namespace, Name::stored(std::str::from_utf8(&name).map_err(unreadable)?)?);
    let former: Former = row::get(&tx.rows, &key)?.unwrap_or_default();
    counters.floor_position = counters.floor_position.max(former.next_position);
    counters.floor_token = counters.floor_token.max(former.next_token);
    counters.formers = counters.formers.saturating_sub(1);
    tx.rows.delete(&key)?;
    tx.rows.remove(&Key::read(&order)?, &name)
}
