//! The workload over real nodes that crash: every seed drains, loses nothing, and runs the same twice; together the seeds
//! get every verb done. Each run is a process of its own, since a process lives in one simulation.
//!
//! `cargo test -p quorate-sim --test workload -- <seed> <seconds>` runs one seed and prints its history.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::{Command, ExitCode};

use quorate_sim::trial;

quorate_sim::interpose!();

const SEEDS: u64 = 10;
const SECONDS: u64 = 20;
/// Set for the processes that run one seed for the test.
const CHILD: &str = "QUORATE_SIM_WORKLOAD_CHILD";

const VERBS: [&str; 18] = [
    "ack",
    "attach",
    "close_producer",
    "create_queue",
    "credit",
    "delete_queue",
    "detach",
    "extend",
    "list_queues",
    "members",
    "open_producer",
    "peek",
    "publish",
    "release",
    "retry",
    "show_queue",
    "stat",
    "status",
];

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let result = match numbers[..] {
        [seed, seconds, ..] => one(seed, seconds),
        _ => all(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn one(seed: u64, seconds: u64) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let trial = trial::run(seed, seconds, !seed.is_multiple_of(3), dir.path())?;
    if std::env::var_os(CHILD).is_none() {
        print!("{}", trial.history);
    }
    println!("{}", trial.summary);
    for (verb, count) in &trial.done {
        println!("done {verb} {count}");
    }
    match trial.problems.is_empty() {
        true => Ok(()),
        false => Err(format!("seed {seed}: {}", trial.problems.join("; ")).into()),
    }
}

fn all() -> Result<(), Box<dyn Error>> {
    let mut done: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let output = child(seed)?;
        if seed < 2 && child(seed)? != output {
            return Err(format!("seed {seed} runs differently the second time").into());
        }
        for line in output.lines().filter_map(|line| line.strip_prefix("done ")) {
            let (verb, count) = line.split_once(' ').ok_or("a line without a count")?;
            *done.entry(verb.to_owned()).or_default() += count.parse::<u64>()?;
        }
    }
    // Nothing answers a credit, so it is never done.
    match VERBS.iter().find(|verb| **verb != "credit" && done.get(**verb).is_none_or(|count| *count == 0)) {
        Some(verb) => Err(format!("no seed got {verb} done").into()),
        None => Ok(()),
    }
}

fn child(seed: u64) -> Result<String, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.arg(seed.to_string()).arg(SECONDS.to_string()).env(CHILD, "1").output()?;
    let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    eprint!("{err}");
    match output.status.success() {
        true => Ok(out),
        false => Err(format!("seed {seed} failed:\n{out}").into()),
    }
}
