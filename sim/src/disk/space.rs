//! How much room a disk has.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quorate_storage::disk::Volume;

/// What a disk has left that is not short of room, whatever is written to it.
const PLENTY_BYTES: u64 = 1 << 40;
/// A write that is cut short ends where a block does.
const BLOCK: u64 = 4096;

/// The room of a disk, which outlives the processes that use it.
#[derive(Debug)]
pub(crate) struct Space {
    /// Nothing is left, for as long as that lasts.
    full: AtomicBool,
    /// So many bytes are left.
    left: AtomicU64,
    /// What was never written takes room only when it is: a file that was made longer ahead has none of it yet.
    thin: bool,
}

impl Default for Space {
    fn default() -> Self {
        Space::new(false)
    }
}

impl Space {
    pub(crate) fn new(thin: bool) -> Self {
        Space { full: AtomicBool::new(false), left: AtomicU64::new(PLENTY_BYTES), thin }
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// From now on there are at most so many bytes.
    pub(crate) fn leave(&self, bytes: u64) {
        self.left.fetch_min(bytes, Ordering::Relaxed);
    }

    /// There is room again.
    pub(crate) fn relieve(&self) {
        self.left.store(PLENTY_BYTES, Ordering::Relaxed);
    }

    pub(crate) fn is_thin(&self) -> bool {
        self.thin
    }

    pub(crate) fn left_bytes(&self) -> u64 {
        if self.full.load(Ordering::Relaxed) { 0 } else { self.left.load(Ordering::Relaxed) }
    }

    pub(crate) fn volume(&self) -> Volume {
        Volume {
            free_bytes: self.left_bytes(),
            total_bytes: 2 * PLENTY_BYTES,
            is_read_only: false,
            writes_in_place: !self.thin,
        }
    }

    /// All of it or nothing.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let is_there = bytes <= self.left_bytes();
        if is_there && self.left.load(Ordering::Relaxed) < PLENTY_BYTES {
            self.left.fetch_sub(bytes, Ordering::Relaxed);
        }
        is_there
    }

    /// How much gets there of a write of `len` bytes at `offset` to a file that has `held` bytes of its own.
    pub(super) fn write(&self, offset: u64, len: u64, held: u64) -> u64 {
        let new = (offset + len).saturating_sub(held.max(offset));
        if self.take(new) {
            return len;
        }
        let most = offset + (len - new) + self.left_bytes();
        let cut = (most - most % BLOCK).saturating_sub(offset);
        self.take(cut.saturating_sub(len - new));
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_cut_short_where_the_room_ends_and_what_is_there_takes_none() {
        let space = Space::default();
        assert_eq!(space.write(0, 1 << 30, 0), 1 << 30);
        space.leave(10_000);
        assert_eq!(space.write(0, 8192, 8192), 8192, "in place");
        assert_eq!((space.write(4096, 8192, 8192), space.left_bytes()), (8192, 10_000 - 4096));
        assert_eq!(space.write(8192, 16_384, 12_288), 8192, "a part of it");
        assert_eq!(space.write(16_384, 4096, 16_384), 0);
        space.relieve();
        assert_eq!(space.write(16_384, 4096, 16_384), 4096);
        space.set_full(true);
        assert!(space.write(0, 4096, 4096) == 4096 && space.write(4096, 1, 4096) == 0);
    }
}
