//! Publishing: one stream carries one producer session.
//!
//! Batches enter the order of commands as they are read; the answers come back in the same order. What is
//! read and not answered yet is bounded, over all streams, by [`Admission`](super::admission::Admission).

use std::pin::Pin;

use futures::Stream;
use quorate_machine::command::{CloseProducer, OpenProducer, Publish, Verb};
use quorate_machine::read::{self, ProducerInfo};
use quorate_machine::reply::{ProducerOpened, Reply};
use quorate_proto::v1;
use quorate_proto::v1::producer_server::Producer;
use quorate_proto::v1::publish_request::Request as Req;
use quorate_proto::v1::publish_response::Response as Res;
use quorate_raft::NotDone;
use quorate_simpoint::{Bug, buggify, planted};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::error::Failure;
use super::{Api, convert};
use crate::proposal::Pending;
use crate::shard::Shard;

/// Batches of one stream that are read and not answered yet.
const BATCHES_UNANSWERED_MAX: usize = 256;
/// Most sessions that one listing has.
const LIST_MAX: u32 = 1000;
/// Answers that wait for the stream.
const ANSWERS_WAITING_MAX: usize = 64;

/// A batch in the order of answers.
struct InOrder {
    first_seq: u64,
    count: u32,
    outcome: BatchOutcome,
    /// Holds the batch's bytes against the server's bound until it is answered.
    _room: Option<OwnedSemaphorePermit>,
}

enum BatchOutcome {
    /// Proposed.
    Pending(Pending),
    /// Refused before it was proposed.
    Refused(Failure),
    /// Not taken: the stream ends, and the client goes on at the leader.
    NotTaken(Failure),
}

/// One producer's stream.
struct Session {
    api: Api,
    shard: Shard,
    namespace: String,
    opened: ProducerOpened,
}

#[tonic::async_trait]
impl Producer for Api {
    type PublishStream = Pin<Box<dyn Stream<Item = Result<v1::PublishResponse, Status>> + Send>>;

