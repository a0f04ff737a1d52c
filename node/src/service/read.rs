//! Reading a queue like a log, part by part.

use std::time::Duration;

use quorate_machine::command::{Start, StartKind};
use quorate_machine::read::{self, Page};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::error::{QueryError, Unavailable};
use super::{Context, Service};
use crate::shards::Shard;

/// Parts that wait for the stream.
const PARTS_WAITING_MAX: usize = 2;
/// How often a reader that follows looks for new messages.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What a reader wants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// The queue.
    pub queue: String,
    /// From where on.
    pub start: Start,
    /// At most so many messages; 0: all.
    pub count: u64,
    /// Goes on with what is published later.
    pub follow: bool,
}

/// What is read. The last item may be the reason why no more follow.
pub type Parts = ReceiverStream<Result<Page, QueryError>>;

/// One reader.
struct Reader {
    shard: Shard,
    namespace: String,
    queue: String,
    /// Messages still wanted.
    left: u64,
    follow: bool,
    parts: mpsc::Sender<Result<Page, QueryError>>,
}

impl Service {
    /// Reads messages. Ends when all are read, or the leadership is lost, or the node stops.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn read(&self, context: &Context, wanted: Wanted) -> Result<Parts, QueryError> {
        let Wanted { queue, start, count, follow } = wanted;
        let left = if count == 0 { u64::MAX } else { count };
        // The first part is read as every read is: what was acknowledged before the call is in it.
        let look =
            self.query(context, |state| read::messages(state, context.namespace(), &queue, &start, left));
        let (first, _) = look.await?;
        let (parts, stream) = mpsc::channel(PARTS_WAITING_MAX);
        let (shard, namespace) = (self.shard(context)?.clone(), context.namespace().into());
        let reader = Reader { shard, namespace, queue, left, follow, parts };
        let stopping = self.0.stopping.clone();
        self.0.streams.spawn(async move {
            let parts = reader.parts.clone();
            let shard = reader.shard.clone();
            let ended = tokio::select! {
                biased;
                ended = reader.run(first) => ended.err(),
                why = shard.lost_leadership() => Some(why.into()),
                () = stopping.cancelled() => Some(Unavailable::ShuttingDown.into()),
                () = parts.closed() => None,
            };
            if let Some(why) = ended {
                let _ = parts.send(Err(why)).await; // the client may be gone
            }
        });
        Ok(ReceiverStream::new(stream))
    }
}

impl Reader {
    async fn run(mut self, first: Page) -> Result<(), QueryError> {
        let mut page = first;
        loop {
            let (next, end) = (page.next, page.end);
            self.left = self.left.saturating_sub(page.messages.len() as u64);
            let empty = page.messages.is_empty() && page.from == next;
            if !empty && self.parts.send(Ok(page)).await.is_err() {
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
