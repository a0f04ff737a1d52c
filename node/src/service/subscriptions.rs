//! Subscriptions: making, changing, moving and listing them, and their parked messages.

use quorate_machine::command::{CreateSub, DeleteSub, Pause, Seek, Unpark, UpdateSub};
use quorate_machine::read::{self, Obstacle, SubInfo};
use quorate_machine::reply::{SubCreated, Unparked};

use super::error::{CommandError, QueryError};
use super::{Context, Service};

impl Service {
    /// Adds a subscription to a queue.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn create_sub(
        &self,
        context: &Context,
        command: CreateSub,
    ) -> Result<SubCreated, CommandError> {
        self.check_room_for_sub(context, &command.queue, &command.name)?;
        self.propose(context, CreateSub { namespace: context.namespace().into(), ..command }).await
    }

    /// The subscriptions of a queue.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn subs(&self, context: &Context, queue: &str) -> Result<(Vec<SubInfo>, u64), QueryError> {
        self.query(context, |state| read::subs(state, context.namespace(), queue)).await
    }

    /// Changes a subscription's settings. Returns their revision.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn update_sub(&self, context: &Context, command: UpdateSub) -> Result<u64, CommandError> {
        self.propose(context, UpdateSub { namespace: context.namespace().into(), ..command }).await
    }

    /// Deletes a subscription and its progress.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn delete_sub(
        &self,
        context: &Context,
        queue: String,
        name: String,
    ) -> Result<(), CommandError> {
        self.propose(context, DeleteSub { namespace: context.namespace().into(), queue, name }).await
    }

    /// Pauses or resumes a subscription.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn pause_sub(&self, context: &Context, command: Pause) -> Result<(), CommandError> {
        self.propose(context, Pause { namespace: context.namespace().into(), ..command }).await
    }

    /// Moves a subscription. Returns the position from which it goes on.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn seek_sub(&self, context: &Context, command: Seek) -> Result<u64, CommandError> {
        self.propose(context, Seek { namespace: context.namespace().into(), ..command }).await
    }

    /// Why nothing is delivered.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn explain(
        &self,
        context: &Context,
        queue: &str,
        subscription: &str,
    ) -> Result<(Vec<Obstacle>, u64), QueryError> {
        let look =
            self.query(context, |state| read::explain(state, context.namespace(), queue, subscription));
        let ((obstacles, _), applied_index) = look.await?;
        Ok((obstacles, applied_index))
    }

    /// Redrives or discards parked messages.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn unpark(&self, context: &Context, command: Unpark) -> Result<Unparked, CommandError> {
        self.propose(context, Unpark { namespace: context.namespace().into(), ..command }).await
    }
}
