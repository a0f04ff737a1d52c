//! What a node keeps on disk, and how it gets there.
//!
//! ```text
//! <data directory>/
//!   LOCK             held by the one process that uses the directory
//!   identity.a, .b   two copies of who this directory belongs to (identity)
//!   log/             one LMDB environment: the logs of all shards (log)
//!   state-<shard>/   one LMDB environment per shard: the machine's rows (state); .1, .2, … after each snapshot that was installed,
//!                    and then .new, beside it while one arrives
//!   aside-<n>/       what an earlier, damaged incarnation left behind; never read
//! ```
//!
//! What each part owes to the design:
//!
//! * [`log`]: nothing is reported as written before it is synced, and every record proves on every read that it is
//!   the one that was written. One writer serves all shards, so a commit is shared by whatever had arrived.
//! * [`state`]: apply never waits for the disk, and the state on disk is never ahead of the log on disk.
//! * [`data_dir`] and [`identity`]: a directory that lost what it had promised is told apart from a new one.
//! * [`watch`]: a directory that is gone, and a volume that is nearly full, are noticed while nothing is written.
//! * [`disk`]: the one place where blocking work meets the runtime; a simulation replaces it.
//! * [`space`]: how much room there is, so that a publish is refused before the disk refuses it.
//!
//! An error from a write or a sync is never tried again: the store is poisoned, nobody is answered, the process ends.
//! Only a full map and a full disk are waited for, because they lose nothing.
#![warn(missing_docs)]

pub mod data_dir;
pub mod disk;
mod error;
pub mod identity;
pub mod log;
mod map;
mod owner;
mod preflight;
pub mod space;
pub mod state;
mod stretch;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod watch;

pub use data_dir::DataDir;
pub use error::Error;
pub use space::{Quota, Room};
pub use watch::Watch;

use std::sync::Arc;

/// What is called, once, when a store met an error after which it must not go on. The default ends the process.
pub type OnFatal = Arc<dyn Fn(&Error) + Send + Sync>;

/// What a process exits with whose data directory is gone.
pub const GONE_EXIT_CODE: i32 = 5;

/// The [`OnFatal`] of a real node: says why and aborts, since whoever goes on after a failed sync may promise what
/// the disk does not hold. A directory that is gone is nothing that a core dump would explain: an exit code says it.
pub fn abort_process() -> OnFatal {
    Arc::new(|error| {
        tracing::error!(%error, "the store failed; the process ends now");
        eprintln!("quorate: the store failed, the process ends now: {error}");
        match error {
            Error::Gone { .. } => std::process::exit(GONE_EXIT_CODE),
            _ => std::process::abort(),
        }
    })
}
