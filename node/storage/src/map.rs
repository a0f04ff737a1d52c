//! One LMDB environment: opened only after it was looked at, read through a gate that lets it grow, written with a
//! quota of our own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};
use std::time::Duration;

use heed::types::Bytes;
use heed::{AnyTls, Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};
use parking_lot::{RwLock, RwLockReadGuard};

use crate::data_dir::DATA_FILE;
use crate::disk::DiskRunner;
use crate::error::Error;
use crate::identity::{Identity, sync_dir};
use crate::space::Quota;
use crate::{owner, preflight};

/// A table of uninterpreted keys and values.
pub(crate) type Table = Database<Bytes, Bytes>;

const ROWS: &str = "rows";
const META: &str = "meta";
const IN_LOG: &str = "in_log";
const READERS_MAX: u32 = 512;
const GIB: u64 = 1 << 30;
/// How far the file is made longer at once, and how far ahead of the last used page it is kept.
const FILE_STEP: u64 = 64 << 20;
const FILE_AHEAD: u64 = 16 << 20;
/// How long a full store waits before it tries again.
pub(crate) const FULL_PAUSE: Duration = Duration::from_secs(1);
const GROW_PAUSE: Duration = Duration::from_millis(10);

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
    file: File,
    file_bytes: AtomicU64,
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
        let data = path.join(DATA_FILE);
        let claimed = preflight::check(&data)?;
        let limit = size.initial_bytes.min(size.max_bytes).max(claimed.min(size.max_bytes));
        let env = open_env(path, reserved(limit).max(claimed.next_multiple_of(1 << 20)))?;
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
        let file = File::options().write(true).open(&data).map_err(|e| Error::io("opening", &data, &e))?;
        let file_bytes = file.metadata().map_err(|e| Error::io("looking at", &data, &e))?.len();
        Ok(Map {
            rows,
            meta,
            in_log,
            env,
            path: path.to_owned(),
            runner: Arc::clone(runner),
            file,
            file_bytes: AtomicU64::new(file_bytes),
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
        self.lengthen(bytes)?;
        let mut txn = self.env.write_txn().map_err(|e| self.failure(e))?;
        fill(self, &mut txn).map_err(|fault| match fault {
            Fault::Lmdb(error) => self.failure(error),
            Fault::Other(error) => Failure::Fatal(error),
        })?;
        let used = live_bytes([self.rows, self.meta, self.in_log], &txn).map_err(|e| self.failure(e))?;
        let guard = seal();
        txn.commit().map_err(|e| self.failure(e))?;
        self.used.store(used, Ordering::Relaxed);
        Ok(guard)
    }

    /// Makes or waits for room after a [`Failure`] that is not the end; the transaction is then tried again.
    pub async fn recover(&self, failure: Failure, runner: &dyn DiskRunner) -> Result<(), Error> {
        match failure {
            Failure::Fatal(error) => Err(error),
            Failure::Full if self.limit.load(Ordering::Relaxed) < self.limit_max => self.grow(runner).await,
            Failure::Full => {
                tracing::warn!(path = %self.path.display(), limit_max = self.limit_max, "at its maximum, waiting for room");
                runner.pause(FULL_PAUSE).await;
                Ok(())
            }
            Failure::DiskFull => {
                tracing::warn!(path = %self.path.display(), "the disk is full, waiting for room");
                runner.pause(FULL_PAUSE).await;
                Ok(())
            }
        }
    }

    async fn grow(&self, runner: &dyn DiskRunner) -> Result<(), Error> {
        while self.long.compare_exchange(0, -1, Ordering::AcqRel, Ordering::Acquire).is_err() {
            runner.pause(GROW_PAUSE).await;
        }
        let limit = self.limit.load(Ordering::Relaxed).saturating_mul(2).clamp(1 << 16, self.limit_max);
        let result = {
            let _alone = self.gate.write();
            // SAFETY: no transaction is active. Short readers hold the gate, long ones are counted and were none, and
            // the only writer is the actor that called this.
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

    /// Bytes that its file system still gives to this user; 0 if it does not answer, so that nothing is admitted.
    pub fn disk_free_bytes(&self) -> u64 {
        self.runner.free_bytes(&self.path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the file longer than any page that the next transaction may claim. LMDB may claim pages at the end that it
    /// never wrote, and a file that is too short is how the preflight knows a truncated one.
    fn lengthen(&self, added: u64) -> Result<(), Failure> {
        let info = self.env.info();
        let page = u64::from(self.env.stat().page_size);
        let needed = (info.last_page_number as u64 + 1) * page + 3 * added + FILE_AHEAD;
        let now = self.file_bytes.load(Ordering::Relaxed);
        if needed <= now {
            return Ok(());
        }
        let longer = needed.next_multiple_of(FILE_STEP).min(info.map_size as u64);
        if longer > now {
            let done = self.file.set_len(longer).and_then(|()| self.file.sync_all());
            done.map_err(|e| self.failure(heed::Error::Io(e)))?;
            self.file_bytes.store(longer, Ordering::Relaxed);
        }
        Ok(())
    }

    fn failure(&self, error: heed::Error) -> Failure {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match &error {
            heed::Error::Mdb(MdbError::MapFull) => Failure::Full,
            heed::Error::Io(e) if matches!(e.kind(), StorageFull | QuotaExceeded) => Failure::DiskFull,
            _ => Failure::Fatal(Error::lmdb("writing", &self.path, &error)),
        }
    }
}

/// A short read transaction.
pub(crate) struct View<'a> {
    // Dropped in this order: the transaction ends before the gate opens.
    txn: RoTxn<'a, WithoutTls>,
    _gate: RwLockReadGuard<'a, ()>,
}

impl View<'_> {
    pub fn txn(&self) -> &RoTxn<'_, AnyTls> {
        &self.txn
    }
}

/// A long read transaction.
pub(crate) struct LongView {
    txn: Option<RoTxn<'static, WithoutTls>>,
    pub map: Arc<Map>,
}

impl LongView {
    pub fn txn(&self) -> &RoTxn<'_, AnyTls> {
        self.txn.as_ref().expect("it is set before a view is given out and taken only when it is dropped")
    }
}

