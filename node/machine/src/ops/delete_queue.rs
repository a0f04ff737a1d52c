//! Deleting a queue: its names go at once; its sessions, which nobody can use any more, end as far as there is room, and with the ticks after it like its messages and
//! leases.

use super::Done;
use crate::command::DeleteQueue;
use crate::former;
use crate::names::{self, Name};
use crate::reply::Reply;
use crate::routes;
use crate::store::{Read, Store};
use crate::subs::following;
use crate::tables::row::{self, Namespace, Queue, Sub};
use crate::tables::{Key, SubId, Table, key};
use crate::tx::Tx;

pub(crate) fn delete_queue<S: Store>(tx: &mut Tx<'_, S>, command: &DeleteQueue) -> Done {
    let id = names::queue(&tx.rows, &command.namespace, &command.name)?;
    let name = Name::of("name", &command.name)?;
    tx.rows.delete(&key::queue_name(id.namespace, name))?;
    let Queue { subs, next_position, first_token: mut next_token, .. } = tx.queue(id)?.clone();
    let mut seats = Vec::new();
    for sub in subs {
        let sub = SubId { queue: id, sub };
        let Sub { next_token: of_sub, seat, consumers, .. } = *tx.sub(sub)?;
        next_token = next_token.max(of_sub);
        if consumers > 0 {
            seats.push(SubId { sub: seat, ..sub });
        }
        *tx.find_sub(sub)? = None;
        tx.forget_lanes(sub);
    }
    let names = key::of_queue(Table::SubName, id);
    while let Some((name, _)) = tx.rows.first(&names, &names.end())? {
        tx.rows.delete(&Key::read(&name)?)?;
    }
    let due_ms = tx.queue(id)?.retain_due_ms;
    if due_ms != 0 {
        tx.rows.remove(&key::deadline_retain(due_ms, id), &[])?;
    }
    routes::remove(tx, id)?;
    *tx.find_queue(id)? = None;
    let counts_key = key::namespace(id.namespace);
    let mut counts: Namespace = row::get(&tx.rows, &counts_key)?.unwrap_or_default();
    counts.queues = counts.queues.saturating_sub(1);
    former::keep(tx, &mut counts, id.namespace, name, (next_position, next_token))?;
    tx.put_message(&counts_key, &counts)?;
    tx.rows.insert(&key::garbage_queue(id), bytes::Bytes::new())?;
    for seat in seats {
        following::begin_to_end(tx, seat)?;
    }
    Ok(Reply::Done)
}
