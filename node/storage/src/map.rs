//! One LMDB environment: opened only after it was looked at, read through a gate that lets it grow, written with a
//! quota of our own.

mod view;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, Ordering};
use std::time::Duration;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};
use parking_lot::{Mutex, RwLock};
use quorate_simpoint::{Bug, planted};

use crate::data_dir::DATA_FILE;
use crate::disk::{DiskRunner, Volume};
use crate::error::Error;
use crate::identity::{Identity, sync_dir};
use crate::space::{Bound, Owed, Quota, Room};
use crate::stretch::{Stretch, is_full};
use crate::{owner, preflight};

pub(crate) use view::{HeldView, LongView, View};

/// A table of uninterpreted keys and values.
pub(crate) type Table = Database<Bytes, Bytes>;

const ROWS: &str = "rows";
const META: &str = "meta";
const IN_LOG: &str = "in_log";
const READERS_MAX: u32 = 512;
const GIB: u64 = 1 << 30;
/// How long a full store waits before it tries again.
pub(crate) const FULL_PAUSE: Duration = Duration::from_secs(1);
const GROW_PAUSE: Duration = Duration::from_millis(10);
/// A volume that cut a write short and has less is full. A file system cuts where a folio of its cache ends, which on ext4 may be 2 MiB
/// long, so as much may be left over.
const FULL_BELOW_BYTES: u64 = 4 << 20;
/// Or less than this part of a small one.
const FULL_BELOW_PART: u64 = 64;
/// Unused bytes in the file, besides what is to be written and half as much again, with which an append is tried on a full
/// volume: these are for what makes room.
const INSIDE_MIN: u64 = 1 << 20;

/// How big an environment may become.
#[derive(Debug, Clone, Copy)]
pub struct MapSize {
    /// Bytes of live pages it starts with; the address space is reserved, the disk is not.
    pub initial_bytes: u64,
    /// Bytes of live pages it may grow to; a store that reaches it waits for room.
    pub max_bytes: u64,
}

impl Default for MapSize {
    fn default() -> Self {
        MapSize { initial_bytes: 64 * GIB, max_bytes: 1024 * GIB }
    }
}

/// Why a transaction did not happen. It left nothing behind.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The quota or the map is full.
    Full,
    /// The file system is full.
    DiskFull,
    /// Anything else: the store must stop.
    Fatal(Error),
}

/// What a transaction's filling may fail with.
pub(crate) enum Fault {
    Lmdb(heed::Error),
    Other(Error),
}

impl From<heed::Error> for Fault {
    fn from(error: heed::Error) -> Fault {
        Fault::Lmdb(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Other(error)
    }
}

/// An open environment with its tables.
pub(crate) struct Map {
    pub rows: Table,
    pub meta: Table,
    /// Which records of the log the rows need; empty in the log's own environment.
    pub in_log: Table,
    env: Env<WithoutTls>,
    path: PathBuf,
    runner: Arc<dyn DiskRunner>,
    /// The file beyond the pages that are in use.
    stretch: Stretch,
    /// The volume, as of the last look at it.
    volume: Mutex<Volume>,
    /// A write waits for room.
    waiting: AtomicBool,
    /// Nobody is to wait for room any more.
    impatient: AtomicBool,
    /// Held shared by every read transaction: LMDB may move its map only while there is none.
    gate: RwLock<()>,
    /// Long read transactions, which do not hold the gate so that nobody queues behind them; -1 while growing.
    long: AtomicIsize,
    limit: AtomicU64,
    limit_max: u64,
    used: AtomicU64,
}

impl Map {
    /// Opens the environment at `path`, made whole before it gets its name.
    pub fn open(
        path: &Path,
        identity: &Identity,
        size: MapSize,
        runner: &Arc<dyn DiskRunner>,
    ) -> Result<Map, Error> {
        if !path.exists() {
            create(path, identity)?;
        }
        Self::open_as(path, identity, size, runner, EnvFlags::empty())
    }

