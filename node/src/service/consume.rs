//! Receiving and settling: one stream carries one consumer session.
//!
//! The stream's two halves meet in one writer: news of leases from the [`Hub`](crate::shards::delivery::Hub), and the
//! answers to settles in the order they were asked. Bodies are read from the state only when the client takes
//! them, so a consumer that stops reading holds nothing but its leases.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{Map, Stream, StreamExt as _};
use quorate_machine::command::{self, Attach, Credit, Detach, Outcome, Settle, SettleRange};
use quorate_machine::effect::Lease;
use quorate_machine::limits::{SESSION_TIMEOUT_MS_DEFAULT, SETTLE_MESSAGES_MAX};
use quorate_machine::read::{self, Held};
use quorate_machine::reply::{Attached, NotSettled, Settled};
use quorate_simpoint::{Bug, Component, Holding, buggify, planted};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::error::{CommandError, ConsumeError, Overload, Unavailable};
use super::settle::{Range, settle};
use super::{Context, Ended, Service, or_default, reply};
use crate::shards::Shard;
use crate::shards::delivery::News;
use crate::shards::proposal::Pending;

/// Events that wait for the client.
const EVENTS_WAITING_MAX: usize = 4;
/// Bodies in one event, in bytes; a single message may be larger.
const EVENT_BYTES: usize = 256 * 1024;
/// Requests of one stream that are read and not answered yet.
const REQUESTS_UNANSWERED_MAX: usize = 256;

/// What a consumer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Settles leases.
    Settle {
        /// Chosen by the client, and repeated in the answer.
        id: u64,
        /// The leases; none: only the time is asked for.
        ranges: Vec<Range>,
    },
    /// Replaces the credit.
    Credit(u32),
    /// Ends the session.
    Detach,
}

/// A message that was leased to the consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its position.
    pub position: u64,
    /// Names the lease.
    pub token: u64,
    /// Counted from 1.
    pub attempt: u32,
    /// When it was published, by replicated time in milliseconds.
    pub published_at_ms: u64,
    /// How long the lease lasts, in milliseconds.
    pub lease_left_ms: u64,
    /// The message, encoded.
    pub message: Bytes,
}

/// What a consumer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The session is open.
    Attached {
        /// Whether it was there already.
        resumed: bool,
        /// Settings of the subscription.
        settings: command::Settings,
        /// The time here when it was asked for, in milliseconds.
        now_ms: u64,
    },
    /// Messages that the consumer holds now.
    Deliveries {
        /// The messages.
        deliveries: Vec<Delivery>,
        /// The time here, in milliseconds.
        now_ms: u64,
    },
    /// The answer to a settle.
    Settled {
        /// The client's.
        id: u64,
        /// What came of it.
        settled: Settled,
        /// The time here when the settle was read, in milliseconds.
        now_ms: u64,
    },
    /// The credit in force.
    Credit(u32),
    /// A lease that the consumer no longer holds.
    Revoked(Lease),
    /// The session is over.
    Detached,
}

/// Why no event follows.
pub type ConsumerEnded<E> = Ended<ConsumeError, E>;

/// What a consumer is told, in order. The last item may be the reason why no more follow.
pub type Events<E> = Map<ReceiverStream<Outgoing<E>>, fn(Outgoing<E>) -> Item<E>>;

type Item<E> = Result<Event, ConsumerEnded<E>>;

/// An event that waits for the client, and what it holds.
pub type Outgoing<E> = (Item<E>, Holding);

/// A request in the order of answers.
enum InOrder<E> {
    /// A settle with the client's id, and the time at which it was read: the less passes between the request and that, the better the
    /// client knows what time it is here.
    Settle(u64, u64, Pending),
    /// A settle of nothing: only the time is asked for.
    Time(u64, u64),
    /// A new credit.
    Credit(u32, Pending),
    /// The end of the session.
    Detach(Pending),
    /// The stream ends with this.
    Fails(ConsumerEnded<E>),
}

/// How a stream ends while its session goes on.
enum Cut<E> {
    /// The client is gone.
    ByClient,
    /// The client is told why.
    Because(ConsumerEnded<E>),
}

impl<E, C: Into<ConsumeError>> From<C> for Cut<E> {
    fn from(why: C) -> Self {
        Self::Because(Ended::Service(why.into()))
    }
}

