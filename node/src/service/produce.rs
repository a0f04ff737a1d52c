//! Publishing: one stream carries one producer session.
//!
//! Batches enter the order of commands as they are read; the answers come back in the same order. What is
//! read and not answered yet is bounded, over all streams, by [`Admission`](super::admission::Admission).

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use quorate_machine::command::{CloseProducer, Measured, OpenProducer, Publish, Verb};
use quorate_machine::limits::{PUBLISH_BYTES_MAX, PUBLISH_MESSAGES_MAX};
use quorate_machine::reply::{PositionRun, ProducerOpened, Refusal, Reply};
use quorate_machine::{is_limited, message};
use quorate_raft::NotDone;
use quorate_simpoint::{Bug, buggify, planted};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::error::{CommandError, Unavailable};
use super::sequence::Sequence;
use super::settle::at_most;
use super::{Context, Ended, Service, check};
use crate::shards::Shard;
use crate::shards::proposal::Pending;

/// Batches of one stream that are read and not answered yet.
const BATCHES_UNANSWERED_MAX: usize = 256;
/// What a message takes besides its bytes while it is under way.
const MESSAGE_BYTES: usize = 64;
/// Batches to a queue without limits after which it is looked at again.
const BATCHES_UNLOOKED_MAX: u32 = 64;
/// Answers that wait for the stream.
const ANSWERS_WAITING_MAX: usize = 64;

/// Messages of a producer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The queue; none named: those with a route for a message's subject.
    pub queue: String,
    /// Sequence number of the first message.
    pub first_seq: u64,
    /// The producer has the receipts up to this number.
    pub acked_seq: u64,
    /// Encoded messages: [`quorate_machine::message::Message`].
    pub messages: Vec<Bytes>,
    /// Ends the session; there are no messages then.
    pub close: bool,
}

/// The answer to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Sequence number of its first message.
    pub first_seq: u64,
    /// How many messages it has.
    pub count: u32,
    /// Positions of the messages, or why it was refused. The stream goes on in any case.
    pub outcome: Result<Vec<PositionRun>, CommandError>,
}

/// Why no answer follows: nothing is known of batches without one.
pub type ProducerEnded<E> = Ended<CommandError, E>;

/// Answers in the order of the batches. The last item may be the reason why no more follow.
pub type Answers<E> = ReceiverStream<Result<Answer, ProducerEnded<E>>>;

/// A batch in the order of answers.
struct InOrder<E> {
    first_seq: u64,
    count: u32,
    outcome: BatchOutcome<E>,
}

enum BatchOutcome<E> {
    /// Proposed.
    Pending(Pending),
    /// Refused before it was proposed.
    Refused(CommandError),
    /// Not taken: the stream ends, and the client goes on at the leader.
    NotTaken(ProducerEnded<E>),
}

/// One producer's stream.
struct Session {
    service: Service,
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

impl Service {
    /// Opens a producer session, and fences who had it before.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn open_producer(
        &self,
        context: &Context,
        open: OpenProducer,
    ) -> Result<ProducerOpened, CommandError> {
        self.propose(context, OpenProducer { namespace: context.namespace().into(), ..open }).await
    }

    /// Opens a producer session and publishes what comes. Ends when the batches or the leadership do, or the node stops; an error among the
    /// batches ends it in its turn.
    ///
    /// # Errors
    /// The session is not opened: see [`CommandError`].
    pub async fn produce<E: Send + 'static>(
        &self,
        context: &Context,
        open: OpenProducer,
        batches: impl Stream<Item = Result<Batch, E>> + Send + Unpin + 'static,
    ) -> Result<(ProducerOpened, Answers<E>), CommandError> {
        let opened = self.open_producer(context, open).await?;
        if buggify("node/produce/lose_opened") {
            return Err(CommandError::Unknown);
        }
        let (shard, sequence) = (self.shard(context)?.clone(), Arc::new(Sequence::new(opened.last_seq)));
        let session = Session {
            service: self.clone(),
            shard: shard.clone(),
            namespace: context.namespace().into(),
            opened,
            sequence: sequence.clone(),
            looked: Looked::default(),
        };
        let (answers, stream) = mpsc::channel(ANSWERS_WAITING_MAX);
        let (ordered, in_order) = mpsc::channel(BATCHES_UNANSWERED_MAX);
        let stopping = self.0.stopping.clone();
        self.0.streams.spawn(async move {
            let write = answer_in_order(shard.clone(), &sequence, in_order, &answers);
            let read = session.read(batches, ordered);
            let ended = tokio::select! {
                biased;
                ended = write => ended,
                why = shard.lost_leadership() => Some(CommandError::from(why).into()),
                () = stopping.cancelled() => Some(CommandError::from(Unavailable::ShuttingDown).into()),
                ended = async { read.await; std::future::pending().await } => ended,
            };
            if let Some(ended) = ended {
                let _ = answers.send(Err(ended)).await; // the client may be gone
            }
        });
        Ok((opened, ReceiverStream::new(stream)))
    }
}

