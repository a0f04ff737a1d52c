//! A server of one queue: sessions, sequence numbers and leases as the protocol has them, without replication.

mod admin;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use quorate_client::Client;
use quorate_proto::v1;
use quorate_proto::v1::cluster_server::ClusterServer;
use quorate_proto::v1::consumer_server::{Consumer, ConsumerServer};
use quorate_proto::v1::producer_server::{Producer, ProducerServer};
use quorate_proto::v1::queues_server::QueuesServer;
use quorate_proto::v1::{publish_request, publish_response, receive_request, receive_response};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

#[derive(Default)]
pub struct State {
    /// The queue: position = index + 1.
    pub log: Vec<Bytes>,
    /// The same with everything that the messages carry.
    pub whole: Vec<v1::Message>,
    pub producer: Option<ProducerSession>,
    /// Sizes of the publish batches, in order of arrival.
    pub batches: Vec<(u64, usize)>,
    pub opens: u64,
    /// Applies this many more batches, answers none of them, and cuts the stream.
    pub cut_after: Option<usize>,
    /// Refuses every batch with this reason, before it looks at the numbers.
    pub refuse_batches: Option<&'static str>,
    /// Becomes `refuse_batches` when `cut_after` cuts the stream.
    pub refuse_after_cut: Option<&'static str>,
    /// Takes batches and applies none until it is cleared and `resume` is notified.
    pub hold: bool,
    /// Where the leader is, if not here.
    pub leader_elsewhere: Option<String>,
    /// Answers every call with this reason.
    pub refuse_all: Option<&'static str>,
    pub calls: u64,
    /// Leases of the consumer session: token → position.
    pub leases: BTreeMap<u64, u64>,
    pub attaches: Vec<Bytes>,
    pub settles: Vec<v1::Settle>,
    /// Cuts the consumer's stream at the next settle: `Some(true)` carries it out first.
    pub cut_settle: Option<bool>,
    pub detached: bool,
    /// Does not answer who the members are.
    pub silent: bool,
    pub closed: bool,
    /// Carries out this many closes, or detaches, whose answers are lost with the stream.
    pub lose_ends: usize,
    /// The subscription's order is `total`: what is returned comes again, and what is behind it with it.
    pub total: bool,
    /// What the next calls that change queues are answered; then they succeed.
    pub queue_answers: VecDeque<&'static str>,
}

#[derive(Default)]
pub struct ProducerSession {
    id: u64,
    holder: Bytes,
    epoch: u64,
    /// Position of each stored sequence number, from 1.
    stored: Vec<u64>,
}

#[derive(Clone)]
pub struct Fake {
    pub state: Arc<Mutex<State>>,
    pub resume: Arc<Notify>,
    pub address: String,
}

