//! Receiving and settling: every message is held by at most one consumer at a time.

mod actor;
mod delivery;
mod leases;
mod settle;
mod stream;

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use quorate_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::client::Client;
use crate::codec::Codec;
use crate::error::Error;
use crate::leader::Failed;
use crate::message::from_wire;
use crate::settings::millis;

use actor::{Actor, Command};
use leases::Shared;
use settle::Item;

pub use delivery::Delivery;
use delivery::Place;

/// Largest credit, in messages.
const CREDIT_MAX: u32 = 65_536;

/// A settle that nobody waited for and that was not carried out.
#[derive(Clone, Debug)]
pub struct FailedSettle {
    /// Position of the message.
    pub position: u64,
    /// Token of its lease.
    pub token: u64,
    /// Why.
    pub error: Error,
}

/// Settings of a [`Consumer`].
pub struct ConsumerBuilder<T, C> {
    client: Client,
    queue: String,
    codec: C,
    subscription: String,
    credit: u32,
    session_timeout: Option<Duration>,
    name: String,
    of: PhantomData<fn() -> T>,
}

impl<T, C> ConsumerBuilder<T, C> {
    pub(crate) fn new(client: Client, queue: String, codec: C) -> Self {
        Self {
            client,
            queue,
            codec,
            subscription: String::new(),
            credit: 256,
            session_timeout: None,
            name: String::new(),
            of: PhantomData,
        }
    }

    /// The subscription. Default `default`.
    #[must_use]
    pub fn subscription(mut self, name: impl Into<String>) -> Self {
        self.subscription = name.into();
        self
    }

    /// How many unsettled messages the consumer holds at most, 0 to 65,536: the bound of its memory. Default 256.
    #[must_use]
    pub fn credit(mut self, messages: u32) -> Self {
        self.credit = messages;
        self
    }

    /// How long the session outlives its stream, 1 s to 1 h. Default 10 s.
    #[must_use]
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = Some(timeout);
        self
    }

    /// Shown to people where consumers are listed; at most 128 bytes.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Attaches to the subscription.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of its range; reasons `UNKNOWN_QUEUE`, `UNKNOWN_SUBSCRIPTION`,
    /// `INVALID`, `LIMIT_REACHED`; [`Error::NoLeader`]; [`Error::Unknown`]: a session that was attached without an
    /// answer ends by itself.
    pub async fn attach(self) -> Result<Consumer<T, C>, Error> {
        if self.credit > CREDIT_MAX {
            return Err(Error::Config(format!("credit: 0 to {CREDIT_MAX} messages")));
        }
        let mut session = [0; 16];
        self.client.router.random().fill(&mut session);
        let attach = v1::Attach {
            namespace: self.client.namespace.to_string(),
            queue: self.queue,
            subscription: self.subscription,
            session: Bytes::copy_from_slice(&session),
            credit: self.credit,
            session_timeout_ms: millis("session_timeout", self.session_timeout)?,
            name: self.name,
        };
        let place = Place { queue: attach.queue.clone(), subscription: attach.subscription.clone() };
        let opener = stream::Opener::new(&self.client, attach);
        let attaching = opener.attach(Instant::now() + self.client.timeout).await;
        let stream = attaching.map_err(Failed::of_change)?;
        let lease = Duration::from_millis(stream.attached.lease_ms);
        let shared = Arc::new(Shared::of(place));
        let (commands, inbox) = mpsc::unbounded_channel();
        let actor = Actor::new(opener, inbox, shared.clone(), self.client.timeout);
        let task = tokio::spawn(actor.run(stream));
        let timeout = self.client.timeout;
        Ok(Consumer { codec: self.codec, lease, timeout, shared, commands, task, of: PhantomData })
    }
}

/// An attached consumer session; also a [`futures::Stream`] of its deliveries.
///
/// It attaches again by itself when its stream or the leader is lost. Leases that the application holds as
/// [`Delivery`] values stay theirs if the session still knows them; they are not shown twice. A settle whose
/// answer was lost is sent again, and ends with [`Error::SettleUnknown`] if its fate cannot be told.
///
/// Dropping it stops at once; the server releases the leases when the session's timeout has passed.
/// [`Consumer::detach`] is the orderly end and releases them at once.
pub struct Consumer<T, C> {
    codec: C,
    lease: Duration,
    timeout: Duration,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
    of: PhantomData<fn() -> T>,
}

