//! The gate between versions: what this node's program reads and writes, which version is active, and the end of a replica
//! that meets what its program cannot read.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use quorate_machine::Versions;
use quorate_machine::versions::{FIRST, of_entry};
use quorate_proto::peer::v1 as wire;

use crate::ending::{End, Ending};
use crate::types::{Entry, Unreadable, entry_from_wire};

/// See the module. Clones share it.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    versions: Versions,
    active: AtomicU32,
    end: End,
}

impl Gate {
    /// For a program of these versions, which has seen no version raised.
    pub fn new(versions: Versions) -> Self {
        Self(Arc::new(Shared { versions, active: AtomicU32::new(FIRST), end: End::default() }))
    }

    /// What the program reads and writes.
    pub fn versions(&self) -> Versions {
        self.0.versions
    }

    /// The version that is active in what was applied here.
    pub fn active(&self) -> u32 {
        self.0.active.load(Ordering::Acquire)
    }

    /// Where the replica's end is said.
    pub fn end(&self) -> &End {
        &self.0.end
    }

    /// It was applied here that a version is active.
    pub(crate) fn is_active(&self, version: u32) {
        self.0.active.fetch_max(version, Ordering::AcqRel);
    }

    /// Ends the replica: its program cannot read `what`.
    pub(crate) fn cannot_read(&self, what: impl fmt::Display, why: impl fmt::Display) {
        self.0.end.because(Ending::Unreadable { what: what.to_string(), why: why.to_string() });
    }

    /// Whether the program reads a version that the cluster writes, as a member or a snapshot says; ends the replica if not.
    pub(crate) fn check(&self, version: u32, what: impl fmt::Display) -> Result<(), String> {
        if self.versions().read(version) {
            return Ok(());
        }
        let why = format!("it is of version {version}, and this program reads {}", self.versions());
        self.cannot_read(what, &why);
        Err(why)
    }

    /// An entry that a leader sends. What cannot be read is not even stored: whoever confirms an entry must be able to apply it.
    pub(crate) fn entry(&self, entry: wire::Entry) -> Result<Entry, String> {
        let index = entry.id.map_or(0, |id| id.index);
        let what = || format!("the entry at index {index}");
        let entry = entry_from_wire(entry).map_err(|why| {
            self.cannot_read(what(), why);
            format!("{}: {why}", what())
        })?;
        let of_commands = match &entry.payload {
            openraft::EntryPayload::Normal(commands) => of_entry(&commands.0),
            _ => None,
        };
        match of_commands {
            Some(version) if !quorate_simpoint::planted(quorate_simpoint::Bug::UnreadableSkipped) => {
                self.check(version, what()).map(|()| entry)
            }
            _ => Ok(entry),
        }
    }

    /// What a store says. Ends the replica if it is damage: openraft passes on no more than the words.
    pub(crate) fn stored<T>(&self, result: Result<T, quorate_storage::Error>) -> std::io::Result<T> {
        result.map_err(|e| {
            if e.is_loss() {
                self.end().because(Ending::Damaged(e.clone()));
            }
            std::io::Error::other(e)
        })
    }

    /// An entry that stands in the log and cannot be read.
    pub(crate) fn met(&self, index: u64, why: Unreadable) -> std::io::Error {
        self.cannot_read(format!("the entry at index {index} of the log"), why);
        why.into()
    }
}
