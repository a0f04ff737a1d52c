//! openraft's log storage over [`ShardLog`]: translation only.
//!
//! openraft awaits these calls inside its one core task, so none of them waits for the disk but `save_vote`
//! and `truncate_after`, which must.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use futures::future::ready;
use futures::{Stream, stream};
use openraft::alias::VoteOf;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use quorate_simpoint::buggify;
use quorate_storage::log::{Record, ShardLog};

use crate::gate::Gate;
use crate::types::{
    Entry, LogId, Types, entry_from_record, entry_to_record, log_id_from_store, log_id_to_store,
    vote_from_store, vote_to_store,
};

/// Bytes that one request to a follower carries at most, and that one step of applying reads at most.
pub(crate) const READ_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The log of one shard, for openraft.
#[derive(Clone)]
pub struct LogStore {
    log: ShardLog,
    gate: Gate,
}

impl LogStore {
    /// Wraps the log of a shard. What cannot be read in it is said at the gate.
    pub fn new(log: ShardLog, gate: Gate) -> Self {
        Self { log, gate }
    }

    /// The log behind it.
    pub fn shard_log(&self) -> &ShardLog {
        &self.log
    }

    /// Bytes that one read takes, and the entry that overshoots them. With less to keep for the disk it is less, by the same
    /// part.
    fn read_bytes(&self) -> u64 {
        if buggify("raft/log_store/tiny_reads") {
            return 1;
        }
        READ_BYTES_MAX.min(self.log.queue_bytes_max() / 8)
    }

    fn read(&self, from: u64, to: u64, bytes_max: u64) -> io::Result<Vec<Entry>> {
        self.entries(self.log.read(from, to, bytes_max))
    }

    fn entries(&self, read: Result<Vec<Record>, quorate_storage::Error>) -> io::Result<Vec<Entry>> {
        let entry = |record: Record| {
            let index = record.id.index;
            entry_from_record(record).map_err(|why| self.gate.met(index, why))
        };
        self.gate.stored(read)?.into_iter().map(entry).collect()
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let (from, to) = bounds(&range);
        // openraft's contract for this call: what is there of the range, even if its start was purged.
        self.read(from.max(self.log.first()), to, u64::MAX)
    }

    /// What is applied comes through here: a part of the range at a time, and without a gap at its start.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        let store = self.clone();
        stream::unfold((from, Vec::new().into_iter()), move |(mut next, mut read)| {
            if read.len() == 0 && next < to {
                read = match store.read(next, to, store.read_bytes()) {
                    Ok(entries) => entries.into_iter(),
                    Err(e) => return ready(Some((Err(e), (to, read)))),
                };
            }
            ready(read.next().map(|entry| {
                next = entry.log_id.index + 1;
                (Ok(entry), (next, read))
            }))
        })
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        // Only replication reads through here, and its order may be older than the last purge: an error would end the
        // leader. Nothing is sent for it: `network.rs` ends the stream.
        match self.log.read(start, end, self.read_bytes()) {
            Err(quorate_storage::Error::Purged { .. }) => Ok(Vec::new()),
            read => self.entries(read),
        }
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(self.log.vote().map(vote_from_store))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let purged = self.log.purged().map(log_id_from_store);
        let last = self.log.last().map(log_id_from_store);
        Ok(LogState { last_log_id: last.or(purged), last_purged_log_id: purged })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        self.log.save_vote(vote_to_store(vote)).await.map_err(io::Error::other)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(id) = committed {
            self.log.save_committed(log_id_to_store(&id));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.committed().map(log_id_from_store))
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records = entries.into_iter().map(entry_to_record).collect();
        let done = Box::new(move |result: Result<(), quorate_storage::Error>| {
            flushed.io_completed(result.map_err(io::Error::other));
        });
        self.log.append(records, done).map_err(io::Error::other)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let last = last.as_ref().map(log_id_to_store);
        self.log.truncate_after(last).await.map_err(io::Error::other)
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.log.purge(log_id_to_store(&upto)).map_err(io::Error::other)
    }
}

/// A range as `from <= index < to`.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}
