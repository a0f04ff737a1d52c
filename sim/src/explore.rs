//! Many seeds of a test of your own, each in a process of its own.

use std::ops::Range;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use crate::interpose::on_a_fresh_thread;
use crate::simulation::Failure;

/// Tells a process which seed is its own.
const SEED: &str = "QUORATE_SIM_SEED";
const LOOK: Duration = Duration::from_millis(2);

/// Runs `test` with every seed and says which of them fail first. To see one seed again, set `QUORATE_SIM_SEED` to it.
///
/// It starts the program again for each seed, with the same arguments: call it from `main`, before anything else happens.
/// Ends with 0 if all seeds passed, 1 if one failed, 2 if the program cannot be started.
pub fn explore(seeds: Range<u64>, test: impl FnOnce(u64) -> Result<(), Failure> + Send) -> ExitCode {
    if let Ok(seed) = std::env::var(SEED) {
        let Ok(seed) = seed.parse() else {
            eprintln!("{SEED} is not a number");
            return ExitCode::from(2);
        };
        return match on_a_fresh_thread(|| test(seed)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                println!("{failure}");
                ExitCode::FAILURE
            }
        };
    }
    match sweep(seeds.clone()) {
        Ok(None) => {
            println!("{} seeds passed", seeds.end - seeds.start);
            ExitCode::SUCCESS
        }
        Ok(Some((seed, said))) => {
            println!("seed {seed} fails: {}\nsee it again: {SEED}={seed}", said.trim_end());
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("the seeds cannot be run: {e}");
            ExitCode::from(2)
        }
    }
}

/// The smallest seed that was seen to fail, and what it said.
fn sweep(seeds: Range<u64>) -> std::io::Result<Option<(u64, String)>> {
    let jobs = std::thread::available_parallelism().map_or(1, Into::into);
    let mut seeds = seeds;
    let mut running: Vec<(u64, Child)> = Vec::new();
    let mut failed: Option<(u64, String)> = None;
    loop {
        while failed.is_none() && running.len() < jobs {
            let Some(seed) = seeds.next() else { break };
            let mut command = Command::new(std::env::current_exe()?);
            command.args(std::env::args_os().skip(1)).env(SEED, seed.to_string()).stdin(Stdio::null());
            running.push((seed, command.stdout(Stdio::piped()).spawn()?));
        }
        if running.is_empty() {
            return Ok(failed);
        }
        std::thread::sleep(LOOK);
        let mut i = 0;
        while i < running.len() {
            if running[i].1.try_wait()?.is_none() {
                i += 1;
                continue;
            }
            let (seed, child) = running.swap_remove(i);
            let output = child.wait_with_output()?;
            let is_first = failed.as_ref().is_none_or(|(known, _)| seed < *known);
            if !output.status.success() && is_first {
                failed = Some((seed, String::from_utf8_lossy(&output.stdout).into_owned()));
            }
        }
    }
}
