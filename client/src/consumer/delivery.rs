//! A message in the hands of the application.

use std::future::Future;
use std::time::Duration;

use super::held::{Held, Place};
use super::outcome::Outcome;
use crate::error::Error;
use crate::message::Meta;
use crate::trace::TraceContext;

/// A leased message. Settle it with [`ack`](Self::ack), [`retry`](Self::retry), [`release`](Self::release) or [`park`](Self::park), in a
/// [`Transaction`](crate::Transaction::ack), or without waiting with [`settle_later`](Self::settle_later).
///
/// One that is merely dropped stays leased until its lease expires or the consumer detaches, and a warning says so; [`leave`](Self::leave) does
/// that on purpose.
///
/// ```no_run
/// # use std::time::Duration;
/// # use quorate_client::{Delivery, Error, Outcome};
/// # struct Order { id: u64 }
/// # async fn charge(order: &Order, token: u64) -> Result<(), String> { Ok(()) }
/// # async fn example(delivery: Delivery<Order>) -> Result<(), Error> {
/// // The lease is extended for as long as this takes; if it is lost all the same, the work is given up.
/// match delivery.while_held(charge(&delivery.value, delivery.token)).await? {
///     Ok(()) => delivery.ack().await,
///     Err(problem) => delivery.settle(Outcome::retry_after(Duration::from_secs(5)).because(problem)).await,
/// }
/// # }
/// ```
#[must_use = "a delivery that is not settled stays leased until its lease expires"]
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
    /// Id, key, subject and headers.
    pub meta: Meta,
    /// MIME type of the body; empty means unspecified.
    pub content_type: String,
    /// The decoded body.
    pub value: T,
    pub(super) lease: Held,
}

impl<T> Delivery<T> {
    /// The queue that it comes from.
    pub fn queue(&self) -> &str {
        &self.lease.place().queue
    }

    /// The subscription that it comes from.
    pub fn subscription(&self) -> &str {
        match self.lease.place().subscription.as_str() {
            "" => "default",
            name => name,
        }
    }

    /// What is left of the lease, reckoned to the early side: before that somebody else cannot have got the message because of its time.
    /// Zero if it is over, was lost or settled. Where messages are acknowledged before they come, there is no lease, and no end.
    pub fn lease_left(&self) -> Duration {
        self.lease.left()
    }

    /// The trace that it belongs to, if its publisher said so.
    pub fn trace_context(&self) -> Option<TraceContext> {
        TraceContext::of(&self.meta)
    }

    /// The message is done. Returns when a majority has that on disk.
    ///
    /// # Errors
    /// [`Error::StaleLease`] if the lease had ended; [`Error::SettleUnknown`] if the outcome cannot be told;
    /// [`Error::NoLeader`] if it could not be sent in time.
    pub async fn ack(self) -> Result<(), Error> {
        self.settle(Outcome::Ack).await
    }

    /// The work failed: counts an attempt; ready again after the subscription's backoff.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn retry(self) -> Result<(), Error> {
        self.settle(Outcome::retry()).await
    }

    /// The work failed: counts an attempt; ready again after this time, in whole milliseconds.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn retry_after(self, after: Duration) -> Result<(), Error> {
        self.settle(Outcome::retry_after(after)).await
    }

    /// Sets the message aside: see [`Outcome::Park`].
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn park(self, reason: impl Into<String>) -> Result<(), Error> {
        self.settle(Outcome::park(reason)).await
    }

    /// Gives the message back: counts no attempt, ready again at once.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn release(self) -> Result<(), Error> {
        self.settle(Outcome::Release).await
    }

    /// Any outcome. Returns when a majority has it on disk.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn settle(self, outcome: Outcome) -> Result<(), Error> {
        self.lease.settle(outcome.into()).await
    }

    /// [`Delivery::ack`] without waiting: what waits travels together. Failures show in [`super::Consumer::settled`].
    pub fn ack_later(self) {
        self.settle_later(Outcome::Ack);
    }

    /// [`Delivery::settle`] without waiting.
    pub fn settle_later(self, outcome: Outcome) {
        self.lease.settle_later(outcome.into());
    }

    /// Lets it go without settling it: it comes again when its lease has expired, which counts as a failure, or when the consumer detaches.
    pub fn leave(self) {
        self.lease.leave();
    }

    /// Still at work: the lease ends `by` from now, in whole milliseconds, or after [`Consumer::lease`](super::Consumer::lease) if `None`.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn extend(&self, by: Option<Duration>) -> Result<(), Error> {
        self.lease.extend(by).await.unwrap_or(Err(Error::SettleUnknown { position: self.position }))
    }

    /// Does some work while the lease is extended, each time half of it has passed. When the lease is lost all the same, the work is given up where
    /// it is (its future is dropped): somebody else may be at it by then. It is not begun if the lease is over already, and not gone on with
    /// after the process was stopped for longer than that.
    ///
    /// # Errors
    /// [`Error::StaleLease`] if the lease was lost before the work was done: it was revoked or ran out, or the consumer is gone.
    pub async fn while_held<R>(&self, work: impl Future<Output = R>) -> Result<R, Error> {
        tokio::select! {
            biased;
            () = self.lease.run_out() => Err(Error::StaleLease { position: self.position }),
            result = work => Ok(result),
            () = self.lease.keep() => Err(Error::StaleLease { position: self.position }),
        }
    }

    /// Returns when the lease was lost without being settled: the server took it back, the session that held it is over, or it has run out by this
    /// process's clock ([`Delivery::lease_left`]).
    pub async fn revoked(&self) {
        self.lease.lost().await;
    }

    /// The same delivery, with something made of its body.
    pub(super) fn map<U>(self, with: impl FnOnce(T) -> U) -> Delivery<U> {
        let Self { position, token, attempt, published_at_ms, meta, content_type, value, lease } = self;
        let value = with(value);
        Delivery { position, token, attempt, published_at_ms, meta, content_type, value, lease }
    }

    /// Where it was leased.
    pub(crate) fn place(&self) -> &Place {
        self.lease.place()
    }

    /// Somebody else sees to it that it is settled, or not.
    pub(crate) fn excuse(&self) {
        self.lease.excuse();
    }

    /// [`Delivery::settle_later`], where others may still look at it.
    pub(crate) fn settle_shared(&self, outcome: Outcome) {
        self.lease.settle_later(outcome.into());
    }
}
