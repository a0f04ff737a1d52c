//! Receiving and settling: every message is held by at most one consumer at a time.

mod actor;
mod buffer;
mod delivery;
mod held;
mod lanes;
mod leases;
mod outcome;
mod reckoning;
mod settle;
mod stream;
mod undecodable;

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
use crate::message::{Meta, from_wire};
use crate::settings::millis;

use actor::{Actor, Command};
use leases::Shared;
use settle::Item;

pub use delivery::Delivery;
pub(crate) use held::Place;
use held::{Common, Held};
pub(crate) use lanes::Lanes;
use outcome::How;
pub use outcome::Outcome;
pub use undecodable::Undecodable;

/// Largest credit, in messages.
const CREDIT_MAX: u32 = 65_536;

/// A settle that nobody waited for and that was not carried out.
///
/// ```no_run
/// # use quorate_client::{Consumer, Error, Json};
/// # async fn example(consumer: Consumer<u64, Json>) -> Result<(), Error> {
/// for failed in consumer.settled().await? {
///     eprintln!("message {} will be delivered again: {}", failed.position, failed.error);
/// }
/// # Ok(())
/// # }
/// ```
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
///
/// ```no_run
/// # use quorate_client::{Client, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let orders = client.queue::<u64>("orders");
/// let consumer = orders.consumer().subscription("audit").credit(64).name("audit on host 7").attach().await?;
/// # Ok(())
/// # }
/// ```
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
        let common = Arc::new(Common { shared, commands, timeout, lease });
        Ok(Consumer { codec: self.codec, common, task, of: PhantomData })
    }
}

/// An attached consumer session; also a [`futures::Stream`] of its deliveries.
///
/// It attaches again by itself when its stream or the leader is lost. Leases that the application holds as
/// [`Delivery`] values stay theirs if the session still knows them; they are not shown twice. A settle whose
/// answer was lost is sent again, and ends with [`Error::SettleUnknown`] if its fate cannot be told.
///
/// Nothing is handed out whose lease is over, whatever stopped the process or the connection meanwhile: what has arrived and was not taken in time
/// goes back ([`Consumer::lost_count`]).
///
/// Dropping it stops at once; the server releases the leases when the session's timeout has passed.
/// [`Consumer::detach`] is the orderly end and releases them at once.
///
/// ```no_run
/// # use quorate_client::{Client, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let mut consumer = client.queue::<u64>("orders").consumer().attach().await?;
/// while let Some(delivery) = consumer.next().await {
///     let delivery = delivery?;
///     println!("{}, attempt {}", delivery.value, delivery.attempt);
///     delivery.ack_later(); // together with others
/// }
/// for failed in consumer.settled().await? {
///     eprintln!("{}: {}", failed.position, failed.error);
/// }
/// consumer.detach().await?;
/// # Ok(())
/// # }
/// ```
pub struct Consumer<T, C> {
    codec: C,
    common: Arc<Common>,
    task: JoinHandle<()>,
    of: PhantomData<fn() -> T>,
}

impl<T, C: Codec<T>> Consumer<T, C> {
    /// The next delivery; `None` after the end, which comes only with an error that no retry mends, given once.
    ///
    /// [`Error::NoLeader`] says that the session has not been attached for the client's timeout; it keeps
    /// trying, and so may the caller. A message whose body cannot be decoded comes as [`Error::Decode`], with its lease.
    ///
    /// Cancel safe: a dropped future loses no delivery.
    pub async fn next(&mut self) -> Option<Result<Delivery<T>, Error>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// A delivery that has arrived already, without waiting.
    pub fn try_next(&mut self) -> Option<Result<Delivery<T>, Error>> {
        let (delivery, dropped) = self.common.shared.pop();
        self.give_back(dropped);
        Some(self.decode(delivery?))
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery<T>, Error>>> {
        let (next, dropped) = self.common.shared.poll_next(cx);
        self.give_back(dropped);
        next.map(|next| next.map(|next| next.and_then(|delivery| self.decode(delivery))))
    }

    fn decode(&self, delivery: v1::Delivery) -> Result<Delivery<T>, Error> {
        let raw = self.raw(delivery)?;
        if !self.codec.accepts(&raw.content_type) {
            let problem =
                format!("its content type is {:?}, not {:?}", raw.content_type, self.codec.content_type());
            return Err(Error::Decode(Undecodable::new(raw, problem)));
        }
        match self.codec.decode(raw.value.clone()) {
            Ok(value) => Ok(raw.map(|_| value)),
            Err(problem) => Err(Error::Decode(Undecodable::new(raw, problem))),
        }
    }

    /// The delivery with its body as it is.
    fn raw(&self, delivery: v1::Delivery) -> Result<Delivery<Bytes>, Error> {
        let v1::Delivery { position, token, attempt, published_at_ms, message, .. } = delivery;
        let of = |meta: Meta, content_type, value| {
            let lease = Held::new(position, token, meta.key.clone(), self.common.clone());
            Delivery { position, token, attempt, published_at_ms, meta, content_type, value, lease }
        };
        match from_wire(message.clone()) {
            Ok((meta, body, content_type)) => Ok(of(meta, content_type, body)),
            Err(error) => {
                let problem = format!("the message cannot be read: {error}");
                Err(Error::Decode(Undecodable::new(of(Meta::default(), String::new(), message), problem)))
            }
        }
    }
}

impl<T, C> Consumer<T, C> {
    /// Length of a lease of this subscription.
    pub fn lease(&self) -> Duration {
        self.common.lease
    }

