//! Receiving and settling: one stream carries one consumer session.
//!
//! The stream's two halves meet in one writer: news of leases from the [`Hub`](crate::delivery::Hub), and the
//! answers to settles in the order they were asked. Bodies are read from the state only when the client takes
//! them, so a consumer that stops reading holds nothing but its leases.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use quorate_machine::command::{Attach, Credit, Detach, Outcome, Settings, Settle, SettleRange, Verb};
use quorate_machine::effect::Lease;
use quorate_machine::limits::{SESSION_TIMEOUT_MS_DEFAULT, SETTLE_MESSAGES_MAX};
use quorate_machine::read::Held;
use quorate_machine::reply::{Attached, NotSettled, Reply};
use quorate_proto::v1;
use quorate_proto::v1::consumer_server::Consumer;
use quorate_proto::v1::receive_request::Request as Req;
use quorate_proto::v1::receive_response::Response as Res;
use quorate_simpoint::{Bug, Component, Holding, buggify, planted};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::error::Failure;
use super::producer::lost_leadership;
use super::{Api, convert, settings};
use crate::delivery::News;
use crate::proposal::Pending;
use crate::shard::Shard;

/// Frames that wait for the client.
const FRAMES_WAITING_MAX: usize = 4;
/// Bodies in one frame, in bytes; a single message may be larger.
const FRAME_BYTES: usize = 256 * 1024;
/// Requests of one stream that are read and not answered yet.
const REQUESTS_UNANSWERED_MAX: usize = 256;

type Frame = Result<v1::ReceiveResponse, Status>;

/// A frame that waits for the client, and what it holds.
type Outgoing = (Frame, Holding);

/// A request in the order of answers.
enum InOrder {
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
    Fails(Failure),
}

/// One consumer's stream.
struct Session {
    api: Api,
    shard: Shard,
    consumer: u64,
    generation: u64,
    session_timeout: Duration,
    /// When it was asked for.
    now_ms: u64,
    frames: mpsc::Sender<Outgoing>,
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

#[tonic::async_trait]
impl Consumer for Api {
    type ReceiveStream = Pin<Box<dyn Stream<Item = Frame> + Send>>;

    async fn receive(
        &self,
        request: Request<Streaming<v1::ReceiveRequest>>,
    ) -> Result<Response<Self::ReceiveStream>, Status> {
        let mut requests = request.into_inner();
        let Some(Req::Attach(attach)) = requests.message().await?.and_then(|r| r.request) else {
            return Err(Failure::invalid("the first request of a receive stream must be `attach`").into());
        };
        let namespace = convert::or_default(attach.namespace);
        let shard = self.shard_of(&namespace)?.clone();
        let session_timeout = Duration::from_millis(match attach.session_timeout_ms {
            0 => SESSION_TIMEOUT_MS_DEFAULT,
            given => given,
        });
        let verb = Attach {
            namespace,
            queue: attach.queue,
            subscription: convert::or_default(attach.subscription),
            session: attach.session,
            credit: attach.credit,
            session_timeout_ms: attach.session_timeout_ms,
            name: attach.name,
        };
        let now_ms = shard.time.now_ms();
        let attached = match shard.propose(Verb::Attach(verb)).await?.map_err(Failure::from)? {
            Reply::Attached(_) if buggify("node/consumer/lose_attached") => {
                return Err(Failure::unknown().into());
            }
            Reply::Attached(attached) => attached,
            other => return Err(Failure::internal(format!("an unexpected answer: {other:?}")).into()),
        };
        let (frames, stream) = mpsc::channel(FRAMES_WAITING_MAX);
        let Attached { consumer, generation, .. } = attached;
        let session =
            Session { api: self.clone(), shard, consumer, generation, session_timeout, now_ms, frames };
        // Ends when the client, the session or the leadership goes away, or the node stops.
        self.0.streams.spawn(session.run(attached, requests));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream).map(|(frame, _)| frame))))
    }
}

impl Session {
    async fn run(self, attached: Attached, requests: Streaming<v1::ReceiveRequest>) {
        let news = self.shard.hub.open(self.consumer, self.generation, self.session_timeout);
        let (ordered, in_order) = mpsc::channel(REQUESTS_UNANSWERED_MAX);
        let stopping = self.api.0.stopping.clone();
        let ended = tokio::select! {
            biased;
            ended = self.write(attached, news, in_order) => ended,
            failure = lost_leadership(self.shard.clone()) => Err(Some(failure)),
            () = stopping.cancelled() => Err(Some(Failure::shutting_down())),
            () = self.frames.closed() => Err(None),
            ended = self.read(requests, ordered) => ended,
        };
        if let Err(failure) = ended {
            self.shard.hub.lost(self.consumer, self.generation);
            if let Some(failure) = failure {
                let outgoing = (Err(failure.into()), Holding::new(Component::Outbox, 0));
                let _ = self.frames.send(outgoing).await; // the client may be gone
            }
        }
    }

