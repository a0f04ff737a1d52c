//! Creating a queue with its `default` subscription.

use super::Done;
use super::create_sub::add_sub;
use crate::command::{CreateQueue, Filter, QueueSettings, Settings};
use crate::limits::QUEUES_MAX;
use crate::names::{self, Name};
use crate::reply::{Refusal, Reply};
use crate::store::Store;
use crate::subs::filter;
use crate::tables::row::{self, Ids, Namespace, Queue};
use crate::tables::{QueueId, key};
use crate::tx::Tx;
use crate::{former, routes, settings};

pub(crate) fn create_queue<S: Store>(tx: &mut Tx<'_, S>, command: &CreateQueue) -> Done {
    let namespace = names::namespace(&command.namespace)?;
    let name = Name::of("name", &command.name)?;
    let resolved = settings::resolve(&command.settings)?;
    let queue_settings = settings::resolve_queue(&command.queue)?;
    let filter = filter::check(command.filter.as_ref())?;
    let name_key = key::queue_name(namespace, name);
    if let Some(queue) = row::get_u64(&tx.rows, &name_key)? {
        let id = QueueId { namespace, queue };
        if routes::of(&tx.rows, id)? != command.routes {
            return Err(Refusal::QueueExists(command.name.clone()).into());
        }
        return again(tx, id, (&command.name, queue_settings), resolved, filter);
    }
    let counts_key = key::namespace(namespace);
    let mut counts: Namespace = row::get(&tx.rows, &counts_key)?.unwrap_or_default();
    if counts.queues >= QUEUES_MAX {
        return Err(Refusal::LimitReached { what: "queues in a namespace", limit: QUEUES_MAX }.into());
    }
    let mut ids: Ids = row::get(&tx.rows, &key::ids())?.unwrap_or_default();
    ids.last_queue += 1;
    let id = QueueId { namespace, queue: ids.last_queue };
    routes::set(tx, id, &command.name, &command.routes)?;
    tx.put_message(&key::ids(), &ids)?;
    counts.queues += 1;
    let former = former::take(tx, &mut counts, namespace, name)?;
    tx.put_message(&counts_key, &counts)?;

    let created_at_ms = tx.now_ms;
    tx.rows.insert(&name_key, row::of_u64(id.queue))?;
    let (queue, next_position) = (queue_settings, former.next_position);
    *tx.find_queue(id)? = Some(Queue {
        created_at_ms,
        next_position,
        first_token: former.next_token,
        revision: 1,
        settings: queue,
        ..Queue::default()
    });
    add_sub(tx, id, Name::DEFAULT, resolved, filter, next_position)?;
    Ok(Reply::QueueCreated { settings: resolved, created: true, created_at_ms, queue })
}

/// The queue is there already: is it the same?
fn again<S: Store>(
    tx: &mut Tx<'_, S>,
    id: QueueId,
    (name, queue): (&str, QueueSettings),
    settings: Settings,
    filter: Option<&Filter>,
) -> Done {
    let other = || Refusal::QueueExists(name.into());
    let Ok(sub) = names::sub(&tx.rows, id, Name::DEFAULT.as_str()) else { return Err(other().into()) };
    let known: Option<Filter> = row::get(&tx.rows, &key::filter(sub))?;
    let same = tx.sub(sub)?.settings == settings && known.as_ref() == filter;
    let row = tx.queue(id)?;
    if !same || row.settings != queue {
        return Err(other().into());
    }
    let created_at_ms = row.created_at_ms;
    Ok(Reply::QueueCreated { settings, created: false, created_at_ms, queue })
}
