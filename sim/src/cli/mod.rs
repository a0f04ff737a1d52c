//! The `quorate-sim` command: one verb a file.

mod meta;
mod minimise;
mod mutants;
mod process;
mod run;
mod sweep;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quorate_simpoint::Bug;

use crate::summary::{Counts, Figures};

/// Finds what breaks Quorate's promises: a cluster, its network, its disks and its clients under one seed.
#[derive(Debug, Parser)]
#[command(name = "quorate-sim", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs one seed.
    Run(run::Args),
    /// Runs many seeds, each in a process of its own.
    Sweep(sweep::Args),
    /// Runs seeds twice and compares everything they say and leave, byte for byte.
    Meta(meta::Args),
    /// Finds a smaller run that fails like a seed does.
    Minimise(minimise::Args),
    /// Plants each deliberate bug in turn and shows in how many seeds it is caught.
    Mutants(mutants::Args),
}

/// Runs the command line. Exit codes: 0 clean, 2 wrong command line, 10 safety, 11 liveness, 12 crash, 13 not
/// deterministic, 14 not judged.
pub fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Run(args) => run::run(args),
        Verb::Sweep(args) => sweep::run(args),
        Verb::Meta(args) => meta::run(args),
        Verb::Minimise(args) => minimise::run(args),
        Verb::Mutants(args) => mutants::run(args),
    }
}

/// Numbers from and up to, as `5..10` or `5`.
fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let number = |part: &str| part.parse::<u64>().map_err(|_| format!("{part:?} is not a number"));
    let range = match text.split_once("..") {
        Some((from, to)) => number(from)?..number(to)?,
        None => number(text)?..number(text)? + 1,
    };
    if range.is_empty() { Err(format!("{text} holds no seed")) } else { Ok(range) }
}

/// A deliberate bug, by its name.
fn bug(name: &str) -> Result<Bug, String> {
    Bug::from_name(name)
        .ok_or_else(|| "there is no such deliberate bug; `quorate-sim mutants --list` names them".into())
}

/// What was judged, for people.
fn judged(figures: &Figures) -> String {
    let Figures { entries, writes, reads, deliveries, scans, rows, .. } = figures;
    format!(
        "{entries} entries, {writes} writes, {reads} reads, {deliveries} deliveries, {scans} scans, {rows} rows"
    )
}

/// Counts in one line.
fn each(counts: &Counts) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

/// Says what went wrong with the command itself.
fn fail(what: impl std::fmt::Display) -> ExitCode {
    eprintln!("quorate-sim: {what}");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::seeds;

    #[test]
    fn seeds_are_a_number_or_a_range() {
        assert_eq!(seeds("7"), Ok(7..8));
        assert_eq!(seeds("7..9"), Ok(7..9));
        assert!(seeds("9..7").is_err() && seeds("x").is_err() && seeds("7..").is_err());
    }
}
