//! Changing a subscription's settings, and pausing it.

use super::update_queue::check_revision;
use super::{Done, Stop};
use crate::command::{Filter, Pause, UpdateSub};
use crate::reply::{Refusal, Reply};
use crate::store::Store;
use crate::subs::filter;
use crate::tables::{SubId, key, row};
use crate::tx::Tx;
use crate::{names, settings};

pub(crate) fn update_sub<S: Store>(tx: &mut Tx<'_, S>, command: &UpdateSub) -> Done {
    let id = find(tx, &command.namespace, &command.queue, &command.name)?;
    let resolved = settings::resolve(&command.settings)?;
    let filter = filter::check(command.filter.as_ref())?;
    let sub = tx.sub(id)?;
    check_revision(command.revision, sub.revision)?;
    for (field, same) in [
        ("order", sub.settings.order == resolved.order),
        ("per_key_inflight", sub.settings.per_key_inflight == resolved.per_key_inflight),
    ] {
        if !same {
            let problem = "cannot be changed: make another subscription";
            return Err(Refusal::Invalid { field, problem: problem.into() }.into());
        }
    }
    let same = sub.settings == resolved;
    let filter_key = key::filter(id);
    let known: Option<Filter> = row::get(&tx.rows, &filter_key)?;
    if same && known.as_ref() == filter {
        return Ok(Reply::Updated { revision: tx.sub(id)?.revision });
    }
    match filter {
        Some(filter) => tx.put_message(&filter_key, filter)?,
        None => tx.rows.delete(&filter_key)?,
    }
    let sub = tx.sub(id)?;
    sub.settings = resolved;
    sub.filtered = filter.is_some();
    sub.revision += 1;
    Ok(Reply::Updated { revision: sub.revision })
}

pub(crate) fn pause<S: Store>(tx: &mut Tx<'_, S>, command: &Pause) -> Done {
    let id = find(tx, &command.namespace, &command.queue, &command.name)?;
    tx.sub(id)?.paused = command.paused;
    tx.touch(id);
    Ok(Reply::Done)
}

/// A subscription by its names.
pub(super) fn find<S: Store>(tx: &Tx<'_, S>, namespace: &str, queue: &str, sub: &str) -> Result<SubId, Stop> {
    let queue = names::queue(&tx.rows, namespace, queue)?;
    names::sub(&tx.rows, queue, sub)
}
