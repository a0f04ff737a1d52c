//! One `quorate serve` process and its data directory, over any number of starts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{QUORATE, command::Output, ports, s, until};

/// A node of a cluster under test. Its process is killed when this is dropped.
pub struct Node {
    /// The name it was given.
    pub name: String,
    /// `host:port` of the client API.
    pub client_addr: String,
    /// `host:port` of the peer API.
    pub peer_addr: String,
    /// `host:port` of its health over HTTP.
    pub http_addr: String,
    /// Where it keeps its data.
    pub data_dir: PathBuf,
    flags: Vec<String>,
    env: Vec<(String, String)>,
    data_bytes_max: Option<u64>,
    stdout: PathBuf,
    stderr: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// A node that has not been started; its files go below `dir`.
    pub fn new(name: &str, dir: &Path) -> Self {
        let addr = || format!("127.0.0.1:{}", ports::free());
        Self {
            name: name.to_owned(),
            client_addr: addr(),
            peer_addr: addr(),
            http_addr: addr(),
            data_dir: dir.join(name),
            flags: Vec::new(),
            env: Vec::new(),
            data_bytes_max: None,
            stdout: dir.join(format!("{name}.out")),
            stderr: dir.join(format!("{name}.err")),
            child: None,
        }
    }

    /// Further flags for `serve`, in place of those given before.
    pub fn set_flags(&mut self, flags: Vec<String>) {
        self.flags = flags;
    }

    /// From its next start on the process gets no more memory of its own than this (RLIMIT_DATA).
    pub fn limit_data(&mut self, bytes: u64) {
        self.data_bytes_max = Some(bytes);
    }

    /// The flags for `serve` that were given.
    pub fn flags(&self) -> &[String] {
        &self.flags
    }

    /// Variables of its environment, besides those of the test.
    pub fn set_env(&mut self, env: Vec<(String, String)>) {
        self.env = env;
    }

    /// Starts the process and does not wait.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let stdout = File::create(&self.stdout).expect("a file for standard output");
        let stderr =
            File::options().create(true).append(true).open(&self.stderr).expect("a file for the log");
        let mut command = match self.data_bytes_max {
            None => Command::new(QUORATE),
            Some(bytes) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -d {}; exec \"$0\" \"$@\"", bytes / 1024), QUORATE]);
                shell
            }
        };
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUORATE_")) {
            command.env_remove(name);
        }
        command.args(["serve", "--name", &self.name, "--client-addr", &self.client_addr]);
        command
            .args(["--peer-addr", &self.peer_addr, "--http-addr", &self.http_addr])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(&self.flags);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        self.child = Some(command.spawn().expect("the node's process starts"));
    }

    /// Waits until it says that it is a member.
    pub fn wait_ready(&mut self) {
        let started = until(&format!("the ready line of {}", self.name), s(60), || {
            if let Some(status) = self.child().try_wait().expect("a child can be waited for") {
                return Some(Err(status));
            }
            self.has_said("ready").then_some(Ok(()))
        });
        if let Err(status) = started {
            panic!("{} ended while it started ({status}):\n{}", self.name, self.log_tail());
        }
    }

    /// Whether standard output has a line that begins like this.
    pub fn has_said(&self, beginning: &str) -> bool {
        let said = fs::read_to_string(&self.stdout).unwrap_or_default();
        said.ends_with('\n') && said.lines().any(|line| line.starts_with(beginning))
    }

    /// Starts it and waits for it to end by itself, as it must when it cannot start.
    pub fn start_in_vain(&mut self) -> Output {
        let before = fs::metadata(&self.stderr).map_or(0, |meta| meta.len());
        self.start();
        self.end_since(before, s(30))
    }

    /// Waits for a node that was ready to end by itself.
    pub fn wait_end(&mut self, within: Duration) -> Output {
        self.end_since(0, within)
    }

    /// What it said since its log had so many bytes, and how it ended.
    fn end_since(&mut self, before: u64, within: Duration) -> Output {
        let what = format!("the end of {}", self.name);
        let status = until(&what, within, || self.child().try_wait().expect("a child can be waited for"));
        self.child = None;
        let log = fs::read(&self.stderr).unwrap_or_default();
        let since = log.get(usize::try_from(before).expect("a length in memory")..).unwrap_or_default();
        let stdout = fs::read_to_string(&self.stdout).unwrap_or_default();
        let stdout = stdout.lines().filter(|line| !line.starts_with("ready ")).collect();
        Output::of_node(
            &self.name,
            status.code().unwrap_or(-1),
            stdout,
            String::from_utf8_lossy(since).into_owned(),
        )
    }

    /// Sends SIGKILL without waiting.
    pub fn send_kill(&self) {
        self.signal(Signal::KILL);
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        self.send_kill();
        self.reap();
    }

    /// SIGTERM, and waits for the orderly end. Returns the exit code.
    pub fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        let what = format!("the orderly end of {}", self.name);
        let status = until(&what, s(20), || self.child().try_wait().expect("a child can be waited for"));
        self.child = None;
        status.code().unwrap_or(-1)
    }

    /// Waits for a process that was sent SIGKILL.
    pub fn reap(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.wait().expect("a child can be waited for");
    }

    /// SIGSTOP: alive, and silent.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Its process, which must run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = fs::read(&self.stderr).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it was started")
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("a signal reaches the node");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill(); // it may have ended
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the log of {}\n{}", self.name, self.log_tail());
        }
    }
}
