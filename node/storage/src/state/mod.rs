//! The machine's rows of one shard: an ordered overlay in memory over an LMDB environment.
//!
//! Reads go through the levels from new to old: what the running entry wrote, the active overlay, the frozen overlay that
//! is being flushed, the disk. A flush freezes the active overlay, waits until the log on disk has every entry in it,
//! and writes it with the applied id in one synced transaction. So what is on disk is always the state after one entry
//! that the log has.
//!
//! A flush happens when the active overlay is over its bound, and when somebody calls [`State::flush`]. There is no clock
//! here: whoever runs the node calls it, about once a second.

mod applied;
mod arrive;
mod bodies;
mod chunk;
mod flush;
mod fresh;
mod gaps;
mod in_log;
mod install;
mod merge;
mod overlay;
mod reader;
mod row;
mod snapshot;
mod writer;

#[cfg(test)]
mod install_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use install::Installer;
pub use reader::StateReader;
pub use snapshot::{Chunk, Snapshot};
pub use writer::StateWriter;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use quorate_simpoint::{Bug, planted};
use tokio::sync::{mpsc, oneshot, watch};

use crate::OnFatal;
use crate::data_dir::DataDir;
use crate::disk::{DiskRunner, Running, Volume};
use crate::error::Error;
use crate::log::{LogId, MapSize, ShardId, ShardLog};
use crate::map::Map;
use crate::space::{Owed, Quota, Room};
use bodies::Bodies;
use flush::Job;
use gaps::Gaps;
use in_log::{Entry, Needed, Place};
use overlay::Overlay;

/// How a state behaves. The defaults are for a real node.
#[derive(Clone)]
pub struct StateOptions {
    /// How big the environment may become.
    pub map: MapSize,
    /// Bytes of rows in memory from which on a flush begins. [`State::ready`] holds back at twice that, so that with
    /// the overlay being flushed a state takes at most about three times as much.
    pub flush_bytes: u64,
    /// Bytes of the volume that [`State::room`] keeps for what makes room.
    pub reserve_bytes: u64,
    /// Called once when the state must stop.
    pub on_fatal: OnFatal,
}

impl Default for StateOptions {
    fn default() -> Self {
        StateOptions {
            map: MapSize::default(),
            flush_bytes: 32 << 20,
            reserve_bytes: 256 << 20,
            on_fatal: crate::abort_process(),
        }
    }
}

/// What was applied last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// The last entry, if any.
    pub last: Option<LogId>,
    /// The last membership, as the caller encoded it; empty if there was none.
    pub membership: Bytes,
}

/// The overlays, the environment below them, and what they stand for.
pub(crate) struct Levels {
    /// A snapshot that is installed brings another one. Whoever has a short read transaction in it holds the levels.
    map: Arc<Map>,
    active: Overlay,
    /// Being flushed, with what was applied when it was frozen.
    frozen: Option<(Arc<Overlay>, Applied)>,
    applied: Applied,
    flushed: Option<LogId>,
    /// What the rows on disk need of the log.
    needed: Needed,
    /// Rows on disk below both overlays.
    disk_rows: u64,
    /// Whether the actor was already told that the active overlay is over its bound.
    flush_asked: bool,
}

impl Levels {
    /// Of a state that is empty.
    fn new(map: Arc<Map>) -> Levels {
        let (active, frozen, applied, flushed) = Default::default();
        Levels {
            map,
            active,
            frozen,
            applied,
            flushed,
            needed: Needed::default(),
            disk_rows: 0,
            flush_asked: false,
        }
    }
}

/// What the callers and the flush actor share.
pub(crate) struct Core {
    shard: ShardId,
    dir: DataDir,
    log: ShardLog,
    runner: Arc<dyn DiskRunner>,
    options: StateOptions,
    levels: RwLock<Levels>,
    /// Of the committed rows. The writer has them while there is one.
    gaps: Mutex<Gaps>,
    stopped: OnceLock<Error>,
    bodies: Bodies,
    /// Records that snapshots need, and how many of them do.
    held: Mutex<BTreeMap<u64, usize>>,
    /// Bytes that the environment would take besides, if all was flushed and brought in.
    owed: AtomicU64,
    /// The same without what is only in the log: that has its place on the volume, and is brought in if there is room.
    unflushed: AtomicU64,
    /// Counts what may end a wait for room in the overlays.
    flushes: watch::Sender<u64>,
    /// How many snapshots began to arrive.
    arrivals: AtomicU64,
}

impl Core {
    /// The environment in use.
    pub(crate) fn map(&self) -> Arc<Map> {
        Arc::clone(&self.levels.read_recursive().map)
    }