impl Fake {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let fake = Self { state: Arc::default(), resume: Arc::default(), address };
        let server = tonic::transport::Server::builder()
            .add_service(ProducerServer::new(fake.clone()))
            .add_service(ConsumerServer::new(fake.clone()))
            .add_service(QueuesServer::new(fake.clone()))
            .add_service(ClusterServer::new(fake.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        fake
    }

    pub fn client(&self, timeout: Duration) -> Client {
        Client::builder().endpoints([format!("http://{}", self.address)]).timeout(timeout).build().unwrap()
    }

    pub fn bodies(&self) -> Vec<String> {
        self.state.lock().log.iter().map(|body| String::from_utf8(body.to_vec()).unwrap()).collect()
    }

    fn gate(&self) -> Result<(), Status> {
        let mut state = self.state.lock();
        state.calls += 1;
        if let Some(leader) = &state.leader_elsewhere {
            return Err(status("NOT_LEADER", &[("leader_addr", leader), ("leader_name", "other")]));
        }
        state.refuse_all.map_or(Ok(()), |reason| Err(status(reason, &[])))
    }
}

pub fn status(reason: &str, metadata: &[(&str, &str)]) -> Status {
    let metadata: std::collections::HashMap<String, String> =
        metadata.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let details = ErrorDetails::with_error_info(reason, quorate_proto::ERROR_DOMAIN, metadata);
    Status::with_error_details(Code::Unavailable, reason.to_owned(), details)
}

fn refusal(reason: &str) -> Option<v1::Refusal> {
    let (message, retry) = (reason.to_lowercase(), reason == "NO_SPACE");
    Some(v1::Refusal { reason: reason.into(), message, retry, ..Default::default() })
}

fn body(encoded: &Bytes) -> Bytes {
    v1::Message::decode(encoded.clone()).unwrap().body
}

impl State {
    fn open(&mut self, request: v1::OpenProducer) -> Result<v1::ProducerOpened, Status> {
        self.opens += 1;
        let known = self.producer.as_ref().map_or(0, |session| session.id);
        if request.resume != 0 && known != request.resume {
            return Err(status("UNKNOWN_PRODUCER", &[]));
        }
        let fresh = ProducerSession { id: self.opens, ..ProducerSession::default() };
        let session = self.producer.get_or_insert(fresh);
        if request.resume != 0 && session.holder != request.holder {
            return Err(status("PRODUCER_FENCED", &[]));
        }
        session.holder = request.holder;
        session.epoch += 1;
        let last_seq = session.stored.len() as u64;
        Ok(v1::ProducerOpened { producer: session.id, epoch: session.epoch, last_seq })
    }

    /// Another client opens the session by its name and publishes one message.
    pub fn somebody_else_publishes(&mut self, body: &'static [u8]) {
        let opened =
            self.open(v1::OpenProducer { holder: Bytes::from_static(b"another"), ..Default::default() });
        let opened = opened.expect("the name alone is enough");
        let message =
            v1::Message { body: Bytes::from_static(body), ..Default::default() }.encode_to_vec().into();
        let first_seq = opened.last_seq + 1;
        self.publish(
            opened.epoch,
            &v1::PublishBatch { first_seq, messages: vec![message], ..Default::default() },
        );
    }

    /// Stores a batch, or refuses it whole.
    fn publish(&mut self, epoch: u64, batch: &v1::PublishBatch) -> publish_response::Response {
        let count = batch.messages.len();
        self.batches.push((batch.first_seq, count));
        let refuse_batches = self.refuse_batches;
        let session = self.producer.get_or_insert_default();
        let last = session.stored.len() as u64;
        let reason = if refuse_batches.is_some() {
            refuse_batches
        } else if session.epoch != epoch {
            Some("PRODUCER_FENCED")
        } else if batch.first_seq > last + 1 {
            Some("SEQUENCE_GAP")
        } else if batch.messages.iter().any(|message| body(message).starts_with(b"bad")) {
            Some("INVALID")
        } else {
            None
        };
        if let Some(reason) = reason {
            return publish_response::Response::Refused(v1::PublishRefused {
                first_seq: batch.first_seq,
                count: count as u32,
                refusal: refusal(reason),
            });
        }
        let mut positions = Vec::new();
        for (i, message) in batch.messages.iter().enumerate() {
            let seq = batch.first_seq as usize + i;
            let duplicate = seq <= session.stored.len();
            if !duplicate {
                self.log.push(body(message));
                self.whole.push(v1::Message::decode(message.clone()).unwrap());
                session.stored.push(self.log.len() as u64);
            }
            positions.push(v1::PositionRun { first_position: session.stored[seq - 1], count: 1, duplicate });
        }
        publish_response::Response::Receipt(v1::Receipt { first_seq: batch.first_seq, positions })
    }