    /// Makes an environment that counts for nothing before it was synced and has got its name: nothing that is written to it is
    /// synced but by [`sync`](Map::sync). Whatever was at `path` goes.
    pub fn begin(
        path: &Path,
        identity: &Identity,
        size: MapSize,
        runner: &Arc<dyn DiskRunner>,
    ) -> Result<Map, Error> {
        make(path, identity, EnvFlags::NO_SYNC)?;
        Self::open_as(path, identity, size, runner, EnvFlags::NO_SYNC)
    }

    fn open_as(
        path: &Path,
        identity: &Identity,
        size: MapSize,
        runner: &Arc<dyn DiskRunner>,
        flags: EnvFlags,
    ) -> Result<Map, Error> {
        let data = path.join(DATA_FILE);
        let claimed = preflight::check(&data)?;
        let limit = size.initial_bytes.min(size.max_bytes).max(claimed.min(size.max_bytes));
        let env = open_env(path, reserved(limit).max(claimed.next_multiple_of(1 << 20)), flags)?;
        let failed = |e: heed::Error| Error::lmdb("opening", path, &e);
        let txn = env.read_txn().map_err(failed)?;
        let table = |name| -> Result<Table, Error> {
            env.open_database(&txn, Some(name)).map_err(failed)?.ok_or_else(|| {
                Error::corrupt(path.display().to_string(), format!("the table {name} is not there"))
            })
        };
        let (rows, meta, in_log) = (table(ROWS)?, table(META)?, table(IN_LOG)?);
        match meta.get(&txn, owner::OWNER_KEY).map_err(failed)? {
            Some(row) => owner::check(path, row, identity)?,
            None => return Err(Error::corrupt(path.display().to_string(), "its owner row is not there")),
        }
        let used = live_bytes([rows, meta, in_log], &txn).map_err(failed)?;
        // Committing a read transaction is what keeps its table handles open.
        txn.commit().map_err(failed)?;
        let stretch = Stretch::open(&data, claimed)?;
        Ok(Map {
            rows,
            meta,
            in_log,
            env,
            path: path.to_owned(),
            runner: Arc::clone(runner),
            stretch,
            volume: Mutex::new(runner.volume(path)),
            waiting: AtomicBool::new(false),
            impatient: AtomicBool::new(false),
            gate: RwLock::new(()),
            long: AtomicIsize::new(0),
            limit: AtomicU64::new(limit.max(used.min(size.max_bytes))),
            limit_max: size.max_bytes,
            used: AtomicU64::new(used),
        })
    }

    /// A consistent view; held briefly, never across an await.
    pub fn view(&self) -> Result<View<'_>, Error> {
        // Recursive, so that a thread that has a view already does not wait for somebody who waits for it.
        let gate = self.gate.read_recursive();
        let txn = self.env.read_txn().map_err(|e| Error::lmdb("reading", &self.path, &e))?;
        Ok(View { txn, _gate: gate })
    }

    /// A consistent view for somebody who holds what [`recover`](Map::recover) takes before the map grows, instead of the gate.
    pub fn held_view(&self) -> Result<HeldView, Error> {
        let txn = self.env.clone().static_read_txn();
        Ok(HeldView(txn.map_err(|e| Error::lmdb("reading", &self.path, &e))?))
    }

