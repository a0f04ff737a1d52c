//! One `quorate` command, run to its end or until somebody ends it.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{QUORATE, s, until};

/// A command that is about to be run.
pub struct Command {
    process: Process,
    shown: String,
    stdout: File,
    stderr: File,
    timeout: Duration,
}

/// What a command left.
pub struct Output {
    shown: String,
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

/// A command that runs. It is killed when this is dropped.
pub struct Running {
    child: Child,
    shown: String,
    stdout: File,
    stderr: File,
    started: Instant,
    timeout: Duration,
}

impl Command {
    /// `quorate` with these arguments, talking to these endpoints.
    pub fn new(endpoints: &str, args: &[&str]) -> Self {
        Self::of(QUORATE, endpoints, args)
    }

    /// Another program, which finds `quorate` in its path.
    pub fn of(program: &str, endpoints: &str, args: &[&str]) -> Self {
        let mut process = Process::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUORATE_")) {
            process.env_remove(name);
        }
        process.env_remove("RUST_LOG").env("QUORATE_ENDPOINT", endpoints).args(args).stdin(Stdio::null());
        let scratch = || tempfile::tempfile().expect("a file for what the command says");
        let shown = format!("{program} {}", args.join(" "));
        Self { process, shown, stdout: scratch(), stderr: scratch(), timeout: s(60) }
    }

    /// Feeds it these bytes.
    pub fn stdin(mut self, bytes: &[u8]) -> Self {
        let mut file = tempfile::tempfile().expect("a file for standard input");
        file.write_all(bytes).and_then(|()| file.rewind()).expect("standard input is written");
        self.process.stdin(file);
        self
    }

    /// Standard output goes into this file, too.
    pub fn stdout_to(mut self, path: &Path) -> Self {
        let options = File::options().create(true).truncate(true).read(true).write(true).open(path);
        self.stdout = options.expect("a file for standard output");
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: &Path) -> Self {
        self.process.env(name, value);
        self
    }

    /// Runs in this directory.
    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.process.current_dir(dir);
        self
    }

    /// How long it may take; a minute if nothing is said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Output {
        self.start().wait()
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let share = |file: &File| file.try_clone().expect("a second handle of a file");
        self.process.stdout(share(&self.stdout)).stderr(share(&self.stderr));
        let child = self.process.spawn().expect("the command starts");
        let Self { shown, stdout, stderr, timeout, .. } = self;
        Running { child, shown, stdout, stderr, started: Instant::now(), timeout }
    }
}

impl Running {
    /// Waits for its end; panics when its time is up.
    pub fn wait(mut self) -> Output {
        let left = self.timeout.saturating_sub(self.started.elapsed());
        let what = format!("the end of: {}", self.shown);
        let status = until(&what, left, || self.child.try_wait().expect("a child can be waited for"));
        let took = self.started.elapsed();
        let stdout = text(&self.stdout);
        let stderr = text(&self.stderr);
        Output { shown: self.shown.clone(), code: status.code().unwrap_or(-1), stdout, stderr, took }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal reaches the command");
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("a child can be killed");
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// What it has written to standard output so far.
    pub fn said(&self) -> String {
        text(&self.stdout)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.shown, text(&self.stderr));
        }
    }
}

impl Output {
    /// What a node left that ended by itself.
    pub(super) fn of_node(name: &str, code: i32, stdout: String, stderr: String) -> Self {
        Self { shown: format!("serve --name {name}"), code, stdout, stderr, took: Duration::ZERO }
    }

    /// Panics unless the command succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{} failed:\n{}{}", self.shown, self.stdout, self.stderr);
        self
    }

    /// Panics unless the command failed with this exit code, wrote nothing to standard output, and told on standard
    /// error everything in `told`.
    #[track_caller]
    pub fn fails(&self, code: i32, told: &[&str]) {
        let all = format!("{}:\n{}{}", self.shown, self.stdout, self.stderr);
        assert_eq!(self.code, code, "the exit code of {all}");
        assert_eq!(self.stdout, "", "an error goes to standard error: {all}");
        for part in told {
            assert!(self.stderr.contains(part), "{part:?} is missing in what was said by {all}");
        }
    }

    /// Standard output as JSON, one value a line.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", self.shown));
        self.stdout.lines().map(parse).collect()
    }

    /// Standard output as the one JSON value it is.
    #[track_caller]
    pub fn json(&self) -> Value {
        let mut lines = self.lines();
        assert_eq!(lines.len(), 1, "one line of JSON from {}: {}", self.shown, self.stdout);
        lines.remove(0)
    }
}

/// All of a file that somebody else may still be writing to: read at positions, since the offset is shared.
fn text(file: &File) -> String {
    let length = file.metadata().expect("a scratch file has a length").len();
    let mut bytes = vec![0; usize::try_from(length).expect("a length in memory")];
    file.read_exact_at(&mut bytes, 0).expect("a scratch file can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}
