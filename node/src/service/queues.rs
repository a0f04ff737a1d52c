//! Queues, and linearizable looks into them.

use quorate_machine::command::{CreateQueue, DeleteQueue, Purge, Reschedule, UpdateQueue};
use quorate_machine::limits::PAGE_MAX;
use quorate_machine::read::{self, Peeked, ProducerInfo, QueueInfo, ReadError, Stat, State};
use quorate_machine::reply::Refusal;
use quorate_machine::store::Read;

use super::error::{CommandError, QueryError};
use super::{Context, Service, bounded, or_default};
use crate::shards::Shard;

const PEEK_DEFAULT: u32 = 20;

/// Which messages a peek shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peek {
    /// The queue.
    pub queue: String,
    /// The subscription; none named: `default`.
    pub subscription: String,
    /// From this position on.
    pub from_position: u64,
    /// At most so many; 0: 20.
    pub count: u32,
    /// In this state; `None`: in any but done.
    pub state: Option<State>,
}

impl Service {
    /// Creates a queue. Returns it, and whether it is new.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn create_queue(
        &self,
        context: &Context,
        command: CreateQueue,
    ) -> Result<(QueueInfo, bool), CommandError> {
        let command = CreateQueue { namespace: context.namespace().into(), ..command };
        self.check_room_for_queue(context, &command.name)?;
        let (name, filter, routes) = (command.name.clone(), command.filter.clone(), command.routes.clone());
        let done = self.propose(context, command).await?;
        let (settings, created_at_ms) = (Some((done.settings, filter)), done.created_at_ms);
        let queue = QueueInfo { name, settings, created_at_ms, queue: done.queue, revision: 1, routes };
        Ok((queue, done.created))
    }

    /// Queues by name, and whether there are more.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn queues(
        &self,
        context: &Context,
        after: &str,
        limit: u32,
    ) -> Result<((Vec<QueueInfo>, bool), u64), QueryError> {
        let limit = bounded("limit", limit, PAGE_MAX, PAGE_MAX)?;
        self.query(context, |state| read::queues(state, context.namespace(), after, limit)).await
    }

    /// A queue, and how its subscription `default` is doing, if it has one.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn queue(
        &self,
        context: &Context,
        name: &str,
    ) -> Result<((QueueInfo, Option<Stat>), u64), QueryError> {
        let (namespace, shard) = (context.namespace(), self.shard(context)?);
        self.query(context, |state| {
            let queue = read::queue(state, namespace, name)?;
            // Its subscription `default` may have been deleted.
            let stat = match read::stat(state, namespace, name, "default") {
                Err(ReadError::Refused(Refusal::UnknownSubscription(_))) => None,
                stat => Some(aged(stat?, state, shard)?),
            };
            Ok((queue, stat))
        })
        .await
    }

    /// Deletes a queue and what it holds.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn delete_queue(&self, context: &Context, name: String) -> Result<(), CommandError> {
        self.propose(context, DeleteQueue { namespace: context.namespace().into(), name }).await
    }

    /// Changes a queue's settings. Returns their revision.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn update_queue(&self, context: &Context, command: UpdateQueue) -> Result<u64, CommandError> {
        self.propose(context, UpdateQueue { namespace: context.namespace().into(), ..command }).await
    }

    /// Removes the messages of a queue that nobody holds.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn purge_queue(&self, context: &Context, name: String) -> Result<(), CommandError> {
        self.propose(context, Purge { namespace: context.namespace().into(), name }).await
    }

    /// Cancels a delayed message, or delays it until another time.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn reschedule(&self, context: &Context, command: Reschedule) -> Result<(), CommandError> {
        self.propose(context, Reschedule { namespace: context.namespace().into(), ..command }).await
    }

    /// Messages of a subscription, and the position to go on from.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn peek(&self, context: &Context, peek: Peek) -> Result<((Vec<Peeked>, u64), u64), QueryError> {
        let count = bounded("count", peek.count, PEEK_DEFAULT, PAGE_MAX)?;
        let subscription = or_default(peek.subscription);
        let (namespace, queue) = (context.namespace(), &peek.queue);
        self.query(context, |state| {
            read::peek(state, namespace, queue, &subscription, peek.from_position, count, peek.state)
        })
        .await
    }

    /// How a subscription is doing; none named: `default`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn stat(
        &self,
        context: &Context,
        queue: &str,
        subscription: String,
    ) -> Result<(Stat, u64), QueryError> {
        let (subscription, shard) = (or_default(subscription), self.shard(context)?);
        self.query(context, |state| {
            aged(read::stat(state, context.namespace(), queue, &subscription)?, state, shard)
        })
        .await
    }

    /// Producer sessions by name, and whether there are more.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn producers(
        &self,
        context: &Context,
        after: &str,
        limit: u32,
    ) -> Result<((Vec<ProducerInfo>, bool), u64), QueryError> {
        let limit = bounded("limit", limit, PAGE_MAX, PAGE_MAX)?;
        self.query(context, |state| read::producers(state, context.namespace(), after, limit)).await
    }
}

/// Where nothing happens no entry says what time it is, but the leader knows: messages grow older all the same.
fn aged(mut stat: Stat, state: &impl Read, shard: &Shard) -> Result<Stat, ReadError> {
    if stat.first_position != 0 {
        stat.oldest_age_ms += shard.time.now_ms().saturating_sub(read::now_ms(state)?);
    }
    Ok(stat)
}
