//! The one writer: takes what has arrived, one transaction, one commit, then tells everybody in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quorate_simpoint::{Bug, buggify, planted};
use tokio::sync::{mpsc, oneshot};

use super::batch::{self, Heads};
use super::shard::Shard;
use super::{Core, LogId, Record, ShardId, Vote};
use crate::disk::DiskRunner;
use crate::error::Error;
use crate::map::Failure;

/// How late writes and callbacks come when a simulation wants them late.
const LATE: Duration = Duration::from_millis(30);

/// Called when an append is on disk, or will not be told to be.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;
type Reply = oneshot::Sender<Result<(), Error>>;

/// What the writer is asked to do.
pub(crate) enum Job {
    Append { shard: Arc<Shard>, records: Vec<Record>, bytes: u64, done: Done },
    Vote { shard: Arc<Shard>, vote: Vote, done: Reply },
    Truncate { shard: Arc<Shard>, last: Option<LogId>, done: Reply },
    Purge { shard: Arc<Shard>, upto: LogId },
    Close,
}

impl Job {
    fn bytes(&self) -> u64 {
        if let Job::Append { bytes, .. } = self { *bytes } else { 0 }
    }

    fn finish(self, result: Result<(), Error>) {
        match self {
            Job::Append { done, .. } => done(result),
            // Whoever asked may have gone meanwhile.
            Job::Vote { done, .. } | Job::Truncate { done, .. } => drop(done.send(result)),
            Job::Purge { .. } | Job::Close => {}
        }
    }
}

struct Writer {
    core: Arc<Core>,
    queue: mpsc::UnboundedReceiver<Job>,
    /// Taken from the queue and not yet in a batch.
    waiting: VecDeque<Job>,
    /// Shards with purged records still on disk.
    unswept: BTreeMap<ShardId, Arc<Shard>>,
    runner: Arc<dyn DiskRunner>,
}

/// Runs until the log is closed, nobody holds it any more, or it failed.
pub(crate) async fn run(core: Arc<Core>, queue: mpsc::UnboundedReceiver<Job>, runner: Arc<dyn DiskRunner>) {
    let mut writer = Writer { core, queue, waiting: VecDeque::new(), unswept: BTreeMap::new(), runner };
    let end = writer.serve().await;
    writer.core.stop(end.clone());
    writer.queue.close();
    writer.take_arrived();
    writer.waiting.drain(..).for_each(|job| job.finish(Err(end.clone())));
}

impl Writer {
    /// Returns why it ended.
    async fn serve(&mut self) -> Error {
        loop {
            if self.waiting.is_empty() && self.unswept.is_empty() {
                match self.queue.recv().await {
                    Some(job) => self.waiting.push_back(job),
                    None => return Error::Closed,
                }
            }
            self.take_arrived();
            if self.waiting.is_empty() && self.queue.is_closed() {
                return Error::Closed; // what is left to sweep is swept when the log is opened again
            }
            let batch = self.next_batch();
            let closing = matches!(batch.last(), Some(Job::Close));
            if let Err(error) = self.write(batch).await {
                return error;
            }
            if closing {
                return Error::Closed;
            }
        }
    }

    fn take_arrived(&mut self) {
        while let Ok(job) = self.queue.try_recv() {
            self.waiting.push_back(job);
        }
    }

    fn next_batch(&mut self) -> Vec<Job> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let jobs_max =
            if buggify("storage/writer/one_job") { 1 } else { self.core.options.batch_jobs.max(1) };
        while batch.len() < jobs_max
            && bytes < self.core.options.batch_bytes
            && !matches!(batch.last(), Some(Job::Close))
            && let Some(job) = self.waiting.pop_front()
        {
            bytes += job.bytes();
            batch.push(job);
        }
        batch
    }

    async fn write(&mut self, batch: Vec<Job>) -> Result<(), Error> {
        let bytes = batch.iter().map(Job::bytes).sum();
        let added = (bytes > 0).then_some(bytes);
        if buggify("storage/writer/late_write") {
            self.runner.pause(LATE).await;
        }
        while let Err(failure) = self.transact(added, &batch) {
            if planted(Bug::SyncErrorIgnored) && matches!(failure, Failure::Fatal(_)) {
                break;
            }
            let mut result = self.core.map.recover(failure, &*self.runner, || ()).await;
            if result.is_ok() {
                result = self.relieve();
            }
            if let Err(error) = result {
                let end = self.end(error);
                batch.into_iter().for_each(|job| job.finish(Err(end.clone())));
                return Err(end);
            }
        }
        self.core.queued.send_modify(|queued| *queued -= bytes);
        if buggify("storage/writer/late_callbacks") {
            self.runner.pause(LATE).await;
        }
        // In one tight loop: a completion that trails the one before wakes Raft's task a second time.
        batch.into_iter().for_each(|job| job.finish(Ok(())));
        Ok(())
    }

    /// One transaction; after it, what readers see of the disk is what the disk holds.
    fn transact(&mut self, added: Option<u64>, jobs: &[Job]) -> Result<(), Failure> {
        let mut heads = Heads::new();
        let unswept = &self.unswept;
        self.core.map.write(
            added,
            &mut |map, txn| batch::fill(map, txn, jobs, unswept, &mut heads),
            || (),
        )?;
        for (id, touched) in heads {
            let head = touched.head;
            *touched.shard.head.lock() = head;
            touched.shard.memory.write().flushed(&head, self.core.options.tail_bytes);
            touched.shard.durable.send_replace(head.last.map(|id| id.index));
            if touched.unswept {
                self.unswept.insert(id, touched.shard);
            } else {
                self.unswept.remove(&id);
            }
        }
        Ok(())
    }

    /// Before a full store is tried again: purges that queue behind the stalled batch go first, or nothing would ever
    /// make room. A purge within what is on disk does not care about the appends before it.
    fn relieve(&mut self) -> Result<(), Error> {
        self.take_arrived();
        let (purges, rest): (Vec<Job>, Vec<Job>) = self.waiting.drain(..).partition(|job| match job {
            Job::Purge { shard, upto } => shard.head.lock().last.is_some_and(|last| upto.index <= last.index),
            _ => false,
        });
        self.waiting.extend(rest);
        let mut jobs = purges;
        while !jobs.is_empty() || !self.unswept.is_empty() {
            match self.transact(None, &jobs) {
                Ok(()) => jobs.clear(),
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Full | Failure::DiskFull) => {
                    self.waiting.extend(jobs);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Why nothing is written any more. A log that is closed while it waits for room has not failed.
    fn end(&self, error: Error) -> Error {
        let end = match error {
            Error::Closed => Error::Closed,
            ref failed => Error::Poisoned(failed.to_string()),
        };
        self.core.stop(end.clone());
        if end != Error::Closed {
            (self.core.options.on_fatal)(&error);
        }
        end
    }
}