impl Drop for LongView {
    fn drop(&mut self) {
        self.txn = None;
        self.map.long.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The map of an environment with this quota: with room for the transactions that free pages when the quota is used up.
fn reserved(limit: u64) -> u64 {
    (limit + limit / 8 + (1 << 20)).next_multiple_of(1 << 20)
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

fn open_env(path: &Path, map_bytes: u64) -> Result<Env<WithoutTls>, Error> {
    // The actor of a store that was just dropped may still be at its last lines.
    if let Some(closing) = heed::env_closing_event(path) {
        closing.wait_timeout(Duration::from_secs(2));
    }
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_bytes as usize).max_dbs(3).max_readers(READERS_MAX);
    // SAFETY: the directory's lock keeps other processes away, heed refuses a second opening in this one, nobody
    // else changes the file except to make it longer, and the flag does not weaken LMDB's syncing.
    unsafe { options.flags(EnvFlags::NO_READ_AHEAD).open(path) }.map_err(|e| Error::lmdb("opening", path, &e))
}

/// Makes an environment beside `path` and gives it its name only after its first commit, so that one that is found
/// without a commit is damage and not a crash at birth.
fn create(path: &Path, identity: &Identity) -> Result<(), Error> {
    let fresh = PathBuf::from(format!("{}.new", path.display()));
    let io = |e: std::io::Error| Error::io("making", path, &e);
    let lmdb = |e: heed::Error| Error::lmdb("making", path, &e);
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(io)?;
    }
    fs::create_dir_all(&fresh).map_err(io)?;
    let env = open_env(&fresh, 1 << 20)?;
    let mut txn = env.write_txn().map_err(lmdb)?;
    let _: Table = env.create_database(&mut txn, Some(ROWS)).map_err(lmdb)?;
    let _: Table = env.create_database(&mut txn, Some(IN_LOG)).map_err(lmdb)?;
    let meta: Table = env.create_database(&mut txn, Some(META)).map_err(lmdb)?;
    meta.put(&mut txn, owner::OWNER_KEY, &owner::encode(identity)).map_err(lmdb)?;
    txn.commit().map_err(lmdb)?;
    drop(env);
    sync_dir(&fresh)?;
    fs::rename(&fresh, path).map_err(io)?;
    sync_dir(path.parent().unwrap_or(path))
}
