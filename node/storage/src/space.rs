//! How much room there is: on the volume, in the file, within the quota.

use std::fmt;

use quorate_simpoint::{Bug, planted};

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

/// What comes to its end first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The volume.
    Volume,
    /// The quota: `--map-bytes-max`.
    Quota,
}

/// The room of one environment, by what comes to its end first. Pages of its file that hold nothing are room like what the
/// volume still gives: whatever was deleted makes room although the file does not shrink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that can still be stored, when what was taken already is.
    pub free_bytes: u64,
    /// How many of these are kept for what makes room: settling, purging, deleting, and the flush behind them.
    pub reserve_bytes: u64,
    /// What comes to its end first.
    pub bound: Bound,
    /// A write waits for room right now.
    pub waiting: bool,
}

impl Room {
    /// Whether `more_bytes` can be stored and leave the reserve alone.
    pub fn admits(&self, more_bytes: u64) -> bool {
        if planted(Bug::ReserveIgnored) {
            return true;
        }
        !self.waiting && self.free_bytes >= self.reserve_bytes.saturating_add(more_bytes)
    }

    /// Whether it is time to let go of what is kept only because there is room for it.
    pub fn is_short(&self) -> bool {
        self.waiting || self.free_bytes < self.reserve_bytes.saturating_mul(2)
    }

    /// The one of the two that has less left above its reserve.
    #[must_use]
    pub fn tighter(self, other: Room) -> Room {
        let left =
            |room: &Room| (!room.waiting, i128::from(room.free_bytes) - i128::from(room.reserve_bytes));
        if left(&other) < left(&self) { other } else { self }
    }
}

/// With the figures: `12 MiB free of a reserve of 64 MiB on the disk`.
impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.bound {
            Bound::Volume => "on the disk",
            Bound::Quota => "below --map-bytes-max",
        };
        write!(f, "{} free of a reserve of {} {place}", Size(self.free_bytes), Size(self.reserve_bytes))?;
        if self.waiting { f.write_str(", and a write waits for room") } else { Ok(()) }
    }
}

/// Bytes for people, rounded down.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 10 << 30 => write!(f, "{} GiB", bytes >> 30),
            bytes if bytes >= 10 << 20 => write!(f, "{} MiB", bytes >> 20),
            bytes => write!(f, "{} KiB", bytes >> 10),
        }
    }
}

/// What an environment will still have to store of what was taken.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Owed {
    /// On its volume.
    pub volume_bytes: u64,
    /// Within its quota.
    pub quota_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(free_bytes: u64, reserve_bytes: u64) -> Room {
        Room { free_bytes, reserve_bytes, bound: Bound::Volume, waiting: false }
    }

    #[test]
    fn the_reserve_is_left_alone_and_whoever_waits_takes_nothing() {
        assert!(room(100, 60).admits(40) && !room(100, 60).admits(41) && !room(59, 60).admits(0));
        assert!(!Room { waiting: true, ..room(100, 60) }.admits(0));
        assert!(room(119, 60).is_short() && !room(120, 60).is_short());
    }

    #[test]
    fn the_tighter_of_two_has_less_above_its_reserve_not_less_at_all() {
        let (disk, quota) = (room(100, 90), Room { bound: Bound::Quota, ..room(50, 5) });
        assert_eq!((disk.tighter(quota), quota.tighter(disk)), (disk, disk));
        let waiting = Room { waiting: true, ..quota };
        assert_eq!(disk.tighter(waiting), waiting);
    }

    #[test]
    fn figures_are_told_as_people_read_them() {
        let told = room(12 << 20, 64 << 20).to_string();
        assert_eq!(told, "12 MiB free of a reserve of 64 MiB on the disk");
        let quota = Room { bound: Bound::Quota, waiting: true, ..room(1500, 16 << 30) };
        let told = "1 KiB free of a reserve of 16 GiB below --map-bytes-max, and a write waits for room";
        assert_eq!(quota.to_string(), told);
    }
}