impl Session {
    /// Reads batches until there are no more; dropping `ordered` then lets the answers end.
    async fn read<E>(
        mut self,
        mut batches: impl Stream<Item = Result<Batch, E>> + Unpin,
        ordered: mpsc::Sender<InOrder<E>>,
    ) {
        while let Some(next) = batches.next().await {
            let item = match next {
                Ok(batch) => self.admit(batch).await,
                Err(e) => {
                    InOrder { first_seq: 0, count: 0, outcome: BatchOutcome::NotTaken(Ended::Requests(e)) }
                }
            };
            let last = matches!(item.outcome, BatchOutcome::NotTaken(_));
            if ordered.send(item).await.is_err() || last {
                return;
            }
        }
    }

    /// Checks a batch and gives it its place in the order of commands.
    async fn admit<E>(&mut self, batch: Batch) -> InOrder<E> {
        let first_seq = batch.first_seq;
        let count = u32::try_from(batch.messages.len()).unwrap_or(u32::MAX);
        let outcome = match self.sequence.refusal(first_seq) {
            Some(refusal) if !batch.close => BatchOutcome::Refused(refusal.into()),
            _ => self.offer(batch).await,
        };
        InOrder { first_seq, count, outcome }
    }

    async fn offer<E>(&mut self, batch: Batch) -> BatchOutcome<E> {
        let (first_seq, count) = (batch.first_seq, batch.messages.len() as u64);
        let bytes: usize = batch.messages.iter().map(|encoded| encoded.len() + MESSAGE_BYTES).sum();
        let room = match self.service.admission().room(bytes).await {
            Ok(room) => room,
            Err(e) => return BatchOutcome::NotTaken(e.into()),
        };
        if buggify("node/produce/not_taken") {
            return BatchOutcome::NotTaken(CommandError::from(Unavailable::NoQuorum).into());
        }
        let command = match self.verb(batch).and_then(|verb| Ok(check(verb)?)) {
            Ok(command) => command,
            Err(e) => return BatchOutcome::Refused(e),
        };
        match self.foresee(&command).await {
            Ok(None) => {}
            Ok(Some(refusal)) => return BatchOutcome::Refused(refusal.into()),
            Err(e) => return BatchOutcome::NotTaken(e.into()),
        }
        match self.shard.take(command, room).await {
            Ok(pending) => {
                self.sequence.proposed(first_seq, count);
                BatchOutcome::Pending(pending)
            }
            Err(why) => BatchOutcome::NotTaken(CommandError::from(why).into()),
        }
    }

    /// Whether a publish would be refused. A queue without limits takes what comes: it is looked at now and then, and when something was
    /// refused.
    async fn foresee(&mut self, command: &Measured) -> Result<Option<Refusal>, CommandError> {
        let Some(Verb::Publish(Publish { queue, .. })) = command.verb() else { return Ok(None) };
        let refused = self.sequence.refused();
        let looked = &mut self.looked;
        if looked.queue == *queue && looked.batches_left > 0 && looked.refused == refused {
            looked.batches_left -= 1;
            return Ok(None);
        }
        let is_limited = is_limited(&self.shard.state().read(), &self.namespace, queue);
        if is_limited? == Some(false) && looked.refused == refused {
            *looked = Looked { queue: queue.clone(), batches_left: BATCHES_UNLOOKED_MAX, refused };
            return Ok(None);
        }
        *looked = Looked { refused, ..Looked::default() };
        Ok(self.shard.foresee(command).await?)
    }

