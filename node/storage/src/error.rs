//! The one error of this crate. A message says what happened and what to do.

use std::path::{Path, PathBuf};

use quorate_machine::store::StoreError;

/// Why something on disk could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another process holds the data directory.
    #[error("{} is in use by another process: stop it, or give this node a directory of its own", .path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory was used, and what it had promised to remember is gone.
    #[error(
        "{} belongs to node {node} but lost its log ({what}): the node may have voted and acknowledged what it no \
         longer knows, so it must not vote. Set the directory aside and let the node come back as a new member",
        .path.display()
    )]
    Amnesia {
        /// The data directory.
        path: PathBuf,
        /// The node that the identity names.
        node: u64,
        /// What is missing.
        what: String,
    },
    /// There is a log or a state, but nothing that says whose.
    #[error(
        "{} holds data but no identity: put identity.a or identity.b back from a copy, or set the directory aside and \
         let the node come back as a new member",
        .path.display()
    )]
    IdentityMissing {
        /// The data directory.
        path: PathBuf,
    },
    /// The identity was asked for in a directory that has none, or given to one that has one.
    #[error("the identity of {}: {what}", .path.display())]
    Identity {
        /// The data directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// An environment of another cluster or node lies in this directory.
    #[error(
        "{} was written by {found}, but this directory belongs to {expected}: put the right files back, or set the \
         directory aside and let the node come back as a new member",
        .path.display()
    )]
    Foreign {
        /// The environment.
        path: PathBuf,
        /// Who wrote it.
        found: String,
        /// Who the directory belongs to.
        expected: String,
    },
    /// Written by a newer program.
    #[error(
        "{what} has format {found} and this program reads up to {supported}: run the newer program again"
    )]
    NewerFormat {
        /// What was read.
        what: String,
        /// The format found.
        found: u16,
        /// The newest format that is understood.
        supported: u16,
    },
    /// Bytes on disk are not what was written.
    #[error(
        "{place} is damaged: {what}. Nothing was changed. The node must not go on with it: set the directory aside and \
         let the node come back as a new member"
    )]
    Corrupt {
        /// The file, or the shard and index.
        place: String,
        /// What does not fit.
        what: String,
    },
    /// The directory is not there any more, or cannot be written to: what would be acknowledged now would be lost.
    #[error(
        "{} is not what was opened: {what}. The node ends, since nothing that it writes would be kept. Put the directory back \
         and start it again; or start it with an empty one, and it comes back as a new member",
        .path.display()
    )]
    Gone {
        /// The data directory.
        path: PathBuf,
        /// What is missing, or different.
        what: String,
    },
    /// A chunk of a snapshot is not what was sent.
    #[error("a chunk of the snapshot of shard {shard} is damaged ({what}): ask for the snapshot again")]
    BadChunk {
        /// The shard.
        shard: u32,
        /// What does not fit.
        what: String,
    },
    /// A snapshot was announced that there is no room for. Nothing was changed.
    #[error(
        "the snapshot of shard {shard} takes about {needed_bytes} bytes and {} has room for {free_bytes}: make room; \
         the leader sends it again by itself",
        .path.display()
    )]
    NoRoomForSnapshot {
        /// The shard.
        shard: u32,
        /// The environment that it was to become.
        path: PathBuf,
        /// About how many bytes it takes.
        needed_bytes: u64,
        /// How many there are, on the disk or under `--map-bytes-max`.
        free_bytes: u64,
    },
    /// Another snapshot began to arrive, or the state is closing.
    #[error("shard {shard}: another snapshot has taken the place of this one")]
    SnapshotReplaced {
        /// The shard.
        shard: u32,
    },
    /// A read of records that were purged.
    #[error("shard {shard} no longer has index {index}, it was purged up to {purged}: a snapshot is needed")]
    Purged {
        /// The shard.
        shard: u32,
        /// The index asked for.
        index: u64,
        /// The last index purged.
        purged: u64,
    },
    /// The caller broke the contract of a call; nothing was changed.
    #[error("shard {shard}: {what}; nothing was changed")]
    Misuse {
        /// The shard.
        shard: u32,
        /// What is wrong with the call.
        what: String,
    },
    /// A call to the disk failed.
    #[error("{what}: {reason}")]
    Disk {
        /// What was being done, and to which file.
        what: String,
        /// What the system said.
        reason: String,
    },
    /// An earlier error ended this store.
    #[error("the store stopped after an earlier error, restart the process: {0}")]
    Poisoned(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// Whether what the data directory promised to remember is gone or damaged, and not merely out of reach.
    pub fn is_loss(&self) -> bool {
        matches!(
            self,
            Error::Amnesia { .. }
                | Error::IdentityMissing { .. }
                | Error::Foreign { .. }
                | Error::Corrupt { .. }
        )
    }

    pub(crate) fn io(what: &str, path: &Path, error: &std::io::Error) -> Error {
        Error::Disk { what: format!("{what} {}", path.display()), reason: error.to_string() }
    }

    pub(crate) fn lmdb(what: &str, path: &Path, error: &heed::Error) -> Error {
        Error::Disk { what: format!("{what} {}", path.display()), reason: error.to_string() }
    }

    pub(crate) fn corrupt(place: impl Into<String>, what: impl Into<String>) -> Error {
        Error::Corrupt { place: place.into(), what: what.into() }
    }

    pub(crate) fn misuse(shard: u32, what: impl Into<String>) -> Error {
        Error::Misuse { shard, what: what.into() }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> StoreError {
        StoreError(error.to_string())
    }
}
