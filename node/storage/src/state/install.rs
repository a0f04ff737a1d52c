//! Receiving a snapshot: chunks are checked as they arrive, and handed in groups to the actor, which makes a new environment of
//! them ([`super::fresh`]).

use bytes::Bytes;
use quorate_machine::limits::KEY_BYTES_MAX;
use tokio::sync::oneshot;

use super::flush::Job;
use super::{Applied, State, chunk};
use crate::error::Error;
use crate::log::LogId;

/// Chunks are written in groups of so many bytes, or of one chunk that is larger: what a transaction takes of memory.
const GROUP_BYTES: usize = 4 << 20;

/// A snapshot on its way in. Dropped without [`finish`](Installer::finish), it leaves nothing behind.
pub struct Installer {
    state: State,
    /// Tells the snapshots apart that begin to arrive one after the other.
    number: u64,
    group: Vec<Bytes>,
    group_bytes: usize,
    rows: u64,
    last_key: Vec<u8>,
}

/// What is left to be done when all has arrived.
pub(crate) struct Last {
    /// Chunks that are not in the environment yet.
    pub group: Vec<Bytes>,
    /// How many rows there must be.
    pub rows: u64,
    /// What they stand for.
    pub applied: Applied,
}

impl Drop for Installer {
    fn drop(&mut self) {
        // An actor that has ended leaves what there is to the next start.
        let _ = self.state.jobs.send(Job::GiveUp { number: self.number });
    }
}

impl Installer {
    pub(crate) async fn new(state: State, number: u64, bytes: u64) -> Result<Installer, Error> {
        let (group, last_key) = Default::default();
        let installer = Installer { state, number, group, group_bytes: 0, rows: 0, last_key };
        installer.ask(|done| Job::Begin { number, bytes, done }).await?;
        Ok(installer)
    }

    /// Takes the next chunk, and returns when it is in memory or written; nothing is synced yet. At most one group of chunks
    /// is in memory and one on its way.
    ///
    /// # Errors
    /// [`Error::BadChunk`] if it is damaged or its keys do not follow those before, [`Error::NoRoomForSnapshot`],
    /// [`Error::SnapshotReplaced`], or why the state stopped. The installer is of no use then.
    pub async fn chunk(&mut self, bytes: Bytes) -> Result<(), Error> {
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
        self.group_bytes += bytes.len();
        self.group.push(bytes);
        if self.group_bytes < GROUP_BYTES {
            return Ok(());
        }
        let (number, group) = (self.number, self.take_group());
        self.ask(|done| Job::Rows { number, group, done }).await
    }

    /// Replaces the whole state by what was received. It is on disk when this returns. `rows` is how many rows the sender says
    /// there are. Nothing may be applied meanwhile. Dropping the future does not undo it once it was asked for.
    ///
    /// # Errors
    /// [`Error::BadChunk`] if rows are missing, or as [`chunk`](Installer::chunk); the state is as it was. Or why the state
    /// stopped.
    pub async fn finish(mut self, rows: u64, applied: LogId, membership: Bytes) -> Result<(), Error> {
        if rows != self.rows {
            let what = format!("{} rows arrived and {rows} were announced", self.rows);
            return Err(Error::BadChunk { shard: self.state.core.shard, what });
        }
        let applied = Applied { last: Some(applied), membership };
        let (number, last) = (self.number, Last { group: self.take_group(), rows, applied });
        self.ask(|done| Job::Install { number, last, done }).await
    }

    fn take_group(&mut self) -> Vec<Bytes> {
        self.group_bytes = 0;
        std::mem::take(&mut self.group)
    }

    async fn ask(&self, job: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> Job) -> Result<(), Error> {
        let (done, wait) = oneshot::channel();
        self.state.send(job(done))?;
        wait.await.unwrap_or_else(|_| Err(self.state.closed()))
    }
}
