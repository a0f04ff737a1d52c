//! What is on a disk after a crash.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::Hasher as _;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use super::content::{Bytes, Content};
use super::medium::{Inode, Medium, list};
use super::pages;
use crate::seed::Rng;

/// How much a crash takes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The process is gone, the machine is not: everything written stays.
    Nothing,
    /// The power is gone, and so is every write that no sync covered.
    Unsynced,
    /// The power is gone: each write that no sync covered is lost, kept, or kept in some of its sectors.
    Torn,
}

/// A file of an [`Image`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Saved {
    /// What a program would read.
    pub(crate) visible: Bytes,
    /// What the medium holds: less, if the page cache outlived the process.
    pub(super) content: Content,
}

/// Files by their path below the root.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    pub(crate) files: BTreeMap<PathBuf, Saved>,
    dirs: Vec<PathBuf>,
}

impl Image {
    /// What a disk holds once `loss` happened to it.
    pub(super) fn after(medium: &Medium, loss: Loss, rng: &mut Rng) -> io::Result<Image> {
        let mut image = Image::default();
        let root = fs::metadata(&medium.root)?.ino();
        let mut walk = Walk { medium, loss, rng, image: &mut image };
        walk.dir(root, &medium.root, Path::new(""))?;
        Ok(image)
    }

    /// Puts the files below `root`.
    pub(crate) fn restore(&self, root: &Path) -> io::Result<()> {
        fs::create_dir_all(root)?;
        for dir in &self.dirs {
            fs::create_dir_all(root.join(dir))?;
        }
        for (path, saved) in &self.files {
            let mut file = File::create(root.join(path))?;
            file.write_all(&saved.visible.bytes)?;
            file.set_len(saved.visible.len)?;
        }
        Ok(())
    }

    /// Changes a file behind everybody's back. False if there is none.
    pub(crate) fn damage(&mut self, path: &Path, how: impl FnOnce(&mut Bytes)) -> bool {
        let Some(saved) = self.files.get_mut(path) else { return false };
        how(&mut saved.visible);
        saved.content = Content::settled(saved.visible.clone());
        true
    }

    /// Identifies the content. Of an LMDB file only the values count: the rest of its pages may hold whatever was in
    /// memory before, which is not the simulation's.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = XxHash3_64::new();
        for (path, saved) in &self.files {
            hash.write(path.as_os_str().as_encoded_bytes());
            hash.write(&saved.visible.len.to_le_bytes());
            let bytes = &saved.visible.bytes;
            if path.extension().is_some_and(|e| e == "mdb") {
                pages::values(bytes).into_iter().for_each(|value| hash.write(&bytes[value]));
            } else {
                hash.write(bytes);
            }
        }
        hash.finish()
    }
}

struct Walk<'a> {
    medium: &'a Medium,
    loss: Loss,
    rng: &'a mut Rng,
    image: &'a mut Image,
}

impl Walk<'_> {
    fn dir(&mut self, inode: Inode, live: &Path, below: &Path) -> io::Result<()> {
        let now = list(live).unwrap_or_default();
        for (name, inode) in self.names(inode, now) {
            // LMDB's lock file and ours say who has the files open, which is nobody after a crash.
            if name == "lock.mdb" || name == "LOCK" {
                continue;
            }
            let (live, path) = (live.join(&name), below.join(&name));
            let is_dir = self.medium.names.contains_key(&inode) || live.is_dir() && ino(&live) == Some(inode);
            if is_dir {
                self.image.dirs.push(path.clone());
                self.dir(inode, &live, &path)?;
            } else {
                let saved = self.content(inode, &live)?;
                self.image.files.insert(path, saved);
            }
        }
        Ok(())
    }

    /// Names since the last sync of their directory are kept all or none: a journal keeps their order.
    fn names(&mut self, dir: Inode, now: BTreeMap<OsString, Inode>) -> BTreeMap<OsString, Inode> {
        let synced = self.medium.names.get(&dir).cloned().unwrap_or_default();
        let keep = match self.loss {
            _ if synced == now => true,
            Loss::Nothing => true,
            Loss::Unsynced => false,
            Loss::Torn => self.rng.percent(50),
        };
        if keep { now } else { synced }
    }

    fn content(&mut self, inode: Inode, live: &Path) -> io::Result<Saved> {
        let Some(content) = self.medium.files.get(&inode) else {
            return Ok(Saved::default()); // nothing of it was ever written
        };
        let durable = match self.loss {
            Loss::Nothing if ino(live) == Some(inode) => {
                return Ok(Saved { visible: read(live, content.extent)?, content: content.clone() });
            }
            Loss::Unsynced => content.durable.clone(),
            Loss::Nothing | Loss::Torn => content.torn(self.rng),
        };
        Ok(Saved { visible: durable.clone(), content: Content::settled(durable) })
    }
}

fn ino(path: &Path) -> Option<Inode> {
    Some(fs::symlink_metadata(path).ok()?.ino())
}

/// A file that holds nothing but zeros from `extent` on.
pub(super) fn read(path: &Path, extent: u64) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.take(extent).read_to_end(&mut bytes)?;
    Ok(Bytes { bytes, len })
}
