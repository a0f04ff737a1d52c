//! The calls on one shard's log.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use quorate_simpoint::{Bug, planted};
use tokio::sync::{mpsc, oneshot, watch};

use super::head::Head;
use super::memory::Memory;
use super::record::{Link, encoded_bytes};
use super::writer::{Done, Job};
use super::{Core, LogId, Record, ShardId, Vote, read};
use crate::disk::Volume;
use crate::error::Error;
use crate::space::{Owed, Quota, Room};

/// A shard's log, shared by its callers and the writer.
pub(crate) struct Shard {
    pub id: ShardId,
    pub memory: RwLock<Memory>,
    /// What the disk holds. Only the writer changes it.
    pub head: Mutex<Head>,
    /// The index of the last record on disk.
    pub durable: watch::Sender<Option<u64>>,
}

impl Shard {
    pub fn new(id: ShardId, head: Head) -> Shard {
        Shard {
            id,
            memory: RwLock::new(Memory::new(&head)),
            durable: watch::Sender::new(head.last.map(|id| id.index)),
            head: Mutex::new(head),
        }
    }
}

/// The log of one shard. Cheap to clone. Calls that change it come from one place at a time (Raft's task).
#[derive(Clone)]
pub struct ShardLog {
    core: Arc<Core>,
    jobs: mpsc::UnboundedSender<Job>,
    shard: Arc<Shard>,
}

impl ShardLog {
    pub(crate) fn new(core: Arc<Core>, jobs: mpsc::UnboundedSender<Job>, shard: Arc<Shard>) -> ShardLog {
        ShardLog { core, jobs, shard }
    }

    /// Which shard.
    pub fn id(&self) -> ShardId {
        self.shard.id
    }

    /// The index of the first record that can be read, or where the next record goes if there is none.
    pub fn first(&self) -> u64 {
        let memory = self.shard.memory.read();
        if memory.has_records() { memory.start } else { memory.last.map_or(0, |id| id.index + 1) }
    }

    /// The last record that was purged.
    pub fn purged(&self) -> Option<LogId> {
        self.shard.memory.read().purged
    }

    /// The last record appended, or purged if nothing follows it.
    pub fn last(&self) -> Option<LogId> {
        self.shard.memory.read().last
    }

    /// The last record on disk, or purged there. Never above [`last`](ShardLog::last).
    pub fn durable(&self) -> Option<LogId> {
        let memory = self.shard.memory.read();
        // While a truncation waits for the disk, the disk still holds what is being cut off.
        if memory.flushed.map(|id| id.index) > memory.last.map(|id| id.index) {
            memory.last
        } else {
            memory.flushed
        }
    }

    /// The last [`save_committed`](ShardLog::save_committed), or what the disk remembered of it.
    pub fn committed(&self) -> Option<LogId> {
        self.shard.memory.read().committed
    }

    /// The vote on disk.
    pub fn vote(&self) -> Option<Vote> {
        self.shard.memory.read().vote
    }

    /// How full the log's environment is, for all shards of the node together.
    pub fn quota(&self) -> Quota {
        self.core.map.quota(self.queued_bytes())
    }

    /// How much room the log has, for all shards of the node together, as of the last [`look`](ShardLog::look).
    pub fn room(&self) -> Room {
        let queued = self.queued_bytes();
        self.core
            .map
            .room(Owed { volume_bytes: queued, quota_bytes: queued }, self.core.options.reserve_bytes)
    }

    /// Asks the volume how full it is. It may block: only a disk actor calls it.
    pub fn look(&self) -> Volume {
        self.core.map.look()
    }

    /// Encoded bytes that were appended and are not on disk yet, for all shards of the node together.
    pub fn queued_bytes(&self) -> u64 {
        *self.core.queued.borrow()
    }

    /// See [`LogOptions::queue_bytes`](super::LogOptions::queue_bytes).
    pub fn queue_bytes_max(&self) -> u64 {
        self.core.options.queue_bytes
    }

    /// Bytes that the disk still had for this user at the last look; 0 if it did not answer.
    pub fn disk_free_bytes(&self) -> u64 {
        self.core.map.disk_free_bytes()
    }