    /// Reads requests and gives them their place in the order of commands. Ends with the client's side; after
    /// a `detach` the writer ends the stream.
    async fn read(
        &self,
        mut requests: Streaming<v1::ReceiveRequest>,
        ordered: mpsc::Sender<InOrder>,
    ) -> Result<(), Option<Failure>> {
        loop {
            let request = match requests.message().await {
                Ok(Some(request)) => request,
                Ok(None) => return Err(None),
                Err(status) => return Err(Failure::unreadable(&status)),
            };
            if buggify("node/consumer/stop_reading") {
                return Err(Some(Failure::no_quorum()));
            }
            let item = match request.request {
                Some(Req::Settle(settle)) if settle.ranges.is_empty() => {
                    InOrder::Time(settle.id, self.shard.time.now_ms())
                }
                Some(Req::Settle(settle)) => {
                    let (id, now_ms) = (settle.id, self.shard.time.now_ms());
                    let reasons = self.api.reasons(&self.shard, settle.ranges.iter());
                    match convert::settle_in(self.consumer, settle, reasons) {
                        Ok(verb) => {
                            let in_order = |pending| InOrder::Settle(id, now_ms, pending);
                            self.submit(Verb::Settle(verb), in_order).await
                        }
                        Err(failure) => InOrder::Fails(failure),
                    }
                }
                Some(Req::Credit(v1::Credit { credit })) => {
                    let (consumer, generation) = (self.consumer, self.generation);
                    let verb = Verb::Credit(Credit { consumer, generation, credit });
                    self.submit(verb, |pending| InOrder::Credit(credit, pending)).await
                }
                Some(Req::Detach(v1::Detach {})) => {
                    let (consumer, generation) = (self.consumer, self.generation);
                    let verb = Verb::Detach(Detach { consumer, generation });
                    self.submit(verb, InOrder::Detach).await
                }
                Some(Req::Attach(_)) | None => InOrder::Fails(Failure::invalid(
                    "after `attach` only settle, credit and detach may follow",
                )),
            };
            let last = matches!(item, InOrder::Detach(_) | InOrder::Fails(_));
            if ordered.send(item).await.is_err() || last {
                return std::future::pending().await; // the writer has the last word
            }
        }
    }

    async fn submit(&self, verb: Verb, answered: impl FnOnce(Pending) -> InOrder) -> InOrder {
        match self.shard.submit(verb).await {
            Ok(pending) => answered(pending),
            Err(failure) => InOrder::Fails(failure),
        }
    }

