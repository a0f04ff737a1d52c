//! The `quorate-sim` command, as it is used: seeds repeat themselves, many seeds are clean, deliberate bugs are caught.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Seeds that the sweep of the test run goes through, and the simulated seconds of each.
const SEEDS: &str = "0..50";
const SECONDS: &str = "30";

fn quorate_sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate-sim")).args(args).output().expect("quorate-sim runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Examples are built beside the tests.
fn example(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a test has a path");
    exe.parent().and_then(Path::parent).expect("target/debug").join("examples").join(name)
}

#[test]
fn seeds_repeat_themselves_byte_for_byte() {
    let output = quorate_sim(&["meta", "--seeds", "100..103", "--seconds", "5"]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn fifty_seeds_are_clean() {
    let output = quorate_sim(&["sweep", "--seeds", SEEDS, "--seconds", SECONDS]);
    println!("{}", text(&output));
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn seeds_that_found_something_stay_clean() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions.txt");
    let text_of = std::fs::read_to_string(file).expect("the list");
    let lines: Vec<&str> = text_of.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(lines.len() >= 5, "{lines:?}");
    for line in lines {
        let parts: Vec<&str> = line.splitn(3, ' ').collect();
        let [seed, seconds, what] = parts[..] else { panic!("seed seconds what: {line}") };
        let output = quorate_sim(&["run", "--seed", seed, "--seconds", seconds]);
        assert!(output.status.success(), "seed {seed}, once {what}: {}", text(&output));
    }
}

#[test]
fn a_wrong_command_line_is_refused() {
    for args in [
        &["run"][..],
        &["run", "--seed", "x"],
        &["run", "--seed", "1", "--plant", "no-such-bug"],
        &["sweep", "--seeds", "5..5"],
        &["meta"],
        &["mutants", "--bugs", "no-such-bug"],
    ] {
        let output = quorate_sim(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
    }
}

#[test]
fn a_plan_can_be_read_and_left_out_in_part() {
    let plan = |more: &[&str]| text(&quorate_sim(&[&["run", "--seed", "3", "--plan"], more].concat()));
    let faults =
        |plan: &str| plan.lines().filter(|line| line.contains(" to ") && line.contains(": ")).count();
    let whole = plan(&[]);
    assert_eq!(whole, plan(&[]));
    assert_eq!(faults(&plan(&["--without", "0,1"])) + 2, faults(&whole), "{whole}");
}

#[test]
fn a_failing_seed_is_made_smaller() {
    let args = ["minimise", "--seed", "0", "--seconds", "20", "--plant", "token-reused"];
    let output = quorate_sim(&args);
    assert!(matches!(output.status.code(), Some(10..=12)), "{}", text(&output));
    assert!(text(&output).contains("faults are needed"), "{}", text(&output));
}

/// Every command of the documents, as written, with the programs that are built already.
#[test]
fn the_documented_commands_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root");
    let mut run = 0;
    for document in ["docs/simulation.md", "README.md"] {
        let document = std::fs::read_to_string(root.join(document)).expect("the document");
        for line in document.lines() {
            let (program, args) = if let Some(args) = line.strip_prefix("target/debug/quorate-sim ") {
                (PathBuf::from(env!("CARGO_BIN_EXE_quorate-sim")), args)
            } else if let Some(args) = line.strip_prefix("cargo run -p quorate-sim -- ") {
                (PathBuf::from(env!("CARGO_BIN_EXE_quorate-sim")), args)
            } else if let Some(args) = line.strip_prefix("cargo run -p quorate-sim --example payment -- ") {
                (example("payment"), args)
            } else if let Some(args) = line.strip_prefix("cargo run -p quorate-sim --example saga -- ") {
                (example("saga"), args)
            } else {
                continue;
            };
            let output = Command::new(program).args(args.split(' ')).output().expect("it runs");
            let wanted = i32::from(args.starts_with("broken"));
            assert_eq!(output.status.code(), Some(wanted), "{line}: {}", text(&output));
            run += 1;
        }
    }
    assert!(run >= 9, "{run} commands");
}

/// A harness that finds nothing in a broken product finds nothing at all. One seed that is known to catch each bug would
/// be worth little after the next change, so each has the same few to be caught in.
#[test]
fn deliberate_bugs_are_caught() {
    let bugs =
        "ack-before-sync,dedup-ignored,two-holders,token-reused,half-a-flush,client-forgets-unanswered";
    let output = quorate_sim(&["mutants", "--bugs", bugs, "--seeds", "0..20", "--seconds", "20", "--first"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(text(&output).lines().count(), 2 + bugs.split(',').count(), "{}", text(&output));
}