    /// Ends the session; an error if nobody is told, with or without a status.
    fn close(&mut self, epoch: u64) -> Result<publish_response::Response, Option<Status>> {
        let reason = match &self.producer {
            None => Some("UNKNOWN_PRODUCER"),
            Some(session) if session.epoch != epoch => Some("PRODUCER_FENCED"),
            Some(_) => None,
        };
        if reason.is_some() {
            let refused = v1::PublishRefused { refusal: reason.and_then(refusal), ..Default::default() };
            return Ok(publish_response::Response::Refused(refused));
        }
        self.closed = true;
        self.producer = None;
        match self.loses_end() {
            false => Ok(publish_response::Response::Receipt(v1::Receipt::default())),
            true if self.lose_ends % 2 == 1 => Err(Some(status("UNKNOWN", &[]))),
            true => Err(None),
        }
    }

    fn loses_end(&mut self) -> bool {
        let loses = self.lose_ends > 0;
        self.lose_ends -= usize::from(loses);
        loses
    }

    /// What a settle of a `total` subscription brings about: the news of it, run by run, then new leases.
    fn come_again(&mut self, settle: &v1::Settle) -> Vec<receive_response::Response> {
        let back = |range: &&v1::SettleRange| range.outcome >= i32::from(v1::Outcome::Retry);
        let Some(first) = settle.ranges.iter().filter(back).map(|range| range.first_position).min() else {
            return Vec::new();
        };
        let behind: Vec<(u64, u64)> = self.leases.extract_if(.., |_, position| *position > first).collect();
        let revoked = |&(first_token, first_position): &(u64, u64)| {
            receive_response::Response::Revoked(v1::Revoked { first_position, count: 1, first_token })
        };
        let mut news: Vec<_> = behind.iter().map(revoked).collect();
        let again = (first..).take(behind.len() + 1).map(|position| (1000 + position, position));
        self.leases.extend(again);
        news.push(self.deliveries(1000));
        news
    }

    /// The leases from `token` on.
    fn deliveries(&self, token: u64) -> receive_response::Response {
        let deliveries = self.leases.range(token..).map(|(&token, &position)| v1::Delivery {
            position,
            token,
            attempt: 1,
            lease_left_ms: 30_000,
            message: self.stored(position).encode_to_vec().into(),
            ..Default::default()
        });
        receive_response::Response::Deliveries(v1::Deliveries {
            deliveries: deliveries.collect(),
            ..Default::default()
        })
    }

    fn stored(&self, position: u64) -> v1::Message {
        let at = position as usize - 1;
        let alone = || v1::Message { body: self.log[at].clone(), ..Default::default() };
        self.whole.get(at).cloned().unwrap_or_else(alone)
    }

    fn settle(&mut self, settle: &v1::Settle) -> v1::Settled {
        let mut refused = Vec::new();
        for range in &settle.ranges {
            for i in 0..u64::from(range.count) {
                let (position, token) = (range.first_position + i, range.first_token + i);
                let current = self.leases.get(&token) == Some(&position);
                if !current {
                    refused.push(v1::SettleRefused {
                        first_position: position,
                        count: 1,
                        refusal: refusal("STALE_LEASE"),
                    });
                } else if range.outcome != i32::from(v1::Outcome::Extend) {
                    self.leases.remove(&token);
                }
            }
        }
        v1::Settled { id: settle.id, refused, ..Default::default() }
    }
}

type Sender<T> = mpsc::Sender<Result<T, Status>>;

async fn publishing(
    fake: Fake,
    epoch: u64,
    mut requests: Streaming<v1::PublishRequest>,
    answers: Sender<v1::PublishResponse>,
) {
    while let Ok(Some(request)) = requests.message().await {
        let Some(publish_request::Request::Batch(batch)) = request.request else { return };
        while fake.state.lock().hold {
            fake.resume.notified().await;
        }
        let answer = {
            let mut state = fake.state.lock();
            let answer = match batch.close {
                true => state.close(epoch),
                false => Ok(state.publish(epoch, &batch)),
            };
            match state.cut_after.as_mut() {
                None => answer,
                Some(left) if *left > 1 => {
                    *left -= 1;
                    continue;
                }
                Some(_) => {
                    state.cut_after = None;
                    state.refuse_batches = state.refuse_after_cut.take();
                    Err(Some(status("NOT_LEADER", &[("leader_addr", "")])))
                }
            }
        };
        let answer = match answer {
            Ok(response) => Ok(v1::PublishResponse { response: Some(response) }),
            Err(Some(status)) => Err(status),
            Err(None) => return,
        };
        let over = answer.is_err();
        if answers.send(answer).await.is_err() || over {
            return;
        }
    }
}

#[tonic::async_trait]
impl Producer for Fake {
    type PublishStream = ReceiverStream<Result<v1::PublishResponse, Status>>;

