//! Ending a producer session. Its receipts go with the ticks after it.

use quorate_simpoint::{Bug, planted};

use super::{Done, Stop};
use crate::command::CloseProducer;
use crate::names::ProducerName;
use crate::reply::{Refusal, Reply};
use crate::store::{Store, StoreError};
use crate::tables::key;
use crate::tables::row::{self, Namespace, Producer};
use crate::tx::Tx;

pub(crate) fn close_producer<S: Store>(tx: &mut Tx<'_, S>, command: CloseProducer) -> Done {
    current(tx, command.producer, command.epoch)?;
    forget_producer(tx, command.producer)?;
    Ok(Reply::Done)
}

/// The session, if the command comes from its holder.
pub(super) fn current<'t, S: Store>(
    tx: &'t mut Tx<'_, S>,
    producer: u64,
    epoch: u64,
) -> Result<&'t mut Producer, Stop> {
    let row = tx.find_producer(producer)?.as_mut().ok_or(Refusal::UnknownProducer)?;
    if row.epoch != epoch && !planted(Bug::EpochNotChecked) {
        return Err(Refusal::ProducerFenced { given: epoch, current: row.epoch }.into());
    }
    Ok(row)
}

/// Removes a session; its id is not used again, so that its receipts can wait for the sweep.
pub(super) fn forget_producer<S: Store>(tx: &mut Tx<'_, S>, id: u64) -> Result<(), StoreError> {
    let Some(row) = tx.find_producer(id)?.take() else { return Ok(()) };
    tx.rows.delete(&key::producer_name(row.namespace, ProducerName::stored(&row.name)?))?;
    tx.rows.delete(&key::deadline_producer(row.idle_check_ms, id))?;
    let counts_key = key::namespace(row.namespace);
    let mut counts: Namespace = row::get(&tx.rows, &counts_key)?.unwrap_or_default();
    counts.producers = counts.producers.saturating_sub(1);
    tx.put_message(&counts_key, &counts)?;
    tx.rows.insert(&key::garbage_producer(id), bytes::Bytes::new())
}
