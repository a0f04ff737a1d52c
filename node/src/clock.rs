//! The wall clock, as a trait: one of the two places that touch the system's sources of nondeterminism.

/// Tells the time that a leader draws replicated time towards.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970. It may jump: see `shards/proposal/time.rs` for what replicated time makes of it.
    fn now_ms(&self) -> u64;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }
}