    /// Encoded bytes of the records that are kept.
    pub fn bytes(&self) -> u64 {
        let memory = self.shard.memory.read();
        memory.end_offset - memory.base_offset
    }

    /// Waits until fewer than [`LogOptions::queue_bytes`](super::LogOptions::queue_bytes) wait for the disk. `append`
    /// itself never waits, so whoever feeds it asks here first. Returns at once when the log has stopped.
    pub async fn ready(&self) {
        if planted(Bug::ReadyIgnored) {
            return;
        }
        let mut queued = self.core.queued.subscribe();
        let limit = self.core.options.queue_bytes;
        // It fails only when the sender is gone, and this handle holds it.
        let _ = queued.wait_for(|bytes| *bytes <= limit || self.core.stopped.get().is_some()).await;
    }

    /// Appends `records`, which follow the last one without a gap (the first of an empty log may have any index). They
    /// can be read when this returns. `done` is called from the writer, in the order of the calls, with `Ok` after
    /// they are synced. It must be quick. If this returns an error, nothing was appended and `done` is not called.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a gap or a payload of 4 GiB, or why the log stopped.
    pub fn append(&self, records: Vec<Record>, mut done: Done) -> Result<(), Error> {
        self.core.check()?;
        let mut memory = self.shard.memory.write();
        let mut next = memory.last.map(|id| id.index + 1);
        for record in &records {
            if next.is_some_and(|next| next != record.id.index) {
                let what = format!("index {} was appended where {next:?} must follow", record.id.index);
                return Err(Error::misuse(self.shard.id, what));
            }
            if u32::try_from(record.payload.len()).is_err() {
                return Err(Error::misuse(self.shard.id, "a record of 4 GiB or more was appended"));
            }
            next = Some(record.id.index + 1);
        }
        if planted(Bug::AckBeforeSync) {
            std::mem::replace(&mut done, Box::new(drop))(Ok(()));
        }
        let bytes: u64 = records.iter().map(encoded_bytes).sum();
        let job = Job::Append { shard: Arc::clone(&self.shard), records: records.clone(), bytes, done };
        // Sent under the lock, so that the writer sees the appends in the order in which readers do.
        self.jobs.send(job).map_err(|_| self.closed())?;
        records.into_iter().for_each(|record| memory.push(record));
        self.core.queued.send_modify(|queued| *queued += bytes);
        Ok(())
    }

