//! Writes and syncs of files: shown to the simulated disks before they happen.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::rc::Rc;

use super::{armed, raw};

/// Sees what an armed thread does to its files. An error is an errno that the caller gets instead.
pub(crate) trait Hook {
    /// `bytes` are about to be written. How many of them are.
    fn write(&self, fd: c_int, bytes: &[u8], offset: u64) -> Result<usize, c_int>;

    /// The file is about to get all of its room up to there. True if it only has to be as long: the system needs not take
    /// anything.
    fn allocate(&self, fd: c_int, to: u64) -> Result<bool, c_int>;

    /// The file is about to have this length.
    fn resize(&self, fd: c_int, len: u64) -> Result<(), c_int>;

    /// A sync. True if it is done with: the system needs not sync as well.
    fn sync(&self, fd: c_int) -> Result<bool, c_int>;
}

thread_local! {
    static HOOK: RefCell<Option<Rc<dyn Hook>>> = const { RefCell::new(None) };
    static LOOKS_AWAY: Cell<bool> = const { Cell::new(false) };
}

/// Does something to files that the simulated disks do not see.
pub(crate) fn unseen<T>(work: impl FnOnce() -> T) -> T {
    let before = LOOKS_AWAY.replace(true);
    let result = work();
    LOOKS_AWAY.set(before);
    result
}

pub(crate) fn set_hook(hook: Option<Rc<dyn Hook>>) {
    HOOK.with_borrow_mut(|slot| *slot = hook);
}

fn hook() -> Option<Rc<dyn Hook>> {
    if !armed() || LOOKS_AWAY.try_with(Cell::get).unwrap_or(true) {
        return None;
    }
    HOOK.try_with(|slot| slot.try_borrow().ok()?.clone()).ok().flatten()
}

fn place(fd: c_int) -> u64 {
    // Safety: takes no pointer.
    unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) }.max(0) as u64
}

/// Asks the hook how many of the bytes are written. None if the write has failed.
unsafe fn ask(fd: c_int, bytes: *const c_void, len: usize, offset: u64) -> Option<usize> {
    let Some(hook) = hook() else { return Some(len) };
    // Safety: the caller's.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) };
    hook.write(fd, bytes, offset).map_err(raw::fail).ok()
}

/// # Safety
/// As write(2).
pub unsafe fn write(fd: c_int, bytes: *const c_void, len: usize) -> isize {
    // Safety: the caller's, here and below.
    unsafe {
        let asked = if fd > 2 && armed() { ask(fd, bytes, len, place(fd)) } else { Some(len) };
        asked.map_or(-1, |len| raw::write(fd, bytes, len))
    }
}

/// # Safety
/// As pwrite(2).
pub unsafe fn pwrite64(fd: c_int, bytes: *const c_void, len: usize, offset: i64) -> isize {
    // Safety: the caller's, here and below.
    unsafe { ask(fd, bytes, len, offset.max(0) as u64).map_or(-1, |len| raw::pwrite(fd, bytes, len, offset)) }
}

/// # Safety
/// As writev(2).
pub unsafe fn writev(fd: c_int, parts: *const c_void, count: c_int) -> isize {
    // Safety: the caller's, here and below.
    unsafe {
        if fd <= 2 || !armed() || hook().is_none() {
            return raw::writev(fd, parts, count);
        }
        let each = std::slice::from_raw_parts(parts.cast::<libc::iovec>(), count.max(0) as usize);
        let (start, mut done) = (place(fd), 0);
        let mut written = Vec::with_capacity(each.len());
        for part in each {
            match ask(fd, part.iov_base, part.iov_len, start + done) {
                None if done == 0 => return -1,
                None => break,
                Some(len) => {
                    written.push(libc::iovec { iov_base: part.iov_base, iov_len: len });
                    done += len as u64;
                    if len < part.iov_len {
                        break;
                    }
                }
            }
        }
        raw::writev(fd, written.as_ptr().cast(), written.len() as c_int)
    }
}

/// # Safety
/// As ftruncate(2).
pub unsafe fn ftruncate64(fd: c_int, len: i64) -> c_int {
    if let Some(hook) = hook()
        && let Err(errno) = hook.resize(fd, len.max(0) as u64)
    {
        raw::fail(errno);
        return -1;
    }
    raw::ftruncate(fd, len)
}

/// # Safety
/// As fallocate(2).
pub unsafe fn fallocate64(fd: c_int, mode: c_int, offset: i64, len: i64) -> c_int {
    let to = offset.max(0) as u64 + len.max(0) as u64;
    match hook().filter(|_| mode == 0).map(|hook| hook.allocate(fd, to)) {
        None | Some(Ok(false)) => raw::fallocate(fd, mode, offset, len),
        Some(Ok(true)) => lengthen(fd, to),
        Some(Err(errno)) => {
            raw::fail(errno);
            -1
        }
    }
}

/// Makes a file as long as it would be; the simulation's files take no more room than was written to them.
fn lengthen(fd: c_int, to: u64) -> c_int {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // Safety: the pointer is to a stat, which is whole if the call succeeded.
    let size = unsafe {
        if libc::fstat(fd, stat.as_mut_ptr()) == 0 { stat.assume_init().st_size } else { return -1 }
    };
    if size as u64 >= to { 0 } else { raw::ftruncate(fd, to as i64) }
}

fn sync(fd: c_int, system: fn(c_int) -> c_int) -> c_int {
    match hook().map(|hook| hook.sync(fd)) {
        None | Some(Ok(false)) => system(fd),
        Some(Ok(true)) => 0,
        Some(Err(errno)) => {
            raw::fail(errno);
            -1
        }
    }
}

/// # Safety
/// As fsync(2).
pub unsafe fn fsync(fd: c_int) -> c_int {
    sync(fd, raw::fsync)
}

/// # Safety
/// As fdatasync(2).
pub unsafe fn fdatasync(fd: c_int) -> c_int {
    sync(fd, raw::fdatasync)
}
