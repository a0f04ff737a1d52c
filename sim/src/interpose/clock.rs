//! The clocks of an armed thread: they show the simulation's time and move only with its ticks.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::time::Duration;

use super::{armed, raw};

/// Where the simulated wall clock starts: 2026-01-01, in seconds since 1970.
pub(crate) const EPOCH_S: u64 = 1_767_225_600;

thread_local! {
    static ELAPSED_NS: Cell<u64> = const { Cell::new(0) };
}

/// Called at every tick.
pub(crate) fn set_elapsed(elapsed: Duration) {
    ELAPSED_NS.set(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
}

/// The simulation's time, as of the last tick.
pub(crate) fn elapsed() -> Duration {
    Duration::from_nanos(ELAPSED_NS.get())
}

/// The system's monotonic clock, for limits on real time.
pub(crate) fn real_now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // Safety: the pointer is to a timespec.
    unsafe { raw::clock_gettime(libc::CLOCK_MONOTONIC, (&raw mut time).cast()) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Tells the simulation's time.
///
/// # Safety
/// As clock_gettime(2).
pub unsafe fn clock_gettime(clock: c_int, time: *mut c_void) -> c_int {
    if !armed() {
        // Safety: the caller's.
        return unsafe { raw::clock_gettime(clock, time) };
    }
    let ns = ELAPSED_NS.get();
    let since_s = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => EPOCH_S,
        _ => 1000,
    };
    // Safety: the caller gives a timespec.
    unsafe {
        time.cast::<libc::timespec>().write(libc::timespec {
            tv_sec: (since_s + ns / 1_000_000_000) as i64,
            tv_nsec: (ns % 1_000_000_000) as i64,
        });
    }
    0
}
