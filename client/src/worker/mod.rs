//! Working on messages: a handler for each, many at once, in order where there is one.

mod handle;
mod handled;
mod job;

use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::Instrument as _;

use crate::client::Client;
use crate::codec::Codec;
use crate::consumer::{Consumer, ConsumerBuilder, Delivery, Lanes, Outcome, Undecodable};
use crate::error::Error;
use crate::trace::TraceContext;

use handle::Handling;
pub use handled::Handled;
pub use job::Job;

/// Most handlers at once.
const CONCURRENCY_MAX: usize = 32_768;
/// Failures of settles are looked for this often.
const FAILURES: Duration = Duration::from_secs(1);

/// Leases of what waits for a handler are looked at no more often than this.
const RENEWAL_MIN: Duration = Duration::from_millis(10);

/// What a worker does with a message whose body cannot be decoded.
///
/// ```no_run
/// # use quorate_client::{Client, Error, OnUndecodable};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let worker = client.queue::<u64>("orders").worker().on_undecodable(OnUndecodable::Retry);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUndecodable {
    /// Sets it aside, with the problem as the reason.
    #[default]
    Park,
    /// Retries it, with the problem as the reason: for another worker that can decode it.
    Retry,
    /// Acknowledges it: it is gone.
    Discard,
}

/// Works on the messages of a subscription: [`Worker::run`] calls a handler for each.
///
/// - The lease of a message is extended while its handler runs, and while it waits for one. A handler whose lease is lost all the same is cancelled: its future is dropped at
///   its next `await`, since somebody else may be at the message.
/// - What the handler returns settles the message, or commits a transaction with its acknowledgement: see [`Handled`]. A handler that panics is one
///   that failed.
/// - In order `total` one handler runs at a time, in order `key` one for each key; the next begins when the one before has returned. After a retry or
///   release nothing that is behind it in its order is begun before it.
/// - The worker stays attached whatever becomes of leaders and connections.
///
/// ```no_run
/// use quorate_client::{Client, Error, Job};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Order {
///     id: u64,
/// }
///
/// async fn reserve(order: &Order) -> Result<(), std::io::Error> {
///     Ok(())
/// }
///
/// # async fn example(client: Client) -> Result<(), Error> {
/// let orders = client.queue::<Order>("orders");
/// let charges = client.queue::<Order>("charges");
/// let worker = orders.worker().concurrency(32);
/// worker
///     .run_until(shutdown(), move |job: Job<Order>| {
///         let charges = charges.clone();
///         async move {
///             reserve(&job.value).await?; // an error: retried after a while, with its text as the reason
///             let id = job.value.id;
///             // Acknowledged, published and written in one step, or not at all.
///             let done = job.transaction().publish(&charges, Order { id }).put(&format!("order/{id}"), "reserved");
///             Ok::<_, std::io::Error>(done)
///         }
///     })
///     .await?;
/// # Ok(())
/// # }
/// # async fn shutdown() {}
/// ```
#[must_use = "a worker does nothing until it is run"]
pub struct Worker<T, C> {
    client: Client,
    consumer: ConsumerBuilder<T, C>,
    concurrency: usize,
    prefetch: Option<u32>,
    grace: Duration,
    on_undecodable: OnUndecodable,
}

impl<T, C> Worker<T, C> {
    pub(crate) fn new(client: Client, consumer: ConsumerBuilder<T, C>) -> Self {
        let grace = Duration::from_secs(15);
        Self { client, consumer, concurrency: 16, prefetch: None, grace, on_undecodable: OnUndecodable::Park }
    }

    /// The subscription. Default `default`.
    pub fn subscription(mut self, name: impl Into<String>) -> Self {
        self.consumer = self.consumer.subscription(name);
        self
    }

    /// Most handlers at once, 1 to 32,768. Default 16. Where there is an order, it may allow fewer.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers;
        self
    }

    /// How many messages are leased ahead of a free handler, 0 to 32,768. Default: as many as there are handlers. What waits here is kept from
    /// other workers, as long as it takes: take 0 where handlers take long.
    pub fn prefetch(mut self, messages: u32) -> Self {
        self.prefetch = Some(messages);
        self
    }

    /// How long handlers that run may take to finish when the worker is told to stop; then they are cancelled. Default 15 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// What to do with a message whose body cannot be decoded. Default [`OnUndecodable::Park`].
    pub fn on_undecodable(mut self, policy: OnUndecodable) -> Self {
        self.on_undecodable = policy;
        self
    }

    /// How long the session outlives its stream, 1 s to 1 h. Default 10 s.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.consumer = self.consumer.session_timeout(timeout);
        self
    }

    /// Shown to people where consumers are listed; at most 128 bytes.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.consumer = self.consumer.name(name);
        self
    }

    fn credit(&self) -> Result<u32, Error> {
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            return Err(Error::Config(format!("concurrency: 1 to {CONCURRENCY_MAX} handlers")));
        }
        let handlers = u32::try_from(self.concurrency).unwrap_or(u32::MAX);
        let prefetch = self.prefetch.unwrap_or(handlers);
        if prefetch as usize > CONCURRENCY_MAX {
            return Err(Error::Config(format!("prefetch: 0 to {CONCURRENCY_MAX} messages")));
        }
        Ok(handlers + prefetch)
    }
}