    pub(crate) fn lanes(&self) -> Lanes {
        Lanes::new(self.common.shared.clone())
    }

    /// The leases of what has arrived and was not taken are extended, those that are half over.
    pub(crate) fn extend_untaken(&self) {
        let Common { shared, commands, timeout, lease } = &*self.common;
        for (position, token) in shared.renew(*lease) {
            let item = Item::new((position, token), How::extend(Some(*lease)), *timeout, None);
            let _ = commands.send(Command::Settle(item)); // if it is over, there is nothing to extend
        }
    }

    /// What was dropped since its lease was over may not be over for the server, which reckons exactly: it is given back, so that it comes
    /// again at once and without a failure that was none.
    fn give_back(&self, dropped: Vec<(u64, u64)>) {
        for at in dropped {
            // Without a task there is no session either, and it is back already or soon.
            let _ = self.common.commands.send(Command::Settle(Item::give_back(at, self.common.timeout)));
        }
    }

    /// What has arrived and was not taken is given back.
    pub(crate) fn release_untaken(&mut self)
    where
        C: Codec<T>,
    {
        while let Some(next) = self.try_next() {
            match next {
                Ok(delivery) => delivery.settle_later(Outcome::Release),
                Err(Error::Decode(broken)) => {
                    broken.take().into_iter().for_each(|raw| raw.settle_later(Outcome::Release));
                }
                Err(_) => {}
            }
        }
    }

    /// Whether the session is attached at a leader right now.
    pub fn is_connected(&self) -> bool {
        self.common.shared.connected()
    }

    /// Replaces the credit, 0 to 65,536; 0 stops new deliveries. More than that counts as 65,536.
    pub fn set_credit(&self, messages: u32) {
        let _ = self.common.commands.send(Command::Credit(messages.min(CREDIT_MAX)));
    }

    /// Failures of settles that nobody waited for, since they were last taken, without waiting for the others.
    pub fn failures(&self) -> Vec<FailedSettle> {
        self.common.shared.take_failures()
    }

    /// How many messages were settled for good so far: acknowledged, retried or released.
    pub fn settled_count(&self) -> u64 {
        self.common.shared.settled_count()
    }

    /// How many messages had arrived and were not handed out, since their leases were over by this process's clock when they were asked for, or
    /// behind such a one in their order: it was stopped or cut off for long, or takes messages more slowly than they are leased. They come
    /// again, to this consumer or another.
    pub fn lost_count(&self) -> u64 {
        self.common.shared.lost_count()
    }

    /// Waits until every settle asked for so far has its answer, and hands over those that failed and that
    /// nobody waited for, since the last call. At most 65,536 failures are kept.
    ///
    /// # Errors
    /// [`Error::Closed`] if the consumer has come to its end.
    pub async fn settled(&self) -> Result<Vec<FailedSettle>, Error> {
        let (reply, settled) = oneshot::channel();
        let told = self.common.commands.send(Command::Settled(reply)).is_ok() && settled.await.is_ok();
        let failures = self.common.shared.take_failures();
        if told || !failures.is_empty() { Ok(failures) } else { Err(Error::Closed("consumer")) }
    }

    /// Waits for the settles, then ends the session: what is still leased is released at once.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if the end could not be told to a leader in time, [`Error::Unknown`] if it was and no
    /// answer came: the leases are released when the session's timeout has passed, if not before.
    pub async fn detach(self) -> Result<(), Error> {
        let (reply, detached) = oneshot::channel();
        let deadline = Instant::now() + self.common.timeout;
        let gone = || Error::Closed("consumer");
        self.common.commands.send(Command::Detach { reply, deadline }).map_err(|_| gone())?;
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
