//! What the outside can do to a running process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One per life of a process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    /// The power of its host is off.
    dead: Arc<AtomicBool>,
    /// It has ended itself.
    aborted: Arc<AtomicBool>,
    /// It does not get to run.
    paused: Arc<AtomicBool>,
    /// The device of its log does nothing.
    log_stalled: Arc<AtomicBool>,
    /// Its disk does nothing, while it goes on itself.
    disk_stalled: Arc<AtomicBool>,
}

impl Gate {
    /// For a process on the host whose power is off when `dead` says so.
    pub(crate) fn of_host(dead: Arc<AtomicBool>) -> Self {
        Gate { dead, ..Gate::default() }
    }

    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(crate) fn stall_log(&self, stalled: bool) {
        self.log_stalled.store(stalled, Ordering::Relaxed);
    }

    pub(crate) fn stall_disk(&self, stalled: bool) {
        self.disk_stalled.store(stalled, Ordering::Relaxed);
    }

    pub(crate) fn is_disk_stalled(&self) -> bool {
        self.disk_stalled.load(Ordering::Relaxed)
    }

    pub(crate) fn is_log_stalled(&self) -> bool {
        self.log_stalled.load(Ordering::Relaxed)
    }

    /// Whether nothing may leave the process any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_dead() || self.has_aborted()
    }
}
