//! Versions: which entries and rows a program can read, and which version the cluster writes.
//!
//! A version covers everything that is in an entry or a row: verbs, fields, the values of enumerations, and what they mean.
//! Prost drops a field that it does not know without a word, so every entry says which version it takes to read it.
//! A program that does not read that version stops there: whatever it did instead would part its state from the others'.
//!
//! The *active* version is a row of the state. A leader writes it, or an earlier one; it is raised by a command, once every member can
//! read the next one ([`crate::command::RaiseVersion`]). What is added to the commands later belongs to a later version: `tests/fields.rs`
//! holds the list of what there is, and whoever adds to it lets it be proposed only when its version is active
//! (`Replica::active_version`).

use std::fmt;

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::FORMAT_VERSION;
use crate::command::{Batch, Verb};
use crate::store::{Read, StoreError};
use crate::tables::{key, row};

/// The version that every cluster begins with.
pub const FIRST: u32 = 1;

/// The versions of entries and rows that a program reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// The oldest that it reads.
    pub reads_from: u32,
    /// The newest that it reads.
    pub reads_to: u32,
    /// The newest that it writes.
    pub writes: u32,
}

impl Versions {
    /// Those of this program.
    pub const OWN: Self = Self { reads_from: FIRST, reads_to: FORMAT_VERSION, writes: FORMAT_VERSION };

    /// Whether a program of these versions can read what is of `version`.
    pub fn read(&self, version: u32) -> bool {
        (self.reads_from..=self.reads_to).contains(&version)
    }

    /// The version that a leader writes while `active` is in force.
    pub fn write(&self, active: u32) -> u32 {
        self.writes.min(active)
    }

    /// The highest version that a program both reads and writes.
    pub fn highest(&self) -> u32 {
        self.reads_to.min(self.writes)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reads_from == self.reads_to {
            true => write!(f, "version {}", self.reads_to),
            false => write!(f, "versions {} to {}", self.reads_from, self.reads_to),
        }
    }
}

/// Why a program cannot read an entry. That says nothing of the entry: others may have carried it out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is of another version.
    #[error("it is of version {found}, and this program reads {reads}")]
    Version {
        /// The entry's.
        found: u32,
        /// The program's.
        reads: Versions,
    },
    /// From this entry on, the cluster may write what the program cannot read.
    #[error("it raises the cluster to version {to}, and this program reads {reads}")]
    Raised {
        /// The version that is active from then on.
        to: u32,
        /// The program's.
        reads: Versions,
    },
    /// It is no batch of commands.
    #[error("it cannot be decoded: {0}")]
    Undecodable(String),
    /// A command has no verb that the program knows.
    #[error("command {nth} of it has no verb that this program knows")]
    UnknownVerb {
        /// Counted from 0.
        nth: usize,
    },
    /// A field was not understood.
    #[error("it has {bytes} bytes of fields that this program does not know")]
    UnknownFields {
        /// Length of what would be lost.
        bytes: usize,
    },
}

/// Why an entry was not applied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApplyError {
    /// The store failed, and holds a part of the entry: it must be given up.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This program cannot read it. Nothing was changed, and nothing may be applied after it.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// The version that an entry says it takes to read it, if that much can be read. A look at its first bytes.
pub fn of_entry(mut entry: &[u8]) -> Option<u32> {
    let (tag, wire_type) = decode_key(&mut entry).ok()?;
    if (tag, wire_type) != (1, WireType::Varint) {
        return None;
    }
    u32::try_from(decode_varint(&mut entry).ok()?).ok()
}

/// The version that is active in a state. Fails like the store.
pub fn active(store: &impl Read) -> Result<u32, StoreError> {
    Ok(row::get_u32(store, &key::version())?.unwrap_or(FIRST))
}

/// Reads an entry whole, or says why this program cannot.
pub(crate) fn read(versions: Versions, entry: &Bytes) -> Result<Batch, Unreadable> {
    // Of another version nothing else can be trusted to be what it looks like, so that is what is said first.
    if let Some(found) = of_entry(entry).filter(|version| !versions.read(*version)) {
        return Err(Unreadable::Version { found, reads: versions });
    }
    // A clone shares the bytes, so that the bodies of the batch are slices of the entry.
    let batch = Batch::decode(entry.clone()).map_err(|error| Unreadable::Undecodable(error.to_string()))?;
    let found = batch.format_version;
    if !versions.read(found) {
        return Err(Unreadable::Version { found, reads: versions });
    }
    for (nth, command) in batch.commands.iter().enumerate() {
        match &command.verb {
            None => return Err(Unreadable::UnknownVerb { nth }),
            Some(Verb::RaiseVersion(raise)) if raise.to > versions.reads_to => {
                return Err(Unreadable::Raised { to: raise.to, reads: versions });
            }
            Some(_) => {}
        }
    }
    // What was dropped is missing from the length: entries are written by the same code, which has one encoding for a batch.
    match entry.len().checked_sub(batch.encoded_len()) {
        Some(0) => Ok(batch),
        Some(bytes) => Err(Unreadable::UnknownFields { bytes }),
        None => Err(Unreadable::Undecodable("it is not as it would be written".into())),
    }
}
