//! `quorate-sim minimise`: the fewest faults and the shortest time that still fail.
//!
//! Faults are left out in ever smaller parts as in delta debugging (Zeller, Hildebrandt: "Simplifying and isolating
//! failure-inducing input", 2002). A fault's own choices follow from its number, so leaving one out changes no other.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use super::fail;
use quorate_simpoint::Bug;

use super::process::{self, Concluded, Task};
use crate::plan::Plan;
use crate::summary::Verdict;

/// Finds a smaller run that fails like a seed does.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The seed
    #[arg(long)]
    seed: u64,
    /// How long the cluster works before it is healed, in simulated seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// With this deliberate bug
    #[arg(long, value_name = "BUG", value_parser = super::bug)]
    plant: Option<Bug>,
}

pub(super) fn run(args: Args) -> ExitCode {
    match smallest(&args) {
        Ok(code) => code,
        Err(e) => fail(e),
    }
}

struct Search {
    base: Task,
    verdict: Verdict,
    check: Option<String>,
    runs: u32,
}

fn smallest(args: &Args) -> std::io::Result<ExitCode> {
    let scratch = crate::scratch()?;
    let base = Task {
        seed: args.seed,
        seconds: args.seconds,
        bug: args.plant,
        scratch: scratch.path().to_owned(),
        output: scratch.path().join("out"),
        limit: Duration::from_secs(600),
        ..Task::default()
    };
    let first = process::one(base.clone())?;
    if first.summary.verdict == Verdict::Clean {
        println!("seed {} is clean", args.seed);
        return Ok(ExitCode::SUCCESS);
    }
    let check = first.summary.check.clone();
    let mut search = Search { base, verdict: first.summary.verdict, check, runs: 1 };
    let faults = Plan::from_seed(args.seed, args.seconds).faults.len();
    let kept = search.faults((0..faults).collect())?;
    search.base.without = (0..faults).filter(|number| !kept.contains(number)).collect();
    if search.fails(&Task { calm: true, ..search.base.clone() })?.is_some() {
        search.base.calm = true;
    }
    let last = process::one(search.base.clone())?;
    print!("{}", last.output);
    println!(
        "{} of {faults} faults are needed ({} runs): {}",
        kept.len(),
        search.runs,
        search.base.command_line()
    );
    Ok(ExitCode::from(last.summary.verdict.exit_code()))
}

impl Search {
    /// Whether a run fails in the same way.
    fn fails(&mut self, task: &Task) -> std::io::Result<Option<Concluded>> {
        self.runs += 1;
        let concluded = process::one(task.clone())?;
        let same = concluded.summary.verdict == self.verdict && concluded.summary.check == self.check;
        Ok(same.then_some(concluded))
    }

    /// The smallest part of `kept` that was found to fail.
    fn faults(&mut self, mut kept: BTreeSet<usize>) -> std::io::Result<BTreeSet<usize>> {
        let all = kept.clone();
        let mut part = kept.len().div_ceil(2);
        while part > 0 && !kept.is_empty() {
            let mut left_out = false;
            for chunk in kept.iter().copied().collect::<Vec<_>>().chunks(part) {
                let fewer: BTreeSet<usize> = kept.iter().copied().filter(|n| !chunk.contains(n)).collect();
                let without = all.difference(&fewer).copied().collect();
                if self.fails(&Task { without, ..self.base.clone() })?.is_some() {
                    kept = fewer;
                    left_out = true;
                }
            }
            part = if left_out { part.min(kept.len()) } else { part / 2 };
        }
        Ok(kept)
    }
}
