//! A seed in a process of its own.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use quorate_simpoint::Bug;

use crate::interpose::real_now;
use crate::summary::{Figures, Summary, Verdict};

/// How often a running process is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What a process shall run.
#[derive(Debug, Clone, Default)]
pub(super) struct Task {
    pub(super) seed: u64,
    pub(super) seconds: u64,
    pub(super) without: Vec<usize>,
    pub(super) bug: Option<Bug>,
    pub(super) calm: bool,
    /// Below this directory it keeps its disks, in one that has the same name every time.
    pub(super) scratch: PathBuf,
    /// Where its output goes.
    pub(super) output: PathBuf,
    /// It is killed when it takes longer than this in real time.
    pub(super) limit: Duration,
}

impl Task {
    pub(super) fn dir(&self) -> PathBuf {
        self.scratch.join(format!("seed-{}", self.seed))
    }

    /// The command that repeats it by hand.
    pub(super) fn command_line(&self) -> String {
        let mut line = format!("quorate-sim run --seed {} --seconds {}", self.seed, self.seconds);
        if !self.without.is_empty() {
            let numbers: Vec<String> = self.without.iter().map(ToString::to_string).collect();
            line += &format!(" --without {}", numbers.join(","));
        }
        if let Some(bug) = self.bug {
            line += &format!(" --plant {}", bug.name());
        }
        if self.calm {
            line += " --calm";
        }
        line
    }

    fn command(&self) -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(self.command_line().split(' ').skip(1)).arg("--dir").arg(self.dir());
        command.stdin(Stdio::null());
        Ok(command)
    }

    pub(super) fn start(self) -> io::Result<Running> {
        let output = File::create(&self.output)?;
        let mut command = self.command()?;
        command.arg("--json").stdout(output.try_clone()?).stderr(output);
        Ok(Running { child: command.spawn()?, started: real_now(), task: self })
    }

    /// For a reader of its whole trace.
    pub(super) fn start_traced(&self) -> io::Result<Child> {
        self.command()?.arg("--trace").stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
    }
}

/// A process at work.
pub(super) struct Running {
    child: Child,
    started: Duration,
    task: Task,
}

impl Running {
    /// The end, if it has come. A process over its limit is killed.
    pub(super) fn poll(&mut self) -> io::Result<Option<ExitStatus>> {
        if real_now().saturating_sub(self.started) > self.task.limit {
            self.child.kill()?;
            return self.child.wait().map(Some);
        }
        self.child.try_wait()
    }

    pub(super) fn conclude(self, status: ExitStatus) -> Concluded {
        let output = std::fs::read_to_string(&self.task.output).unwrap_or_default();
        let _ = std::fs::remove_file(&self.task.output); // a leftover disturbs nobody
        let _ = std::fs::remove_dir_all(self.task.dir());
        let said = output.lines().rev().find_map(|line| serde_json::from_str::<Summary>(line).ok());
        let summary = said.unwrap_or_else(|| crashed(&self.task, status, &output));
        Concluded { task: self.task, summary, output }
    }
}

/// A process that has ended.
pub(super) struct Concluded {
    pub(super) task: Task,
    pub(super) summary: Summary,
    pub(super) output: String,
}

fn crashed(task: &Task, status: ExitStatus, output: &str) -> Summary {
    let panic = output.lines().find(|line| line.contains("panicked at"));
    let last = panic.or_else(|| output.lines().last()).unwrap_or("it said nothing");
    Summary {
        seed: task.seed,
        verdict: Verdict::from_exit_code(status.code()).max(Verdict::Crash),
        reason: Some(format!("{status}: {last}")),
        promise: None,
        check: Some("crash".into()),
        planted_hits: 0,
        trace: String::new(),
        data: String::new(),
        figures: Figures::default(),
    }
}

/// Runs tasks, `jobs` at a time, and hands on what each came to, in the order in which they end. Ends early when
/// `wanted` says so.
pub(super) fn all(
    tasks: impl Iterator<Item = Task>,
    jobs: usize,
    mut wanted: impl FnMut(Concluded) -> bool,
) -> io::Result<()> {
    let mut tasks = tasks.fuse();
    let mut running: Vec<Running> = Vec::new();
    let mut go_on = true;
    loop {
        while go_on && running.len() < jobs.max(1) {
            let Some(task) = tasks.next() else { break };
            running.push(task.start()?);
        }
        if running.is_empty() {
            return Ok(());
        }
        std::thread::sleep(LOOK);
        let mut i = 0;
        while i < running.len() {
            match running[i].poll()? {
                Some(status) => go_on &= wanted(running.swap_remove(i).conclude(status)),
                None => i += 1,
            }
        }
    }
}

/// Runs one task.
pub(super) fn one(task: Task) -> io::Result<Concluded> {
    let mut end = None;
    all(std::iter::once(task), 1, |concluded| {
        end = Some(concluded);
        true
    })?;
    end.ok_or_else(|| io::Error::other("the process was not started"))
}
