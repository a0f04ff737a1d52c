//! The README's quick start works as written.

use std::fs;
use std::path::{Path, PathBuf};

use crate::architecture::root;
use crate::harness::{Command, Dev, QUORATE, s};

/// How the README calls the command.
const CALL: &str = "cargo run --release -- ";
/// What runs in the first terminal.
const SERVER: &str = "cargo run --release -- dev";

/// The lines of all `sh` blocks, in their order.
fn shell_lines() -> Vec<String> {
    let readme =
        fs::read_to_string(root().join("README.md")).expect("a README.md at the root of the workspace");
    let mut lines = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line.trim_end() {
            "```sh" => inside = true,
            "```" => inside = false,
            command if inside && !command.is_empty() => lines.push(command.to_owned()),
            _ => {}
        }
    }
    lines
}

/// The one thing that is different from what the README says: `dev` takes ports that are free and keeps nothing.
#[test]
fn the_quick_start_runs_as_written() {
    let lines = shell_lines();
    let tests = "cargo test --workspace".to_owned();
    assert!(lines.contains(&SERVER.to_owned()), "one command starts the cluster: {SERVER}");
    assert!(lines.contains(&tests), "one command passes the tests: {tests}");
    let calls: Vec<&String> = lines.iter().filter(|line| line.contains(CALL) && *line != SERVER).collect();
    assert!(calls.len() >= 3, "publish and receive in a second terminal: {lines:?}");

    let scratch = tempfile::tempdir().expect("a temporary directory");
    let dev = Dev::start(3, &["--ephemeral"], scratch.path());
    for call in calls {
        run(call, &dev.endpoints, scratch.path());
    }
    dev.interrupt().ok();
}

/// Runs a line in a shell, with the built command in place of the one that cargo would build.
fn run(line: &str, endpoints: &str, dir: &Path) {
    let built: PathBuf = QUORATE.into();
    let line = line.replace(CALL, &format!("'{}' ", built.display()));
    Command::of("sh", endpoints, &["-e", "-c", &line]).current_dir(dir).timeout(s(60)).run().ok();
}

/// Every promise has a line of its own.
#[test]
fn the_readme_names_every_promise() {
    let readme =
        fs::read_to_string(root().join("README.md")).expect("a README.md at the root of the workspace");
    for number in 1..=12 {
        let named = readme.lines().any(|line| line.starts_with(&format!("| P{number} ")));
        assert!(named, "README.md: give promise P{number} of the design a line in the table of promises");
    }
}
