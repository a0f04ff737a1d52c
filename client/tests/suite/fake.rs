//! A server of one queue: sessions, sequence numbers and leases as the protocol has them, without replication.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_client::Client;
use quorate_proto::v1;
use quorate_proto::v1::cluster_server::{Cluster, ClusterServer};
use quorate_proto::v1::consumer_server::{Consumer, ConsumerServer};
use quorate_proto::v1::producer_server::{Producer, ProducerServer};
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
    producer: Option<ProducerSession>,
    /// Sizes of the publish batches, in order of arrival.
    pub batches: Vec<(u64, usize)>,
    pub opens: u64,
    /// Applies this many more batches, answers none of them, and cuts the stream.
    pub cut_after: Option<usize>,
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
}

#[derive(Default)]
struct ProducerSession {
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
    Some(v1::Refusal { reason: reason.into(), message: reason.to_lowercase(), ..Default::default() })
}

impl State {
    fn open(&mut self) -> v1::ProducerOpened {
        self.opens += 1;
        let session = self.producer.get_or_insert_default();
        session.epoch += 1;
        v1::ProducerOpened { epoch: session.epoch, last_seq: session.stored.len() as u64 }
    }

    /// Stores a batch, or refuses it whole.
    fn publish(&mut self, epoch: u64, batch: &v1::PublishBatch) -> publish_response::Response {
        let count = batch.messages.len();
        self.batches.push((batch.first_seq, count));
        let session = self.producer.get_or_insert_default();
        let last = session.stored.len() as u64;
        let reason = if session.epoch != epoch {
            Some("PRODUCER_FENCED")
        } else if batch.first_seq > last + 1 {
            Some("SEQUENCE_GAP")
        } else if batch.messages.iter().any(|message| message.body.starts_with(b"bad")) {
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
        let mut duplicates = 0;
        let mut positions = Vec::new();
        for (i, message) in batch.messages.iter().enumerate() {
            let seq = batch.first_seq as usize + i;
            if seq <= session.stored.len() {
                duplicates += 1;
            } else {
                self.log.push(message.body.clone());
                session.stored.push(self.log.len() as u64);
            }
            positions.push(v1::PositionRun { first_position: session.stored[seq - 1], count: 1 });
        }
        publish_response::Response::Receipt(v1::Receipt { first_seq: batch.first_seq, positions, duplicates })
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
        v1::Settled { id: settle.id, refused }
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
            if batch.close {
                state.closed = true;
                state.producer = None;
                return;
            }
            let answer = state.publish(epoch, &batch);
            if let Some(left) = state.cut_after.as_mut() {
                *left -= 1;
                if *left == 0 {
                    state.cut_after = None;
                    None
                } else {
                    continue;
                }
            } else {
                Some(answer)
            }
        };
        let answer = match answer {
            Some(answer) => Ok(v1::PublishResponse { response: Some(answer) }),
            None => Err(status("NOT_LEADER", &[("leader_addr", "")])),
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

    async fn publish(
        &self,
        request: Request<Streaming<v1::PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        self.gate()?;
        let mut requests = request.into_inner();
        requests.message().await?;
        let opened = self.state.lock().open();
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
                    None => receive(receive_response::Response::Settled(state.settle(&settle))),
                }
            }
            Some(receive_request::Request::Detach(_)) => {
                fake.state.lock().detached = true;
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
            let attached = v1::Attached { resumed, lease_ms: 30_000, order: v1::Order::None.into() };
            answers.try_send(receive(receive_response::Response::Attached(attached))).unwrap();
            let deliveries = state
                .leases
                .iter()
                .map(|(&token, &position)| v1::Delivery {
                    position,
                    token,
                    attempt: 1,
                    message: Some(v1::Message {
                        body: state.log[position as usize - 1].clone(),
                        ..Default::default()
                    }),
                    ..Default::default()
                })
                .collect();
            answers
                .try_send(receive(receive_response::Response::Deliveries(v1::Deliveries { deliveries })))
                .unwrap();
        }
        tokio::spawn(consuming(self.clone(), requests, answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

#[tonic::async_trait]
impl Cluster for Fake {
    async fn members(&self, _: Request<v1::MembersRequest>) -> Result<Response<v1::MembersResponse>, Status> {
        if self.state.lock().silent {
            std::future::pending::<()>().await;
        }
        let member = v1::Member { id: 1, client_addr: self.address.clone(), ..Default::default() };
        Ok(Response::new(v1::MembersResponse { members: vec![member], leader_id: 1, ..Default::default() }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let replica = v1::ReplicaStatus { name: "n1".into(), id: 1, ..Default::default() };
        Ok(Response::new(v1::StatusResponse { replicas: vec![replica] }))
    }
}