    fn check(&self) -> Result<(), Error> {
        self.stopped.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// An error of a read. Damage ends the store for good, whoever met it: a leader that went on would refuse what only
    /// its own disk is to blame for, and a restart would lead again with the same bytes.
    pub(crate) fn met(&self, error: Error) -> Error {
        if matches!(error, Error::Corrupt { .. }) && self.stopped.get().is_none() {
            self.dir.mark_damaged(&error);
            self.stop(error.clone());
            (self.options.on_fatal)(&error);
        }
        error
    }

    /// Keeps what is owed in step with the levels.
    pub(crate) fn note_owed(&self, levels: &Levels) {
        let frozen = levels.frozen.as_ref().map(|(overlay, _)| overlay.as_ref());
        let unflushed: u64 = frozen.into_iter().chain([&levels.active]).map(Overlay::cost).sum();
        let in_log: u64 = frozen.into_iter().chain([&levels.active]).map(|o| in_map(o.in_log())).sum();
        let overlays = unflushed + in_log;
        self.unflushed.store(unflushed, Ordering::Relaxed);
        self.owed.store(overlays + in_map(levels.needed.bytes), Ordering::Relaxed);
    }

    /// A value that is in the log.
    pub(crate) fn body(&self, place: Place) -> Result<Bytes, Error> {
        self.bodies.get(place).map_err(|error| self.met(error))
    }

    fn stop(&self, error: Error) {
        if self.stopped.set(error).is_ok() {
            self.flushes.send_modify(|n| *n += 1);
        }
    }
}

/// What bodies of so many bytes take when they are brought in: pages that are half full, at worst.
fn in_map(body_bytes: u64) -> u64 {
    2 * body_bytes
}

/// The state of one shard. Cheap to clone.
#[derive(Clone)]
pub struct State {
    core: Arc<Core>,
    jobs: mpsc::UnboundedSender<Job>,
    actor: Arc<Mutex<Option<Running>>>,
}

impl State {
    /// Opens the state of `log`'s shard, empty if it is new, as it was flushed last, and starts its flush actor.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also if the log was purged above what the state has, or has not what the state needs of it; [`Error::Foreign`],
    /// [`Error::NewerFormat`], [`Error::Identity`], [`Error::Disk`].
    pub fn open(
        dir: &DataDir,
        log: &ShardLog,
        options: StateOptions,
        runner: &Arc<dyn DiskRunner>,
    ) -> Result<State, Error> {
        let shard = log.id();
        let generation = dir.state_generation(shard)?;
        dir.remove_other_states(shard, generation)?;
        let path = dir.state_path(shard, generation);
        let map = Arc::new(Map::open(&path, &dir.owner()?, options.map, runner)?);
        let (applied, needed, disk_rows) = {
            let view = map.view()?;
            let rows = map.rows.len(view.txn()).map_err(|e| Error::lmdb("reading", &path, &e))?;
            (applied::load(&map, view.txn())?, in_log::load(&map, view.txn(), log)?, rows)
        };
        if log.purged().map(|id| id.index) > applied.last.map(|id| id.index) {
            let what =
                format!("the log was purged up to {:?}, the state has {:?}", log.purged(), applied.last);
            return Err(Error::corrupt(path.display().to_string(), what));
        }
        let core = Arc::new(Core {
            shard,
            dir: dir.clone(),
            log: log.clone(),
            runner: Arc::clone(runner),
            options,
            levels: RwLock::new(Levels {
                flushed: applied.last,
                applied,
                needed,
                disk_rows,
                ..Levels::new(map)
            }),
            gaps: Mutex::default(),
            stopped: OnceLock::new(),
            bodies: Bodies::new(log.clone()),
            held: Mutex::default(),
            owed: AtomicU64::new(in_map(needed.bytes)),
            unflushed: AtomicU64::new(0),
            flushes: watch::Sender::new(0),
            arrivals: AtomicU64::new(0),
        });
        let (jobs, queue) = mpsc::unbounded_channel();
        let actor = flush::run(Arc::clone(&core), queue, Arc::clone(runner));
        let actor = runner.run(&format!("quorate-state-{shard}"), Box::pin(actor));
        Ok(State { core, jobs, actor: Arc::new(Mutex::new(Some(actor))) })
    }

    /// What was applied last, in memory.
    pub fn applied(&self) -> Applied {
        self.core.levels.read_recursive().applied.clone()
    }

    /// The last entry whose effect is on disk.
    pub fn flushed(&self) -> Option<LogId> {
        self.core.levels.read_recursive().flushed
    }

    /// Begins an entry. One at a time: a second writer waits for the first to be committed or dropped. Readers of the
    /// same thread must be gone before it is committed.
    pub fn write(&self) -> StateWriter<'_> {
        StateWriter::new(self, None)
    }

