//! Opening a producer session. Each time it gets a new epoch, which fences what still travels under the old one.
//!
//! Whoever opens it by its name alone becomes its holder. Resuming is for the holder: it repeats what it has no receipt for
//! under the old sequence numbers, which would be taken for another's if somebody used the session in between (P5).

use bytes::Bytes;
use quorate_simpoint::{Bug, planted};

use super::{Done, in_range};
use crate::command::OpenProducer;
use crate::limits::{PRODUCER_TTL_MS_DEFAULT, PRODUCER_TTL_MS_MAX, PRODUCER_TTL_MS_MIN, PRODUCERS_MAX};
use crate::names::{self, ProducerName};
use crate::reply::{ProducerOpened, Refusal, Reply};
use crate::store::{Store, StoreError};
use crate::tables::row::{self, Ids, Namespace, Producer};
use crate::tables::{key, key::deadline_producer};
use crate::tx::Tx;

pub(crate) fn open_producer<S: Store>(tx: &mut Tx<'_, S>, command: &OpenProducer) -> Done {
    let namespace = names::namespace(&command.namespace)?;
    let (name, ttl_ms) = (ProducerName::of(&command.session)?, ttl_ms(command.ttl_ms)?);
    let known = row::get_u64(&tx.rows, &key::producer_name(namespace, name))?;
    let resumes = command.resume != 0;
    let id = match known {
        Some(id) if !resumes || id == command.resume => id,
        _ if resumes => return Err(Refusal::UnknownProducer.into()),
        _ => add(tx, namespace, name)?,
    };
    let used_at_ms = tx.now_ms;
    let idle_check_ms = used_at_ms.saturating_add(ttl_ms);
    let row = tx.find_producer(id)?.as_mut().ok_or_else(|| missing(id))?;
    if resumes && row.holder != command.holder && !planted(Bug::FormerHolderResumes) {
        return Err(Refusal::ProducerTaken { epoch: row.epoch }.into());
    }
    row.holder = Bytes::copy_from_slice(&command.holder);
    let old_check_ms = row.idle_check_ms;
    row.epoch += 1;
    row.ttl_ms = ttl_ms;
    row.used_at_ms = used_at_ms;
    row.idle_check_ms = idle_check_ms;
    let opened = ProducerOpened { producer: id, epoch: row.epoch, last_seq: row.last_seq };
    tx.rows.delete(&deadline_producer(old_check_ms, id))?;
    tx.rows.insert(&deadline_producer(idle_check_ms, id), Bytes::new())?;
    Ok(Reply::ProducerOpened(opened))
}

/// How long the session is remembered without use.
pub(crate) fn ttl_ms(given: u64) -> Result<u64, Refusal> {
    in_range("ttl_ms", given, PRODUCER_TTL_MS_DEFAULT, PRODUCER_TTL_MS_MIN, PRODUCER_TTL_MS_MAX)
}

fn missing(id: u64) -> StoreError {
    StoreError(format!("producer {id} has a name and no row"))
}

/// Adds a session that was never opened.
fn add<S: Store>(tx: &mut Tx<'_, S>, namespace: u32, name: ProducerName<'_>) -> Result<u64, super::Stop> {
    let counts_key = key::namespace(namespace);
    let mut counts: Namespace = row::get(&tx.rows, &counts_key)?.unwrap_or_default();
    if counts.producers >= PRODUCERS_MAX {
        let refusal =
            Refusal::LimitReached { what: "producer sessions in a namespace", limit: PRODUCERS_MAX };
        return Err(refusal.into());
    }
    counts.producers += 1;
    tx.put_message(&counts_key, &counts)?;
    let mut ids: Ids = row::get(&tx.rows, &key::ids())?.unwrap_or_default();
    ids.last_producer += 1;
    tx.put_message(&key::ids(), &ids)?;
    let id = ids.last_producer;
    tx.rows.insert(&key::producer_name(namespace, name), row::of_u64(id))?;
    *tx.find_producer(id)? = Some(Producer { namespace, name: name.as_str().into(), ..Producer::default() });
    Ok(id)
}