    /// A consistent view that may live long; while it does, the map cannot grow.
    pub fn long_view(self: &Arc<Self>) -> Result<LongView, Error> {
        while self
            .long
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n >= 0).then_some(n + 1))
            .is_err()
        {
            drop(self.gate.read_recursive());
        }
        let mut view = LongView { txn: None, map: Arc::clone(self) };
        let txn = self.env.clone().static_read_txn().map_err(|e| Error::lmdb("reading", &self.path, &e))?;
        view.txn = Some(txn);
        Ok(view)
    }

    /// One transaction, synced when this returns. `added` is about how many bytes it adds, or `None` if it may use
    /// the reserve beyond the quota. `seal` runs before the commit and its value is given back after it.
    pub fn write<G>(
        &self,
        added: Option<u64>,
        fill: &mut dyn FnMut(&Map, &mut RwTxn) -> Result<(), Fault>,
        seal: impl FnOnce() -> G,
    ) -> Result<G, Failure> {
        let bytes = added.unwrap_or(0);
        if added.is_some()
            && self.used.load(Ordering::Relaxed) + bytes + bytes / 4 > self.limit.load(Ordering::Relaxed)
        {
            return Err(Failure::Full);
        }
        // What an append claims is known. A transaction without a quota may go beyond any stretch.
        let covered = self.lengthen(bytes, added.is_some())? && added.is_some();
        let failure = |error| self.failure(error, covered);
        let mut txn = self.env.write_txn().map_err(failure)?;
        fill(self, &mut txn).map_err(|fault| match fault {
            Fault::Lmdb(error) => failure(error),
            Fault::Other(error) => Failure::Fatal(error),
        })?;
        let used = live_bytes([self.rows, self.meta, self.in_log], &txn).map_err(failure)?;
        let guard = seal();
        txn.commit().map_err(failure)?;
        self.used.store(used, Ordering::Relaxed);
        if self.waiting.swap(false, Ordering::Relaxed) {
            tracing::info!(path = %self.path.display(), "there is room again");
        }
        Ok(guard)
    }

    /// Puts on disk what was written to an environment that [`begin`](Map::begin) made.
    pub fn sync(&self) -> Result<(), Failure> {
        self.env.force_sync().map_err(|e| Failure::Fatal(Error::lmdb("syncing", &self.path, &e)))
    }

    /// Whether [`recover`](Map::recover) can make it larger.
    pub fn can_grow(&self) -> bool {
        self.limit.load(Ordering::Relaxed) < self.limit_max
    }

    /// Makes or waits for room after a [`Failure`] that is not the end; the transaction is then tried again. `alone` takes what
    /// whoever has a [`held_view`](Map::held_view) holds meanwhile.
    ///
    /// # Errors
    /// What is fatal; [`Error::Closed`] instead of a wait once there is no [`patience`](Map::lose_patience).
    pub async fn recover<G>(
        &self,
        failure: Failure,
        runner: &dyn DiskRunner,
        alone: impl Fn() -> G,
    ) -> Result<(), Error> {
        match failure {
            Failure::Fatal(error) => Err(error),
            Failure::Full if self.can_grow() => self.grow(runner, alone).await,
            Failure::Full => self.wait_for_room(runner, "--map-bytes-max is reached, waiting for room").await,
            Failure::DiskFull => self.wait_for_room(runner, "the disk is full, waiting for room").await,
        }
    }

    async fn wait_for_room(&self, runner: &dyn DiskRunner, what: &str) -> Result<(), Error> {
        if self.impatient.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        if !self.waiting.swap(true, Ordering::Relaxed) {
            tracing::warn!(path = %self.path.display(), free_bytes = self.disk_free_bytes(), limit_max = self.limit_max, "{what}");
        }
        runner.pause(FULL_PAUSE).await;
        Ok(())
    }

    /// From now on nobody waits for room: what finds none was not written, and whoever asked is told that the store is
    /// closed.
    pub fn lose_patience(&self) {
        self.impatient.store(true, Ordering::Relaxed);
    }

    async fn grow<G>(&self, runner: &dyn DiskRunner, alone: impl Fn() -> G) -> Result<(), Error> {
        while self.long.compare_exchange(0, -1, Ordering::AcqRel, Ordering::Acquire).is_err() {
            runner.pause(GROW_PAUSE).await;
        }
        let limit = self.limit.load(Ordering::Relaxed).saturating_mul(2).clamp(1 << 16, self.limit_max);
        let result = {
            let _alone = (alone(), self.gate.write());
            // SAFETY: no transaction is active. Short readers hold the gate or what `alone` took, long ones are counted and
            // were none, and the only writer is the actor that called this.
            unsafe { self.env.resize(reserved(limit) as usize) }
        };
        self.long.store(0, Ordering::Release);
        result.map_err(|e| Error::lmdb("growing the map of", &self.path, &e))?;
        self.limit.store(limit, Ordering::Relaxed);
        tracing::info!(path = %self.path.display(), limit, "the map grew");
        Ok(())
    }

    /// How full it is, and will be when the `owed_bytes` are in it.
    pub fn quota(&self, owed_bytes: u64) -> Quota {
        Quota { used_bytes: self.used.load(Ordering::Relaxed), owed_bytes, limit_bytes: self.limit_max }
    }

    /// Bytes that its volume still gave to this user at the last look; 0 if it did not answer, so that nothing is admitted.
    pub fn disk_free_bytes(&self) -> u64 {
        self.volume.lock().free_bytes
    }

    /// Asks the volume how full it is. It may block, so it is for disk actors.
    pub fn look(&self) -> Volume {
        let volume = self.runner.volume(&self.path);
        *self.volume.lock() = volume;
        volume
    }

    /// How much room there is when what is owed is stored, of which `reserve_bytes` of the volume, or a tenth of the quota,
    /// are kept.
    pub fn room(&self, owed: Owed, reserve_bytes: u64) -> Room {
        let (volume, used) = (*self.volume.lock(), self.used.load(Ordering::Relaxed));
        // What was never written helps only where it can be written in place.
        let held = if volume.writes_in_place { self.stretch.held_bytes() } else { self.claimed_bytes() };
        let on_volume = volume.free_bytes.saturating_add(held.saturating_sub(used));
        let waiting = self.waiting.load(Ordering::Relaxed);
        let volume = Room {
            free_bytes: on_volume.saturating_sub(owed.volume_bytes),
            reserve_bytes,
            bound: Bound::Volume,
            waiting,
        };
        let quota = Room {
            free_bytes: self.limit_max.saturating_sub(used + owed.quota_bytes),
            reserve_bytes: self.limit_max / 10,
            bound: Bound::Quota,
            waiting,
        };
        volume.tighter(quota)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes up to the last page that the newest transaction has a claim on.
    fn claimed_bytes(&self) -> u64 {
        (self.env.info().last_page_number as u64 + 1) * u64::from(self.env.stat().page_size)
    }

    /// Takes room for a transaction without a quota that writes about so much.
    pub fn foresee(&self, bytes: u64) -> Result<(), Failure> {
        self.lengthen(bytes, false).map(drop)
    }

    /// Takes the next stretch of the file before pages are written to it, so that a full volume is met here and not in the
    /// middle of a write. Whether so many bytes have their place now. If that is no `must`, the transaction goes ahead in
    /// any case, since it may be what makes room.
    fn lengthen(&self, bytes: u64, must: bool) -> Result<bool, Failure> {
        if planted(Bug::ShortWriteFatal) {
            return Ok(false);
        }
        let (claimed, most) = (self.claimed_bytes(), self.env.info().map_size as u64);
        match self.stretch.take(claimed + 3 * bytes, most, || self.look().free_bytes) {
            Ok(taken) => {
                let mut volume = self.volume.lock();
                volume.free_bytes = volume.free_bytes.saturating_sub(taken.bytes);
                Ok(taken.is_whole && volume.writes_in_place)
            }
            Err(error) if is_full(&error) => {
                // Deleted rows have left pages in the file; whether they lie well, the transaction will see.
                let inside = self.stretch.held_bytes().saturating_sub(self.used.load(Ordering::Relaxed));
                if !must || inside > bytes + bytes / 2 + INSIDE_MIN {
                    Ok(false)
                } else {
                    Err(Failure::DiskFull)
                }
            }
            Err(error) => Err(Failure::Fatal(Error::io("making room in", &self.path, &error))),
        }
    }

    /// What an error of a transaction means. LMDB says `EIO` of a write that was cut short, which is how a volume runs full
    /// in the middle of one. Where the transaction may have gone beyond what was taken for it, and the volume has indeed
    /// nothing left, that is what it was. The whole transaction, of which nothing counts, is then made again from its
    /// start, every page of it written anew: no sync is repeated that has failed.
    fn failure(&self, error: heed::Error, covered: bool) -> Failure {
        match &error {
            heed::Error::Mdb(MdbError::MapFull) => Failure::Full,
            heed::Error::Io(e) if is_full(e) => Failure::DiskFull,
            heed::Error::Io(e) if is_short(e) && !covered && self.has_run_full() => Failure::DiskFull,
            _ => Failure::Fatal(Error::lmdb("writing", &self.path, &error)),
        }
    }

    /// Whether the volume has nothing left, for this file at least.
    fn has_run_full(&self) -> bool {
        !planted(Bug::ShortWriteFatal) && (is_nothing_left(self.look()) || self.stretch.is_stuck())
    }
}

