//! Giving out the id of a new member. An id is used once, by one data directory: those that come to nothing are lost.

use super::Done;
use crate::command::GiveNodeId;
use crate::limits::NODE_IDS_MAX;
use crate::reply::{Refusal, Reply};
use crate::store::Store;
use crate::tables::key;
use crate::tables::row::{self, Ids};
use crate::tx::Tx;

pub(crate) fn give_node_id<S: Store>(tx: &mut Tx<'_, S>, command: GiveNodeId) -> Done {
    let mut ids: Ids = row::get(&tx.rows, &key::ids())?.unwrap_or_default();
    let last = ids.last_node.max(command.above);
    if last >= NODE_IDS_MAX {
        return Err(Refusal::LimitReached { what: "ids of nodes", limit: NODE_IDS_MAX }.into());
    }
    ids.last_node = last + 1;
    tx.put_message(&key::ids(), &ids)?;
    Ok(Reply::NodeIdGiven(last + 1))
}
