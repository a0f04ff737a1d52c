//! Opening or resuming a consumer session.

use super::{Done, Stop, in_range};
use crate::command::Attach;
use crate::effect::Effect;
use crate::limits::{
    CONSUMER_LABEL_BYTES_MAX, CONSUMERS_MAX, CREDIT_MAX, SESSION_NAME_BYTES, SESSION_TIMEOUT_MS_DEFAULT,
    SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MIN,
};
use crate::names;
use crate::reply::{Attached, Refusal, Reply};
use crate::store::Store;
use crate::subs::runs;
use crate::tables::row::{self, Consumer, Ids};
use crate::tables::{SubId, key};
use crate::tx::Tx;

pub(crate) fn attach<S: Store>(tx: &mut Tx<'_, S>, command: Attach) -> Done {
    if command.session.len() != SESSION_NAME_BYTES {
        let problem = format!("must be {SESSION_NAME_BYTES} bytes");
        return Err(Refusal::Invalid { field: "session", problem }.into());
    }
    if command.name.len() > CONSUMER_LABEL_BYTES_MAX {
        let problem = format!("must be at most {CONSUMER_LABEL_BYTES_MAX} bytes");
        return Err(Refusal::Invalid { field: "name", problem }.into());
    }
    check_credit(command.credit)?;
    let session_timeout_ms = in_range(
        "session_timeout_ms",
        command.session_timeout_ms,
        SESSION_TIMEOUT_MS_DEFAULT,
        SESSION_TIMEOUT_MS_MIN,
        SESSION_TIMEOUT_MS_MAX,
    )?;
    let queue = names::queue(&tx.rows, &command.namespace, &command.queue)?;
    let sub = names::sub(&tx.rows, queue, &command.subscription)?;
    let known = row::get_u64(&tx.rows, &key::consumer_name(queue.namespace, &command.session))?;
    let consumer = match known {
        Some(consumer) if tx.consumer(consumer)?.sub_id() == sub => consumer,
        Some(_) => {
            let problem = "is attached to another subscription: detach it first".into();
            return Err(Refusal::Invalid { field: "session", problem }.into());
        }
        None => add(tx, sub, &command)?,
    };
    tx.set_consumer(consumer, |row| {
        if let Some(row) = row {
            row.generation += 1;
            row.credit = command.credit;
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
        resumed: known.is_some(),
        settings: tx.sub(sub)?.settings,
        leases: held.iter().filter_map(|run| run.lease(sub)).map(|(_, lease)| lease).collect(),
    }))
}

pub(super) fn check_credit(credit: u32) -> Result<(), Refusal> {
    if credit > CREDIT_MAX {
        return Err(Refusal::Invalid { field: "credit", problem: format!("must be at most {CREDIT_MAX}") });
    }
    Ok(())
}

/// Adds a session, still without credit.
fn add<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, command: &Attach) -> Result<u64, Stop> {
    if tx.sub(sub)?.consumers >= CONSUMERS_MAX {
        let limit = CONSUMERS_MAX.into();
        return Err(Refusal::LimitReached { what: "consumers of a subscription", limit }.into());
    }
    tx.sub(sub)?.consumers += 1;
    let mut ids: Ids = row::get(&tx.rows, &key::ids())?.unwrap_or_default();
    ids.last_consumer += 1;
    tx.put_message(&key::ids(), &ids)?;
    let id = ids.last_consumer;
    tx.rows.insert(&key::consumer_name(sub.queue.namespace, &command.session), row::of_u64(id))?;
    tx.rows.insert(&key::sub_consumer(sub, id), bytes::Bytes::new())?;
    tx.set_consumer(id, |row| {
        *row = Some(Consumer {
            namespace: sub.queue.namespace,
            queue: sub.queue.queue,
            sub: sub.sub,
            // A row is kept beyond the entry: a slice would pin the whole of it.
            session: bytes::Bytes::copy_from_slice(&command.session),
            ..Consumer::default()
        });
    })?;
    Ok(id)
}
