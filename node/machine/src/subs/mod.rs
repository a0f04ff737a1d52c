//! What happens to messages inside a subscription, between publish and gone: [`look`] takes them in, [`assign`] leases them,
//! [`back`] takes them back, [`park`] sets them aside, [`leave`] lets them go. [`runs`] keeps where they stand, [`lanes`] the
//! order inside each key; [`room`] and [`retain`] say what has to leave.

pub(crate) mod assign;
pub(crate) mod back;
pub(crate) mod expire;
pub(crate) mod failures;
pub(crate) mod filter;
pub(crate) mod following;
pub(crate) mod lanes;
pub(crate) mod leave;
pub(crate) mod leaving;
pub(crate) mod look;
pub(crate) mod park;
pub(crate) mod retain;
pub(crate) mod room;
pub(crate) mod runs;

use crate::store::{Store, StoreError};
use crate::tables::{QueueId, SubId};
use crate::tx::Tx;
use crate::work::rows_per_message;

/// How many messages of a subscription the entry has room for, each of them on its own.
pub(crate) fn room<S: Store>(tx: &mut Tx<'_, S>, sub: SubId) -> Result<u64, StoreError> {
    let keyed = tx.sub(sub)?.is_keyed();
    Ok(tx.room(rows_per_message(keyed)))
}

/// How many messages of a queue the entry has room for, each on its own in every subscription.
pub(crate) fn room_everywhere<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId) -> Result<u64, StoreError> {
    let mut rows = 0;
    for at in 0..tx.queue(queue)?.subs.len() {
        let sub = SubId { queue, sub: tx.queue(queue)?.subs[at] };
        rows += rows_per_message(tx.sub(sub)?.is_keyed());
    }
    Ok(tx.room(rows))
}
