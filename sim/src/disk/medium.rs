//! One disk.

use std::collections::BTreeMap;
use std::ffi::{OsString, c_int};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Image, Loss, Work, path_of};
use crate::seed::Rng;

/// Number of an inode. The files live on one file system, which does not use a number again while a file is known here.
pub(super) type Inode = u64;

/// A write that no sync has covered yet.
#[derive(Debug, Clone)]
pub(super) struct Write {
    /// Where the medium will put it; nowhere if it loses it.
    pub(super) lands: Option<u64>,
    pub(super) bytes: Vec<u8>,
}

/// What the medium holds of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) durable: Vec<u8>,
    pub(super) pending: Vec<Write>,
}

impl Content {
    pub(super) fn put(&mut self, offset: u64, bytes: &[u8]) {
        put(&mut self.durable, offset, bytes);
    }

    fn settle(&mut self) {
        for write in std::mem::take(&mut self.pending) {
            if let Some(offset) = write.lands {
                self.put(offset, &write.bytes);
            }
        }
    }
}

pub(super) fn put(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (from, to) = (offset as usize, offset as usize + bytes.len());
    if file.len() < to {
        file.resize(to, 0);
    }
    file[from..to].copy_from_slice(bytes);
}

/// What goes wrong with a disk from now on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble {
    /// The power fails at this operation, counted from the mount, and what was not synced is lost like this.
    pub(crate) power_at: Option<(u64, Loss)>,
    /// The next sync fails, and what it was to cover never reaches the medium, though it can still be read.
    pub(crate) fail_sync: bool,
    /// Files may not grow any more.
    pub(crate) full: bool,
    /// So many of the coming writes are acknowledged by the medium and never get there.
    pub(crate) lose_writes: u32,
    /// So many of the coming writes go to another place of the same file.
    pub(crate) misdirect_writes: u32,
}

/// One disk, from mount to crash.
pub(crate) struct Medium {
    pub(super) root: PathBuf,
    pub(super) files: BTreeMap<Inode, Content>,
    /// Names as of the last sync of their directory.
    pub(super) names: BTreeMap<Inode, BTreeMap<OsString, Inode>>,
    pub(crate) trouble: Trouble,
    pub(crate) work: Work,
    /// The power is off: nothing that is written any more counts, and nothing may leave the host.
    pub(crate) dead: Arc<AtomicBool>,
    image: Option<Image>,
    rng: Rng,
}

impl Medium {
    pub(super) fn mount(root: &Path, image: Option<&Image>) -> io::Result<Self> {
        let mut medium = Medium {
            root: root.to_owned(),
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            trouble: Trouble::default(),
            work: Work::default(),
            dead: Arc::new(AtomicBool::new(false)),
            image: None,
            rng: Rng::new(0, "medium"),
        };
        medium.take_in(root)?;
        for (path, saved) in image.iter().flat_map(|image| &image.files) {
            medium.files.insert(fs::metadata(root.join(path))?.ino(), saved.content.clone());
        }
        Ok(medium)
    }

    /// What goes wrong follows from this.
    pub(crate) fn reseed(&mut self, rng: Rng) {
        self.rng = rng;
    }

    fn take_in(&mut self, dir: &Path) -> io::Result<()> {
        let names = list(dir)?;
        for (name, _) in &names {
            let path = dir.join(name);
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_dir() {
                self.take_in(&path)?;
            } else {
                self.files.insert(meta.ino(), Content { durable: fs::read(&path)?, pending: Vec::new() });
            }
        }
        self.names.insert(fs::metadata(dir)?.ino(), names);
        Ok(())
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Counts an operation; the power may fail at it.
    fn step(&mut self) -> bool {
        if self.is_dead() {
            return false;
        }
        if let Some((at, loss)) = self.trouble.power_at
            && self.work.writes + self.work.syncs >= at
        {
            self.lose_power(loss);
            return false;
        }
        true
    }

    /// Takes the image and lets nothing happen after it.
    pub(crate) fn lose_power(&mut self, loss: Loss) {
        if !self.is_dead() {
            let mut rng = self.rng.fork();
            self.image = Image::after(self, loss, &mut rng).ok();
            self.dead.store(true, Ordering::Relaxed);
        }
    }

    /// What is left after [`Medium::lose_power`].
    pub(crate) fn take_image(&mut self) -> Option<Image> {
        self.image.take()
    }

    pub(super) fn write(&mut self, fd: c_int, bytes: &[u8], offset: u64) -> Result<(), c_int> {
        if !self.step() {
            return Ok(());
        }
        self.work.writes += 1;
        self.work.bytes += bytes.len() as u64;
        let Some(stat) = stat(fd) else { return Ok(()) };
        if self.trouble.full && offset + bytes.len() as u64 > stat.st_size as u64 {
            return Err(libc::ENOSPC);
        }
        let lands = self.place(offset, stat.st_size as u64);
        // Safety: takes no pointer.
        let through = unsafe { libc::fcntl(fd, libc::F_GETFL) } & libc::O_DSYNC != 0;
        let content = self.files.entry(stat.st_ino).or_default();
        match (through, lands) {
            (true, Some(offset)) => content.put(offset, bytes),
            (true, None) => {}
            (false, lands) => content.pending.push(Write { lands, bytes: bytes.to_vec() }),
        }
        Ok(())
    }

    /// Where the medium puts a write; nowhere if it loses it.
    fn place(&mut self, offset: u64, size: u64) -> Option<u64> {
        if self.trouble.lose_writes > 0 {
            self.trouble.lose_writes -= 1;
            return None;
        }
        if self.trouble.misdirect_writes > 0 && size > 4096 {
            self.trouble.misdirect_writes -= 1;
            return Some(self.rng.below(size / 4096) * 4096);
        }
        Some(offset)
    }

    pub(super) fn sync(&mut self, fd: c_int) -> Result<(), c_int> {
        if !self.step() {
            return Ok(());
        }
        self.work.syncs += 1;
        let Some(stat) = stat(fd) else { return Ok(()) };
        let fails = std::mem::take(&mut self.trouble.fail_sync);
        if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
            if fails {
                return Err(libc::EIO);
            }
            if let Some(names) = path_of(fd).and_then(|dir| list(&dir).ok()) {
                self.names.insert(stat.st_ino, names);
            }
            return Ok(());
        }
        let content = self.files.entry(stat.st_ino).or_default();
        if fails {
            content.pending.clear(); // the pages are marked clean and are never written
            return Err(libc::EIO);
        }
        content.settle();
        Ok(())
    }
}

pub(super) fn list(dir: &Path) -> io::Result<BTreeMap<OsString, Inode>> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        names.insert(entry.file_name(), entry.metadata()?.ino());
    }
    Ok(names)
}

fn stat(fd: c_int) -> Option<libc::stat> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // Safety: the pointer is to a stat, which is whole if the call succeeded.
    unsafe { (libc::fstat(fd, stat.as_mut_ptr()) == 0).then(|| stat.assume_init()) }
}