impl<T, C: Codec<T>> Consumer<T, C> {
    /// The next delivery; `None` after the end, which comes only with an error that no retry mends, given once.
    ///
    /// [`Error::NoLeader`] says that the session has not been attached for the client's timeout; it keeps
    /// trying, and so may the caller. A body that cannot be decoded is returned with `retry` and given as
    /// [`Error::Decode`].
    ///
    /// Cancel safe: a dropped future loses no delivery.
    pub async fn next(&mut self) -> Option<Result<Delivery<T>, Error>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// A delivery that has arrived already, without waiting.
    pub fn try_next(&mut self) -> Option<Result<Delivery<T>, Error>> {
        let delivery = self.shared.pop()?;
        Some(self.decode(delivery))
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery<T>, Error>>> {
        self.shared.poll_next(cx).map(|next| next.map(|delivery| delivery.and_then(|d| self.decode(d))))
    }

    fn decode(&self, delivery: v1::Delivery) -> Result<Delivery<T>, Error> {
        let message = from_wire(delivery.message);
        let key = message.as_ref().map(|(meta, ..)| meta.key.clone()).unwrap_or_default();
        let lease = delivery::Held::new(
            (delivery.position, delivery.token, key),
            self.timeout,
            self.shared.clone(),
            self.commands.clone(),
        );
        let decoded = message.map_err(|e| format!("the message cannot be read: {e}"));
        let decoded = decoded.and_then(|(meta, body, content_type)| {
            self.codec.decode(body).map(|value| (meta, content_type, value))
        });
        match decoded {
            Ok((meta, content_type, value)) => Ok(Delivery {
                position: delivery.position,
                token: delivery.token,
                attempt: delivery.attempt,
                published_at_ms: delivery.published_at_ms,
                lease_left: Duration::from_millis(delivery.lease_left_ms),
                meta,
                content_type,
                value,
                lease,
            }),
            Err(problem) => {
                lease.settle_later(delivery::How::of(v1::Outcome::Retry));
                Err(Error::Decode { position: delivery.position, problem })
            }
        }
    }
}

impl<T, C> Consumer<T, C> {
    /// Length of a lease of this subscription.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Whether the session is attached at a leader right now.
    pub fn is_connected(&self) -> bool {
        self.shared.connected()
    }

    /// Replaces the credit, 0 to 65,536; 0 stops new deliveries. More than that counts as 65,536.
    pub fn set_credit(&self, messages: u32) {
        let _ = self.commands.send(Command::Credit(messages.min(CREDIT_MAX)));
    }

    /// Failures of settles that nobody waited for, since they were last taken, without waiting for the others.
    pub fn failures(&self) -> Vec<FailedSettle> {
        self.shared.take_failures()
    }

    /// How many messages were settled for good so far: acknowledged, retried or released.
    pub fn settled_count(&self) -> u64 {
        self.shared.settled_count()
    }

    /// Waits until every settle asked for so far has its answer, and hands over those that failed and that
    /// nobody waited for, since the last call. At most 65,536 failures are kept.
    ///
    /// # Errors
    /// [`Error::Closed`] if the consumer has come to its end.
    pub async fn settled(&self) -> Result<Vec<FailedSettle>, Error> {
        let (reply, settled) = oneshot::channel();
        let told = self.commands.send(Command::Settled(reply)).is_ok() && settled.await.is_ok();
        let failures = self.shared.take_failures();
        if told || !failures.is_empty() { Ok(failures) } else { Err(Error::Closed("consumer")) }
    }

    /// Waits for the settles, then ends the session: what is still leased is released at once.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if the end could not be told to a leader in time, [`Error::Unknown`] if it was and no
    /// answer came: the leases are released when the session's timeout has passed, if not before.
    pub async fn detach(self) -> Result<(), Error> {
        let (reply, detached) = oneshot::channel();
        let deadline = Instant::now() + self.timeout;
        let gone = || Error::Closed("consumer");
        self.commands.send(Command::Detach { reply, deadline }).map_err(|_| gone())?;
        detached.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl<T, C: Codec<T> + Unpin> Stream for Consumer<T, C> {
    type Item = Result<Delivery<T>, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

impl<T, C> Drop for Consumer<T, C> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
