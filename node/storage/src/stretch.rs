//! The file of an environment beyond its used pages: really taken from the volume before LMDB writes there, so that a full
//! volume is met when the file is made longer, which changes nothing, and not in the middle of a write.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// How far ahead of what is needed the file is kept, in bytes: what makes room finds pages there on a full volume.
const AHEAD: u64 = 8 << 20;
/// How much it is made longer at once: a quarter of what it is, within these, in bytes.
const STEP_MIN: u64 = 4 << 20;
const STEP_MAX: u64 = 64 << 20;
/// The least that is worth a sync, in bytes.
const TAKE_MIN: u64 = 64 << 10;
/// Where the file system cannot take what is not written, zeros are written, so many bytes at once.
const ZEROS: usize = 1 << 20;

/// What was taken of a volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// So many bytes.
    pub bytes: u64,
    /// All that was wanted is there, with the stretch ahead of it.
    pub is_whole: bool,
}

/// See the module. Only the writer of the environment takes.
pub(crate) struct Stretch {
    file: File,
    len: AtomicU64,
    /// Bytes within the length that the volume has not given, in a file that was made elsewhere or by another program.
    hollow: u64,
}

impl Stretch {
    /// The stretch of the file at `path`, of which the environment has claimed so much. Holes in it are filled, if there is
    /// room.
    pub fn open(path: &Path, claimed: u64) -> Result<Stretch, Error> {
        let failed = |e: io::Error| Error::io("opening", path, &e);
        let file = File::options().write(true).open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        let there = (meta.blocks() * 512).max(claimed);
        let hollow = match meta.len().saturating_sub(there) {
            0 => 0,
            _ if reserve(&file, 0, meta.len()).is_ok() => 0,
            hollow => hollow,
        };
        Ok(Stretch { file, len: AtomicU64::new(meta.len()), hollow })
    }

    /// Bytes that the volume has given to the file.
    pub fn held_bytes(&self) -> u64 {
        self.len.load(Ordering::Relaxed).saturating_sub(self.hollow)
    }

    /// Has the file reach beyond `needed` bytes, but not beyond `most`, on a volume with `free` bytes. Short of these, as
    /// much as leaves something over.
    ///
    /// # Errors
    /// One that [`is_full`], if what is needed is not there and cannot be taken. Any other is of a sync, or of a disk that
    /// fails.
    pub fn take(&self, needed: u64, most: u64, free: impl Fn() -> u64) -> io::Result<Taken> {
        let wanted = (needed + AHEAD).min(most.max(needed));
        let mut len = self.len.load(Ordering::Relaxed);
        if wanted <= len {
            return Ok(Taken { bytes: 0, is_whole: true });
        }
        // LMDB makes it longer, too.
        len = len.max(self.file.metadata()?.len());
        self.len.store(len, Ordering::Relaxed);
        if wanted <= len {
            return Ok(Taken { bytes: 0, is_whole: true });
        }
        let step = (len / 4).clamp(STEP_MIN, STEP_MAX);
        let mut to = wanted.next_multiple_of(step).min(most.max(wanted));
        let free = free();
        if free < to - len {
            // Half of what is left, or what is needed of it, and an eighth stays in any case.
            let most = free / 8 * 7 / TAKE_MIN * TAKE_MIN;
            to = len + (free / 2 / TAKE_MIN * TAKE_MIN).max(needed.saturating_sub(len).min(most));
        }
        if to < needed {
            return Err(ErrorKind::StorageFull.into());
        }
        if to > len {
            self.lengthen(len, to)?;
        }
        Ok(Taken { bytes: to - len, is_whole: to >= wanted })
    }

    fn lengthen(&self, len: u64, to: u64) -> io::Result<()> {
        let taken = reserve(&self.file, len, to - len).or_else(|error| match error.kind() {
            ErrorKind::Unsupported => self.fill(len, to),
            _ => Err(error),
        });
        if let Err(error) = taken {
            // A part of it may have been taken.
            self.len.store(self.file.metadata()?.len(), Ordering::Relaxed);
            return Err(error);
        }
        // Whoever opens the file again takes a short one for a damaged one.
        self.file.sync_all().map_err(|error| io::Error::other(format!("the sync of its length: {error}")))?;
        self.len.store(to, Ordering::Relaxed);
        Ok(())
    }

