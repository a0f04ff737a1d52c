//! `quorate-sim mutants`: a harness that finds nothing in a broken product finds nothing at all.

use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use quorate_simpoint::Bug;

use super::process::{self, Task};
use super::{fail, seeds};
use crate::summary::Verdict;

/// A run that takes longer than this in real time hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// Plants each deliberate bug in turn and shows in how many seeds it is caught.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The seeds that each bug is tried with
    #[arg(long, value_parser = seeds, default_value = "0..30", value_name = "A..B")]
    seeds: Range<u64>,
    /// Only these bugs
    #[arg(long, value_delimiter = ',', value_name = "BUGS", value_parser = super::bug)]
    bugs: Vec<Bug>,
    /// How many run at once; default one per core
    #[arg(long)]
    jobs: Option<usize>,
    /// How long each cluster works before it is healed, in simulated seconds
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// A bug is done with at the first seed that catches it
    #[arg(long)]
    first: bool,
    /// Names the bugs and ends
    #[arg(long)]
    list: bool,
}

/// A bug's row of the table.
#[derive(Default)]
struct Row {
    seeds: u64,
    /// Seeds in which the bug had its way at all.
    met: u64,
    caught: u64,
    first: Option<u64>,
    by: std::collections::BTreeMap<String, u64>,
}

pub(super) fn run(args: Args) -> ExitCode {
    if args.list {
        Bug::ALL.iter().for_each(|bug| println!("{}", bug.name()));
        return ExitCode::SUCCESS;
    }
    let bugs = if args.bugs.is_empty() { Bug::ALL.to_vec() } else { args.bugs.clone() };
    let clean = match clean_seeds(&args) {
        Ok(clean) => clean,
        Err(e) => return fail(e),
    };
    println!("| bug | seeds | met | caught | first seed | by |\n|---|---|---|---|---|---|");
    let mut escaped = Vec::new();
    for bug in bugs {
        match hunt(&args, &clean, bug) {
            Ok(row) => {
                if row.caught == 0 {
                    escaped.push(bug.name());
                }
                println!("{}", row.line(bug));
            }
            Err(e) => return fail(e),
        }
    }
    if escaped.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("not caught: {}", escaped.join(", "));
    ExitCode::from(Verdict::Safety.exit_code())
}

fn tasks(args: &Args, seeds: Vec<u64>, bug: Option<Bug>, scratch: &Path) -> impl Iterator<Item = Task> {
    seeds.into_iter().map(move |seed| Task {
        seed,
        seconds: args.seconds,
        bug,
        scratch: scratch.to_owned(),
        output: scratch.join(format!("out-{seed}")),
        limit: LIMIT,
        ..Task::default()
    })
}

fn jobs(args: &Args) -> usize {
    args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into))
}

/// The seeds that find nothing without a bug: with any other, finding something would prove nothing.
fn clean_seeds(args: &Args) -> std::io::Result<Vec<u64>> {
    let scratch = crate::scratch()?;
    let mut clean = Vec::new();
    process::all(tasks(args, args.seeds.clone().collect(), None, scratch.path()), jobs(args), |concluded| {
        if concluded.summary.verdict == Verdict::Clean {
            clean.push(concluded.summary.seed);
        }
        true
    })?;
    clean.sort_unstable();
    Ok(clean)
}

fn hunt(args: &Args, clean: &[u64], bug: Bug) -> std::io::Result<Row> {
    let scratch = crate::scratch()?;
    let mut row = Row::default();
    process::all(tasks(args, clean.to_vec(), Some(bug), scratch.path()), jobs(args), |concluded| {
        let summary = concluded.summary;
        row.seeds += 1;
        row.met += u64::from(summary.planted_hits > 0 || summary.verdict == Verdict::Crash);
        // A run that was not judged has caught nothing.
        if !matches!(summary.verdict, Verdict::Clean | Verdict::Unjudged) {
            row.caught += 1;
            row.first = Some(row.first.map_or(summary.seed, |first| first.min(summary.seed)));
            *row.by.entry(summary.check.unwrap_or_else(|| summary.verdict.to_string())).or_default() += 1;
        }
        row.caught == 0 || !args.first
    })?;
    Ok(row)
}

impl Row {
    fn line(&self, bug: Bug) -> String {
        let by: Vec<String> = self.by.iter().map(|(check, times)| format!("{check} {times}")).collect();
        let first = self.first.map_or_else(|| "-".into(), |seed| seed.to_string());
        format!(
            "| {} | {} | {} | {} | {first} | {} |",
            bug.name(),
            self.seeds,
            self.met,
            self.caught,
            by.join(", ")
        )
    }
}
