//! Plans carried out on small worlds, each in a process of its own: a simulation is the first thing that draws
//! randomness in its process, or it would not follow from its seed.
//!
//! `faults` runs them all, `faults <seed> <seconds> <number>…` one without the faults of these numbers, `faults unanswered` the deaths between commit and answer, `faults astray` nodes that apply
//! otherwise than the others, `faults ill` disks that hang or run full.

use std::process::{Command, ExitCode};

quorate_sim::interpose!();

const SEEDS: u64 = 20;
const SECONDS: u64 = 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let numbers: Vec<u64> = arguments.iter().filter_map(|a| a.parse().ok()).collect();
    match (numbers.as_slice(), arguments.first().map(String::as_str)) {
        ([seed, seconds, without @ ..], _) => {
            let without = without.iter().map(|number| *number as usize).collect();
            tell(in_directory(|dir| quorate_sim::faults::smoke::run(*seed, *seconds, &without, dir)))
        }
        (_, Some("unanswered")) => tell(in_directory(unanswered)),
        (_, Some("ill")) => tell(in_directory(|dir| ill(&arguments[1..], dir))),
        (_, Some("astray")) => tell(in_directory(|dir| astray(&arguments[1..], dir))),
        _ => all(),
    }
}

fn in_directory(run: impl FnOnce(&std::path::Path) -> Result<String, String>) -> Result<String, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    run(dir.path())
}

fn unanswered(dir: &std::path::Path) -> Result<String, String> {
    let (there, gone) = quorate_sim::faults::unanswered::run(dir)?;
    match there > 0 && gone > 0 {
        true => Ok(format!("nobody was answered; {there} queues were there afterwards, {gone} were not")),
        false => Err(format!("{there} queues were committed without an answer, {gone} were not committed")),
    }
}

/// Who goes astray, the leader or a follower; and whether anybody looks.
fn astray(how: &[String], dir: &std::path::Path) -> Result<String, String> {
    let leads = how.contains(&"leader".to_owned());
    let unseen = how.contains(&"unseen".to_owned());
    match quorate_sim::faults::astray::run(leads, unseen, dir) {
        done if !unseen => done,
        Err(why) if why.contains("it is stopped") => Ok("nobody looked, and nobody was stopped".into()),
        done => Err(format!("somebody looked: {done:?}")),
    }
}

/// Which disk is ill; and whether nothing is done about it.
fn ill(how: &[String], dir: &std::path::Path) -> Result<String, String> {
    let ill = how.first().and_then(|name| quorate_sim::faults::ill::Ill::named(name));
    let unseen = how.contains(&"unseen".to_owned());
    match quorate_sim::faults::ill::run(ill.ok_or("which disk?")?, unseen, dir) {
        done if !unseen => done,
        Err(why) => Ok(format!("nothing was done, and {why}")),
        Ok(done) => Err(format!("nothing was done, and all was well: {done}")),
    }
}

fn tell(result: Result<String, String>) -> ExitCode {
    match result {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn all() -> ExitCode {
    let mut failed = !again(&["unanswered".into()]);
    for how in ["leader", "follower", "unseen"] {
        failed |= !again(&["astray".into(), how.into()]);
    }
    for how in ["leader-hangs", "leader-blocked", "follower-hangs", "follower-full", "followers-full"] {
        failed |= !again(&["ill".into(), how.into()]);
        failed |= !again(&["ill".into(), how.into(), "unseen".into()]);
    }
    for seed in 0..SEEDS {
        failed |= !again(&[seed.to_string(), SECONDS.to_string()]);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs this program with other arguments; whether all went well.
fn again(arguments: &[String]) -> bool {
    let program = std::env::current_exe().expect("this program has a path");
    let done = Command::new(program).args(arguments).output().expect("this program can be run again");
    let ok = done.status.success();
    println!("{} {}", arguments.join(" "), if ok { "passes" } else { "fails" });
    if !ok {
        println!("{}\n{}", done.status, String::from_utf8_lossy(&done.stderr));
    }
    ok
}