    /// Begins the entry that the log has at `index`. Bodies that are parts of its payload stay there.
    pub fn write_entry(&self, index: u64, payload: &Bytes) -> StateWriter<'_> {
        StateWriter::new(self, Some(Entry { index, payload: payload.clone() }))
    }

    /// The first record of the log that somebody needs: rows on disk, a snapshot that is being sent, or the next start, for what
    /// follows [`State::flushed`].
    pub fn needed_from(&self) -> u64 {
        let held = self.core.held.lock();
        let levels = self.core.levels.read_recursive();
        let unflushed = levels.flushed.map_or(0, |id| id.index + 1);
        let rows = levels.needed.from.filter(|_| !planted(Bug::PurgeIgnoresBodies));
        let others = rows.into_iter().chain(held.keys().copied());
        others.fold(unflushed, u64::min)
    }

    /// Length of the bodies that the rows on disk have in the log, in bytes.
    pub fn bytes_in_log(&self) -> u64 {
        self.core.levels.read_recursive().needed.bytes
    }

    /// Takes bodies out of records up to `upto` into their rows, so that those records may go; as many as there is room for.
    /// What a snapshot holds stays needed until it is sent.
    ///
    /// # Errors
    /// As [`flush`](State::flush), and [`Error::Corrupt`].
    pub async fn bring_in(&self, upto: u64) -> Result<(), Error> {
        let mut more = true;
        while more {
            let (done, wait) = oneshot::channel();
            self.send(Job::BringIn { upto, done })?;
            more = wait.await.unwrap_or_else(|_| Err(self.closed()))?;
        }
        Ok(())
    }

    /// A consistent view of what was committed. It holds flushes back: short use, never across an await.
    pub fn read(&self) -> StateReader<'_> {
        StateReader::new(&self.core)
    }

    /// Waits while the overlays are over their bound; called before each entry. Returns at once when the state stopped.
    pub async fn ready(&self) {
        loop {
            let mut flushes = self.core.flushes.subscribe();
            let held = self.core.levels.read_recursive().active.cost();
            if held <= 2 * self.core.options.flush_bytes || self.core.stopped.get().is_some() {
                return;
            }
            // It fails only when the sender is gone, and this handle holds it.
            let _ = flushes.changed().await;
        }
    }

    /// Puts everything applied before the call on disk, and returns what is there then.
    ///
    /// # Errors
    /// Why the state or its log stopped.
    pub async fn flush(&self) -> Result<Option<LogId>, Error> {
        let (done, wait) = oneshot::channel();
        self.send(Job::Flush(Some(done)))?;
        wait.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Flushes, and gives the rows that are on disk then, whatever is flushed later.
    ///
    /// # Errors
    /// As [`flush`](State::flush), and [`Error::Corrupt`].
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        if !planted(Bug::PurgeAboveFlushed) {
            self.flush().await?;
        }
        Snapshot::new(&self.core)
    }

    /// Begins to receive a snapshot that takes about so many bytes, in the place of one that is still arriving. The state stays as
    /// it is until [`Installer::finish`].
    ///
    /// # Errors
    /// [`Error::NoRoomForSnapshot`], [`Error::Disk`], or why the state stopped.
    pub async fn install(&self, bytes: u64) -> Result<Installer, Error> {
        let number = self.core.arrivals.fetch_add(1, Ordering::Relaxed);
        Installer::new(self.clone(), number, bytes).await
    }

    /// The data directory that it is in.
    pub fn data_dir(&self) -> &std::path::Path {
        self.core.dir.path()
    }

    /// The shard whose state it is.
    pub fn shard(&self) -> ShardId {
        self.core.shard
    }

    /// How full the shard's environment is. It owes what is in memory and every body that it has in the log, since the log
    /// may have to forget it.
    pub fn quota(&self) -> Quota {
        self.core.map().quota(self.core.owed.load(Ordering::Relaxed))
    }

    /// How much room the shard's state has, as of the last [`look`](State::look).
    pub fn room(&self) -> Room {
        let core = &self.core;
        let owed = Owed {
            volume_bytes: core.unflushed.load(Ordering::Relaxed),
            quota_bytes: core.owed.load(Ordering::Relaxed),
        };
        core.map().room(owed, core.options.reserve_bytes)
    }

    /// Asks the volume how full it is. It may block: only a disk actor calls it.
    pub fn look(&self) -> Volume {
        self.core.map().look()
    }

    /// From now on what finds no room fails with [`Error::Closed`] instead of waiting for some: the node is about to stop.
    pub fn lose_patience(&self) {
        self.core.map().lose_patience();
    }

    /// Flushes, then stops. The files can be opened again when the last clone is gone.
    ///
    /// # Errors
    /// As [`flush`](State::flush); the state is closed all the same.
    pub async fn close(self) -> Result<(), Error> {
        let flushed = self.flush().await;
        // An actor that has ended already needs no word.
        let _ = self.jobs.send(Job::Close);
        let actor = self.actor.lock().take();
        if let Some(actor) = actor {
            actor.join().await;
        }
        flushed.map(drop)
    }

    fn send(&self, job: Job) -> Result<(), Error> {
        self.core.check()?;
        self.jobs.send(job).map_err(|_| self.closed())
    }

    fn closed(&self) -> Error {
        self.core.check().err().unwrap_or(Error::Closed)
    }
}
