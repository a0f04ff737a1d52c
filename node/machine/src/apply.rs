//! Applying an entry: the commands in their order, then one assignment for each subscription they touched.

use bytes::Bytes;
use prost::Message;

use crate::command::{Batch, Verb};
use crate::effect::Effect;
use crate::reply::{Outcome, Refusal};
use crate::store::{Read, Store, StoreError};
use crate::subs::assign;
use crate::tables::{Table, key, row};
use crate::tx::Tx;
use crate::{FORMAT_VERSION, ops};

/// What an entry brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// One answer for each command, in their order; a single refusal if the entry could not be read.
    pub replies: Vec<Outcome>,
    /// What the leader's shell has to do, in this order.
    pub effects: Vec<Effect>,
    /// When the next tick has something to do, by replicated time in milliseconds: in the past if it has already.
    pub next_deadline_ms: Option<u64>,
}

/// Applies one entry, an encoded [`Batch`]. Total: whatever the bytes are, it answers and never panics. Fails only
/// if the store does; then the store holds a part of the entry and must be given up.
pub fn apply<S: Store>(store: &mut S, entry: &Bytes) -> Result<Applied, StoreError> {
    // A clone shares the bytes, so that the bodies of the batch are slices of the entry.
    let batch = match Batch::decode(entry.clone()) {
        Ok(batch) => batch,
        Err(error) => return unread(store, error.to_string()),
    };
    if batch.format_version != FORMAT_VERSION {
        return unread(store, format!("format version {}, not {FORMAT_VERSION}", batch.format_version));
    }
    let mut tx = Tx::begin(store, batch.time_ms)?;
    let mut replies = Vec::with_capacity(batch.commands.len());
    for command in batch.commands {
        replies.push(match command.verb {
            Some(verb) => carry_out(&mut tx, verb)?,
            None => Err(Refusal::Malformed("it has no verb that this version knows".into())),
        });
    }
    for sub in tx.take_dirty() {
        assign::assign(&mut tx, sub)?;
    }
    let effects = tx.finish()?;
    Ok(Applied { replies, effects, next_deadline_ms: next_deadline_ms(store)? })
}

fn unread(store: &impl Read, problem: String) -> Result<Applied, StoreError> {
    let replies = vec![Err(Refusal::Malformed(problem))];
    Ok(Applied { replies, effects: Vec::new(), next_deadline_ms: next_deadline_ms(store)? })
}

fn carry_out<S: Store>(tx: &mut Tx<'_, S>, verb: Verb) -> Result<Outcome, StoreError> {
    let done = match verb {
        Verb::CreateQueue(command) => ops::create_queue(tx, &command),
        Verb::DeleteQueue(command) => ops::delete_queue(tx, &command),
        Verb::OpenProducer(command) => ops::open_producer(tx, &command),
        Verb::CloseProducer(command) => ops::close_producer(tx, command),
        Verb::Publish(command) => ops::publish(tx, command),
        Verb::Attach(command) => ops::attach(tx, command),
        Verb::Credit(command) => ops::credit(tx, command),
        Verb::Detach(command) => ops::detach(tx, command),
        Verb::Settle(command) => ops::settle(tx, &command),
        Verb::Tick(_) => ops::tick(tx),
        Verb::GiveNodeIds(command) => ops::give_node_ids(tx, command),
        Verb::UpdateQueue(command) => ops::update_queue(tx, &command),
        Verb::Purge(command) => ops::purge(tx, &command),
        Verb::CreateSub(command) => ops::create_sub(tx, &command),
        Verb::UpdateSub(command) => ops::update_sub(tx, &command),
        Verb::DeleteSub(command) => ops::delete_sub(tx, &command),
        Verb::Pause(command) => ops::pause(tx, &command),
        Verb::Seek(command) => ops::seek(tx, &command),
        Verb::Reschedule(command) => ops::reschedule(tx, &command),
        Verb::Unpark(command) => ops::unpark(tx, &command),
        Verb::Transact(command) => ops::transact(tx, &command),
    };
    match done {
        Ok(reply) => Ok(Ok(reply)),
        Err(ops::Stop::Refused(refusal)) => Ok(Err(refusal)),
        Err(ops::Stop::Store(error)) => Err(error),
    }
}

/// When the next tick has something to do, by replicated time in milliseconds. Fails like the store.
pub(crate) fn next_deadline_ms(store: &impl Read) -> Result<Option<u64>, StoreError> {
    let deadlines = key::all(Table::Deadline);
    let due = match store.first(&deadlines, &deadlines.end())? {
        Some((key, _)) => Some(key::deadline(&key)?.0),
        None => None,
    };
    let garbage = key::all(Table::Garbage);
    if store.first(&garbage, &garbage.end())?.is_none() {
        return Ok(due);
    }
    let now = row::now_ms(store)?;
    Ok(Some(due.map_or(now, |due| due.min(now))))
}