impl<T: Send + Sync + 'static, C: Codec<T>> Worker<T, C> {
    /// Works in a task of its own, until it is [stopped](Working::stop).
    ///
    /// ```no_run
    /// # use quorate_client::{Client, Error, Job};
    /// # async fn example(client: Client) -> Result<(), Error> {
    /// let worker = client.queue::<u64>("numbers").worker().start(async |job: Job<u64>| println!("{}", job.value));
    /// # async fn shutdown() {}
    /// shutdown().await;
    /// worker.stop().await
    /// # }
    /// ```
    pub fn start<H, F>(self, handler: H) -> Working
    where
        H: Fn(Job<T>) -> F + Send + Sync + 'static,
        F: Future<Output: Into<Handled>> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        Working { stop, task: tokio::spawn(self.run_until(stopped, handler)) }
    }

    /// Works until an error comes that no retry mends. Dropping the future cancels the handlers; their messages are released when the session's
    /// timeout has passed.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of its range; as [`ConsumerBuilder::attach`]; what ends a [`Consumer`].
    pub async fn run<H, F>(self, handler: H) -> Result<(), Error>
    where
        H: Fn(Job<T>) -> F,
        F: Future<Output: Into<Handled>> + Send + 'static,
    {
        self.run_until(std::future::pending(), handler).await
    }

    /// Works until `stop` is over. Then nothing new is begun, what was leased ahead is given back at once, handlers that run may finish within
    /// [`Worker::grace`], and everything is settled before this returns.
    ///
    /// # Errors
    /// As [`Worker::run`]; as [`Consumer::detach`].
    pub async fn run_until<H, F>(self, stop: impl Future<Output = ()>, handler: H) -> Result<(), Error>
    where
        H: Fn(Job<T>) -> F,
        F: Future<Output: Into<Handled>> + Send + 'static,
    {
        let credit = self.credit()?;
        let Self { client, consumer, concurrency, grace, on_undecodable, .. } = self;
        let consumer = consumer.credit(credit).attach().await?;
        let lanes = consumer.lanes();
        let running = Running { tasks: JoinSet::new(), occupied: HashMap::new(), lanes };
        let mut run = Run { client, consumer, running, on_undecodable };
        let ended = run.take(stop, concurrency, &handler).await;
        run.finish(grace, ended).await
    }
}

/// What a handler publishes belongs to the trace of its message.
async fn in_context<R>(context: Option<TraceContext>, work: impl Future<Output = R>) -> R {
    match context {
        Some(context) => context.scope(work).await,
        None => work.await,
    }
}

/// A worker in a task of its own. Dropping it stops the worker in an orderly way, without waiting for it.
///
/// ```no_run
/// # use quorate_client::{Client, Error, Job};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let worker = client.queue::<u64>("orders").worker().start(|_: Job<u64>| async {});
/// worker.stop().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a worker whose handle is dropped stops"]
#[derive(Debug)]
pub struct Working {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl Working {
    /// Begins nothing new, lets handlers finish as [`Worker::grace`] says, and waits until everything is settled.
    ///
    /// # Errors
    /// What the worker ended with: see [`Worker::run`].
    pub async fn stop(self) -> Result<(), Error> {
        drop(self.stop);
        self.task.await.unwrap_or(Err(Error::Closed("worker")))
    }

