//! The programs of `client/examples/` do what their own first lines say, again and again on one cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::Connection;

use crate::architecture::root;
use crate::harness::pages::fenced;
use crate::harness::{Command, Dev, s};

const LINES_MAX: usize = 80;
/// Builds all of them, as the tests are built.
const BUILD: &str = "cargo build --workspace --examples";

/// A program, and what it says about itself.
pub struct Example {
    /// How cargo calls it.
    pub name: String,
    /// Its source.
    pub source: String,
}

/// What is in the directory, in the order of the names.
pub fn all() -> Vec<Example> {
    let files = fs::read_dir(root().join("client/examples")).expect("a directory of examples");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() >= 9, "the examples are found: {paths:?}");
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        Example { name, source: fs::read_to_string(path).expect("a source file") }
    };
    paths.into_iter().map(read).collect()
}

/// The program that cargo built of an example, beside the tests; never one that is older than what it is made of.
pub fn built(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("a test has a path");
    let examples =
        tests.parent().and_then(Path::parent).expect("the directory of the build").join("examples");
    let (program, made_of) = (examples.join(name), examples.join(format!("{name}.d")));
    let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified());
    let built = changed(&program).unwrap_or(SystemTime::UNIX_EPOCH);
    // As cargo wrote it down: the program, a colon, and the sources of all members that are in it.
    let sources = fs::read_to_string(made_of).unwrap_or_default().replace("\\ ", "\0");
    let sources: Vec<PathBuf> =
        sources.split_whitespace().skip(1).map(|path| path.replace('\0', " ").into()).collect();
    let own = format!("client/examples/{name}.rs");
    let fresh = |source: &PathBuf| changed(source).is_ok_and(|changed| changed <= built);
    assert!(
        sources.iter().any(|source| source.ends_with(&own)) && sources.iter().all(fresh),
        "the example {name} is not built, or was changed since: {BUILD}"
    );
    program
}

impl Example {
    /// The comment that it begins with.
    fn head(&self) -> String {
        let lines = self.source.lines().map_while(|line| line.strip_prefix("//!"));
        lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
    }

    /// What it has to print, after the line that says how to run it.
    fn prints(&self) -> Option<Vec<String>> {
        let call = format!("`cargo run -p quorate-client --example {}", self.name);
        let head = self.head();
        let (_, after) = head.split_once(&call)?;
        let (_, after) = after.split_once("It prints:\n\n")?;
        let block = after.starts_with("```text\n").then(|| fenced(after).swap_remove(0))?;
        (!block.lines.is_empty()).then_some(block.lines)
    }
}

#[test]
fn examples_are_short_and_say_what_they_print() {
    let broken: Vec<String> = all()
        .iter()
        .filter(|example| example.source.lines().count() >= LINES_MAX || example.prints().is_none())
        .map(|example| example.name.clone())
        .collect();
    assert!(
        broken.is_empty(),
        "{broken:?}: fewer than {LINES_MAX} lines, and in the first comment how to run it and a block of what it prints"
    );
}

#[test]
fn the_readme_names_every_example() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let missing: Vec<String> = all()
        .into_iter()
        .map(|example| example.name)
        .filter(|name| !readme.lines().any(|line| line.starts_with(&format!("| `{name}` | "))))
        .collect();
    assert!(missing.is_empty(), "README.md: give each of {missing:?} a line in the table of examples");
}

#[test]
fn examples_print_what_they_say_every_time() {
    let examples = all();
    let programs: Vec<PathBuf> = examples.iter().map(|example| built(&example.name)).collect();
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let dev = Dev::start(3, &["--ephemeral"], scratch.path());
    for time in ["first", "second"] {
        for (example, program) in examples.iter().zip(&programs) {
            let ran = Command::of(&program.to_string_lossy(), &dev.endpoints, &[]).timeout(s(60)).run().ok();
            let printed: Vec<&str> = ran.stdout.lines().collect();
            let told = example.prints().expect("a block of what it prints");
            assert_eq!(printed, told, "{}, the {time} time", example.name);
            assert_eq!(ran.stderr, "", "{}, the {time} time", example.name);
        }
    }
}

/// P4, in the user's own database: the row has the write of who held the lease, and not the later one of who had lost it.
#[test]
fn a_late_write_finds_the_row_fenced() {
    let program = built("fencing");
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let file = scratch.path().join("accounts.db");
    let dev = Dev::start(1, &["--ephemeral"], scratch.path());
    let mut before = 0;
    for time in 1..=2 {
        let args = [&*file.to_string_lossy()];
        Command::of(&program.to_string_lossy(), &dev.endpoints, &args).run().ok();
        let database = Connection::open(&file).expect("the database of the example");
        let row = database.query_row("SELECT balance, token FROM account WHERE id = 'anna'", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        });
        let (balance, token) = row.expect("the row of the account");
        assert_eq!(balance, 100 + 20 * time, "each amount is in it once, though two workers wrote it");
        assert!(token > before + 1, "the second lease wrote it: token {token} after {before}");
        before = token;
    }
}
