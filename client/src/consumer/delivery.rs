//! A message in the hands of the application.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::actor::Command;
use super::{Item, Shared};
use crate::error::Error;
use crate::message::Meta;

/// A leased message. Settle it with [`ack`](Self::ack), [`retry`](Self::retry), [`release`](Self::release) or [`park`](Self::park);
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
    /// Where it was leased.
    pub(crate) fn place(&self) -> &Place {
        &self.lease.shared.place
    }

    /// The message is done. Returns when a majority has that on disk.
    ///
    /// # Errors
    /// [`Error::StaleLease`] if the lease had ended; [`Error::SettleUnknown`] if the outcome cannot be told;
    /// [`Error::NoLeader`] if it could not be sent in time.
    pub async fn ack(self) -> Result<(), Error> {
        self.lease.settle(How::of(v1::Outcome::Ack)).await
    }

    /// The work failed: counts an attempt; ready again after `after`, or the subscription's backoff if `None`.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn retry(self, after: Option<Duration>) -> Result<(), Error> {
        self.lease.settle(How { delay_ms: delay_ms(after), ..How::of(v1::Outcome::Retry) }).await
    }

    /// [`Delivery::retry`] with the reason, at most 256 bytes, which is kept with the message: look for it with
    /// [`crate::Queues::peek`].
    ///
    /// # Errors
    /// As [`Delivery::ack`]; reason `INVALID` if the reason is longer.
    pub async fn retry_because(
        self,
        reason: impl Into<String>,
        after: Option<Duration>,
    ) -> Result<(), Error> {
        let reason = reason.into();
        self.lease.settle(How { delay_ms: delay_ms(after), reason, ..How::of(v1::Outcome::Retry) }).await
    }

    /// Sets the message aside, until somebody redrives or discards it. In a subscription that parks whole keys
    /// ([`crate::OnExhausted::ParkKey`]), with whatever follows it under its key. The reason, at most 256 bytes, is kept with it.
    ///
    /// # Errors
    /// As [`Delivery::ack`]; reason `INVALID` if the reason is longer.
    pub async fn park(self, reason: impl Into<String>) -> Result<(), Error> {
        self.lease.settle(How { reason: reason.into(), ..How::of(v1::Outcome::Park) }).await
    }

    /// Gives the message back: counts no attempt, ready again at once.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn release(self) -> Result<(), Error> {
        self.lease.settle(How::of(v1::Outcome::Release)).await
    }

    /// Still at work: the lease ends `by` from now, or after the subscription's lease if `None`.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn extend(&self, by: Option<Duration>) -> Result<(), Error> {
        let answer = self.lease.ask(How { delay_ms: delay_ms(by), ..How::of(v1::Outcome::Extend) });
        answer.await.unwrap_or(Err(Error::SettleUnknown { position: self.position }))
    }

    /// [`Delivery::ack`] without waiting: what waits travels together. Failures show in [`super::Consumer::settled`].
    pub fn ack_later(self) {
        self.lease.settle_later(How::of(v1::Outcome::Ack));
    }

    /// [`Delivery::retry`] without waiting.
    pub fn retry_later(self, after: Option<Duration>) {
        self.lease.settle_later(How { delay_ms: delay_ms(after), ..How::of(v1::Outcome::Retry) });
    }

    /// [`Delivery::retry_because`] without waiting.
    pub fn retry_because_later(self, reason: impl Into<String>, after: Option<Duration>) {
        let how = How { delay_ms: delay_ms(after), reason: reason.into(), ..How::of(v1::Outcome::Retry) };
        self.lease.settle_later(how);
    }

    /// [`Delivery::park`] without waiting.
    pub fn park_later(self, reason: impl Into<String>) {
        self.lease.settle_later(How { reason: reason.into(), ..How::of(v1::Outcome::Park) });
    }

    /// [`Delivery::release`] without waiting.
    pub fn release_later(self) {
        self.lease.settle_later(How::of(v1::Outcome::Release));
    }
}

/// Zero means "the subscription's own" on the wire; the smallest delay that was asked for is 1 ms.
fn delay_ms(delay: Option<Duration>) -> u64 {
    delay.map_or(0, |delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).max(1))
}

/// What becomes of a lease.
pub(super) struct How {
    outcome: v1::Outcome,
    delay_ms: u64,
    reason: String,
}

impl How {
    pub(super) fn of(outcome: v1::Outcome) -> Self {
        Self { outcome, delay_ms: 0, reason: String::new() }
    }
}

/// The queue and the subscription that deliveries come from.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) queue: String,
    pub(crate) subscription: String,
}

/// Stands for a lease while the application holds it; the consumer shows it to nobody else meanwhile.
#[derive(Debug)]
pub(super) struct Held {
    position: u64,
    token: u64,
    key: Bytes,
    timeout: Duration,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    /// A settle is under way, whose answer ends the hold; or there is nothing to settle.
    settling: bool,
}

impl Held {
    pub(super) fn new(
        delivery: (u64, u64, Bytes),
        timeout: Duration,
        shared: Arc<Shared>,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Self {
        let (position, token, key) = delivery;
        let settling = shared.auto_ack();
        Self { position, token, key, timeout, shared, commands, settling }
    }

    /// What was acknowledged before it was sent has an answer already.
    fn foregone(&self, outcome: v1::Outcome) -> Option<Result<(), Error>> {
        let result = match outcome {
            v1::Outcome::Ack => Ok(()),
            _ => Err(Error::StaleLease { position: self.position }),
        };
        self.shared.auto_ack().then_some(result)
    }

    async fn settle(mut self, how: How) -> Result<(), Error> {
        let position = self.position;
        let answer = self.ask(how);
        self.settling = true;
        answer.await.unwrap_or(Err(Error::SettleUnknown { position }))
    }

    pub(super) fn settle_later(mut self, how: How) {
        self.settling = true;
        if let Some(result) = self.foregone(how.outcome) {
            if let Err(error) = result {
                self.shared.failed(self.position, self.token, error);
            }
            return;
        }
        self.announce(how.outcome);
        let item = self.item(how, None);
        if self.commands.send(Command::Settle(item)).is_err() {
            self.shared.failed(self.position, self.token, Error::Closed("consumer"));
        }
    }

    fn ask(&self, how: How) -> oneshot::Receiver<Result<(), Error>> {
        let (reply, answer) = oneshot::channel();
        if let Some(result) = self.foregone(how.outcome) {
            let _ = reply.send(result); // the receiver is in our hands
            return answer;
        }
        self.announce(how.outcome);
        let item = self.item(how, Some(reply));
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
            self.shared.give_back(self.position, self.token, &self.key);
        }
    }

    fn item(&self, how: How, reply: Option<oneshot::Sender<Result<(), Error>>>) -> Item {
        let How { outcome, delay_ms, reason } = how;
        Item {
            position: self.position,
            token: self.token,
            outcome,
            delay_ms,
            reason,
            deadline: Instant::now() + self.timeout,
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
