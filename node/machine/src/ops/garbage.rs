//! Sweeping what deleted queues and ended producers left behind, a bounded number of rows a tick.

use bytes::Bytes;

use crate::limits::TICK_GARBAGE_ROWS_MAX;
use crate::store::{Read, Store, StoreError};
use crate::subs::leave::{delete, forget_with, unneeded};
use crate::subs::retain;
use crate::subs::runs::{self, Run};
use crate::tables::chunk::Chunk;
use crate::tables::key::Fields;
use crate::tables::{Key, QueueId, SubId, Table, key};
use crate::tx::Tx;

/// The tables in which a subscription leaves rows, in the order of their keys.
const OF_SUBS: [Table; 9] = [
    Table::Run,
    Table::ReadyRun,
    Table::Filter,
    Table::Lane,
    Table::Queued,
    Table::Next,
    Table::ParkedRun,
    Table::ParkedLane,
    Table::Failures,
];

/// The tables in which a deleted queue leaves rows, in the order of their keys. Bodies go with their chunks.
fn of_queues() -> impl Iterator<Item = Table> {
    [Table::Chunk].into_iter().chain(OF_SUBS).chain([Table::Latest, Table::LatestIn])
}

pub(super) fn sweep<S: Store>(tx: &mut Tx<'_, S>) -> Result<(), StoreError> {
    let (from, to) = (key::all_looking().end(), key::all(Table::Garbage).end());
    let mut left = TICK_GARBAGE_ROWS_MAX;
    while left > 0 {
        let Some((row, progress)) = tx.rows.first(&from, &to)? else { return Ok(()) };
        let garbage = Key::read(&row)?;
        // The sweep goes on where the last one stopped: a scan from the start would wade through what is gone.
        let mut at = if progress.is_empty() { None } else { Some(Key::read(&progress)?) };
        let mut fields = Fields::of(&row);
        match row.get(1) {
            Some(2) => {
                let producer = fields.u64()?;
                for receipts in [key::producer_runs(producer), key::receipts(producer)] {
                    sweep_range(tx, &receipts, &mut at, &mut left)?;
                }
            }
            Some(3) => {
                let id = fields.sub()?;
                for table in OF_SUBS {
                    sweep_range(tx, &key::of_sub(table, id), &mut at, &mut left)?;
                }
            }
            Some(4) => sweep_chunks(tx, fields.queue()?, &mut at, &mut left)?,
            Some(5) => retain::sweep(tx, fields.queue()?, &mut at, &mut left)?,
            _ => {
                let id = fields.queue()?;
                for table in of_queues() {
                    sweep_range(tx, &key::of_queue(table, id), &mut at, &mut left)?;
                }
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
            let queue = Fields::of(&row[..row.len().saturating_sub(8)]).queue()?;
            let chunk = Chunk::decode(&row, value)?;
            forget_with(tx, queue, &chunk)?;
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
    for index in runs::index(sub, run, false).into_iter().flatten() {
        if matches!(index[0], table if table == Table::Held as u8 || table == Table::Deadline as u8) {
            tx.rows.delete(&index)?;
        }
    }
    Ok(())
}

/// Deletes at once the chunks that a tick would find that nobody needs any more.
pub(super) fn sweep_unneeded<S: Store>(tx: &mut Tx<'_, S>, id: QueueId) -> Result<(), StoreError> {
    match tx.rows.get(&key::garbage_chunks(id))? {
        Some(_) => sweep_chunks(tx, id, &mut None, &mut TICK_GARBAGE_ROWS_MAX.clone()),
        None => Ok(()),
    }
}

/// Deletes the chunks that nobody needs any more, from `at` on.
fn sweep_chunks<S: Store>(
    tx: &mut Tx<'_, S>,
    id: QueueId,
    at: &mut Option<Key>,
    left: &mut usize,
) -> Result<(), StoreError> {
    if tx.find_queue(id)?.is_none() {
        return Ok(()); // it was deleted: everything goes
    }
    let all = key::of_queue(Table::Chunk, id);
    while *left > 0 {
        let from = at.as_ref().unwrap_or(&all);
        let Some((row, value)) = tx.rows.first(from, &all.end())? else { return Ok(()) };
        let chunk = Chunk::decode(&row, value)?;
        if unneeded(tx, id, &chunk)? {
            delete(tx, id, &chunk)?;
        }
        *at = Some(Key::read(&row)?.next());
        *left -= 1;
    }
    Ok(())
}
