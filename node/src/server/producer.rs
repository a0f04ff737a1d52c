//! Publishing: one stream carries one producer session.
//!
//! Batches enter the order of commands as they are read; the answers come back in the same order. What is
//! read and not answered yet is bounded, over all streams, by [`Admission`](super::admission::Admission).

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use quorate_machine::command::{CloseProducer, Measured, OpenProducer, Publish, Verb};
use quorate_machine::is_limited;
use quorate_machine::read::{self, ProducerInfo};
use quorate_machine::reply::{ProducerOpened, Refusal, Reply};
use quorate_proto::v1;
use quorate_proto::v1::producer_server::Producer;
use quorate_proto::v1::publish_request::Request as Req;
use quorate_proto::v1::publish_response::Response as Res;
use quorate_raft::NotDone;
use quorate_simpoint::{Bug, buggify, planted};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::error::Failure;
use super::sequence::Sequence;
use super::{Api, convert};
use crate::proposal::Pending;
use crate::shard::Shard;

/// Batches of one stream that are read and not answered yet.
const BATCHES_UNANSWERED_MAX: usize = 256;
/// What a message takes besides its bytes while it is under way.
const MESSAGE_BYTES: usize = 64;
/// Batches to a queue without limits after which it is looked at again.
const BATCHES_UNLOOKED_MAX: u32 = 64;
/// Most sessions that one listing has.
const LIST_MAX: u32 = 1000;
/// Answers that wait for the stream.
const ANSWERS_WAITING_MAX: usize = 64;

/// A batch in the order of answers.
struct InOrder {
    first_seq: u64,
    count: u32,
    outcome: BatchOutcome,
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
    sequence: Arc<Sequence>,
    looked: Looked,
}

/// When the queue that is published to was looked at, and had no limit.
#[derive(Default)]
struct Looked {
    queue: String,
    /// For so many batches nobody looks again.
    batches_left: u32,
    /// Batches that had been refused then.
    refused: u64,
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
        let (shard, sequence) = (session.shard.clone(), session.sequence.clone());
        let stopping = self.0.stopping.clone();
        // Ends when the client or the leadership goes away, or the node stops.
        self.0.streams.spawn(async move {
            let write = answer_in_order(shard.clone(), &sequence, in_order, &answers);
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
            Reply::ProducerOpened(opened) => {
                let sequence = Arc::new(Sequence::new(opened.last_seq));
                Ok(Self { api, shard, namespace, opened, sequence, looked: Looked::default() })
            }
            other => Err(Failure::internal(format!("an unexpected answer: {other:?}"))),
        }
    }

    /// Reads batches until the client closes its side; dropping `ordered` then lets the answers end.
    async fn read(mut self, mut requests: Streaming<v1::PublishRequest>, ordered: mpsc::Sender<InOrder>) {
        let of_none = |outcome| InOrder { first_seq: 0, count: 0, outcome };
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
    async fn admit(&mut self, batch: v1::PublishBatch) -> InOrder {
        let first_seq = batch.first_seq;
        let count = u32::try_from(batch.messages.len()).unwrap_or(u32::MAX);
        let outcome = match self.sequence.refusal(first_seq) {
            Some(refusal) if !batch.close => BatchOutcome::Refused(refusal.into()),
            _ => self.offer(batch).await,
        };
        InOrder { first_seq, count, outcome }
    }

    async fn offer(&mut self, batch: v1::PublishBatch) -> BatchOutcome {
        let (first_seq, count) = (batch.first_seq, batch.messages.len() as u64);
        let bytes: usize = batch.messages.iter().map(|encoded| encoded.len() + MESSAGE_BYTES).sum();
        let room = match self.api.0.admission.room(bytes).await {
            Ok(room) => room,
            Err(failure) => return BatchOutcome::NotTaken(failure),
        };
        if buggify("node/producer/not_taken") {
            return BatchOutcome::NotTaken(Failure::no_quorum());
        }
        let close = batch.close;
        let command = match self.verb(batch, close).and_then(Shard::admit) {
            Ok(command) => command,
            Err(failure) => return BatchOutcome::Refused(failure),
        };
        match self.foresee(&command).await {
            Ok(None) => {}
            Ok(Some(refusal)) => return BatchOutcome::Refused(refusal.into()),
            Err(failure) => return BatchOutcome::NotTaken(failure),
        }
        match self.shard.take(command, room).await {
            Ok(pending) => {
                self.sequence.proposed(first_seq, count);
                BatchOutcome::Pending(pending)
            }
            Err(failure) => BatchOutcome::NotTaken(failure),
        }
    }

    /// Whether a publish would be refused. A queue without limits takes what comes: it is looked at now and then, and when something was
    /// refused.
    async fn foresee(&mut self, command: &Measured) -> Result<Option<Refusal>, Failure> {
        let Some(Verb::Publish(Publish { queue, .. })) = command.verb() else { return Ok(None) };
        let refused = self.sequence.refused();
        let looked = &mut self.looked;
        if looked.queue == *queue && looked.batches_left > 0 && looked.refused == refused {
            looked.batches_left -= 1;
            return Ok(None);
        }
        let is_limited = is_limited(&self.shard.state().read(), &self.namespace, queue);
        if is_limited.map_err(|e| Failure::internal(e.to_string()))? == Some(false)
            && looked.refused == refused
        {
            *looked = Looked { queue: queue.clone(), batches_left: BATCHES_UNLOOKED_MAX, refused };
            return Ok(None);
        }
        *looked = Looked { refused, ..Looked::default() };
        self.shard.foresee(command).await
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
            self.api.check_room(&self.shard)?;
        }
        let (lengths, messages, attributes) = convert::messages_in(&batch.messages)?;
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
    sequence: &Sequence,
    mut in_order: mpsc::Receiver<InOrder>,
    answers: &mpsc::Sender<Result<v1::PublishResponse, Status>>,
) -> Option<Failure> {
    while let Some(InOrder { first_seq, count, outcome }) = in_order.recv().await {
        let refused = |failure: Failure| {
            Res::Refused(v1::PublishRefused { first_seq, count, refusal: Some(failure.into_refusal()) })
        };
        let response = match outcome {
            BatchOutcome::Refused(failure) => refused(failure),
            BatchOutcome::NotTaken(failure) => return Some(failure),
            BatchOutcome::Pending(pending) => {
                let answer = pending.answer().await;
                if let Ok(answer) = &answer {
                    sequence.answered(answer);
                }
                match answer {
                    Ok(Ok(Reply::Published { positions })) => {
                        Res::Receipt(v1::Receipt { first_seq, positions: convert::positions_out(positions) })
                    }
                    Ok(Ok(_)) => Res::Receipt(v1::Receipt { first_seq, ..v1::Receipt::default() }), // closed
                    Ok(Err(refusal)) => refused(refusal.into()),
                    Err(NotDone::Unknown) if planted(Bug::UnknownReportedAsRefused) => {
                        refused(Failure::no_space("the batch was not stored".into()))
                    }
                    Err(e) => return Some(shard.not_done(e)),
                }
            }
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