    fn verb(&self, batch: Batch) -> Result<Verb, CommandError> {
        let (producer, epoch) = (self.opened.producer, self.opened.epoch);
        if batch.close && batch.messages.is_empty() {
            return Ok(CloseProducer { producer, epoch }.into());
        }
        if batch.close {
            let problem = "goes without messages, after the last receipt".into();
            return Err(Refusal::Invalid { field: "close", problem }.into());
        }
        if takes_room(&batch, self.opened.last_seq) {
            self.service.check_room(&self.shard)?;
        }
        let (lengths, messages, attributes) = pack(&batch.messages)?;
        let Batch { queue, first_seq, acked_seq, .. } = batch;
        let namespace = self.namespace.clone();
        Ok(Publish { namespace, queue, producer, epoch, first_seq, acked_seq, lengths, messages, attributes }
            .into())
    }
}

/// Takes in the encoded messages of a batch. Returns their lengths, their bytes, and what there is in any of them.
///
/// # Errors
/// One cannot be read or is not within its limits, or they are too many or too long together.
pub(super) fn pack(messages: &[Bytes]) -> Result<(Vec<u32>, Bytes, u32), Refusal> {
    at_most("messages", messages.len(), PUBLISH_MESSAGES_MAX)?;
    let mut attributes = 0;
    for message in messages {
        attributes |= message::admit(message)?;
    }
    at_most("messages", messages.iter().map(Bytes::len).sum(), PUBLISH_BYTES_MAX)?;
    let (lengths, bytes) = Publish::pack(messages);
    Ok((lengths, bytes, attributes))
}

/// Whether something of the batch is new to a session that had stored everything up to `last_seq` when it was opened.
/// What is sent again takes no room, and has to get its receipt.
fn takes_room(batch: &Batch, last_seq: u64) -> bool {
    let end = batch.first_seq.saturating_add(batch.messages.len() as u64);
    batch.first_seq == 0 || end > last_seq.saturating_add(1)
}

/// Answers batches in the order they were read. Returns what ends the stream, or nothing if all is answered.
async fn answer_in_order<E>(
    shard: Shard,
    sequence: &Sequence,
    mut in_order: mpsc::Receiver<InOrder<E>>,
    answers: &mpsc::Sender<Result<Answer, ProducerEnded<E>>>,
) -> Option<ProducerEnded<E>> {
    while let Some(InOrder { first_seq, count, outcome }) = in_order.recv().await {
        let outcome = match outcome {
            BatchOutcome::Refused(e) => Err(e),
            BatchOutcome::NotTaken(ended) => return Some(ended),
            BatchOutcome::Pending(pending) => {
                let answer = pending.answer().await;
                if let Ok(answer) = &answer {
                    sequence.answered(answer);
                }
                match answer {
                    Ok(Ok(Reply::Published { positions })) => Ok(positions),
                    Ok(Ok(_)) => Ok(Vec::new()), // closed
                    Ok(Err(refusal)) => Err(refusal.into()),
                    Err(NotDone::Unknown) if planted(Bug::UnknownReportedAsRefused) => {
                        Err(CommandError::Internal("the batch was not stored".into()))
                    }
                    Err(e) => return Some(CommandError::from(shard.not_done(e)).into()),
                }
            }
        };
        if buggify("node/produce/lose_receipt") {
            return Some(CommandError::Unknown.into());
        }
        if answers.send(Ok(Answer { first_seq, count, outcome })).await.is_err() {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_sent_again_whole_takes_no_room() {
        for (first_seq, takes) in
            [(0, true), (3, false), (9, false), (10, true), (11, true), (u64::MAX, true)]
        {
            let batch = Batch { first_seq, messages: vec![Bytes::new(); 2], ..Batch::default() };
            assert_eq!(takes_room(&batch, 10), takes, "{first_seq}");
        }
    }
}