/// The map of an environment with this quota: with room for the transactions that free pages when the quota is used up.
fn reserved(limit: u64) -> u64 {
    (limit + limit / 8 + (1 << 20)).next_multiple_of(1 << 20)
}

/// Whether a write that was cut short says that the volume is full.
fn is_nothing_left(volume: Volume) -> bool {
    volume.free_bytes < FULL_BELOW_BYTES.min(volume.total_bytes / FULL_BELOW_PART)
}

/// What LMDB says of a write that was cut short, and the system of one that failed.
fn is_short(error: &std::io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::IO)
}

fn live_bytes<const N: usize>(tables: [Table; N], txn: &RoTxn) -> Result<u64, heed::Error> {
    let mut bytes = 0;
    for table in tables {
        let stat = table.stat(txn)?;
        let pages = stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
        bytes += pages as u64 * u64::from(stat.page_size);
    }
    Ok(bytes)
}

fn open_env(path: &Path, map_bytes: u64, flags: EnvFlags) -> Result<Env<WithoutTls>, Error> {
    // The actor of a store that was just dropped may still be at its last lines.
    if let Some(closing) = heed::env_closing_event(path) {
        closing.wait_timeout(Duration::from_secs(2));
    }
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_bytes as usize).max_dbs(3).max_readers(READERS_MAX);
    // SAFETY: the directory's lock keeps other processes away, heed refuses a second opening in this one, nobody
    // else changes the file except to make it longer, and only an environment that is thrown away with the process has a
    // flag that weakens LMDB's syncing.
    unsafe { options.flags(EnvFlags::NO_READ_AHEAD | flags).open(path) }
        .map_err(|e| Error::lmdb("opening", path, &e))
}