    async fn publish(
        &self,
        request: Request<Streaming<v1::PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|r| r.request);
        let Some(Req::Open(open)) = first else {
            return Err(Failure::invalid("the first request of a publish stream must be `open`").into());
        };
        let session = Session::open(self.clone(), open).await?;
        let (answers, stream) = mpsc::channel(ANSWERS_WAITING_MAX);
        let (ordered, in_order) = mpsc::channel(BATCHES_UNANSWERED_MAX);
        let opened = convert::opened_out(session.opened);
        let _ = answers.send(Ok(v1::PublishResponse { response: Some(Res::Opened(opened)) })).await;
        let shard = session.shard.clone();
        let stopping = self.0.stopping.clone();
        // Ends when the client or the leadership goes away, or the node stops.
        self.0.streams.spawn(async move {
            let write = answer_in_order(shard.clone(), in_order, &answers);
            let read = session.read(requests, ordered);
            let failure = tokio::select! {
                biased;
                failure = write => failure,
                failure = lost_leadership(shard) => Some(failure),
                () = stopping.cancelled() => Some(Failure::shutting_down()),
                failure = async { read.await; std::future::pending().await } => failure,
            };
            if let Some(failure) = failure {
                let _ = answers.send(Err(failure.into())).await; // the client may be gone
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn list(
        &self,
        request: Request<v1::ListProducersRequest>,
    ) -> Result<Response<v1::ListProducersResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let limit = convert::bounded(request.limit, LIST_MAX, LIST_MAX, "limit")?;
        let look = self
            .shard_of(&namespace)?
            .read(|state| read::producers(state, &namespace, &request.after, limit));
        let (found, applied_index) = look.await?;
        let (sessions, more) = found.map_err(Failure::from)?;
        let sessions = sessions.into_iter().map(session_out).collect();
        Ok(Response::new(v1::ListProducersResponse { sessions, more, applied_index }))
    }
}

fn session_out(session: ProducerInfo) -> v1::ProducerSession {
    let ProducerInfo { name, epoch, last_seq, acked_seq, used_at_ms, ttl_ms } = session;
    v1::ProducerSession { name, epoch, last_seq, acked_seq, used_at_ms, ttl_ms }
}

impl Session {
    async fn open(api: Api, open: v1::OpenProducer) -> Result<Self, Failure> {
        let namespace = convert::or_default(open.namespace);
        let shard = api.shard_of(&namespace)?.clone();
        let v1::OpenProducer { session, ttl_ms, holder, resume, .. } = open;
        let verb = OpenProducer { namespace: namespace.clone(), session, ttl_ms, holder, resume };
        match shard.propose(Verb::OpenProducer(verb)).await?? {
            Reply::ProducerOpened(_) if buggify("node/producer/lose_opened") => Err(Failure::unknown()),
            Reply::ProducerOpened(opened) => Ok(Self { api, shard, namespace, opened }),
            other => Err(Failure::internal(format!("an unexpected answer: {other:?}"))),
        }
    }

    /// Reads batches until the client closes its side; dropping `ordered` then lets the answers end.
    async fn read(&self, mut requests: Streaming<v1::PublishRequest>, ordered: mpsc::Sender<InOrder>) {
        let of_none = |outcome| InOrder { first_seq: 0, count: 0, outcome, _room: None };
        loop {
            let item = match requests.message().await {
                Ok(Some(v1::PublishRequest { request: Some(Req::Batch(batch)) })) => self.admit(batch).await,
                Ok(Some(_)) => {
                    let failure = Failure::invalid("after `open` only `batch` may follow");
                    of_none(BatchOutcome::Refused(failure))
                }
                Ok(None) => return,
                Err(status) => match Failure::unreadable(&status) {
                    Some(failure) => of_none(BatchOutcome::NotTaken(failure)),
                    None => return,
                },
            };
            let last = matches!(item.outcome, BatchOutcome::NotTaken(_));
            if ordered.send(item).await.is_err() || last {
                return;
            }
        }
    }

    /// Checks a batch and gives it its place in the order of commands.
    async fn admit(&self, batch: v1::PublishBatch) -> InOrder {
        let first_seq = batch.first_seq;
        let count = u32::try_from(batch.messages.len()).unwrap_or(u32::MAX);
        let bytes: usize = batch.messages.iter().map(|encoded| encoded.len() + 64).sum();
        let close = batch.close;
        let room = self.api.0.admission.room(bytes).await;
        if buggify("node/producer/not_taken") {
            let outcome = BatchOutcome::NotTaken(Failure::no_quorum());
            return InOrder { first_seq, count, outcome, _room: room };
        }
        let outcome = match self.verb(batch, close) {
            Ok(verb) => match self.shard.submit(verb).await {
                Ok(pending) => BatchOutcome::Pending(pending),
                Err(failure) => BatchOutcome::NotTaken(failure),
            },
            Err(failure) => BatchOutcome::Refused(failure),
        };
        InOrder { first_seq, count, outcome, _room: room }
    }

    fn verb(&self, batch: v1::PublishBatch, close: bool) -> Result<Verb, Failure> {
        let (producer, epoch) = (self.opened.producer, self.opened.epoch);
        if close && batch.messages.is_empty() {
            return Ok(Verb::CloseProducer(CloseProducer { producer, epoch }));
        }
        if close {
            return Err(Failure::invalid("`close` goes without messages, after the last receipt"));
        }
        if takes_room(&batch, self.opened.last_seq) {
            let replica = &self.shard.replica;
            self.api.0.admission.check_space([replica.log().quota(), replica.state().quota()])?;
        }
        let mut attributes = 0;
        for message in &batch.messages {
            attributes |= convert::check_message(message)?;
        }
        let (lengths, messages) = Publish::pack(&batch.messages);
        Ok(Verb::Publish(Publish {
            namespace: self.namespace.clone(),
            queue: batch.queue,
            producer,
            epoch,
            first_seq: batch.first_seq,
            acked_seq: batch.acked_seq,
            lengths,
            messages,
            attributes,
        }))
    }
}

/// Whether something of the batch is new to a session that had stored everything up to `last_seq` when it was opened.
/// What is sent again takes no room, and has to get its receipt.
fn takes_room(batch: &v1::PublishBatch, last_seq: u64) -> bool {
    let end = batch.first_seq.saturating_add(batch.messages.len() as u64);
    batch.first_seq == 0 || end > last_seq.saturating_add(1)
}

/// Answers batches in the order they were read. Returns what ends the stream, or nothing if all is answered.
async fn answer_in_order(
    shard: Shard,
    mut in_order: mpsc::Receiver<InOrder>,
    answers: &mpsc::Sender<Result<v1::PublishResponse, Status>>,
) -> Option<Failure> {
    while let Some(InOrder { first_seq, count, outcome, _room }) = in_order.recv().await {
        let refused = |failure: Failure| {
            Res::Refused(v1::PublishRefused { first_seq, count, refusal: Some(failure.into_refusal()) })
        };
        let response = match outcome {
            BatchOutcome::Refused(failure) => refused(failure),
            BatchOutcome::NotTaken(failure) => return Some(failure),
            BatchOutcome::Pending(pending) => match pending.answer().await {
                Ok(Ok(Reply::Published { positions })) => {
                    Res::Receipt(v1::Receipt { first_seq, positions: convert::positions_out(positions) })
                }
                Ok(Ok(_)) => Res::Receipt(v1::Receipt { first_seq, ..v1::Receipt::default() }), // closed
                Ok(Err(refusal)) => refused(refusal.into()),
                Err(NotDone::Unknown) if planted(Bug::UnknownReportedAsRefused) => {
                    refused(Failure::no_space("the batch was not stored".into()))
                }
                Err(e) => return Some(shard.not_done(e)),
            },
        };
        if buggify("node/producer/lose_receipt") {
            return Some(Failure::unknown());
        }
        if answers.send(Ok(v1::PublishResponse { response: Some(response) })).await.is_err() {
            return None;
        }
    }
    None
}

/// Returns when this node no longer leads the shard.
pub(super) async fn lost_leadership(shard: Shard) -> Failure {
    let mut leadership = shard.leadership.clone();
    let leader = leadership.wait_for(|l| !l.mine).await.map_or(None, |l| l.leader);
    shard.not_leader(leader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_sent_again_whole_takes_no_room() {
        for (first_seq, takes) in
            [(0, true), (3, false), (9, false), (10, true), (11, true), (u64::MAX, true)]
        {
            let messages = vec![bytes::Bytes::new(); 2];
            let batch = v1::PublishBatch { first_seq, messages, ..Default::default() };
            assert_eq!(takes_room(&batch, 10), takes, "{first_seq}");
        }
    }
}
