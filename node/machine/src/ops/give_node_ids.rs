//! Giving out the ids of new members. An id is used once, by one data directory: those that come to nothing are lost.

use super::Done;
use crate::command::GiveNodeIds;
use crate::limits::NODE_IDS_MAX;
use crate::reply::{Refusal, Reply};
use crate::store::Store;
use crate::tables::key;
use crate::tables::row::{self, Ids};
use crate::tx::Tx;

pub(crate) fn give_node_ids<S: Store>(tx: &mut Tx<'_, S>, command: GiveNodeIds) -> Done {
    let mut ids: Ids = row::get(&tx.rows, &key::ids())?.unwrap_or_default();
    let last = ids.last_node.max(command.above);
    let Some(last) = last.checked_add(command.count).filter(|last| *last <= NODE_IDS_MAX) else {
        return Err(Refusal::LimitReached { what: "ids of nodes", limit: NODE_IDS_MAX }.into());
    };
    if last != ids.last_node {
        ids.last_node = last;
        tx.put_message(&key::ids(), &ids)?;
    }
    Ok(Reply::NodeIdsGiven(last))
}
