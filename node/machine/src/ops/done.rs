//! Messages that are done: their bytes are counted, and chunks that nobody needs any more are deleted.

use crate::store::{Store, StoreError};
use crate::tables::chunk::{self, Chunk};
use crate::tables::{SubId, key};
use crate::tx::Tx;
use crate::{runs, tables::QueueId};

/// Takes note that `from..to` are done in `sub`; their runs are gone already.
pub(super) fn done<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, from: u64, to: u64) -> Result<(), StoreError> {
    let (mut at, mut bytes) = (from, 0);
    while at < to {
        let chunk = chunk::at(&tx.rows, sub.queue, at)?;
        let chunk = chunk.ok_or_else(|| StoreError(format!("the chunk of position {at} is missing")))?;
        let stop = chunk.end().min(to);
        bytes += chunk.bytes(at, stop);
        if unneeded(tx, sub.queue, &chunk)? {
            tx.rows.delete(&key::chunk(sub.queue, chunk.first))?;
            tx.rows.forget_body(&key::body(sub.queue, chunk.first))?;
        }
        at = stop;
    }
    tx.sub(sub)?.bytes_done += bytes;
    Ok(())
}

/// Whether every subscription is done with every message of the chunk.
fn unneeded<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, chunk: &Chunk) -> Result<bool, StoreError> {
    for at in 0..tx.queue(queue)?.subs.len() {
        let sub = SubId { queue, sub: tx.queue(queue)?.subs[at] };
        if tx.sub(sub)?.cursor < chunk.end() {
            return Ok(false);
        }
        if runs::before(&tx.rows, sub, chunk.end())?.is_some_and(|run| run.end() > chunk.first) {
            return Ok(false);
        }
    }
    Ok(true)
}
