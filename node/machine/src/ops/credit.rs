//! Replacing a consumer's credit. What it holds beyond a lowered credit it keeps.

use quorate_simpoint::{Bug, planted};

use super::attach::credit_in;
use super::{Done, Stop};
use crate::command::Credit;
use crate::reply::{Refusal, Reply};
use crate::store::Store;
use crate::tables::SubId;
use crate::tx::Tx;

pub(crate) fn credit<S: Store>(tx: &mut Tx<'_, S>, command: Credit) -> Done {
    let sub = current(tx, command.consumer, command.generation)?;
    let credit = credit_in(tx.sub(sub)?, command.credit);
    tx.set_consumer(command.consumer, |row| {
        if let Some(row) = row {
            row.credit = credit;
        }
    })?;
    tx.touch(sub);
    Ok(Reply::Done)
}

/// The subscription of a consumer, if the command comes from its holder.
pub(super) fn current<S: Store>(tx: &mut Tx<'_, S>, consumer: u64, generation: u64) -> Result<SubId, Stop> {
    let sub = tx.sub_of(consumer)?.ok_or(Refusal::UnknownConsumer)?;
    let row = tx.consumer(consumer)?;
    if row.generation != generation && !planted(Bug::GenerationNotChecked) {
        return Err(Refusal::ConsumerFenced { given: generation, current: row.generation }.into());
    }
    Ok(sub)
}
