//! The wall clock of one host: off by some, fast or slow, and moved by whoever wants to make trouble.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::interpose::EPOCH_S;

/// A host's wall clock.
#[derive(Debug, Default)]
pub(crate) struct HostClock {
    elapsed_ms: AtomicU64,
    offset_ms: AtomicI64,
    /// Gains so many milliseconds per thousand seconds.
    drift_ppm: AtomicI64,
    /// Since when it does.
    drift_since_ms: AtomicU64,
}

impl HostClock {
    pub(super) fn advance(&self, elapsed: Duration) {
        self.elapsed_ms.store(elapsed.as_millis() as u64, Ordering::Relaxed);
    }

    /// Sets it off by this much, from the true time.
    pub(crate) fn set_offset(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
        self.drift_since_ms.store(self.elapsed_ms.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// By how much it is off.
    pub(crate) fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed) + self.gained_ms()
    }

    /// Lets it gain (or lose) this many parts in a million from now on. What it has gained stays.
    pub(crate) fn set_drift(&self, drift_ppm: i64) {
        self.set_offset(self.offset_ms());
        self.drift_ppm.store(drift_ppm, Ordering::Relaxed);
    }

    fn gained_ms(&self) -> i64 {
        let since = self.drift_since_ms.load(Ordering::Relaxed);
        let elapsed = self.elapsed_ms.load(Ordering::Relaxed).saturating_sub(since);
        (i128::from(elapsed) * i128::from(self.drift_ppm.load(Ordering::Relaxed)) / 1_000_000) as i64
    }

    /// Milliseconds since 1970, as the host believes.
    pub(crate) fn now_ms(&self) -> u64 {
        let elapsed = self.elapsed_ms.load(Ordering::Relaxed);
        (EPOCH_S * 1000 + elapsed).saturating_add_signed(self.offset_ms())
    }
}

/// The clock, for a node.
pub(super) struct Shown(pub(super) std::sync::Arc<HostClock>);

impl quorate_node::clock::Clock for Shown {
    fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_changes_the_rate_and_never_the_time() {
        let clock = HostClock::default();
        let at = |seconds| clock.advance(Duration::from_secs(seconds));
        clock.set_offset(-500);
        clock.set_drift(10_000);
        at(100);
        assert_eq!(clock.offset_ms(), 500);
        let before = clock.now_ms();
        clock.set_drift(-10_000);
        assert_eq!(clock.now_ms(), before);
        at(200);
        assert_eq!(clock.offset_ms(), -500);
        assert_eq!(clock.now_ms(), EPOCH_S * 1000 + 199_500);
        clock.set_drift(0);
        at(1000);
        assert_eq!(clock.offset_ms(), -500);
    }
}
