//! One disk.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::{OsString, c_int};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::content::{Change, Content};
use super::trouble::{Failure, Trouble};
use super::{Image, Loss, Space, Work, image, pages, path_of};
use crate::seed::Rng;

/// Number of an inode.
pub(super) type Inode = u64;

/// One disk, from mount to crash.
pub(crate) struct Medium {
    pub(crate) root: PathBuf,
    pub(super) files: BTreeMap<Inode, Content>,
    /// Names as of the last sync of their directory.
    pub(super) names: BTreeMap<Inode, BTreeMap<OsString, Inode>>,
    pub(crate) trouble: Trouble,
    pub(crate) work: Work,
    /// The power is off: nothing that is written any more counts, and nothing may leave the host.
    pub(crate) dead: Arc<AtomicBool>,
    /// What room there is.
    pub(crate) space: Arc<Space>,
    /// What that took with it.
    lost: Option<Loss>,
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
            dead: Arc::default(),
            space: Arc::default(),
            lost: None,
            image: None,
            rng: Rng::new(0, "medium"),
        };
        for (path, saved) in image.iter().flat_map(|image| &image.files) {
            medium.files.insert(fs::metadata(root.join(path))?.ino(), saved.content.clone());
        }
        medium.take_in(root)?;
        Ok(medium)
    }

    /// What goes wrong follows from this.
    pub(crate) fn reseed(&mut self, rng: Rng) {
        self.rng = rng;
    }

    /// All that is there is on the medium, but for what is known to be otherwise.
    fn take_in(&mut self, dir: &Path) -> io::Result<()> {
        let names = list(dir)?;
        for name in names.keys() {
            let path = dir.join(name);
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_dir() {
                self.take_in(&path)?;
            } else if let Entry::Vacant(file) = self.files.entry(meta.ino()) {
                file.insert(Content::settled(image::read(&path, meta.len())?));
            }
        }
        self.names.insert(fs::metadata(dir)?.ino(), names);
        Ok(())
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// How many operations there were.
    pub(crate) fn ops(&self) -> u64 {
        self.work.writes + self.work.syncs
    }

    /// Before an operation: the power may be off, or fail at it. A dead process is not told that it has written
    /// anything, so that it does not go on in its last tick as if it had.
    fn before(&mut self) -> Result<(), c_int> {
        if let Some(Failure { op, after: false, loss }) = self.trouble.failure
            && self.ops() >= op
        {
            self.lose_power(loss);
        }
        if self.is_dead() { Err(libc::EIO) } else { Ok(()) }
    }

    /// After an operation, which was counted: the power may fail now. What was written is in the live file only once
    /// this has returned, so that the image is taken later: until then nothing is written any more.
    fn after(&mut self) {
        if let Some(Failure { op, after: true, loss }) = self.trouble.failure
            && self.ops() > op
            && !self.is_dead()
        {
            self.lost = Some(loss);
            self.dead.store(true, Ordering::Relaxed);
        }
    }

    /// Takes the image and lets nothing happen after it.
    pub(crate) fn lose_power(&mut self, loss: Loss) {
        if !self.is_dead() {
            self.lost = Some(loss);
            self.dead.store(true, Ordering::Relaxed);
            self.take(loss);
        }
    }

    fn take(&mut self, loss: Loss) {
        let mut rng = self.rng.fork();
        self.image = Image::after(self, loss, &mut rng).ok();
    }

    /// What was lost with the power, if that is off.
    pub(crate) fn lost(&self) -> Option<Loss> {
        self.lost
    }

    /// What is left after the power was lost.
    pub(crate) fn take_image(&mut self) -> Option<Image> {
        if let (Some(loss), None) = (self.lost, &self.image) {
            self.take(loss);
        }
        self.image.take()
    }

    fn content(&mut self, stat: &libc::stat) -> &mut Content {
        let content = self.files.entry(stat.st_ino).or_default();
        // It was cut to nothing when it was opened, or it is another file under a number that is free again.
        if stat.st_size == 0 && content.extent > 0 {
            *content = Content::default();
        }
        content
    }

    /// How many of the bytes get there.
    pub(super) fn write(&mut self, fd: c_int, bytes: &[u8], offset: u64) -> Result<usize, c_int> {
        self.before()?;
        self.work.writes += 1;
        let Some(stat) = stat(fd) else { return Ok(bytes.len()) };
        let held = if self.space.is_thin() { self.content(&stat).extent } else { stat.st_size as u64 };
        let len = self.space.write(offset, bytes.len() as u64, held) as usize;
        if len == 0 && !bytes.is_empty() {
            return Err(libc::ENOSPC);
        }
        self.work.short_writes += u64::from(len < bytes.len());
        let bytes = &bytes[..len];
        self.work.bytes += len as u64;
        // Safety: takes no pointer.
        let through = unsafe { libc::fcntl(fd, libc::F_GETFL) } & libc::O_DSYNC != 0;
        // A write that must be on the medium when it returns is read back by the drive; only others get lost.
        let changes = match through || !self.trouble.lies() {
            true => vec![Change::Put(offset, bytes.to_vec())],
            false => self.lie(&stat, bytes, offset),
        };
        let content = self.content(&stat);
        content.extent = content.extent.max(offset + bytes.len() as u64);
        for change in changes {
            match change {
                Change::Put(offset, bytes) if through => content.durable.put(offset, &bytes),
                change => content.pending.push(change),
            }
        }
        self.after();
        Ok(len)
    }

    /// What the medium makes of a write that it loses or puts elsewhere. Of an LMDB page everything but the values gets
    /// where it belongs.
    fn lie(&mut self, stat: &libc::stat, bytes: &[u8], offset: u64) -> Vec<Change> {
        let whole = || Change::Put(offset, bytes.to_vec());
        let is_lmdb = stat.st_size as usize > 2 * 4096;
        let lost = match is_lmdb {
            true => pages::values_in_write(bytes),
            false => std::iter::once(0..bytes.len()).collect(),
        };
        if lost.is_empty() {
            return vec![whole()];
        }
        let file = &self.files.entry(stat.st_ino).or_default().durable;
        let mut changes = Vec::new();
        if is_lmdb {
            let mut page = bytes.to_vec();
            for value in &lost {
                for at in value.clone() {
                    page[at] = file.bytes.get(offset as usize + at).copied().unwrap_or(0);
                }
            }
            changes.push(Change::Put(offset, page));
        }
        if self.trouble.lose_writes > 0 {
            self.trouble.lose_writes -= 1;
            self.work.lies += 1;
            return changes;
        }
        let elsewhere = pages::values(&file.bytes);
        if elsewhere.is_empty() {
            return vec![whole()];
        }
        self.trouble.misdirect_writes -= 1;
        self.work.lies += 1;
        let (from, to) = (&lost[0], elsewhere[self.rng.below(elsewhere.len() as u64) as usize].clone());
        let len = from.len().min(to.len());
        changes.push(Change::Put(to.start as u64, bytes[from.start..from.start + len].to_vec()));
        changes
    }

    pub(super) fn resize(&mut self, fd: c_int, len: u64) -> Result<(), c_int> {
        self.before()?;
        self.work.writes += 1;
        let Some(stat) = stat(fd) else { return Ok(()) };
        if self.space.left_bytes() == 0 && len > stat.st_size as u64 {
            return Err(libc::ENOSPC);
        }
        let content = self.content(&stat);
        content.extent = content.extent.min(len);
        content.pending.push(Change::Resize(len));
        self.after();
        Ok(())
    }

    /// The file is to have all of its room up to there. Where it has that already, nothing happens.
    pub(super) fn allocate(&mut self, fd: c_int, to: u64) -> Result<(), c_int> {
        let Some(stat) = stat(fd).filter(|stat| to > stat.st_size as u64) else { return Ok(()) };
        self.before()?;
        self.work.writes += 1;
        if !self.space.is_thin() && !self.space.take(to - stat.st_size as u64) {
            return Err(libc::ENOSPC);
        }
        self.content(&stat).pending.push(Change::Resize(to));
        self.after();
        Ok(())
    }

    pub(super) fn sync(&mut self, fd: c_int) -> Result<(), c_int> {
        self.before()?;
        self.work.syncs += 1;
        let Some(stat) = stat(fd) else { return Ok(()) };
        let fails = std::mem::take(&mut self.trouble.fail_sync);
        self.work.failed_syncs += u64::from(fails);
        if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
            if fails {
                return Err(libc::EIO);
            }
            if let Some(names) = path_of(fd).and_then(|dir| list(&dir).ok()) {
                self.names.insert(stat.st_ino, names);
            }
        } else {
            let content = self.content(&stat);
            if fails {
                // The pages are marked clean and are never written. The length is the journal's and has its next try.
                content.pending.retain(|change| matches!(change, Change::Resize(_)));
                return Err(libc::EIO);
            }
            content.settle();
        }
        self.after();
        Ok(())
    }

    /// Rot: changes bytes of a file on the medium and in the page cache alike. False if there is no such file.
    pub(crate) fn rot(&mut self, path: &Path, at: u64, bytes: &[u8]) -> bool {
        use std::os::unix::fs::FileExt;
        let done = crate::interpose::unseen(|| {
            let file = fs::File::options().write(true).open(self.root.join(path))?;
            file.write_all_at(bytes, at)?;
            Ok::<Inode, io::Error>(file.metadata()?.ino())
        });
        let Ok(inode) = done else { return false };
        let content = self.files.entry(inode).or_default();
        content.extent = content.extent.max(at + bytes.len() as u64);
        if content.durable.bytes.len() as u64 >= at + bytes.len() as u64 {
            content.durable.put(at, bytes);
        }
        true
    }

    /// What a program would read of a file.
    pub(crate) fn look(&self, path: &Path) -> Option<Vec<u8>> {
        let path = self.root.join(path);
        let content = self.files.get(&fs::metadata(&path).ok()?.ino())?;
        Some(image::read(&path, content.extent).ok()?.bytes)
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
