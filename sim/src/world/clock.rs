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
}

impl HostClock {
    pub(super) fn advance(&self, elapsed: Duration) {
        self.elapsed_ms.store(elapsed.as_millis() as u64, Ordering::Relaxed);
    }

    /// Sets it off by this much, from the true time.
    pub(crate) fn set_offset(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    /// Lets it gain (or lose) this many parts in a million.
    pub(crate) fn set_drift(&self, drift_ppm: i64) {
        self.drift_ppm.store(drift_ppm, Ordering::Relaxed);
    }

    /// Milliseconds since 1970, as the host believes.
    pub(crate) fn now_ms(&self) -> u64 {
        let elapsed = self.elapsed_ms.load(Ordering::Relaxed);
        let gained = i128::from(elapsed) * i128::from(self.drift_ppm.load(Ordering::Relaxed)) / 1_000_000;
        let wrong = gained as i64 + self.offset_ms.load(Ordering::Relaxed);
        (EPOCH_S * 1000 + elapsed).saturating_add_signed(wrong)
    }
}

/// The clock, for a node.
pub(super) struct Shown(pub(super) std::sync::Arc<HostClock>);

impl quorate_node::clock::Clock for Shown {
    fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }
}
