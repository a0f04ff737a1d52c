//! The logs of all shards of a node, in one environment with one writer.
//!
//! Appends of all shards that arrive while a transaction is on its way to the disk share the next one. A record is
//! readable when [`ShardLog::append`] returns and durable when its `done` is called; only
//! [`ShardLog::save_vote`] and [`ShardLog::truncate_after`] wait for the disk.

mod batch;
mod boot;
mod head;
mod memory;
mod read;
pub mod record;
mod shard;
mod writer;

#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod tests;

pub use crate::map::MapSize;
pub use shard::ShardLog;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::OnFatal;
use crate::data_dir::DataDir;
use crate::disk::{DiskRunner, Running};
use crate::error::Error;
use crate::map::Map;
use shard::Shard;
use writer::Job;

/// A shard: one Raft group.
pub type ShardId = u32;

/// Which record: who led when it was appended, and where it stands. Ordered as Raft orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogId {
    /// The leader's term.
    pub term: u64,
    /// The leader's node id.
    pub node: u64,
    /// The place in the shard's log.
    pub index: u64,
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Nothing: a new leader's first record.
    Blank = 0,
    /// Commands for the machine.
    Commands = 1,
    /// A change of the members.
    Membership = 2,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Blank, Kind::Commands, Kind::Membership].into_iter().find(|k| *k as u8 == byte)
    }
}

/// An entry of the log. The payload is shared with whoever encoded it, never copied in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which one.
    pub id: LogId,
    /// What it holds.
    pub kind: Kind,
    /// Opaque here; under 4 GiB.
    pub payload: Bytes,
}

/// Whom the node voted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vote {
    /// The term voted in.
    pub term: u64,
    /// The node voted for.
    pub node: u64,
    /// Whether a majority granted it.
    pub committed: bool,
}

/// How the log behaves. The defaults are for a real node.
#[derive(Clone)]
pub struct LogOptions {
    /// How big the environment may become.
    pub map: MapSize,
    /// Payload bytes of recent records kept in memory, per shard. Records that are not flushed stay in any case.
    pub tail_bytes: u64,
    /// Encoded bytes of one transaction, at most one record more.
    pub batch_bytes: u64,
    /// Calls served by one transaction.
    pub batch_jobs: usize,
    /// Encoded bytes that may be on their way to the disk before [`ShardLog::ready`] holds callers back: what a disk that
    /// hangs costs in memory.
    pub queue_bytes: u64,
    /// Bytes of the volume that [`ShardLog::room`] keeps for what makes room.
    pub reserve_bytes: u64,
    /// Called once when the log must stop.
    pub on_fatal: OnFatal,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            map: MapSize::default(),
            tail_bytes: 32 << 20,
            batch_bytes: 16 << 20,
            batch_jobs: 1024,
            queue_bytes: 32 << 20,
            reserve_bytes: 256 << 20,
            on_fatal: crate::abort_process(),
        }
    }
}

/// What the writer and the callers share.
pub(crate) struct Core {
    map: Arc<Map>,
    options: LogOptions,
    shards: Mutex<BTreeMap<ShardId, Arc<Shard>>>,
    /// Why nothing is written any more; set before anybody is told.
    stopped: OnceLock<Error>,
    /// Encoded bytes on their way to the disk.
    queued: watch::Sender<u64>,
}

impl Core {
    fn check(&self) -> Result<(), Error> {
        self.stopped.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Nothing succeeds from now on; wakes whoever waits.
    fn stop(&self, error: Error) {
        if self.stopped.set(error).is_err() {
            return;
        }
        self.queued.send_modify(|_| {});
        for shard in self.shards.lock().values() {
            shard.durable.send_modify(|_| {});
        }
    }
}

/// The log of a node. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    core: Arc<Core>,
    jobs: mpsc::UnboundedSender<Job>,
    writer: Arc<Mutex<Option<Running>>>,
}

impl Log {
    /// Opens the log of `dir`, making it if the node is new, and starts its writer. From then on the directory counts
    /// as used: if its log is ever gone, that is amnesia.
    ///
    /// # Errors
    /// [`Error::Identity`] if the directory belongs to nobody, [`Error::Amnesia`], [`Error::Foreign`],
    /// [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::Disk`].
    pub fn open(dir: &DataDir, options: LogOptions, runner: &Arc<dyn DiskRunner>) -> Result<Log, Error> {
        let identity = dir.owner()?;
        let path = dir.log_path();
        if identity.voted && !path.exists() {
            let what = "log/ is missing".to_owned();
            return Err(Error::Amnesia { path: dir.path().to_owned(), node: identity.node_id, what });
        }
        let map = Arc::new(Map::open(&path, &identity, options.map, runner)?);
        dir.mark_voted()?;
        let core = Arc::new(Core {
            map,
            options,
            shards: Mutex::default(),
            stopped: OnceLock::new(),
            queued: watch::Sender::new(0),
        });
        let (jobs, queue) = mpsc::unbounded_channel();
        let actor = writer::run(Arc::clone(&core), queue, Arc::clone(runner));
        let writer = Arc::new(Mutex::new(Some(runner.run("quorate-log", Box::pin(actor)))));
        Ok(Log { core, jobs, writer })
    }

    /// The log of one shard, which may be new. What is on disk is checked: the head against the last record and the
    /// first. Several calls give the same log.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::Disk`], or why the log stopped.
    pub fn shard(&self, id: ShardId) -> Result<ShardLog, Error> {
        self.core.check()?;
        let mut shards = self.core.shards.lock();
        let shard = match shards.get(&id) {
            Some(shard) => Arc::clone(shard),
            None => {
                let (head, unswept) = boot::check(&self.core.map, id)?;
                let shard = Arc::new(Shard::new(id, head));
                shards.insert(id, Arc::clone(&shard));
                if let (true, Some(upto)) = (unswept, head.purged) {
                    // A crash came between a purge and the removal of what it purged. A closed log has no need of it.
                    let _ = self.jobs.send(Job::Purge { shard: Arc::clone(&shard), upto });
                }
                shard
            }
        };
        Ok(ShardLog::new(Arc::clone(&self.core), self.jobs.clone(), shard))
    }

    /// From now on what finds no room fails with [`Error::Closed`] instead of waiting for some: the node is about to stop.
    pub fn lose_patience(&self) {
        self.core.map.lose_patience();
    }

    /// Writes what was asked for before, then stops. Calls after it fail with [`Error::Closed`]. The files can be opened
    /// again when the last clone and the last [`ShardLog`] are gone.
    pub async fn close(self) {
        // A writer that has ended already needs no word.
        let _ = self.jobs.send(Job::Close);
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            writer.join().await;
        }
    }
}
