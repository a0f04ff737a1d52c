//! The system's clock, randomness and file writes, answered by the simulation.
//!
//! Libraries below the product ask libc directly: `HashMap` for its keys, `rand` for seeds, h2 for the time, LMDB for its
//! writes. A binary that says [`interpose!`](crate::interpose!) defines those symbols itself, so that every one of these calls, from Rust
//! and from C, comes here first. Only the thread that [`arm`]ed gets simulated answers; all others reach the system.
//!
//! The symbols are defined by a macro in the binary, not in this library: merely depending on the library changes
//! nothing.

mod clock;
mod files;
mod random;
mod raw;

pub use clock::clock_gettime;
pub use files::{fallocate64, fdatasync, fsync, ftruncate64, pwrite64, write, writev};
pub use random::{getentropy, getrandom};

pub(crate) use random::answered as drawn;

pub(crate) use clock::{EPOCH_S, elapsed, real_now, set_elapsed};
pub(crate) use files::{Hook, set_hook, unseen};

use std::cell::Cell;

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn armed() -> bool {
    ARMED.get()
}

/// The binary does not define the symbols.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error(
    "the clock and randomness of this program are the system's: put `quorate_sim::interpose!();` into its main file"
)]
pub struct NotInterposed;

/// From now on this thread lives in the simulation of `seed`. Call it once, before anything draws randomness.
///
/// # Errors
/// [`NotInterposed`] if the program does not define the symbols.
pub fn arm(seed: u64) -> Result<(), NotInterposed> {
    random::seed(seed);
    ARMED.set(true);
    let (mut probe, asked) = ([0u8; 8], random::answered());
    // Safety: the buffer is as long as is said.
    unsafe { libc::getrandom(probe.as_mut_ptr().cast(), probe.len(), 0) };
    if random::answered() == asked {
        ARMED.set(false);
        return Err(NotInterposed);
    }
    random::seed(seed);
    Ok(())
}

/// Runs `work` where nothing has run before. The keys of hash maps and the seeds of generators are drawn once per thread,
/// at their first use: on a used thread they would not follow from the seed.
///
/// # Panics
/// If `work` panics, or the system has no thread to give.
#[allow(clippy::disallowed_methods)] // the one thread of a simulation
pub(crate) fn on_a_fresh_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Defines the symbols that put a program's clock, randomness and file writes under the simulation. Once per program, in its
/// main file.
#[macro_export]
macro_rules! interpose {
    () => {
        #[doc(hidden)]
        mod __quorate_interposed {
            use ::std::ffi::{c_int, c_void};

            #[unsafe(no_mangle)]
            unsafe extern "C" fn getrandom(buffer: *mut c_void, len: usize, flags: u32) -> isize {
                unsafe { $crate::interpose::getrandom(buffer, len, flags) }
            }
            #[unsafe(no_mangle)]
            unsafe extern "C" fn getentropy(buffer: *mut c_void, len: usize) -> c_int {
                unsafe { $crate::interpose::getentropy(buffer, len) }
            }
            #[unsafe(no_mangle)]
            unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut c_void) -> c_int {
                unsafe { $crate::interpose::clock_gettime(clock, time) }
            }
            #[unsafe(no_mangle)]
            unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, len: usize) -> isize {
                unsafe { $crate::interpose::write(fd, bytes, len) }
            }
            #[unsafe(no_mangle)]
            unsafe extern "C" fn pwrite(fd: c_int, bytes: *const c_void, len: usize, offset: i64) -> isize {
                unsafe { $crate::interpose::pwrite64(fd, bytes, len, offset) }
            }
            #[unsafe(no_mangle)]
            unsafe extern "C" fn pwrite64(fd: c_int, bytes: *const c_void, len: usize, offset: i64) -> isize {
                unsafe { $crate::interpose::pwrite64(fd, bytes, len, offset) }
            }
            #[unsafe(no_mangle)]
            unsafe extern "C" fn writev(fd: c_int, parts: *const c_void, count: c_int) -> isize {
                unsafe { $crate::interpose::writev(fd, parts, count) }
            }
            #[unsafe(no_mangle)]
            unsafe extern "C" fn ftruncate(fd: c_int, len: i64) -> c_int {
                unsafe { $crate::interpose::ftruncate64(fd, len) }
            }
            #[unsafe(no_mangle)]
            unsafe extern "C" fn ftruncate64(fd: c_int, len: i64) -> c_int {
                unsafe { $crate::interpose::ftruncate64(fd, len) }
            }
            #[unsafe(no_mangle)]
            unsafe extern "C" fn fallocate(fd: c_int, mode: c_int, offset: i64, len: i64) -> c_int {
                unsafe { $crate::interpose::fallocate64(fd, mode, offset, len) }
            }
            #[unsafe(no_mangle)]
            unsafe extern "C" fn fallocate64(fd: c_int, mode: c_int, offset: i64, len: i64) -> c_int {
                unsafe { $crate::interpose::fallocate64(fd, mode, offset, len) }
            }
            #[unsafe(no_mangle)]
            unsafe extern "C" fn fsync(fd: c_int) -> c_int {
                unsafe { $crate::interpose::fsync(fd) }
            }
            #[unsafe(no_mangle)]
            unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
                unsafe { $crate::interpose::fdatasync(fd) }
            }
        }
    };
}
