//! Why messages failed: the last few reasons of each, for whoever has to decide what becomes of it.

use prost::Message as _;

use super::runs::Run;
use crate::limits::FAILURES_MAX;
use crate::read::Failure;
use crate::store::{Read, Store, StoreError};
use crate::tables::row::{self, Failures};
use crate::tables::{Key, SubId, key};
use crate::tx::Tx;

/// Notes a reason for every message of a run that is about to be written.
pub(crate) fn note<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    run: &mut Run,
    reason: &str,
) -> Result<(), StoreError> {
    if reason.is_empty() {
        return Ok(());
    }
    run.noted = true;
    let failure = Failure { time_ms: tx.now_ms, attempt: run.attempt, reason: reason.into() };
    for position in run.first..run.end() {
        let key = key::failures(sub, position);
        let old = tx.rows.get(&key)?;
        let mut row: Failures = match &old {
            Some(value) => row::decode(&key, value.clone())?,
            None => Failures::default(),
        };
        if row.failures.len() >= FAILURES_MAX {
            row.failures.remove(0);
        }
        row.failures.push(failure.clone());
        tx.rows.replace(&key, old.as_deref(), row.encode_to_vec().into())?;
    }
    Ok(())
}

/// Forgets the reasons of `from..to`.
pub(crate) fn forget<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, from: u64, to: u64) -> Result<(), StoreError> {
    let end = key::failures(sub, to);
    while let Some((row, value)) = tx.rows.first(&key::failures(sub, from), &end)? {
        tx.rows.remove(&Key::read(&row)?, &value)?;
    }
    Ok(())
}

/// Copies the reasons of `from..to` to a subscription's new number.
pub(crate) fn bring_along<S: Store>(
    tx: &mut Tx<'_, S>,
    old: SubId,
    new: SubId,
    from: u64,
    to: u64,
) -> Result<(), StoreError> {
    for position in from..to {
        if let Some(row) = tx.rows.get(&key::failures(old, position))? {
            tx.rows.insert(&key::failures(new, position), row)?;
        }
    }
    Ok(())
}
