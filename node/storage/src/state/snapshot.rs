//! The rows on disk at one moment, in key order, in chunks.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use bytes::Bytes;
use quorate_simpoint::{Bug, buggify, planted};

use super::chunk::Filling;
use super::row::{self, Stored};
use super::{Applied, Core, applied, in_log};
use crate::error::Error;
use crate::log::LogId;
use crate::map::LongView;

/// A chunk is finished when it has at least this many bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// A part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// What [`Installer::chunk`](super::Installer::chunk) takes: about 256 KiB, more only for one long row.
    pub bytes: Bytes,
    /// The rows in it.
    pub rows: u64,
}

/// The rows on disk at one moment. While it lives LMDB cannot reuse pages, so it must not be kept for long.
pub struct Snapshot {
    core: Arc<Core>,
    view: LongView,
    applied: Applied,
    bytes: u64,
    /// The first record of the log that its rows need, which stays until it is sent.
    holds: Option<u64>,
    /// The last key given out.
    after: Option<Vec<u8>>,
    ended: bool,
}

impl Snapshot {
    pub(crate) fn new(core: &Arc<Core>) -> Result<Snapshot, Error> {
        // Under this lock, so that nobody learns in between what may leave the log.
        let mut held = core.held.lock();
        let (map, in_log_bytes) = {
            let levels = core.levels.read_recursive();
            (Arc::clone(&levels.map), levels.needed.bytes)
        };
        let view = map.long_view()?;
        let applied = applied::load(&map, view.txn())?;
        let holds = in_log::first(&map, view.txn()).map_err(|e| core.met(e))?;
        let bytes = map.quota(0).used_bytes + in_log_bytes + in_log_bytes / 4;
        if let Some(index) = holds {
            *held.entry(index).or_default() += 1;
        }
        drop(held);
        Ok(Snapshot { core: Arc::clone(core), view, applied, bytes, holds, after: None, ended: false })
    }

    /// The last entry in it; `None` if nothing was ever applied.
    pub fn applied(&self) -> Option<LogId> {
        self.applied.last
    }

    /// The membership in it; empty if there was none.
    pub fn membership(&self) -> Bytes {
        self.applied.membership.clone()
    }

    /// About how many bytes of an environment its rows take, with the bodies that are in the log.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next rows, or `None` after the last. Each row is checked.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Disk`].
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, Error> {
        if self.ended {
            return Ok(None);
        }
        let map = &self.view.map;
        let failed = |e: heed::Error| Error::lmdb("reading", map.path(), &e);
        let from = self.after.as_deref().map_or(Unbounded, Excluded);
        let mut filling = Filling::new(CHUNK_BYTES + CHUNK_BYTES / 4);
        let mut after = None;
        self.ended = true;
        for stored in map.rows.range(self.view.txn(), &(from, Unbounded)).map_err(failed)? {
            let (key, stored) = stored.map_err(failed)?;
            let lost = planted(Bug::SnapshotMissesRows) && stored.first().is_some_and(|sum| sum % 16 == 0);
            if !lost {
                match row::read(self.core.shard, key, stored).map_err(|e| self.core.met(e))? {
                    Stored::Inline(value) => filling.push(key, value),
                    Stored::InLog(place) => filling.push(key, &self.core.body(place)?),
                }
            }
            if filling.len() >= CHUNK_BYTES || buggify("storage/snapshot/small_chunk") {
                after = Some(key.to_vec());
                self.ended = false;
                break;
            }
        }
        self.after = after;
        let (bytes, rows) = filling.finish();
        Ok((rows > 0).then(|| Chunk { bytes: bytes.into(), rows: u64::from(rows) }))
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let Some(index) = self.holds else { return };
        let mut held = self.core.held.lock();
        if let Some(count) = held.get_mut(&index) {
            *count -= 1;
            if *count == 0 {
                held.remove(&index);
            }
        }
    }
}