    /// Whether it has ended by itself, which is with an error: [`Working::stop`] gives it.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

/// A worker at work.
struct Run<T, C> {
    client: Client,
    consumer: Consumer<T, C>,
    running: Running,
    on_undecodable: OnUndecodable,
}

/// Handlers at work, and the lanes they occupy.
struct Running {
    tasks: JoinSet<()>,
    occupied: HashMap<Id, Bytes>,
    lanes: Lanes,
}

impl Running {
    fn over(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        if let Some(lane) = self.occupied.remove(&id) {
            self.lanes.vacate(&lane);
        }
    }
}

impl<T: Send + Sync + 'static, C: Codec<T>> Run<T, C> {
    /// Begins handlers until it is told to stop, or the consumer ends.
    async fn take<H, F>(
        &mut self,
        stop: impl Future<Output = ()>,
        concurrency: usize,
        handler: &H,
    ) -> Result<(), Error>
    where
        H: Fn(Job<T>) -> F,
        F: Future<Output: Into<Handled>> + Send + 'static,
    {
        tokio::pin!(stop);
        let mut failures = tokio::time::interval(FAILURES);
        let mut renewal = tokio::time::interval((self.consumer.lease() / 4).max(RENEWAL_MIN));
        failures.set_missed_tick_behavior(MissedTickBehavior::Delay);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                Some(ended) = self.running.tasks.join_next_with_id() => self.running.over(ended),
                _ = failures.tick() => self.report(),
                _ = renewal.tick() => self.consumer.extend_untaken(),
                next = self.consumer.next(), if self.running.tasks.len() < concurrency => match next {
                    Some(Ok(delivery)) => self.begin(delivery, handler),
                    Some(Err(Error::Decode(broken))) => self.set_aside(&broken),
                    Some(Err(error)) if error.is_no_leader() || error.is_out_of_time() => {
                        tracing::warn!(%error, "the worker is not attached; still trying");
                    }
                    Some(Err(error)) => return Err(error),
                    None => return Err(Error::Closed("consumer")),
                },
            }
        }
    }

    fn begin<H, F>(&mut self, delivery: Delivery<T>, handler: &H)
    where
        H: Fn(Job<T>) -> F,
        F: Future<Output: Into<Handled>> + Send + 'static,
    {
        let lane = self.running.lanes.occupy(&delivery.meta.key);
        delivery.excuse(); // it is settled, or its lease is lost
        let span = tracing::info_span!(
            "handle",
            queue = delivery.queue(),
            subscription = delivery.subscription(),
            position = delivery.position,
            attempt = delivery.attempt,
            trace_id = tracing::field::Empty,
        );
        let context = delivery.trace_context();
        if let Some(context) = &context {
            span.record("trace_id", tracing::field::display(format_args!("{:032x}", context.trace_id)));
            self.client.tracer.follow(&span, context);
        }
        let context = context.map(|context| context.child(self.client.router.random()));
        let delivery = Arc::new(delivery);
        let job = Job::new(delivery.clone(), self.client.clone());
        let work = span.in_scope(|| catch_unwind(AssertUnwindSafe(|| handler(job))));
        let work = in_context(context, async move {
            match work {
                Ok(work) => work.await.into(),
                Err(panic) => resume_unwind(panic), // as if it came a moment later
            }
        });
        let handling = Handling { delivery, lanes: self.running.lanes.clone() };
        let task = self.running.tasks.spawn(handling.run(work).instrument(span));
        if let Some(lane) = lane {
            self.running.occupied.insert(task.id(), lane);
        }
    }

    fn set_aside(&self, broken: &Undecodable) {
        tracing::warn!(position = broken.position(), problem = broken.problem(), "a body cannot be decoded");
        let outcome = match self.on_undecodable {
            OnUndecodable::Park => Outcome::park(broken.reason()),
            OnUndecodable::Retry => Outcome::retry().because(broken.reason()),
            OnUndecodable::Discard => Outcome::Ack,
        };
        broken.take().into_iter().for_each(|raw| raw.settle_later(outcome.clone()));
    }

    /// Nobody waits for the settles: their failures are told here.
    fn report(&self) {
        for failed in self.consumer.failures() {
            let (position, error) = (failed.position, failed.error);
            tracing::warn!(position, %error, "a settle was not carried out: the message is delivered again");
        }
    }

    /// Gives back what was not begun, waits for the handlers, and ends the session.
    async fn finish(mut self, grace: Duration, ended: Result<(), Error>) -> Result<(), Error> {
        self.consumer.set_credit(0);
        self.consumer.release_untaken();
        let end = Instant::now() + grace;
        while let Ok(Some(over)) = tokio::time::timeout_at(end, self.running.tasks.join_next_with_id()).await
        {
            self.running.over(over);
        }
        self.running.tasks.shutdown().await;
        if ended.is_ok() {
            let _ = self.consumer.settled().await; // an end is told by `detach`
            self.report();
        }
        ended.and(self.consumer.detach().await)
    }
}
