//! What the tasks of one run share.

use std::sync::OnceLock;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Args, Clock};

/// The load and its clock.
pub(super) struct Load {
    pub(super) queues: Vec<String>,
    pub(super) producers: u32,
    pub(super) window: u32,
    pub(super) size: usize,
    /// Between two messages of one producer.
    pub(super) pace: Option<Duration>,
    warmup: Duration,
    measured: Duration,
    clock: OnceLock<Clock>,
    begun: watch::Sender<bool>,
}

impl Load {
    pub(super) fn new(args: &Args, queues: Vec<String>) -> Self {
        let pace = args.rate.map(|rate| Duration::from_secs_f64(f64::from(args.producers) / rate as f64));
        Self {
            queues,
            producers: args.producers,
            window: args.window,
            size: args.size,
            pace,
            warmup: args.warmup,
            measured: Duration::from_secs(args.seconds),
            clock: OnceLock::new(),
            begun: watch::Sender::new(false),
        }
    }

    /// Starts the clock.
    pub(super) fn begin(&self) -> Clock {
        let start = Instant::now();
        let from = start + self.warmup;
        let clock = *self.clock.get_or_init(|| Clock { start, from, to: from + self.measured });
        self.begun.send_replace(true);
        clock
    }

    /// Waits until the clock runs.
    pub(super) async fn clock(&self) -> Clock {
        let mut begun = self.begun.subscribe();
        loop {
            if let Some(clock) = self.clock.get() {
                return *clock;
            }
            // The sender lives in `self`, so this cannot fail.
            let _ = begun.changed().await;
        }
    }
}

/// Microseconds, up to an hour, three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are in order and the digits in range")
}

/// Records a time in microseconds.
pub(super) fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
}
