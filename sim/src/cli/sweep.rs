//! `quorate-sim sweep`: many seeds.

use std::io::IsTerminal;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::process::{self, Concluded, Task};
use super::{each, fail, judged, seeds};
use crate::interpose::real_now;
use crate::summary::{Counts, Figures, Verdict};

/// One seed in so many is run twice and must say the same.
const TWICE: u64 = 20;
/// With so many seeds every check has had something to look at.
const LARGE: u64 = 20;

/// Runs many seeds, each in a process of its own.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The seeds, as 0..2000
    #[arg(long, value_parser = seeds, value_name = "A..B")]
    seeds: Range<u64>,
    /// How many run at once; default one per core
    #[arg(long)]
    jobs: Option<usize>,
    /// How long each cluster works before it is healed, in simulated seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Keeps the sites in the product's code from being odd
    #[arg(long)]
    calm: bool,
    /// A run that takes longer than this in real time has crashed, in seconds
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// Ends at the first seed that fails
    #[arg(long)]
    first: bool,
    /// Where the reports of failed seeds go
    #[arg(long, value_name = "DIRECTORY")]
    reports: Option<PathBuf>,
    /// Ends with one line of JSON
    #[arg(long)]
    json: bool,
}

/// What a sweep came to.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Totals {
    seeds: u64,
    /// Seeds whose second run was compared with the first.
    compared: u64,
    verdicts: Counts,
    /// Seeds whose runs say something about the product: enough of them was checked, or something was found.
    judged: u64,
    /// Checks that had nothing to look at in any of them.
    idle: Vec<String>,
    /// The seeds that failed, with their verdicts.
    failed: Vec<(u64, String)>,
    real_s: u64,
    figures: Figures,
}

pub(super) fn run(args: Args) -> ExitCode {
    let scratch = match crate::scratch() {
        Ok(scratch) => scratch,
        Err(e) => return fail(format!("no room for the disks: {e}")),
    };
    if let Some(Err(e)) = args.reports.as_ref().map(std::fs::create_dir_all) {
        return fail(format!("no room for the reports: {e}"));
    }
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
    let task = |(number, seed): (usize, u64)| Task {
        seed,
        seconds: args.seconds,
        calm: args.calm,
        scratch: scratch.path().join(format!("job-{number}")),
        output: scratch.path().join(format!("out-{number}")),
        limit: Duration::from_secs(args.limit),
        ..Task::default()
    };
    let twice = |seed| if seed % TWICE == 0 { vec![seed, seed] } else { vec![seed] };
    let tasks = args.seeds.clone().flat_map(twice).enumerate().map(task);
    let (started, mut totals) = (real_now(), Totals::default());
    let mut first_runs = Counts::new();
    let mut worst = Verdict::Clean;
    let ended = process::all(tasks, jobs, |concluded| {
        let verdict = judge(&mut totals, &mut first_runs, &concluded);
        worst = worst.max(verdict);
        if verdict != Verdict::Clean {
            tell(&args, &concluded, verdict);
        }
        totals.real_s = (real_now() - started).as_secs();
        progress(&args, &totals);
        verdict == Verdict::Clean || !args.first
    });
    if let Err(e) = ended {
        return fail(e);
    }
    totals.idle = idle(&totals);
    if !totals.idle.is_empty() {
        worst = worst.max(Verdict::Unjudged);
    }
    report(&args, &totals);
    ExitCode::from(worst.exit_code())
}

/// The checks that had nothing to look at, in a sweep that is large enough to have something for each.
fn idle(totals: &Totals) -> Vec<String> {
    let by_check = totals.figures.by_check.iter().filter(|(_, count)| **count == 0);
    let idle = by_check.map(|(name, _)| name.clone());
    if totals.seeds < LARGE { Vec::new() } else { idle.collect() }
}

/// Takes a run into the totals. A second run of a seed is only compared.
fn judge(totals: &mut Totals, first_runs: &mut Counts, concluded: &Concluded) -> Verdict {
    let summary = &concluded.summary;
    let key = format!("{} {} {}", summary.seed, summary.trace, summary.data);
    if summary.seed.is_multiple_of(TWICE) {
        let seen: Vec<String> =
            first_runs.keys().filter(|k| k.starts_with(&format!("{} ", summary.seed))).cloned().collect();
        *first_runs.entry(key.clone()).or_default() += 1;
        if !seen.is_empty() {
            totals.compared += 1;
            if seen.contains(&key) {
                return Verdict::Clean; // the first run was counted
            }
            totals.failed.push((summary.seed, Verdict::Nondeterminism.to_string()));
            return Verdict::Nondeterminism;
        }
    }
    totals.seeds += 1;
    totals.judged += u64::from(summary.verdict.is_judged());
    *totals.verdicts.entry(summary.verdict.to_string()).or_default() += 1;
    totals.figures.add(&summary.figures);
    if summary.verdict != Verdict::Clean {
        totals.failed.push((summary.seed, summary.verdict.to_string()));
    }
    summary.verdict
}

fn tell(args: &Args, concluded: &Concluded, verdict: Verdict) {
    let summary = &concluded.summary;
    eprintln!("\nseed {}: {verdict}: {}", summary.seed, summary.reason.as_deref().unwrap_or("it differs"));
    eprintln!("  see it again: {}", concluded.task.command_line());
    if let Some(reports) = &args.reports {
        let path = reports.join(format!("seed-{}.txt", summary.seed));
        if let Err(e) = std::fs::write(&path, &concluded.output) {
            eprintln!("  {}: {e}", path.display());
        }
    }
}

fn progress(args: &Args, totals: &Totals) {
    if std::io::stderr().is_terminal() {
        let all = args.seeds.end - args.seeds.start;
        eprint!("\r{}/{all} seeds, {} failed, {} s ", totals.seeds, totals.failed.len(), totals.real_s);
    }
}

fn report(args: &Args, totals: &Totals) {
    if args.json {
        match serde_json::to_string(totals) {
            Ok(json) => println!("{json}"),
            Err(e) => eprintln!("quorate-sim: {e}"),
        }
        return;
    }
    let figures = &totals.figures;
    println!(
        "{} seeds, {:.2} simulated hours in {} s; {:.1} % of them judged: {}; {} seeds run twice",
        totals.seeds,
        figures.simulated_ms as f64 / 3_600_000.0,
        totals.real_s,
        100.0 * totals.judged as f64 / totals.seeds.max(1) as f64,
        judged(figures),
        totals.compared,
    );
    for (what, counts) in [
        ("verdicts", &totals.verdicts),
        ("looked at by the checks of what clients saw", &figures.by_check),
        ("calls", &figures.calls),
        ("answers", &figures.answers),
        ("faults", &figures.faults),
        ("odd sites", &figures.odd),
    ] {
        println!("{what}: {}", each(counts));
    }
    println!("held at most, in bytes: {}; most rows of an entry: {}", each(&figures.held), figures.rows_most);
    for name in &totals.idle {
        println!("{name} had nothing to look at: nothing was judged by it");
    }
    for (seed, verdict) in &totals.failed {
        println!("seed {seed}: {verdict}");
    }
}
