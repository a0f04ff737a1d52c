//! `quorate-sim run`: one seed, in this process.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use quorate_simpoint::Bug;

use super::{each, fail, judged};
use crate::run::{self, Finished, RunOptions};
use crate::trace;

/// Runs one seed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The seed
    #[arg(long)]
    seed: u64,
    /// How long the cluster works before it is healed, in simulated seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Faults of the plan to leave out, by their numbers
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    without: Vec<usize>,
    /// Plants a deliberate bug; `quorate-sim mutants --list` names them
    #[arg(long, value_name = "BUG", value_parser = super::bug)]
    plant: Option<Bug>,
    /// Keeps the sites in the product's code from being odd
    #[arg(long)]
    calm: bool,
    /// Prints everything that happens
    #[arg(long)]
    trace: bool,
    /// Prints the plan and ends
    #[arg(long)]
    plan: bool,
    /// Ends with one line of JSON
    #[arg(long)]
    json: bool,
    /// Where the simulated disks are; must not exist
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> ExitCode {
    // Held until the end: it removes the directory.
    let (dir, _scratch) = match args.dir.clone() {
        Some(dir) => (dir, None),
        None => match crate::scratch() {
            Ok(scratch) => (scratch.path().join(format!("seed-{}", args.seed)), Some(scratch)),
            Err(e) => return fail(format!("no room for the disks: {e}")),
        },
    };
    let options = RunOptions {
        seed: args.seed,
        seconds: args.seconds,
        without: args.without.iter().copied().collect::<BTreeSet<_>>(),
        odd: !args.calm,
        bug: args.plant,
        dir: dir.clone(),
    };
    if args.plan {
        println!("{}", run::describe(&options));
        return ExitCode::SUCCESS;
    }
    if let Err(e) = std::fs::create_dir_all(&dir) {
        return fail(format!("{}: {e}", dir.display()));
    }
    let guard = trace::start(args.trace);
    let ended = run::run(&options);
    drop(guard);
    let finished = match ended {
        Ok(finished) => finished,
        Err(e) => return fail(e),
    };
    report(&args, &finished);
    let _ = std::fs::remove_dir_all(&dir); // what is left is in memory and small
    ExitCode::from(finished.summary.verdict.exit_code())
}

fn report(args: &Args, finished: &Finished) {
    let summary = &finished.summary;
    if !finished.violations.is_empty() || summary.reason.is_some() {
        println!("{}", finished.plan);
        println!("the history around it:");
        finished.excerpt.iter().for_each(|line| println!("  {line}"));
        finished.violations.iter().for_each(|violation| println!("{violation}"));
    }
    if args.json {
        match serde_json::to_string(summary) {
            Ok(json) => println!("{json}"),
            Err(e) => eprintln!("quorate-sim: {e}"),
        }
        return;
    }
    let figures = &summary.figures;
    println!(
        "seed {}: {}{}; {:.1} simulated s; judged: {}; trace {}, data {}",
        summary.seed,
        summary.verdict,
        summary.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default(),
        figures.simulated_ms as f64 / 1000.0,
        judged(figures),
        summary.trace,
        summary.data,
    );
    println!("held at most, in bytes: {}; most rows of an entry: {}", each(&figures.held), figures.rows_most);
    println!("looked at by the checks of what clients saw: {}", each(&figures.by_check));
}
