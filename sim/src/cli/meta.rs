//! `quorate-sim meta`: a seed that does not repeat itself proves nothing.

use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, ExitCode};

use super::process::Task;
use super::{fail, seeds};
use crate::summary::Verdict;

const CHUNK: usize = 1 << 16;

/// Runs seeds twice and compares everything they say and leave, byte for byte.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The seed
    #[arg(long, conflicts_with = "seeds", required_unless_present = "seeds")]
    seed: Option<u64>,
    /// Several seeds, as 0..10
    #[arg(long, value_parser = seeds, value_name = "A..B")]
    seeds: Option<Range<u64>>,
    /// How long each cluster works before it is healed, in simulated seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub(super) fn run(args: Args) -> ExitCode {
    let seeds = args.seeds.clone().or_else(|| args.seed.map(|seed| seed..seed + 1)).unwrap_or(0..0);
    for seed in seeds {
        match twice(seed, args.seconds) {
            Ok(Same { lines, code }) => {
                println!("seed {seed}: {lines} lines of trace are the same, exit code {code}")
            }
            Err(Differs::At { line, one, other }) => {
                println!("seed {seed}: the two runs differ at line {line}\n  {one}\n  {other}");
                return ExitCode::from(Verdict::Nondeterminism.exit_code());
            }
            Err(Differs::Failed(e)) => return fail(e),
        }
    }
    ExitCode::SUCCESS
}

struct Same {
    lines: usize,
    code: i32,
}

enum Differs {
    At { line: usize, one: String, other: String },
    Failed(std::io::Error),
}

impl From<std::io::Error> for Differs {
    fn from(e: std::io::Error) -> Self {
        Differs::Failed(e)
    }
}

/// The trace has the history in it, and ends with the hash of everything and of the data files.
fn twice(seed: u64, seconds: u64) -> Result<Same, Differs> {
    let scratch = crate::scratch()?;
    // The disks' place is part of what nodes say, so each run has it at the same place, below a root of its own.
    let task = |name: &str| Task { seed, seconds, scratch: scratch.path().join(name), ..Task::default() };
    let (mut one, mut other) = (task("a").start_traced()?, task("b").start_traced()?);
    let places = [scratch.path().join("a"), scratch.path().join("b")];
    let compared = compare(&mut one, &mut other, &places);
    if compared.is_err() {
        one.kill()?;
        other.kill()?;
    }
    let codes = (one.wait()?.code(), other.wait()?.code());
    let lines = compared?;
    match codes {
        (Some(a), Some(b)) if a == b => Ok(Same { lines, code: a }),
        (a, b) => Err(Differs::At { line: lines, one: format!("exit {a:?}"), other: format!("exit {b:?}") }),
    }
}

fn compare(one: &mut Child, other: &mut Child, places: &[PathBuf; 2]) -> Result<usize, Differs> {
    let missing = || std::io::Error::other("a child without output");
    let mut readers = [one.stdout.take().ok_or_else(missing)?, other.stdout.take().ok_or_else(missing)?];
    let mut rests = [Vec::new(), Vec::new()];
    let mut lines = 0;
    loop {
        let mut ended = [false; 2];
        for i in 0..2 {
            ended[i] = !fill(&mut readers[i], &mut rests[i], &places[i])?;
        }
        let whole = |rest: &[u8]| rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let is_end = ended == [true; 2];
        let common =
            if is_end { rests[0].len().max(rests[1].len()) } else { whole(&rests[0]).min(whole(&rests[1])) };
        let parts = [0, 1].map(|i: usize| &rests[i][..common.min(rests[i].len())]);
        if parts[0] != parts[1] {
            return Err(first_difference(lines, parts[0], parts[1]));
        }
        lines += parts[0].iter().filter(|b| **b == b'\n').count();
        for rest in &mut rests {
            rest.drain(..common.min(rest.len()));
        }
        if is_end {
            return Ok(lines);
        }
    }
}

/// Reads on; false at the end. The root of the disks is cut out of what was read.
fn fill(from: &mut impl Read, into: &mut Vec<u8>, place: &std::path::Path) -> std::io::Result<bool> {
    let mut chunk = vec![0; CHUNK];
    let read = from.read(&mut chunk)?;
    into.extend_from_slice(&chunk[..read]);
    let place = place.as_os_str().as_encoded_bytes();
    while let Some(at) = into.windows(place.len()).position(|part| part == place) {
        into.splice(at..at + place.len(), *b"<disks>");
    }
    Ok(read > 0)
}

fn first_difference(before: usize, one: &[u8], other: &[u8]) -> Differs {
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (lines(one), lines(other));
    let at = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let line = |lines: &[String]| lines.get(at).cloned().unwrap_or_else(|| "(the end)".into());
    Differs::At { line: before + at + 1, one: line(&one), other: line(&other) }
}
