//! Changing a queue's settings.

use super::{Done, garbage};
use crate::command::{Order, UpdateQueue};
use crate::reply::{Refusal, Reply};
use crate::store::Store;
use crate::subs::retain;
use crate::tables::SubId;
use crate::tx::Tx;
use crate::{names, routes, settings};

pub(crate) fn update_queue<S: Store>(tx: &mut Tx<'_, S>, command: &UpdateQueue) -> Done {
    let id = names::queue(&tx.rows, &command.namespace, &command.name)?;
    let queue = settings::resolve_queue(&command.queue)?;
    check_revision(command.revision, tx.queue(id)?.revision)?;
    for at in 0..tx.queue(id)?.subs.len() {
        let sub = SubId { queue: id, sub: tx.queue(id)?.subs[at] };
        let order: Order = tx.sub(sub)?.settings.order();
        settings::check_priorities("priorities", &queue, order)?;
    }
    let before = tx.queue(id)?.settings;
    settings::check_retain(&before.retain, &queue.retain)?;
    let has_other_routes = routes::set(tx, id, &command.name, &command.routes)?;
    if before.retain != queue.retain {
        // What has left must not come back because the new bounds would keep it.
        garbage::sweep_unneeded(tx, id)?;
    }
    let row = tx.queue(id)?;
    if before != queue || has_other_routes {
        row.settings = queue;
        row.revision += 1;
    }
    let revision = row.revision;
    if before.retain != queue.retain {
        retain::changed(tx, id)?;
    }
    Ok(Reply::Updated { revision })
}

/// Whether nobody changed the settings since they were read.
pub(super) fn check_revision(given: u64, current: u64) -> Result<(), Refusal> {
    if given != 0 && given != current {
        return Err(Refusal::RevisionChanged { given, current });
    }
    Ok(())
}
