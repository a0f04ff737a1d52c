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
    let whole = text(&quorate_sim(&["run", "--seed", "3", "--plan"]));
    assert_eq!(whole, text(&quorate_sim(&["run", "--seed", "3", "--plan"])));
    assert!(whole.contains("nodes"), "{whole}");
}

/// The workflow of the example: its bug is found, and gone once it is mended.
#[test]
fn the_payment_example_shows_its_bug_and_its_cure() {
    let run = |args: &[&str]| Command::new(example("payment")).args(args).output().expect("the example runs");
    let broken = run(&["broken", "40"]);
    assert_eq!(broken.status.code(), Some(1), "{}", text(&broken));
    assert!(text(&broken).contains("was charged 2 times"), "{}", text(&broken));
    let fixed = run(&["fixed", "40"]);
    assert!(fixed.status.success(), "{}", text(&fixed));
}
