//! Disks that are small, or do not answer. Both need what not every machine has; whoever asks in vain says that it skips.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system of its own in memory. Its processes must be gone before it is dropped.
pub struct SmallVolume(TempDir);

impl SmallVolume {
    /// One of so many MiB, if this machine lets us.
    pub fn mount(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(dir.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        eprintln!("SKIPPED: no file system can be mounted here (root may)");
        None
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes everything that is left, by a file that is none of the node's.
    pub fn fill(&self) {
        let filler = Command::new("dd")
            .args(["if=/dev/zero", "bs=64k", "status=none"])
            .arg(format!("of={}", self.path().join("filler").display()))
            .output();
        let filler = filler.expect("dd runs");
        assert!(!filler.status.success(), "it ends because the disk is full");
    }

    /// Gives that back.
    pub fn relieve(&self) {
        fs::remove_file(self.path().join("filler")).expect("the filler is removed");
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A library that, loaded before libc, has every sync hang while a file exists.
pub struct Stall {
    dir: TempDir,
}

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static void stall(void) {
    const char *file = getenv("STALL_FILE");
    while (file && access(file, F_OK) == 0) usleep(20000);
}
int fdatasync(int fd) { static int (*next)(int); if (!next) next = dlsym(RTLD_NEXT, "fdatasync"); stall(); return next(fd); }
int fsync(int fd) { static int (*next)(int); if (!next) next = dlsym(RTLD_NEXT, "fsync"); stall(); return next(fd); }
"#;

impl Stall {
    /// The library, if there is a compiler for C.
    pub fn build() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let source = dir.path().join("stall.c");
        fs::write(&source, SOURCE).expect("a file is written");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(dir.path().join("stall.so"))
            .arg(&source)
            .output();
        if built.is_ok_and(|output| output.status.success()) {
            return Some(Self { dir });
        }
        eprintln!("SKIPPED: there is no compiler for C here");
        None
    }

    /// What a node's process needs in its environment.
    pub fn env(&self, node: &str) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
        let library = ("LD_PRELOAD".to_owned(), text(self.dir.path().join("stall.so")));
        vec![library, ("STALL_FILE".to_owned(), text(self.file(node)))]
    }

    /// From now on its syncs hang.
    pub fn begin(&self, node: &str) {
        fs::write(self.file(node), "").expect("a file is written");
    }

    /// They go on.
    pub fn end(&self, node: &str) {
        fs::remove_file(self.file(node)).expect("a file is removed");
    }

    fn file(&self, node: &str) -> PathBuf {
        self.dir.path().join(node)
    }
}
