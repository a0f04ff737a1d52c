//! A command on a terminal of its own: what a person would see.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command as Process};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{QUORATE, until};

/// A command that runs on a terminal. It is killed when this is dropped.
pub struct Terminal {
    child: Child,
    master: File,
    said: Vec<u8>,
}

impl Terminal {
    /// Starts `quorate` with these arguments on a terminal of so many rows, with these variables.
    pub fn start(endpoints: &str, args: &[&str], rows: u16, env: &[(&str, &str)]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal to open");
        let size = Winsize { ws_row: rows, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("a terminal has a size");
        fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK).expect("reads that do not wait");
        let name = ptsname(&master, Vec::new()).expect("a terminal has a name");
        let open = || -> OwnedFd {
            let mut options = File::options();
            options
                .read(true)
                .write(true)
                .open(name.to_str().expect("a path in UTF-8"))
                .expect("it opens")
                .into()
        };
        let mut process = Process::new(QUORATE);
        for name in ["NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR", "RUST_LOG"] {
            process.env_remove(name);
        }
        process.env("QUORATE_ENDPOINT", endpoints).env("TERM", "xterm").envs(env.iter().copied()).args(args);
        let child = process.stdin(open()).stdout(open()).stderr(open()).spawn().expect("the command starts");
        Self { child, master: master.into(), said: Vec::new() }
    }

    /// What it has written so far.
    pub fn said(&mut self) -> String {
        let mut chunk = [0; 4096];
        // When nobody has the terminal open any more, reading fails; what was said stays.
        while let Ok(read @ 1..) = self.master.read(&mut chunk) {
            self.said.extend_from_slice(&chunk[..read]);
        }
        String::from_utf8_lossy(&self.said).into_owned()
    }

    /// Waits until it has written this.
    pub fn wait_for(&mut self, part: &str, patience: Duration) -> String {
        until(&format!("{part:?} on the terminal"), patience, || {
            Some(self.said()).filter(|said| said.contains(part))
        })
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("a signal reaches the command");
    }

    /// Waits for its end; its exit code, and all that it wrote.
    pub fn end(mut self, patience: Duration) -> (i32, String) {
        let status = until("the end of a command on a terminal", patience, || {
            self.said();
            self.child.try_wait().expect("a child can be waited for")
        });
        (status.code().unwrap_or(-1), self.said())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
