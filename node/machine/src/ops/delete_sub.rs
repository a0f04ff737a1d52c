//! Deleting a subscription: its name goes at once; its sessions, which nobody can use any more, end as far as there is room, and with the ticks after it like its progress.

use bytes::Bytes;
use quorate_simpoint::{Bug, planted};

use super::Done;
use crate::command::DeleteSub;
use crate::names::{self, Name};
use crate::reply::{Refusal, Reply};
use crate::store::{Store, StoreError};
use crate::subs::following;
use crate::tables::row::Sub;
use crate::tables::{QueueId, SubId, key};
use crate::tx::Tx;

pub(crate) fn delete_sub<S: Store>(tx: &mut Tx<'_, S>, command: &DeleteSub) -> Done {
    let queue = names::queue(&tx.rows, &command.namespace, &command.queue)?;
    let id = names::sub(&tx.rows, queue, &command.name)?;
    if tx.queue(queue)?.subs.len() == 1 {
        return Err(Refusal::LastSubscription.into());
    }
    let name = Name::or_default("name", &command.name)?;
    tx.rows.delete(&key::sub_name(queue, name))?;
    let Sub { next_token, seat, .. } = *tx.sub(id)?;
    let row = tx.queue(queue)?;
    if !planted(Bug::TokensBeginAgain) {
        row.first_token = row.first_token.max(next_token);
    }
    give_up(tx, id)?;
    following::begin_to_end(tx, SubId { sub: seat, ..id })?;
    Ok(Reply::Done)
}

/// Gives up a subscription's number. What stands under it is left to ticks, and so are the chunks that nobody else needs.
pub(super) fn give_up<S: Store>(tx: &mut Tx<'_, S>, id: SubId) -> Result<(), StoreError> {
    tx.queue(id.queue)?.forget(id.sub);
    *tx.find_sub(id)? = None;
    tx.forget_lanes(id);
    tx.rows.delete(&key::filter(id))?;
    tx.rows.delete(&key::looking(id))?;
    tx.rows.insert(&key::garbage_sub(id), Bytes::new())?;
    sweep_chunks(tx, id.queue)
}

/// Has ticks look for chunks that nobody needs any more.
pub(super) fn sweep_chunks<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId) -> Result<(), StoreError> {
    // From the front again, if a sweep is under way.
    tx.rows.put(&key::garbage_chunks(queue), Bytes::new())
}
