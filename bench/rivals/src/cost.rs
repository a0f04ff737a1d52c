//! CPU time, from /proc: of the servers, of the generator, and of everything else on the machine.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::time::Instant;

/// CPU seconds used so far.
pub struct Sample {
    at: Instant,
    servers: f64,
    own: f64,
    machine: f64,
}

impl Sample {
    /// Of the processes with these ids, all their threads together.
    pub fn take(servers: &[i32]) -> Result<Self> {
        let mut used = 0.0;
        for pid in servers {
            used += process(&pid.to_string())?;
        }
        Ok(Self { at: Instant::now(), servers: used, own: process("self")?, machine: machine()? })
    }

    /// What so many messages cost between an earlier sample and this one.
    pub fn since(&self, before: &Self, messages: u64) -> Value {
        let seconds = (self.at - before.at).as_secs_f64();
        let (servers, own) = (self.servers - before.servers, self.own - before.own);
        let others = self.machine - before.machine - servers - own;
        let per_million = |used: f64| (messages > 0).then(|| round(used * 1e6 / messages as f64));
        json!({
            "server_seconds": round(servers),
            "server_seconds_per_million": per_million(servers),
            "generator_seconds_per_million": per_million(own),
            // Of the time that other programs used beside the run: how noisy the machine was.
            "foreign_cores": round((others / seconds).max(0.0)),
        })
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// User and system time of a process.
fn process(pid: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("{path}: is the server gone?"))?;
    // The name of the program stands in brackets and may hold anything, brackets too.
    let fields = text.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    ticks(fields.split_whitespace().skip(11).take(2)).with_context(|| format!("{path} reads {text:?}"))
}

/// Time in which the processors did something: user, nice, system, and the two kinds of interrupts.
fn machine() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let fields: Vec<&str> =
        text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(7).collect();
    let busy = fields.iter().enumerate().filter(|(index, _)| ![3, 4].contains(index));
    ticks(busy.map(|(_, field)| *field)).context("/proc/stat")
}

fn ticks<'a>(fields: impl Iterator<Item = &'a str>) -> Result<f64> {
    let mut sum = 0;
    for field in fields {
        sum += field.parse::<u64>()?;
    }
    Ok(sum as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_as_time() {
        let before = Sample::take(&[]).unwrap();
        let mut x = 1_u64;
        while process("self").unwrap() < before.own + 0.05 {
            x = x.wrapping_mul(3);
        }
        assert!(x != 0);
        let cost = Sample::take(&[]).unwrap().since(&before, 1_000_000);
        assert!(cost["generator_seconds_per_million"].as_f64().unwrap() >= 0.04, "{cost}");
        assert_eq!(cost["server_seconds"], 0.0);
    }
}
