//! Reading a queue like a log, part by part.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use quorate_machine::command::{Start, StartKind};
use quorate_machine::read::{self, Page, Stored};
use quorate_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::error::Failure;
use super::producer::lost_leadership;
use super::{Api, convert, settings};
use crate::shard::Shard;

/// Parts that wait for the stream.
const PARTS_WAITING_MAX: usize = 2;
/// How often a reader that follows looks for new messages.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

type Part = Result<v1::ReadResponse, Status>;
/// What is read.
pub(super) type Parts = Pin<Box<dyn Stream<Item = Part> + Send>>;

/// One reader.
struct Reader {
    shard: Shard,
    namespace: String,
    queue: String,
    /// Messages still wanted.
    left: u64,
    follow: bool,
    parts: mpsc::Sender<Part>,
}

impl Api {
    pub(super) async fn read_messages(&self, request: v1::ReadRequest) -> Result<Response<Parts>, Status> {
        let namespace = convert::or_default(request.namespace);
        let shard = self.shard_of(&namespace)?.clone();
        let (parts, stream) = mpsc::channel(PARTS_WAITING_MAX);
        let reader = Reader {
            shard,
            namespace,
            queue: request.queue,
            left: if request.count == 0 { u64::MAX } else { request.count },
            follow: request.follow,
            parts,
        };
        // The first part is read as every read is: what was acknowledged before the call is in it.
        let start = settings::start_in(request.start);
        let look = reader
            .shard
            .read(|state| read::messages(state, &reader.namespace, &reader.queue, &start, reader.left));
        let (first, _) = look.await?;
        let first = first.map_err(Failure::from)?;
        let stopping = self.0.stopping.clone();
        // Ends when the client or the leadership goes away, or the node stops.
        self.0.streams.spawn(async move {
            let parts = reader.parts.clone();
            let shard = reader.shard.clone();
            let failure = tokio::select! {
                biased;
                ended = reader.run(first) => ended.err(),
                failure = lost_leadership(shard) => Some(failure),
                () = stopping.cancelled() => Some(Failure::shutting_down()),
                () = parts.closed() => None,
            };
            if let Some(failure) = failure {
                let _ = parts.send(Err(failure.into())).await; // the client may be gone
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl Reader {
    async fn run(mut self, first: Page) -> Result<(), Failure> {
        let mut page = first;
        loop {
            let (next, end) = (page.next, page.end);
            self.left = self.left.saturating_sub(page.messages.len() as u64);
            let empty = page.messages.is_empty() && page.from == next;
            if !empty && self.parts.send(Ok(part_out(page))).await.is_err() {
                return Ok(()); // the client is gone
            }
            if self.left == 0 || next >= end && !self.follow {
                return Ok(());
            }
            if next >= end {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
            // What this node has applied is committed: a later part needs no barrier.
            let start = Start { kind: StartKind::Position.into(), at: next };
            let state = self.shard.state().read();
            page = read::messages(&state, &self.namespace, &self.queue, &start, self.left)?;
        }
    }
}

fn part_out(page: Page) -> v1::ReadResponse {
    let message = |Stored { position, published_at_ms, message }| v1::StoredMessage {
        position,
        published_at_ms,
        message,
    };
    let messages = page.messages.into_iter().map(message).collect();
    let missing = page.missing.into_iter().map(|(from, to)| v1::Missing { from, to }).collect();
    v1::ReadResponse { messages, from: page.from, next: page.next, missing }
}