/// One consumer's stream.
struct Session<E> {
    service: Service,
    shard: Shard,
    consumer: u64,
    generation: u64,
    session_timeout: Duration,
    /// When it was asked for.
    now_ms: u64,
    events: mpsc::Sender<Outgoing<E>>,
}

/// Leases that an answer to a settle said were revoked, until the news say so too. The news that they were assigned may still be
/// under way: who gets the answer must not be handed them afterwards.
#[derive(Default)]
struct Gone {
    /// How many there are, by the first token: no two have the same.
    counts: BTreeMap<u64, u32>,
}

impl Gone {
    fn add(&mut self, revoked: &[Lease]) {
        self.counts.extend(revoked.iter().map(|lease| (lease.first_token, lease.count)));
    }

    fn has(&self, token: u64) -> bool {
        let last = self.counts.range(..=token).next_back();
        last.is_some_and(|(first, count)| token - first < u64::from(*count))
    }

    fn told(&mut self, revoked: &Lease) {
        self.counts.remove(&revoked.first_token);
    }
}

impl Service {
    /// Attaches a consumer session and carries out what its client asks for. Ends when the requests, the session or the leadership do, or
    /// the node stops.
    ///
    /// # Errors
    /// The session is not attached: see [`CommandError`].
    pub async fn consume<E: Send + 'static>(
        &self,
        context: &Context,
        attach: Attach,
        requests: impl Stream<Item = Result<Request, E>> + Send + Unpin + 'static,
    ) -> Result<Events<E>, CommandError> {
        let shard = self.shard(context)?.clone();
        let session_timeout = Duration::from_millis(match attach.session_timeout_ms {
            0 => SESSION_TIMEOUT_MS_DEFAULT,
            given => given,
        });
        let subscription = or_default(attach.subscription);
        let attach = Attach { namespace: context.namespace().into(), subscription, ..attach };
        let now_ms = shard.time.now_ms();
        let attached = self.propose(context, attach).await?;
        if buggify("node/consume/lose_attached") {
            return Err(CommandError::Unknown);
        }
        let (events, stream) = mpsc::channel(EVENTS_WAITING_MAX);
        let Attached { consumer, generation, .. } = attached;
        let service = self.clone();
        let session = Session { service, shard, consumer, generation, session_timeout, now_ms, events };
        self.0.streams.spawn(session.run(attached, requests));
        Ok(ReceiverStream::new(stream).map((|(event, _)| event) as fn(Outgoing<E>) -> Item<E>))
    }
}

impl<E> Session<E> {
    async fn run(self, attached: Attached, requests: impl Stream<Item = Result<Request, E>> + Unpin) {
        let news = self.shard.hub.open(self.consumer, self.generation, self.session_timeout);
        let (ordered, in_order) = mpsc::channel(REQUESTS_UNANSWERED_MAX);
        let stopping = self.service.0.stopping.clone();
        let ended = tokio::select! {
            biased;
            ended = self.write(attached, news, in_order) => ended,
            why = self.shard.lost_leadership() => Err(why.into()),
            () = stopping.cancelled() => Err(Unavailable::ShuttingDown.into()),
            () = self.events.closed() => Err(Cut::ByClient),
            cut = self.read(requests, ordered) => Err(cut),
        };
        if let Err(cut) = ended {
            self.shard.hub.lost(self.consumer, self.generation);
            if let Cut::Because(why) = cut {
                // The client may be gone.
                let _ = self.events.send((Err(why), Holding::new(Component::Outbox, 0))).await;
            }
        }
    }

    /// Reads requests and gives them their place in the order of commands. Ends with the client's side; after
    /// a `detach` the writer ends the stream.
    async fn read(
        &self,
        mut requests: impl Stream<Item = Result<Request, E>> + Unpin,
        ordered: mpsc::Sender<InOrder<E>>,
    ) -> Cut<E> {
        loop {
            let request = match requests.next().await {
                Some(Ok(request)) => request,
                Some(Err(e)) => return Cut::Because(Ended::Requests(e)),
                None => return Cut::ByClient,
            };
            if buggify("node/consume/stop_reading") {
                return Unavailable::NoQuorum.into();
            }
            let item = self.take(request).await.unwrap_or_else(|e| InOrder::Fails(Ended::Service(e.into())));
            let last = matches!(item, InOrder::Detach(_) | InOrder::Fails(_));
            if ordered.send(item).await.is_err() || last {
                return std::future::pending().await; // the writer has the last word
            }
        }
    }