    /// Writes deliveries and answers. `Ok` after the session has ended, an error when only the stream has.
    async fn write(
        &self,
        attached: Attached,
        mut news: mpsc::Receiver<News>,
        mut in_order: mpsc::Receiver<InOrder>,
    ) -> Result<(), Option<Failure>> {
        let order = settings::order_out(&attached.settings).into();
        let Settings { lease_ms, auto_ack, .. } = attached.settings;
        let (resumed, now_ms) = (attached.resumed, self.now_ms);
        self.send(Res::Attached(v1::Attached { resumed, lease_ms, order, auto_ack, now_ms })).await?;
        // The stream hears every lease assigned from here on; those before it are in the state.
        let held = self.held(self.consumer)?;
        if !held.is_session {
            return Err(Some(Failure::session_ended())); // before the stream opened: no news will tell
        }
        for lease in &held.leases {
            self.deliver(*lease, auto_ack, &Gone::default()).await?;
        }
        if resumed && planted(Bug::TwoHolders) {
            for lease in self.held(self.consumer - 1)?.leases {
                self.deliver(lease, auto_ack, &Gone::default()).await?;
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
                    None => return Err(None),
                },
                item = news.recv() => match item {
                    Some(News::Assigned(lease)) if lease.first_token < held.next_token => {}
                    Some(News::Assigned(lease)) => self.deliver(lease, auto_ack, &gone).await?,
                    // Not if the look at the state was later: that a lease is over, and what followed, is in there.
                    Some(News::Revoked(lease)) if !held.may_hold(lease.first_token) => {}
                    Some(News::Revoked(lease)) => {
                        gone.told(&lease);
                        self.send(Res::Revoked(convert::revoked_out(&lease))).await?;
                    }
                    Some(News::Ended) => {
                        // The end that this stream asked for is answered first.
                        while let Some(item) = in_order.recv().await {
                            if self.answer(item, &mut gone).await? {
                                return Ok(());
                            }
                        }
                        return Err(Some(Failure::session_ended()));
                    }
                    None => return Err(Some(self.why_unheard())),
                },
            }
        }
    }

    fn held(&self, consumer: u64) -> Result<Held, Failure> {
        let held = quorate_machine::read::held(&self.shard.state().read(), consumer);
        held.map_err(|e| Failure::internal(e.to_string()))
    }

    /// The hub let go of this stream: another attach, a new leader, or a consumer that does not read.
    fn why_unheard(&self) -> Failure {
        match self.shard.check_leader() {
            Err(failure) => failure,
            Ok(()) if self.shard.hub.is_current(self.consumer, self.generation) => Failure::fell_behind(),
            Ok(()) => Failure::superseded(),
        }
    }

    /// Sends what was leased, in frames of bounded size.
    async fn deliver(&self, lease: Lease, auto_ack: bool, gone: &Gone) -> Result<(), Option<Failure>> {
        let mut rest = lease;
        while rest.count > 0 {
            let frame_bytes = if buggify("node/consumer/small_frame") { 1 } else { FRAME_BYTES };
            let part = quorate_machine::read::lease_part(&self.shard.state().read(), &rest, frame_bytes);
            let (messages, looked_at) = part.map_err(|e| Failure::internal(e.to_string()))?;
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
                messages.into_iter().filter(|m| is_ours(m.position, m.token)).map(|m| v1::Delivery {
                    position: m.position,
                    token: m.token,
                    attempt: lease.attempt,
                    published_at_ms: m.published_at_ms,
                    lease_left_ms,
                    message: m.message,
                });
            let deliveries: Vec<v1::Delivery> = deliveries.collect();
            if !deliveries.is_empty() {
                self.send(Res::Deliveries(v1::Deliveries { deliveries, now_ms })).await?;
            }
            if buggify("node/consumer/cut_delivery") {
                return Err(Some(Failure::no_quorum()));
            }
            rest.first_position += u64::from(looked_at);
            rest.first_token += u64::from(looked_at);
            rest.count -= looked_at;
        }
        Ok(())
    }

    /// Acknowledges what is about to be sent, in as many settles as that takes. Returns what was not acknowledged, and is not sent: it is another's by now.
    async fn acknowledge(&self, lease: &Lease) -> Result<Vec<NotSettled>, Option<Failure>> {
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
            let verb = Settle { consumer: self.consumer, ranges: vec![range], ..Settle::default() };
            let pending = self.shard.submit(Verb::Settle(verb)).await.map_err(Some)?;
            match self.outcome(pending).await? {
                Reply::Settled(settled) => refused.extend(settled.refused),
                other => return Err(Some(Failure::internal(format!("an unexpected answer: {other:?}")))),
            }
        }
        Ok(refused)
    }

    /// Answers a request. True if it ended the session.
    async fn answer(&self, item: InOrder, gone: &mut Gone) -> Result<bool, Option<Failure>> {
        let (response, ends) = match item {
            InOrder::Time(id, now_ms) => {
                (Res::Settled(v1::Settled { id, now_ms, ..v1::Settled::default() }), false)
            }
            InOrder::Settle(id, ..) if planted(Bug::SettleAnsweredEarly) => {
                (Res::Settled(v1::Settled { id, ..v1::Settled::default() }), false)
            }
            InOrder::Settle(id, now_ms, pending) => match self.outcome(pending).await? {
                Reply::Settled(settled) => {
                    gone.add(&settled.revoked);
                    (Res::Settled(convert::settled_out(id, settled, now_ms)), false)
                }
                other => return Err(Some(Failure::internal(format!("an unexpected answer: {other:?}")))),
            },
            InOrder::Credit(credit, pending) => {
                self.outcome(pending).await?;
                (Res::Credit(v1::CreditSet { credit }), false)
            }
            InOrder::Detach(pending) => {
                self.outcome(pending).await?;
                (Res::Detached(v1::Detached {}), true)
            }
            InOrder::Fails(failure) => return Err(Some(failure)),
        };
        if buggify("node/consumer/lose_answer") {
            return Err(Some(Failure::unknown()));
        }
        self.send(response).await?;
        Ok(ends)
    }

    async fn outcome(&self, pending: Pending) -> Result<Reply, Option<Failure>> {
        let answer = pending.answer().await.map_err(|e| self.shard.not_done(e))?;
        answer.map_err(|refusal| Some(Failure::from(refusal)))
    }

    async fn send(&self, response: Res) -> Result<(), Option<Failure>> {
        let bytes = match &response {
            Res::Deliveries(frame) => frame.deliveries.iter().map(|one| one.message.len()).sum(),
            _ => 0,
        };
        let response = v1::ReceiveResponse { response: Some(response) };
        let sent = self.frames.send((Ok(response), Holding::new(Component::Outbox, bytes))).await;
        sent.map_err(|_| None)
    }
}
