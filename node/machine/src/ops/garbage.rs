//! Sweeping what deleted queues and ended producers left behind, a bounded number of rows a tick.

use bytes::Bytes;

use crate::limits::TICK_GARBAGE_ROWS_MAX;
use crate::runs::{Run, State};
use crate::store::{Read, Store, StoreError};
use crate::tables::key::{Due, Fields};
use crate::tables::{Key, SubId, Table, key};
use crate::tx::Tx;

/// The tables in which a deleted queue leaves rows, in the order of their keys. Bodies go with their chunks.
const TABLES: [Table; 3] = [Table::Chunk, Table::Run, Table::ReadyRun];

pub(super) fn sweep<S: Store>(tx: &mut Tx<'_, S>) -> Result<(), StoreError> {
    let all = key::all(Table::Garbage);
    let mut left = TICK_GARBAGE_ROWS_MAX;
    while left > 0 {
        let Some((row, progress)) = tx.rows.first(&all, &all.end())? else { return Ok(()) };
        let garbage = Key::read(&row)?;
        // The sweep goes on where the last one stopped: a scan from the start would wade through what is gone.
        let mut at = if progress.is_empty() { None } else { Some(Key::read(&progress)?) };
        let mut fields = Fields::of(&row);
        if row.get(1) == Some(&2) {
            sweep_range(tx, &key::producer_runs(fields.u64()?), &mut at, &mut left)?;
        } else {
            let id = fields.queue()?;
            for table in TABLES {
                sweep_range(tx, &key::of_queue(table, id), &mut at, &mut left)?;
            }
        }
        if left > 0 {
            tx.rows.remove(&garbage, &progress)?;
            left -= 1;
        } else if let Some(at) = at {
            tx.rows.replace(&garbage, Some(&progress), Bytes::copy_from_slice(&at))?;
        }
    }
    Ok(())
}

/// Removes the rows under `prefix` from `at` on, and leaves in `at` where to go on.
fn sweep_range<S: Store>(
    tx: &mut Tx<'_, S>,
    prefix: &Key,
    at: &mut Option<Key>,
    left: &mut usize,
) -> Result<(), StoreError> {
    let end = prefix.end();
    let mut from = at.clone().filter(|at| at[..] > prefix[..]).unwrap_or_else(|| prefix.clone());
    while *left > 0 && from[..] < end[..] {
        let Some((row, value)) = tx.rows.first(&from, &end)? else { break };
        let found = Key::read(&row)?;
        tx.rows.remove(&found, &value)?;
        if row.first() == Some(&(Table::Run as u8)) {
            let sub = Fields::of(&row[..row.len().saturating_sub(8)]).sub()?;
            delete_index(tx, sub, &Run::decode(&row, value)?)?;
        } else if row.first() == Some(&(Table::Chunk as u8)) {
            let mut fields = Fields::of(&row);
            let first = fields.u64()?;
            tx.rows.forget_body(&key::body(fields.queue()?, first))?;
            *left = left.saturating_sub(1);
        }
        from = found.next();
        *at = Some(from.clone());
        *left = left.saturating_sub(1);
    }
    Ok(())
}

/// Removes the rows that point to a run from tables that do not begin with the queue; a deadline may have passed and be gone.
fn delete_index<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, run: &Run) -> Result<(), StoreError> {
    match run.state {
        State::Leased { consumer, deadline_ms, .. } => {
            tx.rows.delete(&key::held(consumer, run.first))?;
            tx.rows.delete(&key::deadline_run(deadline_ms, Due::Lease, sub, run.first))
        }
        State::Retrying { at_ms } => tx.rows.delete(&key::deadline_run(at_ms, Due::Retry, sub, run.first)),
        State::Ready => Ok(()),
    }
}