    async fn take(&self, request: Request) -> Result<InOrder<E>, CommandError> {
        let (consumer, generation) = (self.consumer, self.generation);
        Ok(match request {
            Request::Settle { id, ranges } if ranges.is_empty() => {
                InOrder::Time(id, self.shard.time.now_ms())
            }
            Request::Settle { id, ranges } => {
                let now_ms = self.shard.time.now_ms();
                let reasons = self.service.reasons(&self.shard, ranges.iter());
                let command = settle(consumer, ranges, reasons)?;
                InOrder::Settle(id, now_ms, self.service.submit(&self.shard, command).await?)
            }
            Request::Credit(credit) => {
                let command = Credit { consumer, generation, credit };
                InOrder::Credit(credit, self.service.submit(&self.shard, command).await?)
            }
            Request::Detach => {
                let command = Detach { consumer, generation };
                InOrder::Detach(self.service.submit(&self.shard, command).await?)
            }
        })
    }

    /// Writes deliveries and answers. `Ok` after the session has ended, an error when only the stream has.
    async fn write(
        &self,
        attached: Attached,
        mut news: mpsc::Receiver<News>,
        mut in_order: mpsc::Receiver<InOrder<E>>,
    ) -> Result<(), Cut<E>> {
        let (resumed, settings, now_ms) = (attached.resumed, attached.settings, self.now_ms);
        self.send(Event::Attached { resumed, settings, now_ms }).await?;
        // The stream hears every lease assigned from here on; those before it are in the state.
        let held = self.held(self.consumer)?;
        if !held.is_session {
            return Err(ConsumeError::SessionEnded.into()); // before the stream opened: no news will tell
        }
        for lease in &held.leases {
            self.deliver(*lease, settings.auto_ack, &Gone::default()).await?;
        }
        if resumed && planted(Bug::TwoHolders) {
            for lease in self.held(self.consumer - 1)?.leases {
                self.deliver(lease, settings.auto_ack, &Gone::default()).await?;
            }
        }
        let mut gone = Gone::default();
        loop {
            tokio::select! {
                biased;
                item = in_order.recv() => match item {
                    Some(item) => {
                        if self.answer(item, &mut gone).await? {
                            return Ok(());
                        }
                    }
                    None => return Err(Cut::ByClient),
                },
                item = news.recv() => match item {
                    Some(News::Assigned(lease)) if lease.first_token < held.next_token => {}
                    Some(News::Assigned(lease)) => self.deliver(lease, settings.auto_ack, &gone).await?,
                    // Not if the look at the state was later: that a lease is over, and what followed, is in there.
                    Some(News::Revoked(lease)) if !held.may_hold(lease.first_token) => {}
                    Some(News::Revoked(lease)) => {
                        gone.told(&lease);
                        self.send(Event::Revoked(lease)).await?;
                    }
                    Some(News::Ended) => {
                        // The end that this stream asked for is answered first.
                        while let Some(item) = in_order.recv().await {
                            if self.answer(item, &mut gone).await? {
                                return Ok(());
                            }
                        }
                        return Err(ConsumeError::SessionEnded.into());
                    }
                    None => return Err(self.why_unheard()),
                },
            }
        }
    }

    fn held(&self, consumer: u64) -> Result<Held, CommandError> {
        Ok(read::held(&self.shard.state().read(), consumer)?)
    }

    /// The hub dropped this stream: another attach, a new leader, or a consumer that does not read.
    fn why_unheard(&self) -> Cut<E> {
        match self.shard.check_leader() {
            Err(why) => why.into(),
            Ok(()) if self.shard.hub.is_current(self.consumer, self.generation) => {
                CommandError::Overload(Overload::FellBehind).into()
            }
            Ok(()) => ConsumeError::Superseded.into(),
        }
    }

