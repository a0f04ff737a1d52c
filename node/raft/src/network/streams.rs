//! What a replication stream carries, and when it ends.

use std::task::Poll;

use futures::{FutureExt, Stream, StreamExt};
use openraft::errors::{RPCError, Unreachable};
use openraft::raft::AppendEntriesRequest;
use openraft::{AnyError, EntryPayload};
use quorate_storage::log::ShardLog;

use super::StreamItem;
use crate::peers::ENTRY_HEAD_BYTES;
use crate::types::{Entry, Types};

/// What a request takes as a message, in bytes: at least that.
pub(super) fn message_bytes(request: &AppendEntriesRequest<Types>) -> usize {
    let payload = |entry: &Entry| match &entry.payload {
        EntryPayload::Normal(commands) => commands.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    request.entries.iter().map(|entry| payload(entry) + ENTRY_HEAD_BYTES).sum()
}

/// Ends with an error when the stream is to be reset: openraft then forgets what was on its way.
pub(super) fn until_reset<S: Stream<Item = StreamItem> + Send + Unpin>(
    mut answers: S,
    asked: impl Future<Output = ()> + Send,
) -> impl Stream<Item = StreamItem> + Send {
    let mut asked = Box::pin(asked.fuse());
    futures::stream::poll_fn(move |cx| match asked.poll_unpin(cx) {
        Poll::Ready(()) => {
            let why = AnyError::error("the log is no longer kept for this follower: its stream is reset");
            Poll::Ready(Some(Err(RPCError::Unreachable(Unreachable::new(&why)))))
        }
        Poll::Pending => answers.poll_next_unpin(cx),
    })
}

/// Ends when the node has voted in a later term than the one in which it began to send. openraft ends its replication task a
/// little later; meanwhile the task would go on from an entry of its own term that the new leader has replaced, to which its
/// debug builds object.
pub(super) fn until_deposed<S: Stream + Unpin>(
    mut input: S,
    term: u64,
    voted_in: impl Fn() -> u64 + Unpin,
) -> impl Stream<Item = S::Item> + Unpin {
    futures::stream::poll_fn(move |cx| match voted_in() > term {
        true => Poll::Ready(None),
        false => input.poll_next_unpin(cx),
    })
}

/// Whether openraft wanted to send entries that were purged meanwhile. It gives a follower that needs them a snapshot, but
/// its replication task may still be at an older order, for which it read nothing (see `log_store.rs`). The stream ends
/// there, and the task looks for the newer order before it tries again.
pub(super) fn is_of_purged(request: &AppendEntriesRequest<Types>, log: &ShardLog) -> bool {
    let next = request.prev_log_id.map_or(0, |prev| prev.index + 1);
    request.entries.is_empty() && log.purged().is_some_and(|purged| next <= purged.index)
}
