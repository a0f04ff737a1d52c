//! What can go wrong with a disk.

use super::Loss;

/// When the power fails, or the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The operation it happens at, counted from the mount, from 0.
    pub(crate) op: u64,
    /// Whether that operation is done before: only then does a commit stand whose callbacks never leave the process.
    pub(crate) after: bool,
    /// What becomes of what no sync covered.
    pub(crate) loss: Loss,
}

/// What goes wrong with a disk from now on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble {
    /// The end of everything.
    pub(crate) failure: Option<Failure>,
    /// The next sync fails, and what it was to cover never reaches the medium, though it can still be read.
    pub(crate) fail_sync: bool,
    /// So many of the coming writes are acknowledged by the medium and never get there. Of LMDB's pages only the values
    /// do not get there: see [`super::pages`].
    pub(crate) lose_writes: u32,
    /// So many of the coming writes go to another place of the same file. Of LMDB's pages only the values do.
    pub(crate) misdirect_writes: u32,
}

impl Trouble {
    /// Whether the medium does not hold what it was told to.
    pub(super) fn lies(&self) -> bool {
        self.lose_writes > 0 || self.misdirect_writes > 0
    }
}
