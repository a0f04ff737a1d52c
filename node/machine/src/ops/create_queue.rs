//! Creating a queue with its `default` subscription.

use bytes::Bytes;

use super::{Done, in_range};
use crate::command::{CreateQueue, Order, Settings};
use crate::limits::{
    BACKOFF_FIRST_MS_DEFAULT, BACKOFF_LAST_MS_DEFAULT, BACKOFF_MS_MAX, LEASE_MS_DEFAULT, LEASE_MS_MAX,
    LEASE_MS_MIN, QUEUES_MAX,
};
use crate::names;
use crate::reply::{Refusal, Reply};
use crate::store::Store;
use crate::tables::key::SUBSCRIPTION_DEFAULT;
use crate::tables::row::{self, Ids, Namespace, Queue, Sub};
use crate::tables::{QueueId, SubId, key};
use crate::tx::Tx;

pub(crate) fn create_queue<S: Store>(tx: &mut Tx<'_, S>, command: &CreateQueue) -> Done {
    let namespace = names::namespace(&command.namespace)?;
    names::check(&command.name)?;
    let settings = resolve(&command.settings)?;
    let name_key = key::queue_name(namespace, &command.name);
    if let Some(queue) = row::get_u64(&tx.rows, &name_key)? {
        let id = QueueId { namespace, queue };
        let created_at_ms = tx.queue(id)?.created_at_ms;
        if tx.sub(SubId { queue: id, sub: SUBSCRIPTION_DEFAULT })?.settings != settings {
            return Err(Refusal::QueueExists(command.name.clone()).into());
        }
        return Ok(Reply::QueueCreated { settings, created: false, created_at_ms });
    }
    let counts_key = key::namespace(namespace);
    let mut counts: Namespace = row::get(&tx.rows, &counts_key)?.unwrap_or_default();
    if counts.queues >= QUEUES_MAX {
        return Err(Refusal::LimitReached { what: "queues in a namespace", limit: QUEUES_MAX }.into());
    }
    counts.queues += 1;
    tx.put_message(&counts_key, &counts)?;
    let mut ids: Ids = row::get(&tx.rows, &key::ids())?.unwrap_or_default();
    ids.last_queue += 1;
    tx.put_message(&key::ids(), &ids)?;

    let id = QueueId { namespace, queue: ids.last_queue };
    let sub = SubId { queue: id, sub: SUBSCRIPTION_DEFAULT };
    let created_at_ms = tx.now_ms;
    tx.rows.insert(&name_key, row::of_u64(id.queue))?;
    tx.rows.insert(&key::sub_name(id, names::DEFAULT), Bytes::copy_from_slice(&sub.sub.to_be_bytes()))?;
    let subs = vec![sub.sub];
    *tx.find_queue(id)? = Some(Queue { created_at_ms, next_position: 1, bytes_published: 0, subs });
    *tx.find_sub(sub)? = Some(Sub { settings, cursor: 1, next_token: 1, ..Sub::default() });
    Ok(Reply::QueueCreated { settings, created: true, created_at_ms })
}

/// Fills in defaults and checks ranges. A default gives way to a bound that was given: a first backoff above the
/// default of the last one moves that up, and the other way round.
fn resolve(given: &Settings) -> Result<Settings, Refusal> {
    let order = match Order::try_from(given.order) {
        Ok(Order::Unspecified | Order::None) => Order::None,
        Ok(Order::Total) => Order::Total,
        Err(_) => {
            return Err(Refusal::Invalid {
                field: "order",
                problem: format!("{} is not known", given.order),
            });
        }
    };
    let lease_ms = in_range("lease_ms", given.lease_ms, LEASE_MS_DEFAULT, LEASE_MS_MIN, LEASE_MS_MAX)?;
    let (first, last) = (given.backoff_first_ms, given.backoff_last_ms);
    let first_default = if last == 0 { BACKOFF_FIRST_MS_DEFAULT } else { BACKOFF_FIRST_MS_DEFAULT.min(last) };
    let backoff_first_ms = in_range("backoff_first_ms", first, first_default, 1, BACKOFF_MS_MAX)?;
    let last_default = BACKOFF_LAST_MS_DEFAULT.max(backoff_first_ms);
    let backoff_last_ms = in_range("backoff_last_ms", last, last_default, 1, BACKOFF_MS_MAX)?;
    if backoff_first_ms > backoff_last_ms {
        let problem = format!("{backoff_last_ms} is less than backoff_first_ms, {backoff_first_ms}");
        return Err(Refusal::Invalid { field: "backoff_last_ms", problem });
    }
    Ok(Settings { order: order.into(), lease_ms, backoff_first_ms, backoff_last_ms })
}
