//! Opening or resuming a consumer session.

use super::{Done, Stop, in_range};
use crate::command::Attach;
use crate::effect::Effect;
use crate::limits::{
    CONSUMERS_MAX, SESSION_TIMEOUT_MS_DEFAULT, SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MIN,
    TOTAL_CREDIT_MAX,
};
use crate::names::{self, SessionName};
use crate::reply::{Attached, Refusal, Reply};
use crate::store::Store;
use crate::subs::{following, runs};
use crate::tables::row::{self, Consumer, Ids, Sub};
use crate::tables::{SubId, key};
use crate::tx::Tx;

pub(crate) fn attach<S: Store>(tx: &mut Tx<'_, S>, command: Attach) -> Done {
    let session = SessionName::of(&command.session)?;
    let session_timeout_ms = session_timeout_ms(command.session_timeout_ms)?;
    let queue = names::queue(&tx.rows, &command.namespace, &command.queue)?;
    let sub = names::sub(&tx.rows, queue, &command.subscription)?;
    let known = row::get_u64(&tx.rows, &key::consumer_name(queue.namespace, session))?;
    let its = known.map_or(Ok(None), |consumer| tx.sub_of(consumer))?;
    let consumer = match (known, its) {
        (Some(consumer), Some(its)) if its == sub => consumer,
        (Some(_), Some(_)) => {
            let problem = "is attached to another subscription: detach it first";
            return Err(Refusal::Invalid { field: "session", problem: problem.into() }.into());
        }
        (over, _) => add(tx, sub, session, over)?,
    };
    let credit = credit_in(tx.sub(sub)?, command.credit);
    tx.set_consumer(consumer, |row| {
        if let Some(row) = row {
            row.generation += 1;
            row.credit = credit;
            row.session_timeout_ms = session_timeout_ms;
            row.label = command.name;
        }
    })?;
    tx.touch(sub);
    let generation = tx.consumer(consumer)?.generation;
    tx.effects.push(Effect::Attached { consumer, generation, session_timeout_ms });
    let held = runs::held(&tx.rows, sub, consumer, 0, u64::MAX)?;
    Ok(Reply::Attached(Attached {
        consumer,
        generation,
        resumed: its.is_some(),
        settings: tx.sub(sub)?.settings,
        leases: held.iter().filter_map(|run| run.lease(sub)).map(|(_, lease)| lease).collect(),
    }))
}

/// How long the session outlives its stream.
pub(crate) fn session_timeout_ms(given: u64) -> Result<u64, Refusal> {
    let (least, most) = (SESSION_TIMEOUT_MS_MIN, SESSION_TIMEOUT_MS_MAX);
    in_range("session_timeout_ms", given, SESSION_TIMEOUT_MS_DEFAULT, least, most)
}

/// The credit that a consumer has that asks for so much.
pub(super) fn credit_in(sub: &Sub, credit: u32) -> u32 {
    let several_of_a_key = sub.is_keyed() && sub.settings.per_key_inflight > 1;
    if sub.is_total() || several_of_a_key { credit.min(TOTAL_CREDIT_MAX) } else { credit }
}

/// Adds a session, still without credit. Whoever has it had a subscription that was deleted, and ends.
fn add<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    session: SessionName<'_>,
    over: Option<u64>,
) -> Result<u64, Stop> {
    if tx.sub(sub)?.consumers >= CONSUMERS_MAX {
        let limit = CONSUMERS_MAX.into();
        return Err(Refusal::LimitReached { what: "consumers of a subscription", limit }.into());
    }
    if let Some(consumer) = over {
        following::forget(tx, consumer)?;
        tx.effects.push(Effect::Ended { consumer });
    }
    let row = tx.sub(sub)?;
    row.consumers += 1;
    let seat = row.seat;
    let mut ids: Ids = row::get(&tx.rows, &key::ids())?.unwrap_or_default();
    ids.last_consumer += 1;
    tx.put_message(&key::ids(), &ids)?;
    let id = ids.last_consumer;
    tx.rows.insert(&key::consumer_name(sub.queue.namespace, session), row::of_u64(id))?;
    tx.rows.insert(&key::sub_consumer(SubId { sub: seat, ..sub }, id), bytes::Bytes::new())?;
    tx.set_consumer(id, |row| {
        *row = Some(Consumer {
            namespace: sub.queue.namespace,
            queue: sub.queue.queue,
            sub: sub.sub,
            seat,
            // A row is kept beyond the entry: a slice would pin the whole of it.
            session: bytes::Bytes::copy_from_slice(session.bytes()),
            ..Consumer::default()
        });
    })?;
    Ok(id)
}