    /// Saves the vote. It is on disk, and seen by [`vote`](ShardLog::vote), when this returns.
    ///
    /// # Errors
    /// Why the log stopped; the vote may or may not be on disk then.
    pub async fn save_vote(&self, vote: Vote) -> Result<(), Error> {
        if planted(Bug::ForgetVote) {
            return self.core.check();
        }
        let (done, wait) = oneshot::channel();
        self.send(Job::Vote { shard: Arc::clone(&self.shard), vote, done })?;
        wait.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Remembers how far the log is committed. It goes to the disk with the next transaction of this shard, so after a
    /// crash it may be older, never newer than the log.
    pub fn save_committed(&self, id: LogId) {
        self.shard.memory.write().committed = Some(id);
    }

    /// Removes every record after `last` (`None`: all of them). They cannot be read from the moment of the call, and
    /// are gone from the disk when it returns. Appends wait until then.
    ///
    /// # Errors
    /// [`Error::Misuse`] if `last` is not in the log, [`Error::Corrupt`], or why the log stopped.
    pub async fn truncate_after(&self, last: Option<LogId>) -> Result<(), Error> {
        self.core.check()?;
        let (done, wait) = oneshot::channel();
        {
            let mut memory = self.shard.memory.write();
            if memory.last.map(|id| id.index) <= last.map(|id| id.index) {
                return Ok(());
            }
            if last.map(|id| id.index) < memory.purged.map(|id| id.index) {
                return Err(Error::misuse(self.shard.id, "a truncation below what was purged"));
            }
            let offset = match last {
                Some(id) => self.offset_of(&memory, id)?,
                None => 0,
            };
            self.send(Job::Truncate { shard: Arc::clone(&self.shard), last, done })?;
            memory.cut(last, offset);
        }
        wait.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Removes every record up to `upto`, which may lie above the last one (a snapshot was installed): the log is then
    /// empty and goes on after it. Returns at once; the disk follows.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the log has another record at that index, [`Error::Corrupt`], or why the log stopped.
    pub fn purge(&self, upto: LogId) -> Result<(), Error> {
        self.core.check()?;
        let mut memory = self.shard.memory.write();
        if memory.purged.is_some_and(|purged| purged.index >= upto.index) {
            return Ok(());
        }
        let inside = memory.last.is_some_and(|last| upto.index <= last.index) && upto.index >= memory.start;
        let offset = if inside { self.offset_of(&memory, upto)? } else { memory.end_offset };
        self.send(Job::Purge { shard: Arc::clone(&self.shard), upto })?;
        memory.purge(upto, offset);
        Ok(())
    }

    /// The records with `from <= index < to`, from memory or disk, as many as have `max_bytes` of payload together but
    /// at least one if there is any. Every record read from disk is checked.
    ///
    /// # Errors
    /// [`Error::Purged`], [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::Disk`].
    pub fn read(&self, from: u64, to_exclusive: u64, max_bytes: u64) -> Result<Vec<Record>, Error> {
        read::records(&self.core.map, &self.shard, from, to_exclusive, max_bytes)
    }

    /// The id of what the log has at `index`, which may be the last that was purged; `None` if it is not in the log any more or
    /// not yet.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Disk`].
    pub fn id_at(&self, index: u64) -> Result<Option<LogId>, Error> {
        let memory = self.shard.memory.read();
        if memory.purged.is_some_and(|purged| purged.index == index) {
            return Ok(memory.purged);
        }
        let inside = memory.has_records() && index >= memory.start;
        if !inside || memory.last.is_none_or(|last| last.index < index) {
            return Ok(None);
        }
        read::place(&self.core.map, self.shard.id, &memory, index).map(|(id, _)| Some(id))
    }

    /// The payload of the record at `index` if that is among the recent ones, which are in memory.
    pub fn recent(&self, index: u64) -> Option<bytes::Bytes> {
        self.shard.memory.read().recent(index).map(|recent| recent.record.payload.clone())
    }

    /// Waits until `index` is on disk.
    ///
    /// # Errors
    /// Why the log stopped.
    pub async fn wait_durable(&self, index: u64) -> Result<(), Error> {
        let mut durable = self.shard.durable.subscribe();
        let stopped = &self.core.stopped;
        let _ = durable.wait_for(|at| *at >= Some(index) || stopped.get().is_some()).await;
        if *durable.borrow() >= Some(index) { Ok(()) } else { self.core.check() }
    }

    /// Up to where to purge so that about `keep_bytes` of encoded records remain: at least that many if there are.
    /// `None` if nothing can go. Only records on disk count.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Disk`].
    pub fn index_leaving(&self, keep_bytes: u64) -> Result<Option<LogId>, Error> {
        let memory = self.shard.memory.read();
        let flushed = memory.flushed.map_or(0, |id| id.index + 1);
        let Some(goal) = memory.end_offset.checked_sub(keep_bytes) else { return Ok(None) };
        let last = memory.last.map_or(0, |id| id.index + 1).min(flushed);
        if !memory.has_records() {
            return Ok(None);
        }
        let (mut low, mut high) = (memory.start, last);
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let (id, offset) = read::place(&self.core.map, self.shard.id, &memory, middle)?;
            if offset <= goal {
                found = Some(id);
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    fn offset_of(&self, memory: &Memory, id: LogId) -> Result<u64, Error> {
        if memory.purged == Some(id) {
            return Ok(memory.base_offset);
        }
        let (found, offset) = read::place(&self.core.map, self.shard.id, memory, id.index)?;
        if found != id {
            let what = format!("{id:?} was named where the log has {found:?}");
            return Err(Error::misuse(self.shard.id, what));
        }
        Ok(offset)
    }

    fn send(&self, job: Job) -> Result<(), Error> {
        self.core.check()?;
        self.jobs.send(job).map_err(|_| self.closed())
    }

    fn closed(&self) -> Error {
        self.core.check().err().unwrap_or(Error::Closed)
    }
}

/// The link of a log that was purged beyond its end: the chain begins anew, the reckoning of bytes goes on.
pub(crate) fn restart(offset: u64) -> Link {
    Link { offset, checksum: 0 }
}
