//! What the system itself would have answered.

use std::ffi::{c_int, c_void};

/// # Safety
/// As clock_gettime(2).
pub(super) unsafe fn clock_gettime(clock: c_int, time: *mut c_void) -> c_int {
    // Safety: the caller's.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int }
}

/// # Safety
/// As getrandom(2).
pub(super) unsafe fn getrandom(buffer: *mut c_void, len: usize, flags: u32) -> isize {
    // Safety: the caller's.
    unsafe { libc::syscall(libc::SYS_getrandom, buffer, len, flags) as isize }
}

/// # Safety
/// As write(2).
pub(super) unsafe fn write(fd: c_int, bytes: *const c_void, len: usize) -> isize {
    // Safety: the caller's.
    unsafe { libc::syscall(libc::SYS_write, fd, bytes, len) as isize }
}

/// # Safety
/// As pwrite(2).
pub(super) unsafe fn pwrite(fd: c_int, bytes: *const c_void, len: usize, offset: i64) -> isize {
    // Safety: the caller's.
    unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes, len, offset) as isize }
}

/// # Safety
/// As writev(2).
pub(super) unsafe fn writev(fd: c_int, parts: *const c_void, count: c_int) -> isize {
    // Safety: the caller's.
    unsafe { libc::syscall(libc::SYS_writev, fd, parts, count) as isize }
}

pub(super) fn ftruncate(fd: c_int, len: i64) -> c_int {
    // Safety: takes no pointer.
    unsafe { libc::syscall(libc::SYS_ftruncate, fd, len) as c_int }
}

pub(super) fn fallocate(fd: c_int, mode: c_int, offset: i64, len: i64) -> c_int {
    // Safety: takes no pointer.
    unsafe { libc::syscall(libc::SYS_fallocate, fd, mode, offset, len) as c_int }
}

pub(super) fn fsync(fd: c_int) -> c_int {
    // Safety: takes no pointer.
    unsafe { libc::syscall(libc::SYS_fsync, fd) as c_int }
}

pub(super) fn fdatasync(fd: c_int) -> c_int {
    // Safety: takes no pointer.
    unsafe { libc::syscall(libc::SYS_fdatasync, fd) as c_int }
}

pub(super) fn fail(errno: c_int) {
    // Safety: the pointer is this thread's errno.
    unsafe { *libc::__errno_location() = errno }
}