    /// Sends what was leased, in events of bounded size.
    async fn deliver(&self, lease: Lease, auto_ack: bool, gone: &Gone) -> Result<(), Cut<E>> {
        let mut rest = lease;
        while rest.count > 0 {
            let event_bytes = if buggify("node/consume/small_frame") { 1 } else { EVENT_BYTES };
            let part = read::lease_part(&self.shard.state().read(), &rest, event_bytes);
            let (messages, looked_at) = part.map_err(CommandError::from)?;
            let refused = if auto_ack {
                self.acknowledge(&Lease { count: looked_at, ..rest }).await?
            } else {
                Vec::new()
            };
            let is_ours = |position: u64, token: u64| {
                !gone.has(token)
                    && !refused.iter().any(|part| {
                        (part.first_position..part.first_position + u64::from(part.count)).contains(&position)
                    })
            };
            let now_ms = self.shard.time.now_ms();
            let lease_left_ms = lease.deadline_ms.saturating_sub(now_ms);
            let deliveries =
                messages.into_iter().filter(|m| is_ours(m.position, m.token)).map(|m| Delivery {
                    position: m.position,
                    token: m.token,
                    attempt: lease.attempt,
                    published_at_ms: m.published_at_ms,
                    lease_left_ms,
                    message: m.message,
                });
            let deliveries: Vec<Delivery> = deliveries.collect();
            if !deliveries.is_empty() {
                self.send(Event::Deliveries { deliveries, now_ms }).await?;
            }
            if buggify("node/consume/cut_delivery") {
                return Err(Unavailable::NoQuorum.into());
            }
            rest.first_position += u64::from(looked_at);
            rest.first_token += u64::from(looked_at);
            rest.count -= looked_at;
        }
        Ok(())
    }

    /// Acknowledges what is about to be sent, in as many settles as that takes. Returns what was not acknowledged, and is not sent: it is another's by now.
    async fn acknowledge(&self, lease: &Lease) -> Result<Vec<NotSettled>, Cut<E>> {
        let mut refused = Vec::new();
        for begin in (0..u64::from(lease.count)).step_by(SETTLE_MESSAGES_MAX as usize) {
            let range = SettleRange {
                first_position: lease.first_position + begin,
                // At most the lease's own.
                count: (u64::from(lease.count) - begin).min(SETTLE_MESSAGES_MAX) as u32,
                first_token: lease.first_token + begin,
                outcome: Outcome::Ack.into(),
                ..SettleRange::default()
            };
            let command = Settle { consumer: self.consumer, ranges: vec![range], ..Settle::default() };
            let pending = self.service.submit(&self.shard, command).await?;
            refused.extend(reply::<Settle>(&self.shard, pending.answer().await)?.refused);
        }
        Ok(refused)
    }

    /// Answers a request. True if it ended the session.
    async fn answer(&self, item: InOrder<E>, gone: &mut Gone) -> Result<bool, Cut<E>> {
        let (event, ends) = match item {
            InOrder::Time(id, now_ms) => (Event::Settled { id, settled: Settled::default(), now_ms }, false),
            InOrder::Settle(id, ..) if planted(Bug::SettleAnsweredEarly) => {
                (Event::Settled { id, settled: Settled::default(), now_ms: 0 }, false)
            }
            InOrder::Settle(id, now_ms, pending) => {
                let settled = reply::<Settle>(&self.shard, pending.answer().await)?;
                gone.add(&settled.revoked);
                (Event::Settled { id, settled, now_ms }, false)
            }
            InOrder::Credit(credit, pending) => {
                reply::<Credit>(&self.shard, pending.answer().await)?;
                (Event::Credit(credit), false)
            }
            InOrder::Detach(pending) => {
                reply::<Detach>(&self.shard, pending.answer().await)?;
                (Event::Detached, true)
            }
            InOrder::Fails(why) => return Err(Cut::Because(why)),
        };
        if buggify("node/consume/lose_answer") {
            return Err(CommandError::Unknown.into());
        }
        self.send(event).await?;
        Ok(ends)
    }

    async fn send(&self, event: Event) -> Result<(), Cut<E>> {
        let bytes = match &event {
            Event::Deliveries { deliveries, .. } => deliveries.iter().map(|one| one.message.len()).sum(),
            _ => 0,
        };
        let sent = self.events.send((Ok(event), Holding::new(Component::Outbox, bytes))).await;
        sent.map_err(|_| Cut::ByClient)
    }
}
