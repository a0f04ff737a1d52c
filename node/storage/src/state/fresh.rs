//! The state that a snapshot becomes: an environment of its own, beside the one in use until it takes its place.
//!
//! Rows are written as they arrive, in transactions of a few MiB, and hardly anything is synced: if the process dies, all of it
//! is thrown away. At the end it is synced and gets the name of the next generation, `state-0.1` after `state-0`. Getting the name
//! is the switch: a state is opened in the highest generation that has one, and whatever else is there is removed. So a crash
//! finds the state before the snapshot or the one after it, and never a part of either.
//!
//! Memory: what one transaction writes. LMDB keeps the pages of the largest one for the next, and all of them go with the
//! environment, which is closed and opened once more before it is used.

use std::path::PathBuf;

use bytes::Bytes;
use heed::{PutFlags, RwTxn};
use quorate_machine::tables::Table;
use quorate_simpoint::{Bug, planted};

use super::install::Last;
use super::{Core, applied, chunk, row};
use crate::error::Error;
use crate::log::ShardId;
use crate::map::{self, Failure, Fault, Map};

/// After so many bytes they are brought to the disk, so that the last sync is a short one.
const SYNC_BYTES: u64 = 64 << 20;

/// See the module.
pub(crate) struct Fresh {
    /// Of the snapshot.
    pub number: u64,
    generation: u64,
    map: Map,
    announced_bytes: u64,
    rows: u64,
    unsynced_bytes: u64,
}

impl Fresh {
    /// Begins a snapshot that takes about so many bytes, if there is room for it beside the state.
    pub fn begin(core: &Core, number: u64, bytes: u64) -> Result<Fresh, Error> {
        let generation = core.dir.state_generation(core.shard)? + 1;
        let path = PathBuf::from(format!("{}.new", core.dir.state_path(core.shard, generation).display()));
        let free_bytes = core.map().disk_free_bytes().min(core.options.map.max_bytes);
        if bytes > free_bytes {
            return Err(Error::NoRoomForSnapshot {
                shard: core.shard,
                path,
                needed_bytes: bytes,
                free_bytes,
            });
        }
        let map = Map::begin(&path, &core.dir.owner()?, core.options.map, &core.runner)?;
        Ok(Fresh { number, generation, map, announced_bytes: bytes, rows: 0, unsynced_bytes: 0 })
    }

    /// What is said of a snapshot that met the end of the room on its way.
    pub fn no_room(&self, shard: ShardId) -> Error {
        let quota = self.map.quota(0);
        Error::NoRoomForSnapshot {
            shard,
            path: self.map.path().to_owned(),
            needed_bytes: self.announced_bytes.saturating_sub(quota.used_bytes),
            free_bytes: self.map.disk_free_bytes().min(quota.limit_bytes.saturating_sub(quota.used_bytes)),
        }
    }

    /// The environment that is being filled.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Writes the next chunks; all or nothing.
    pub fn put(&mut self, shard: ShardId, group: &[Bytes]) -> Result<(), Failure> {
        let bytes = group.iter().map(|chunk| chunk.len() as u64).sum();
        let mut rows = 0;
        let mut fill = |map: &Map, txn: &mut RwTxn| {
            rows = group
                .iter()
                .try_fold(0, |sum, chunk| Ok::<_, Fault>(sum + put_rows(shard, map, txn, chunk)?))?;
            Ok(())
        };
        self.map.write(Some(bytes), &mut fill, || ())?;
        self.rows += rows;
        self.unsynced_bytes += bytes;
        if self.unsynced_bytes >= SYNC_BYTES {
            self.map.sync()?;
            self.unsynced_bytes = 0;
        }
        Ok(())
    }

    /// Writes what the rows stand for, and brings all of it to the disk; `early` if rows are to follow, which is a bug.
    pub fn complete(&self, shard: ShardId, last: &Last, early: bool) -> Result<(), Failure> {
        if self.rows != last.rows && !early {
            let what = format!("{} rows were written and {} were announced", self.rows, last.rows);
            return Err(Failure::Fatal(Error::BadChunk { shard, what }));
        }
        self.map.write(None, &mut |map, txn| Ok(applied::save(map, txn, &last.applied)?), || ())?;
        if planted(Bug::SwitchWithoutSync) { Ok(()) } else { self.map.sync() }
    }

    /// The switch on disk. Returns the environment as it is used from then on, and how many rows it has.
    pub fn settle(self, core: &Core) -> Result<(Map, u64), Error> {
        let (from, to) = (self.map.path().to_owned(), core.dir.state_path(core.shard, self.generation));
        drop(self.map);
        map::give_name(&from, &to)?;
        Ok((Map::open(&to, &core.dir.owner()?, core.options.map, &core.runner)?, self.rows))
    }

    /// [`Bug::SwitchBeforeRows`]: the last rows, written to the state that is in use already.
    pub fn late(map: &Map, shard: ShardId, group: &[Bytes]) -> u64 {
        let mut rows = 0;
        let mut fill = |map: &Map, txn: &mut RwTxn| {
            rows = group
                .iter()
                .try_fold(0, |sum, chunk| Ok::<_, Fault>(sum + put_rows(shard, map, txn, chunk)?))?;
            Ok(())
        };
        let _ = map.write(None, &mut fill, || ());
        rows
    }

    /// Removes it.
    pub fn discard(self) {
        let path = self.map.path().to_owned();
        drop(self.map);
        if let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::warn!(%error, path = %path.display(), "a part of a snapshot stays until the next start");
        }
    }
}

/// Writes the rows of a chunk, which was checked; returns how many there are.
fn put_rows(shard: ShardId, map: &Map, txn: &mut RwTxn, chunk: &[u8]) -> Result<u64, Fault> {
    let (mut lmdb, mut stored) = (None, Vec::new());
    let rows = chunk::rows(shard, chunk, |key, value| {
        if planted(Bug::ReceiptsNotInstalled) && key.first() == Some(&(Table::ProducerRun as u8)) {
            return Ok(());
        }
        stored.clear();
        stored.extend_from_slice(&row::inline_header(key, value));
        stored.extend_from_slice(value);
        map.rows.put_with_flags(txn, PutFlags::APPEND, key, &stored).map_err(|e| {
            let error = Error::lmdb("writing", map.path(), &e);
            lmdb = Some(e); // the map may be full, which only this error says
            error
        })
    });
    match lmdb {
        Some(error) => Err(error.into()),
        None => Ok(u64::from(rows?)),
    }
}
