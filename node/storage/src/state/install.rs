//! Receiving a snapshot: chunks are checked and spooled to a file, then loaded in one transaction.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use heed::{PutFlags, RwTxn};
use quorate_machine::limits::KEY_BYTES_MAX;
use quorate_machine::tables::Table;
use quorate_simpoint::{Bug, planted};
use tokio::sync::oneshot;

use super::flush::Job;
use super::{Applied, State, chunk, row};
use crate::data_dir::DataDir;
use crate::error::Error;
use crate::log::{LogId, ShardId};
use crate::map::{Fault, Map};

/// A snapshot on its way in. Dropped without [`finish`](Installer::finish), it leaves nothing behind.
pub struct Installer {
    state: State,
    spool: Spool,
    rows: u64,
    last_key: Vec<u8>,
}

/// A file that goes with its owner.
pub(crate) struct Spool {
    pub path: PathBuf,
    file: File,
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a spool file stays until the next start");
        }
    }
}

impl Installer {
    pub(crate) fn new(state: State, number: u64) -> Result<Installer, Error> {
        let path = state.core.dir.path().join(format!("{}{number}", prefix(state.core.shard)));
        let file = File::create(&path).map_err(|e| Error::io("making", &path, &e))?;
        Ok(Installer { state, spool: Spool { path, file }, rows: 0, last_key: Vec::new() })
    }

    /// Takes the next chunk: checked here, and put in a file. It writes to the page cache and does not sync.
    ///
    /// # Errors
    /// [`Error::BadChunk`] if it is damaged or its keys do not follow those before, [`Error::Disk`]. The installer is of
    /// no use then.
    pub fn chunk(&mut self, bytes: Bytes) -> Result<(), Error> {
        let shard = self.state.core.shard;
        let last_key = &mut self.last_key;
        let rows = chunk::rows(shard, &bytes, |key, _| {
            if key <= last_key.as_slice() || key.len() > KEY_BYTES_MAX {
                return Err(Error::BadChunk { shard, what: "its keys are not in order".into() });
            }
            last_key.clear();
            last_key.extend_from_slice(key);
            Ok(())
        })?;
        self.rows += u64::from(rows);
        let length = (bytes.len() as u32).to_le_bytes();
        let file = &mut self.spool.file;
        file.write_all(&length)
            .and_then(|()| file.write_all(&bytes))
            .map_err(|e| Error::io("writing", &self.spool.path, &e))
    }

    /// Replaces the whole state by what was received, in one synced transaction. `rows` is how many rows the sender says
    /// there are. Nothing may be applied meanwhile. Dropping the future does not undo it once it was asked for.
    ///
    /// # Errors
    /// [`Error::BadChunk`] if rows are missing; the state is as it was. Or why the state stopped.
    pub async fn finish(self, rows: u64, applied: LogId, membership: Bytes) -> Result<(), Error> {
        if rows != self.rows {
            let what = format!("{} rows arrived and {rows} were announced", self.rows);
            return Err(Error::BadChunk { shard: self.state.core.shard, what });
        }
        let (done, wait) = oneshot::channel();
        let state = self.state.clone();
        let applied = Applied { last: Some(applied), membership };
        state.send(Job::Install { spool: self.spool, applied, done })?;
        wait.await.unwrap_or_else(|_| Err(state.closed()))
    }
}

fn prefix(shard: ShardId) -> String {
    format!("install-{shard}-")
}

/// Removes what a process that ended left.
pub(crate) fn remove_spools(dir: &DataDir, shard: ShardId) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::io("cleaning", dir.path(), &e);
    for entry in fs::read_dir(dir.path()).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(&prefix(shard)) {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Replaces all rows by those of the spool file; returns how many there are. The chunks are checked once more, since
/// they went through a file.
pub(crate) fn load(shard: ShardId, map: &Map, txn: &mut RwTxn, spool: &Path) -> Result<u64, Fault> {
    let failed = |e: std::io::Error| Error::io("reading", spool, &e);
    let mut file = BufReader::new(File::open(spool).map_err(failed)?);
    map.rows.clear(txn)?;
    map.in_log.clear(txn)?;
    let (mut chunk, mut stored, mut total) = (Vec::new(), Vec::new(), 0);
    loop {
        let mut length = [0; 4];
        match file.read_exact(&mut length) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(total),
            Err(e) => return Err(failed(e).into()),
        }
        chunk.resize(u32::from_le_bytes(length) as usize, 0);
        file.read_exact(&mut chunk).map_err(failed)?;
        let mut lmdb = None;
        let rows = chunk::rows(shard, &chunk, |key, value| {
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
        if let Some(error) = lmdb {
            return Err(error.into());
        }
        total += u64::from(rows?);
    }
}