/// Makes an environment beside `path` and gives it its name only after its first commit, so that one that is found
/// without a commit is damage and not a crash at birth.
fn create(path: &Path, identity: &Identity) -> Result<(), Error> {
    let fresh = PathBuf::from(format!("{}.new", path.display()));
    make(&fresh, identity, EnvFlags::empty())?;
    give_name(&fresh, path)
}

/// Makes an environment with its tables. Whatever was at `path` goes.
fn make(path: &Path, identity: &Identity, flags: EnvFlags) -> Result<(), Error> {
    let io = |e: std::io::Error| Error::io("making", path, &e);
    let lmdb = |e: heed::Error| Error::lmdb("making", path, &e);
    if path.exists() {
        fs::remove_dir_all(path).map_err(io)?;
    }
    fs::create_dir_all(path).map_err(io)?;
    let env = open_env(path, 1 << 20, flags)?;
    let mut txn = env.write_txn().map_err(lmdb)?;
    let _: Table = env.create_database(&mut txn, Some(ROWS)).map_err(lmdb)?;
    let _: Table = env.create_database(&mut txn, Some(IN_LOG)).map_err(lmdb)?;
    let meta: Table = env.create_database(&mut txn, Some(META)).map_err(lmdb)?;
    meta.put(&mut txn, owner::OWNER_KEY, &owner::encode(identity)).map_err(lmdb)?;
    txn.commit().map_err(lmdb)
}

/// From now on the environment at `from`, which nobody has open, is the one called `to`.
pub(crate) fn give_name(from: &Path, to: &Path) -> Result<(), Error> {
    sync_dir(from)?;
    fs::rename(from, to).map_err(|e| Error::io("making", to, &e))?;
    sync_dir(to.parent().unwrap_or(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_full_with_what_is_left_of_a_folio() {
        let volume = |free_bytes, total_bytes| Volume { free_bytes, total_bytes, ..Volume::default() };
        assert!(is_nothing_left(volume((2 << 20) - 1, 400 << 20)));
        assert!(!is_nothing_left(volume(5 << 20, 400 << 20)), "a disk that fails");
        assert!(!is_nothing_left(volume(1 << 20, 8 << 20)) && is_nothing_left(volume(1 << 16, 8 << 20)));
    }
}
