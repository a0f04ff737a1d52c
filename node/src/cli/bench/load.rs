//! What the tasks of one run share.

use std::sync::OnceLock;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Args, Clock};

/// Longer than anybody waits for a bench.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

/// The load and its clock.
pub(super) struct Load {
    pub(super) queues: Vec<String>,
    pub(super) producers: u32,
    pub(super) window: u32,
    pub(super) size: usize,
    /// Between two messages of one producer.
    pub(super) pace: Option<Duration>,
    /// How many messages all producers send together; `None` as many as time allows.
    total: Option<u64>,
    warmup: Duration,
    measured: Duration,
    clock: OnceLock<Clock>,
    begun: watch::Sender<bool>,
}

impl Load {
    /// A load that ends with its time.
    pub(super) fn new(args: &Args, queues: Vec<String>) -> Self {
        let pace = args.rate.map(|rate| Duration::from_secs_f64(f64::from(args.producers) / rate as f64));
        Self {
            queues,
            producers: args.producers,
            window: args.window,
            size: args.size,
            pace,
            total: None,
            warmup: args.warmup,
            measured: Duration::from_secs(args.seconds),
            clock: OnceLock::new(),
            begun: watch::Sender::new(false),
        }
    }

    /// A load that ends when so much is done.
    pub(super) fn of(total: u64, args: &Args, queues: Vec<String>) -> Self {
        let (warmup, measured) = (Duration::ZERO, FOR_EVER);
        Self { total: Some(total), warmup, measured, ..Self::new(args, queues) }
    }

    /// How many messages a producer sends at most.
    pub(super) fn share(&self, producer: u32) -> u64 {
        let (producer, producers) = (u64::from(producer), u64::from(self.producers));
        self.total.map_or(u64::MAX, |total| total / producers + u64::from(producer < total % producers))
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
