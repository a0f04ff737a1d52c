//! Sweeping what deleted queues and ended producers left behind, a bounded number of rows a tick.

use bytes::Bytes;

use crate::limits::{RETAIN_ROWS_MIN, SWEEP_ROWS_MIN};
use crate::store::{Read, Store, StoreError};
use crate::subs::leave::{delete, forget_with, unneeded};
use crate::subs::retain;
use crate::subs::runs::{self, Run};
use crate::tables::chunk::{self, Chunk};
use crate::tables::key::Fields;
use crate::tables::{Key, QueueId, SubId, Table, key};
use crate::tx::Tx;

/// The tables in which a subscription leaves rows, in the order of their keys.
const OF_SUBS: [Table; 10] = [
    Table::Run,
    Table::ReadyRun,
    Table::Held,
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
    let (from, to) = (key::all_looking().end(), key::all_leaving());
    let until = tx.until(SWEEP_ROWS_MIN);
    while tx.rows.touched() < until {
        let Some((row, progress)) = tx.rows.first(&from, &to)? else { return Ok(()) };
        let garbage = Key::read(&row)?;
        // The sweep goes on where the last one stopped: a scan from the start would wade through what is gone.
        let mut at = if progress.is_empty() { None } else { Some(Key::read(&progress)?) };
        if sweep_one(tx, &row, &mut at, until)? {
            tx.rows.remove(&garbage, &progress)?;
        } else if let Some(at) = at {
            tx.rows.replace(&garbage, Some(&progress), Bytes::copy_from_slice(&at))?;
        }
    }
    Ok(())
}

/// Sweeps what a row names, from `at` on. True if nothing is left.
fn sweep_one<S: Store>(
    tx: &mut Tx<'_, S>,
    row: &[u8],
    at: &mut Option<Key>,
    until: u64,
) -> Result<bool, StoreError> {
    let mut fields = Fields::of(row);
    let ranges: Vec<Key> = match row.get(1) {
        Some(2) => {
            let producer = fields.u64()?;
            vec![key::producer_runs(producer), key::receipts(producer)]
        }
        Some(3) => {
            let id = fields.sub()?;
            OF_SUBS.iter().map(|table| key::of_sub(*table, id)).collect()
        }
        Some(4) => return sweep_chunks(tx, fields.queue()?, at, until),
        Some(5) => return retain::sweep(tx, fields.queue()?, at, until),
        Some(6) => {
            let first = fields.u64()?;
            return sweep_chunk(tx, fields.queue()?, first).map(|()| true);
        }
        _ => {
            let id = fields.queue()?;
            of_queues().map(|table| key::of_queue(table, id)).collect()
        }
    };
    for range in ranges {
        if !sweep_range(tx, &range, at, until)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes the rows under `prefix` from `at` on, and leaves in `at` where to go on. True if nothing is left.
fn sweep_range<S: Store>(
    tx: &mut Tx<'_, S>,
    prefix: &Key,
    at: &mut Option<Key>,
    until: u64,
) -> Result<bool, StoreError> {
    let end = prefix.end();
    let mut from = at.clone().filter(|at| at[..] > prefix[..]).unwrap_or_else(|| prefix.clone());
    while from[..] < end[..] {
        if tx.rows.touched() >= until {
            return Ok(false);
        }
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
        }
        from = found.next();
        *at = Some(from.clone());
    }
    Ok(true)
}

/// Removes the row that points to a run from the table that does not begin with the queue; a deadline may have passed and be gone.
fn delete_index<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, run: &Run) -> Result<(), StoreError> {
    for index in runs::index(sub, run, false).into_iter().flatten() {
        if index[0] == Table::Deadline as u8 {
            tx.rows.delete(&index)?;
        }
    }
    Ok(())
}

/// Deletes at once the chunks that a tick would find that nobody needs any more.
pub(super) fn sweep_unneeded<S: Store>(tx: &mut Tx<'_, S>, id: QueueId) -> Result<(), StoreError> {
    let until = tx.until(RETAIN_ROWS_MIN);
    if tx.rows.get(&key::garbage_chunks(id))?.is_some() {
        sweep_chunks(tx, id, &mut None, until)?;
    }
    let all = key::garbage_chunks_singly(id);
    while tx.rows.touched() < until {
        let Some((row, value)) = tx.rows.first(&all, &all.end())? else { break };
        sweep_chunk(tx, id, key::last_u64(&row)?)?;
        tx.rows.remove(&Key::read(&row)?, &value)?;
    }
    Ok(())
}

/// Deletes a chunk if it is still there and nobody needs it.
fn sweep_chunk<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, first: u64) -> Result<(), StoreError> {
    if tx.find_queue(queue)?.is_none() {
        return Ok(()); // it was deleted: everything goes
    }
    if let Some(chunk) = chunk::at(&tx.rows, queue, first)?
        && unneeded(tx, queue, &chunk)?
    {
        delete(tx, queue, &chunk)?;
    }
    Ok(())
}

/// Deletes the chunks that nobody needs any more, from `at` on. True if nothing is left.
fn sweep_chunks<S: Store>(
    tx: &mut Tx<'_, S>,
    id: QueueId,
    at: &mut Option<Key>,
    until: u64,
) -> Result<bool, StoreError> {
    if tx.find_queue(id)?.is_none() {
        return Ok(true); // it was deleted: everything goes
    }
    let all = key::of_queue(Table::Chunk, id);
    while tx.rows.touched() < until {
        let from = at.as_ref().unwrap_or(&all);
        let Some((row, value)) = tx.rows.first(from, &all.end())? else { return Ok(true) };
        let chunk = Chunk::decode(&row, value)?;
        if unneeded(tx, id, &chunk)? {
            delete(tx, id, &chunk)?;
        }
        *at = Some(Key::read(&row)?.next());
    }
    Ok(false)
}
