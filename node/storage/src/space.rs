//! How full the disk and the quotas are.

/// The room that a store has. A server refuses publishes well before either runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes of live pages.
    pub used_bytes: u64,
    /// Where `used_bytes` must stop: the store then waits for room instead of writing.
    pub limit_bytes: u64,
    /// Bytes that the file system still gives to this user; 0 if it does not answer, so that nothing is admitted.
    pub disk_free_bytes: u64,
}
