//! Applying an entry: the commands in their order, then one assignment for each subscription they touched.

use bytes::Bytes;
use quorate_simpoint::{Bug, planted};

use crate::command::Verb;
use crate::effect::Effect;
use crate::limits::ENTRY_ROWS;
use crate::reply::{Outcome, Reply};
use crate::store::{Read, Store, StoreError};
use crate::subs::assign;
use crate::tables::{Table, key, row};
use crate::tx::Tx;
use crate::versions::{self, ApplyError, Versions};
use crate::work::{Budget, Step};
use crate::{lawful, ops};

/// What an entry brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// One answer for each command, in their order.
    pub replies: Vec<Outcome>,
    /// What the leader's shell has to do, in this order.
    pub effects: Vec<Effect>,
    /// When the next tick has something to do, by replicated time in milliseconds: in the past if it has already.
    pub next_deadline_ms: Option<u64>,
    /// The active version, if a command was about it.
    pub version: Option<u32>,
    /// What it carried out of what was due, in this order.
    pub steps: Vec<Step>,
    /// How many rows it read and wrote, long ones counted as several.
    pub rows: u64,
}

/// [`apply_as`] a program of [`Versions::OWN`].
pub fn apply<S: Store>(store: &mut S, entry: &Bytes) -> Result<Applied, ApplyError> {
    apply_as(Versions::OWN, store, entry)
}

/// Applies one entry, an encoded [`Batch`](crate::command::Batch), as a program of these versions. Total: whatever the bytes are, it
/// answers and never panics. See [`ApplyError`] for what is to be done with the store then.
pub fn apply_as<S: Store>(versions: Versions, store: &mut S, entry: &Bytes) -> Result<Applied, ApplyError> {
    within(versions, store, entry, quorate_simpoint::entry_rows(ENTRY_ROWS))
}

/// Applies one entry with another bound of what it may do than [`ENTRY_ROWS`], for tests: all replicas have to have the same.
pub fn apply_within<S: Store>(store: &mut S, entry: &Bytes, rows_max: u64) -> Result<Applied, ApplyError> {
    within(Versions::OWN, store, entry, rows_max)
}

fn within<S: Store>(
    versions: Versions,
    store: &mut S,
    entry: &Bytes,
    rows_max: u64,
) -> Result<Applied, ApplyError> {
    let batch = match versions::read(versions, entry) {
        Ok(batch) => batch,
        Err(_) if planted(Bug::UnreadableSkipped) => return Ok(skipped(store)?),
        Err(unreadable) => return Err(unreadable.into()),
    };
    let mut tx = Tx::begin(store, batch.time_ms, Budget { rows_max })?;
    let mut replies = Vec::with_capacity(batch.commands.len());
    let mut version = None;
    // Each command has a verb, or the batch could not have been read.
    for verb in batch.commands.into_iter().filter_map(|command| command.verb) {
        let outcome = carry_out(&mut tx, verb)?;
        if let Ok(Reply::VersionActive(active)) = &outcome {
            version = Some(*active);
        }
        replies.push(outcome);
    }
    assign::assign_all(&mut tx)?;
    let (rows, effects, steps) = tx.finish()?;
    Ok(Applied { replies, effects, next_deadline_ms: next_deadline_ms(store)?, version, steps, rows })
}

/// What [`Bug::UnreadableSkipped`] makes of an entry.
fn skipped(store: &impl Read) -> Result<Applied, StoreError> {
    let next_deadline_ms = next_deadline_ms(store)?;
    let (replies, effects, steps) = (Vec::new(), Vec::new(), Vec::new());
    Ok(Applied { replies, effects, next_deadline_ms, version: None, steps, rows: 0 })
}

fn carry_out<S: Store>(tx: &mut Tx<'_, S>, verb: Verb) -> Result<Outcome, StoreError> {
    if let Err(refusal) = lawful(&verb) {
        return Ok(Err(refusal));
    }
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
        Verb::RaiseVersion(command) => ops::raise_version(tx, command),
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
