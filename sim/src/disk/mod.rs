//! The simulated disks: what of a node's files would still be there after the power failed.
//!
//! The files are real, so that LMDB can map them; they show what the page cache would show. Beside each stands what the
//! medium holds: the bytes of the last sync, and the writes since then. A write through a descriptor opened with
//! `O_DSYNC` (LMDB's meta page) reaches the medium by itself and takes nothing else along. A name is on the medium once
//! its directory was synced.

mod content;
mod image;
mod medium;

pub mod oracle;
pub(crate) mod pages;
mod space;
mod trouble;

pub(crate) use content::Bytes;
pub(crate) use image::Image;
pub use image::Loss;
pub(crate) use medium::Medium;
pub(crate) use space::Space;
pub(crate) use trouble::{Failure, Trouble};

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::interpose::Hook;

/// What a disk did, for the trace and the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Writes.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Writes that were cut short, since there was no more room.
    pub short_writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Writes that were lost or went elsewhere.
    pub lies: u64,
}

/// All disks of the simulation.
#[derive(Default)]
pub(crate) struct Disks {
    by_root: RefCell<BTreeMap<PathBuf, Rc<RefCell<Medium>>>>,
}

impl Disks {
    /// A disk whose files are below `root`, which is empty or holds what `image` put there.
    pub(crate) fn mount(&self, root: &Path, image: Option<&Image>) -> std::io::Result<Rc<RefCell<Medium>>> {
        let medium = Rc::new(RefCell::new(Medium::mount(root, image)?));
        self.by_root.borrow_mut().insert(root.to_owned(), Rc::clone(&medium));
        Ok(medium)
    }

    /// Forgets a disk; what is still written below its root is nobody's.
    pub(crate) fn unmount(&self, root: &Path) {
        self.by_root.borrow_mut().remove(root);
    }

    fn of(&self, fd: c_int) -> Option<Rc<RefCell<Medium>>> {
        let path = path_of(fd)?;
        let disks = self.by_root.try_borrow().ok()?;
        path.ancestors().find_map(|above| disks.get(above)).cloned()
    }
}

impl Hook for Disks {
    fn write(&self, fd: c_int, bytes: &[u8], offset: u64) -> Result<usize, c_int> {
        let Some(medium) = self.of(fd) else { return Ok(bytes.len()) };
        medium.try_borrow_mut().map_or(Ok(bytes.len()), |mut medium| medium.write(fd, bytes, offset))
    }

    fn allocate(&self, fd: c_int, to: u64) -> Result<bool, c_int> {
        let Some(medium) = self.of(fd) else { return Ok(false) };
        medium.try_borrow_mut().map_or(Ok(false), |mut medium| medium.allocate(fd, to).map(|()| true))
    }

    fn resize(&self, fd: c_int, len: u64) -> Result<(), c_int> {
        let Some(medium) = self.of(fd) else { return Ok(()) };
        medium.try_borrow_mut().map_or(Ok(()), |mut medium| medium.resize(fd, len))
    }

    fn sync(&self, fd: c_int) -> Result<bool, c_int> {
        let Some(medium) = self.of(fd) else { return Ok(false) };
        medium.try_borrow_mut().map_or(Ok(()), |mut medium| medium.sync(fd))?;
        Ok(true)
    }
}

fn path_of(fd: c_int) -> Option<PathBuf> {
    let link = format!("/proc/self/fd/{fd}\0");
    let mut path = vec![0u8; 512];
    // Safety: both pointers are to buffers of the given length, the first ends with a zero.
    let len = unsafe { libc::readlink(link.as_ptr().cast(), path.as_mut_ptr().cast(), path.len()) };
    path.truncate(usize::try_from(len).ok()?);
    Some(PathBuf::from(std::ffi::OsString::from_vec(path)))
}