    /// Writes zeros: the file ends at `from`, so there is nothing that they could destroy.
    fn fill(&self, mut from: u64, to: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS.min((to - from) as usize)];
        while from < to {
            let part = zeros.len().min((to - from) as usize);
            self.file.write_all_at(&zeros[..part], from)?;
            from += part as u64;
        }
        Ok(())
    }

    /// Whether the volume does not give it another page.
    pub fn is_stuck(&self) -> bool {
        let more = self.file.metadata().and_then(|meta| self.lengthen(meta.len(), meta.len() + TAKE_MIN));
        more.is_err_and(|error| is_full(&error))
    }
}

/// Whether the volume, or what this user may have of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Takes this part of the file from the volume; what is there stays. [`ErrorKind::Unsupported`] where the file system cannot.
/// By libc's name, which a simulation answers.
#[cfg(target_os = "linux")]
fn reserve(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    loop {
        // SAFETY: takes no pointer, and the file is open.
        let done = unsafe { libc::fallocate(file.as_raw_fd(), 0, from as libc::off_t, bytes as libc::off_t) };
        match (done, io::Error::last_os_error()) {
            (0, _) => return Ok(()),
            (_, error) if error.kind() == ErrorKind::Interrupted => {}
            (_, error) => return Err(error),
        }
    }
}

/// Takes nothing: zeros are written.
#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: u64, _: u64) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: u64 = 1 << 40;

    fn open(bytes: u64) -> (tempfile::TempDir, Stretch) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        File::create(&path).unwrap().set_len(bytes).unwrap();
        let stretch = Stretch::open(&path, 0).unwrap();
        (dir, stretch)
    }

    fn blocks(dir: &tempfile::TempDir) -> u64 {
        dir.path().join("file").metadata().unwrap().blocks() * 512
    }

    #[test]
    fn what_is_taken_is_taken_from_the_volume() {
        let (dir, stretch) = open(0);
        let taken = stretch.take(1000, MANY, || MANY).unwrap();
        assert!(taken.is_whole && taken.bytes >= AHEAD && stretch.held_bytes() == taken.bytes);
        assert!(blocks(&dir) >= taken.bytes, "no hole: {} of {}", blocks(&dir), taken.bytes);
        assert_eq!(stretch.take(2000, MANY, || 0).unwrap(), Taken { bytes: 0, is_whole: true });
    }

    #[test]
    fn holes_that_were_there_are_filled() {
        let (dir, stretch) = open(32 << 20);
        assert_eq!(stretch.held_bytes(), 32 << 20);
        assert!(blocks(&dir) >= 32 << 20);
    }

    #[test]
    fn on_a_volume_that_is_nearly_full_half_of_what_is_left_is_taken_and_then_nothing() {
        let (_dir, stretch) = open(0);
        let taken = stretch.take(1 << 20, MANY, || 4 << 20).unwrap();
        assert_eq!(taken, Taken { bytes: 2 << 20, is_whole: false });
        let full = stretch.take(3 << 20, MANY, || 1 << 20).unwrap_err();
        assert!(is_full(&full));
        assert_eq!(stretch.held_bytes(), 2 << 20);
        assert!(!stretch.take(2 << 20, MANY, || 0).unwrap().is_whole, "what is needed is there");
        let more = stretch.take((2 << 20) + (700 << 10), MANY, || 1 << 20).unwrap();
        assert_eq!(more, Taken { bytes: 700 << 10, is_whole: false }, "more than half, since it is needed");
    }

    #[test]
    fn where_the_file_system_cannot_take_zeros_are_written_behind_the_end() {
        let (dir, stretch) = open(0);
        stretch.file.write_all_at(b"abc", 0).unwrap();
        stretch.fill(3, (2 << 20) + 5).unwrap();
        let bytes = std::fs::read(dir.path().join("file")).unwrap();
        assert_eq!((bytes.len(), &bytes[..3]), ((2 << 20) + 5, &b"abc"[..]));
        assert!(bytes[3..].iter().all(|byte| *byte == 0));
    }
}
