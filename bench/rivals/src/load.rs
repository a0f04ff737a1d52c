//! The load of a run, and what its tasks share.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::alarm::Alarms;
use crate::check::Check;
use crate::payload::Bodies;

/// Longer than any run takes.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

/// What is asked of the generator.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Load {
    /// How many producers
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub producers: u32,
    /// How many consumers, for `pipeline` and `drain`
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub consumers: u32,
    /// Most messages that a producer has without a confirmation
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub window: u32,
    /// Bytes of a body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(20..))]
    pub size: u32,
    /// Messages a second, all producers together [default: as fast as it goes]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// For `pipeline`: producers hold back while so many messages are on their way to a consumer
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub waiting: u32,
    /// How long is measured
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// How many seconds the load runs before that
    #[arg(long, default_value_t = 1)]
    pub warmup: u64,
    /// For `drain`: length of the backlog
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: u64,
}

/// When a run begins to count and when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The load begins.
    pub start: Instant,
    /// The measured part begins.
    pub from: Instant,
    /// It ends, and so does the load.
    pub to: Instant,
}

impl Clock {
    /// Of a load that ends with its time.
    pub fn timed(load: &Load) -> Self {
        let start = Instant::now();
        let from = start + Duration::from_secs(load.warmup);
        Self { start, from, to: from + Duration::from_secs(load.seconds) }
    }

    /// Of a load that ends when it is done.
    pub fn open_end() -> Self {
        let start = Instant::now();
        Self { start, from: start, to: start + FOR_EVER }
    }

    /// Whether what happens now is measured.
    pub fn counts(&self, at: Instant) -> bool {
        at >= self.from && at < self.to
    }
}

/// One phase of a run.
pub struct Phase {
    /// See [`Load`].
    pub load: Load,
    /// See [`Clock`].
    pub clock: Clock,
    /// See [`Check`].
    pub check: Check,
    /// See [`Bodies`].
    pub bodies: Bodies,
    /// Room for messages on their way to a consumer; `None` where nobody consumes meanwhile.
    pub waiting: Option<Semaphore>,
    /// Where the load has a rate.
    pub alarms: Option<Alarms>,
    /// How many messages all producers send together; `None` as many as time allows.
    pub total: Option<u64>,
}

impl Phase {
    /// How many messages a producer sends at most.
    pub fn share(&self, producer: u32) -> u64 {
        let (producer, producers) = (u64::from(producer), u64::from(self.load.producers));
        self.total.map_or(u64::MAX, |total| total / producers + u64::from(producer < total % producers))
    }

    /// When a message is due, where the load has a rate. Producers take turns rather than send together.
    pub fn due(&self, producer: u32, seq: u64) -> Option<Instant> {
        self.load.rate.map(|rate| due_at(self.clock.start, rate, self.load.producers, producer, seq))
    }
}

/// See [`Phase::due`].
pub fn due_at(start: Instant, rate: u64, producers: u32, producer: u32, seq: u64) -> Instant {
    let turn = f64::from(producer) / f64::from(producers);
    start + Duration::from_secs_f64(f64::from(producers) / rate as f64 * (turn + seq as f64))
}

/// Counts, times and errors of a task, and of all tasks together.
pub struct Tally {
    /// Messages in the measured time.
    pub messages: u64,
    /// Times in microseconds.
    pub times: Histogram<u64>,
    /// How much went wrong.
    pub errors: u64,
    /// What went wrong first.
    pub error: Option<String>,
}

impl Tally {
    /// Nothing yet.
    pub fn new() -> Result<Self> {
        // Microseconds, up to an hour, three digits.
        let times = Histogram::new_with_bounds(1, 3_600_000_000, 3).context("a histogram")?;
        Ok(Self { messages: 0, times, errors: 0, error: None })
    }

    /// Records a time.
    pub fn record(&mut self, time: Duration) {
        self.times.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    /// Notes an error.
    pub fn failed(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.error.get_or_insert_with(|| format!("{error:#}"));
    }

    /// Adds what another task counted.
    pub fn add(&mut self, other: Self) -> Result<()> {
        self.messages += other.messages;
        self.times.add(&other.times).context("histograms of the same bounds")?;
        self.errors += other.errors;
        self.error = self.error.take().or(other.error);
        Ok(())
    }

    /// Percentiles; null where nothing was timed.
    pub fn percentiles(&self) -> Value {
        if self.times.is_empty() {
            return Value::Null;
        }
        json!({
            "p50": self.times.value_at_quantile(0.5),
            "p99": self.times.value_at_quantile(0.99),
            "p999": self.times.value_at_quantile(0.999),
            "max": self.times.max(),
        })
    }
}