    async fn list(
        &self,
        _: Request<v1::ListProducersRequest>,
    ) -> Result<Response<v1::ListProducersResponse>, Status> {
        self.gate()?;
        Ok(Response::new(v1::ListProducersResponse::default()))
    }

    async fn publish(
        &self,
        request: Request<Streaming<v1::PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        self.gate()?;
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|message| message.request);
        let Some(publish_request::Request::Open(request)) = first else {
            return Err(Status::internal("the stream does not begin with `open`"));
        };
        let opened = self.state.lock().open(request)?;
        let epoch = opened.epoch;
        let (answers, stream) = mpsc::channel(64);
        let first = v1::PublishResponse { response: Some(publish_response::Response::Opened(opened)) };
        answers.try_send(Ok(first)).unwrap();
        tokio::spawn(publishing(self.clone(), epoch, requests, answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn receive(response: receive_response::Response) -> Result<v1::ReceiveResponse, Status> {
    Ok(v1::ReceiveResponse { response: Some(response) })
}

async fn consuming(
    fake: Fake,
    mut requests: Streaming<v1::ReceiveRequest>,
    answers: Sender<v1::ReceiveResponse>,
) {
    while let Ok(Some(request)) = requests.message().await {
        let mut news = Vec::new();
        let answer = match request.request {
            Some(receive_request::Request::Settle(settle)) => {
                let mut state = fake.state.lock();
                state.settles.push(settle.clone());
                match state.cut_settle.take() {
                    Some(carried_out) => {
                        if carried_out {
                            state.settle(&settle);
                        }
                        Err(status("SHUTTING_DOWN", &[]))
                    }
                    None => {
                        let settled = state.settle(&settle);
                        if state.total {
                            news = state.come_again(&settle);
                        }
                        receive(receive_response::Response::Settled(settled))
                    }
                }
            }
            Some(receive_request::Request::Detach(_)) => {
                let mut state = fake.state.lock();
                state.detached = true;
                if state.loses_end() {
                    return;
                }
                receive(receive_response::Response::Detached(v1::Detached {}))
            }
            Some(receive_request::Request::Credit(credit)) => {
                receive(receive_response::Response::Credit(v1::CreditSet { credit: credit.credit }))
            }
            _ => return,
        };
        let over = answer.is_err();
        if answers.send(answer).await.is_err() || over {
            return;
        }
        for item in news {
            let _ = answers.send(receive(item)).await;
        }
    }
}

#[tonic::async_trait]
impl Consumer for Fake {
    type ReceiveStream = ReceiverStream<Result<v1::ReceiveResponse, Status>>;

    async fn receive(
        &self,
        request: Request<Streaming<v1::ReceiveRequest>>,
    ) -> Result<Response<Self::ReceiveStream>, Status> {
        self.gate()?;
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|request| request.request);
        let Some(receive_request::Request::Attach(attach)) = first else {
            return Err(status("INVALID", &[]));
        };
        let (answers, stream) = mpsc::channel(64);
        {
            let mut state = self.state.lock();
            let resumed = state.attaches.contains(&attach.session);
            state.attaches.push(attach.session);
            let order = if state.total { v1::Order::Total } else { v1::Order::None }.into();
            let attached = v1::Attached { resumed, lease_ms: 30_000, order, ..Default::default() };
            answers.try_send(receive(receive_response::Response::Attached(attached))).unwrap();
            answers.try_send(receive(state.deliveries(0))).unwrap();
        }
        tokio::spawn(consuming(self.clone(), requests, answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
