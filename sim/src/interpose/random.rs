//! Randomness from the seed: SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).

use std::cell::Cell;
use std::ffi::{c_int, c_void};

use super::{armed, raw};

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
    static ANSWERED: Cell<u64> = const { Cell::new(0) };
}

pub(super) fn seed(seed: u64) {
    STATE.set(seed);
}

/// How often randomness was drawn.
pub(crate) fn answered() -> u64 {
    ANSWERED.get()
}

fn next() -> u64 {
    let state = STATE.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    STATE.set(state);
    crate::seed::mix(state)
}

/// Fills from the seed.
///
/// # Safety
/// As getrandom(2).
pub unsafe fn getrandom(buffer: *mut c_void, len: usize, flags: u32) -> isize {
    if !armed() {
        // Safety: the caller's.
        return unsafe { raw::getrandom(buffer, len, flags) };
    }
    ANSWERED.set(ANSWERED.get() + 1);
    // Safety: the caller gives a buffer of this length.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), len) };
    for part in buffer.chunks_mut(8) {
        part.copy_from_slice(&next().to_le_bytes()[..part.len()]);
    }
    len as isize
}

/// Fills from the seed.
///
/// # Safety
/// As getentropy(3).
pub unsafe fn getentropy(buffer: *mut c_void, len: usize) -> c_int {
    // Safety: the caller's.
    if unsafe { getrandom(buffer, len, 0) } == len as isize { 0 } else { -1 }
}
