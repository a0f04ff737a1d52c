//! What the leader can tell without an entry: that a command would be refused, by a state that it has.
//!
//! A refusal changes nothing, so it need not be ordered among the changes: it is enough that it was right after everything that had been
//! acknowledged when the command came. Whoever asks sees to that. Not every refusal is foreseen, only those that come again and again
//! while somebody tries, or that carry much.

use crate::command::{Publish, PublishTo, Transact, Verb};
use crate::message::IDENTIFIED;
use crate::names;
use crate::ops::Stop;
use crate::reply::Refusal;
use crate::store::{Read, StoreError};
use crate::subs::room::refusal_of;
use crate::tables::row::{self, Producer, Queue, Sub};
use crate::tables::{QueueId, SubId, key};

/// Why the state would refuse a command now. Nothing if it would not, or if that is not known before it is carried out.
///
/// # Errors
/// The store failed.
pub fn foresee(store: &impl Read, verb: &Verb) -> Result<Option<Refusal>, StoreError> {
    let found = match verb {
        Verb::Publish(command) => publish(store, command),
        Verb::Transact(command) => transact(store, command),
        Verb::Purge(command) => names::queue(store, &command.namespace, &command.name).map(drop),
        Verb::UpdateQueue(command) => names::queue(store, &command.namespace, &command.name).map(drop),
        Verb::CreateSub(command) => names::queue(store, &command.namespace, &command.queue).map(drop),
        Verb::Reschedule(command) => names::queue(store, &command.namespace, &command.queue).map(drop),
        Verb::Attach(command) => sub(store, &command.namespace, &command.queue, &command.subscription),
        Verb::UpdateSub(command) => sub(store, &command.namespace, &command.queue, &command.name),
        Verb::Pause(command) => sub(store, &command.namespace, &command.queue, &command.name),
        Verb::Seek(command) => sub(store, &command.namespace, &command.queue, &command.name),
        Verb::Unpark(command) => sub(store, &command.namespace, &command.queue, &command.subscription),
        // What is repeated until it has been done: its answer says whether an attempt before it was carried out, which only the order of
        // commands tells. Or it is small, and rarely refused.
        Verb::CreateQueue(_)
        | Verb::DeleteQueue(_)
        | Verb::DeleteSub(_)
        | Verb::OpenProducer(_)
        | Verb::CloseProducer(_)
        | Verb::Credit(_)
        | Verb::Detach(_)
        | Verb::Settle(_)
        | Verb::Tick(_)
        | Verb::GiveNodeIds(_)
        | Verb::RaiseVersion(_) => Ok(()),
    };
    match found {
        Ok(()) => Ok(None),
        Err(Stop::Refused(refusal)) => Ok(Some(refusal)),
        Err(Stop::Store(error)) => Err(error),
    }
}

/// Whether a queue or one of its subscriptions has a limit, so that what is published to it may be refused; nothing if there is no such queue.
///
/// # Errors
/// The store failed.
pub fn is_limited(store: &impl Read, namespace: &str, queue: &str) -> Result<Option<bool>, StoreError> {
    let id = match names::queue(store, namespace, queue) {
        Ok(id) => id,
        Err(Stop::Refused(_)) => return Ok(None),
        Err(Stop::Store(error)) => return Err(error),
    };
    let (row, subs) = rows(store, id)?;
    let has_limit = row.settings.max_length != 0 || row.settings.max_bytes != 0;
    Ok(Some(has_limit || subs.iter().any(|(_, sub)| sub.settings.max_lag != 0)))
}

fn sub(store: &impl Read, namespace: &str, queue: &str, sub: &str) -> Result<(), Stop> {
    let queue = names::queue(store, namespace, queue)?;
    names::sub(store, queue, sub).map(drop)
}

/// The session of a command, if it has one and is its holder.
fn session(store: &impl Read, producer: u64, epoch: u64) -> Result<Option<Producer>, Stop> {
    if producer == 0 && epoch == 0 {
        return Ok(None);
    }
    let row: Option<Producer> = row::get(store, &key::producer(producer))?;
    let row = row.ok_or(Refusal::UnknownProducer)?;
    if row.epoch != epoch {
        return Err(Refusal::ProducerFenced { given: epoch, current: row.epoch }.into());
    }
    Ok(Some(row))
}

fn publish(store: &impl Read, command: &Publish) -> Result<(), Stop> {
    let queue = names::queue(store, &command.namespace, &command.queue)?;
    let session = session(store, command.producer, command.epoch)?;
    // What is sent again gets its receipts, whether there is room or not.
    if session.is_some_and(|row| command.first_seq <= row.last_seq) {
        return Ok(());
    }
    room(store, queue, command.attributes, &command.lengths)
}

fn transact(store: &impl Read, command: &Transact) -> Result<(), Stop> {
    let row = session(store, command.producer, command.epoch)?;
    let is_known = row.is_some() && store.get(&key::receipt(command.producer, command.seq))?.is_some();
    if is_known {
        return Ok(());
    }
    for PublishTo { queue, lengths, attributes, .. } in
        command.publish.iter().filter(|to| !to.queue.is_empty())
    {
        let id = names::queue(store, &command.namespace, queue)?;
        // What it settles may make room for what it publishes.
        if command.settle.is_empty() {
            room(store, id, *attributes, lengths)?;
        }
    }
    Ok(())
}

/// Refuses what there is no room for. A message with an id may be there already, and need none.
fn room(store: &impl Read, id: QueueId, attributes: u32, lengths: &[u32]) -> Result<(), Stop> {
    if attributes & IDENTIFIED != 0 {
        return Ok(());
    }
    let (queue, subs) = rows(store, id)?;
    match refusal_of(&queue, &subs, lengths, || names::subs(store, id))? {
        Some(refusal) => Err(refusal.into()),
        None => Ok(()),
    }
}

fn rows(store: &impl Read, id: QueueId) -> Result<(Queue, Vec<(SubId, Sub)>), StoreError> {
    let missing = |what: &str| StoreError(format!("{what} of {id:?} has no row"));
    let queue: Queue = row::get(store, &key::queue(id))?.ok_or_else(|| missing("the queue"))?;
    let mut subs = Vec::with_capacity(queue.subs.len());
    for sub in &queue.subs {
        let sub = SubId { queue: id, sub: *sub };
        let row: Sub = row::get(store, &key::sub(sub))?.ok_or_else(|| missing("a subscription"))?;
        subs.push((sub, row));
    }
    Ok((queue, subs))
}
