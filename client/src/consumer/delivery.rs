//! A message in the hands of the application.

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::actor::Command;
use super::{Item, Shared};
use crate::error::Error;
use crate::message::Meta;

/// A leased message. Settle it with [`ack`](Self::ack), [`retry`](Self::retry) or [`release`](Self::release);
/// one that is merely dropped stays leased until its lease expires or the consumer detaches.
#[derive(Debug)]
pub struct Delivery<T> {
    /// Its position in the queue.
    pub position: u64,
    /// Grows with every lease of the subscription: a fencing token for the application's own database.
    pub token: u64,
    /// 1 for the first delivery; grows by one for every failure.
    pub attempt: u32,
    /// When it was published, in milliseconds since 1970 by the cluster's clock.
    pub published_at_ms: u64,
    /// What remained of the lease when the server sent the message.
    pub lease_left: Duration,
    /// Id, key, subject and headers.
    pub meta: Meta,
    /// MIME type of the body; empty means unspecified.
    pub content_type: String,
    /// The decoded body.
    pub value: T,
    pub(super) lease: Held,
}

impl<T> Delivery<T> {
    /// The message is done. Returns when a majority has that on disk.
    ///
    /// # Errors
    /// [`Error::StaleLease`] if the lease had ended; [`Error::SettleUnknown`] if the outcome cannot be told;
    /// [`Error::NoLeader`] if it could not be sent in time.
    pub async fn ack(self) -> Result<(), Error> {
        self.lease.settle(v1::Outcome::Ack, 0).await
    }

    /// The work failed: counts an attempt; ready again after `after`, or the subscription's backoff if `None`.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn retry(self, after: Option<Duration>) -> Result<(), Error> {
        self.lease.settle(v1::Outcome::Retry, delay_ms(after)).await
    }

    /// Gives the message back: counts no attempt, ready again at once.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn release(self) -> Result<(), Error> {
        self.lease.settle(v1::Outcome::Release, 0).await
    }

    /// Still at work: the lease ends `by` from now, or after the subscription's lease if `None`.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn extend(&self, by: Option<Duration>) -> Result<(), Error> {
        let answer = self.lease.ask(v1::Outcome::Extend, delay_ms(by));
        answer.await.unwrap_or(Err(Error::SettleUnknown { position: self.position }))
    }

    /// [`Delivery::ack`] without waiting: what waits travels together. Failures show in [`super::Consumer::settled`].
    pub fn ack_later(self) {
        self.lease.settle_later(v1::Outcome::Ack, 0);
    }

    /// [`Delivery::retry`] without waiting.
    pub fn retry_later(self, after: Option<Duration>) {
        self.lease.settle_later(v1::Outcome::Retry, delay_ms(after));
    }

    /// [`Delivery::release`] without waiting.
    pub fn release_later(self) {
        self.lease.settle_later(v1::Outcome::Release, 0);
    }
}

/// Zero means "the subscription's own" on the wire; the smallest delay that was asked for is 1 ms.
fn delay_ms(delay: Option<Duration>) -> u64 {
    delay.map_or(0, |delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).max(1))
}

/// Stands for a lease while the application holds it; the consumer shows it to nobody else meanwhile.
#[derive(Debug)]
pub(super) struct Held {
    position: u64,
    token: u64,
    timeout: Duration,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    /// A settle is under way: its answer ends the hold.
    settling: bool,
}

impl Held {
    pub(super) fn new(
        position: u64,
        token: u64,
        timeout: Duration,
        shared: Arc<Shared>,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Self {
        Self { position, token, timeout, shared, commands, settling: false }
    }

    async fn settle(mut self, outcome: v1::Outcome, delay_ms: u64) -> Result<(), Error> {
        let position = self.position;
        let answer = self.ask(outcome, delay_ms);
        self.settling = true;
        answer.await.unwrap_or(Err(Error::SettleUnknown { position }))
    }

    pub(super) fn settle_later(mut self, outcome: v1::Outcome, delay_ms: u64) {
        self.settling = true;
        let item = self.item(outcome, delay_ms, None);
        self.announce(outcome);
        if self.commands.send(Command::Settle(item)).is_err() {
            self.shared.failed(self.position, self.token, Error::Closed("consumer"));
        }
    }

    fn ask(&self, outcome: v1::Outcome, delay_ms: u64) -> oneshot::Receiver<Result<(), Error>> {
        let (reply, answer) = oneshot::channel();
        let item = self.item(outcome, delay_ms, Some(reply));
        self.announce(outcome);
        if let Err(mpsc::error::SendError(Command::Settle(item))) = self.commands.send(Command::Settle(item))
            && let Some(reply) = item.reply
        {
            let _ = reply.send(Err(Error::Closed("consumer")));
        }
        answer
    }

    /// From now on, not only from the server's answer, nothing behind a returned message is handed out.
    fn announce(&self, outcome: v1::Outcome) {
        if matches!(outcome, v1::Outcome::Retry | v1::Outcome::Release) {
            self.shared.give_back(self.position, self.token);
        }
    }

    fn item(
        &self,
        outcome: v1::Outcome,
        delay_ms: u64,
        reply: Option<oneshot::Sender<Result<(), Error>>>,
    ) -> Item {
        let deadline = Instant::now() + self.timeout;
        Item {
            position: self.position,
            token: self.token,
            outcome,
            delay_ms,
            deadline,
            uncertain: false,
            reply,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.settling {
            self.shared.let_go(self.token);
        }
    }
}
