//! Sweeping what deleted queues and ended producers left behind, a bounded number of rows a tick.

use crate::limits::TICK_GARBAGE_ROWS_MAX;
use crate::runs::{Run, State};
use crate::store::{Read, Store, StoreError};
use crate::tables::key::{Due, Fields};
use crate::tables::{Key, SubId, Table, key};
use crate::tx::Tx;

/// The tables in which a deleted queue leaves rows.
const TABLES: [Table; 4] = [Table::Chunk, Table::Body, Table::ReadyRun, Table::Run];

pub(super) fn sweep<S: Store>(tx: &mut Tx<'_, S>) -> Result<(), StoreError> {
    let all = key::all(Table::Garbage);
    let mut left = TICK_GARBAGE_ROWS_MAX;
    while left > 0 {
        let Some((row, _)) = tx.rows.first(&all, &all.end())? else { return Ok(()) };
        let mut fields = Fields::of(&row);
        if row.get(1) == Some(&2) {
            sweep_table(tx, &key::producer_runs(fields.u64()?), &mut left)?;
        } else {
            let id = fields.queue()?;
            for table in TABLES {
                sweep_table(tx, &key::of_queue(table, id), &mut left)?;
            }
        }
        if left > 0 {
            tx.rows.delete(&Key::read(&row)?)?;
            left -= 1;
        }
    }
    Ok(())
}

fn sweep_table<S: Store>(tx: &mut Tx<'_, S>, prefix: &Key, left: &mut usize) -> Result<(), StoreError> {
    let end = prefix.end();
    while *left > 0 {
        let Some((row, value)) = tx.rows.first(prefix, &end)? else { break };
        tx.rows.remove(&Key::read(&row)?, &value)?;
        if row.first() == Some(&(Table::Run as u8)) {
            let sub = Fields::of(&row[..row.len().saturating_sub(8)]).sub()?;
            delete_index(tx, sub, &Run::decode(&row, value)?)?;
        }
        *left -= 1;
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
