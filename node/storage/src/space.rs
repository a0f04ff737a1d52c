//! How full the quotas are.

/// The room that an environment has. A server refuses publishes well before it runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of live pages.
    pub used_bytes: u64,
    /// About how many more will be used by what was taken already and is still in memory, or in the log.
    pub owed_bytes: u64,
    /// Where `used_bytes` must stop: the store then waits for room instead of writing.
    pub limit_bytes: u64,
}

impl Quota {
    /// Whether `more_bytes` fit and leave a tenth for what has to go on all the same: settling, and the flush that frees.
    pub fn admits(&self, more_bytes: u64) -> bool {
        self.used_bytes + self.owed_bytes + more_bytes <= self.limit_bytes / 10 * 9
    }
}
