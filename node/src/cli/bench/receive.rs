//! The consumers of a run.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use quorate_client::{Client, Consumer, Delivery, Raw};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Clock;
use super::load::{Load, histogram, record};
use super::payload::Payload;
use super::tracker::{LastSeen, Tracker};
use crate::cli::Failure;

/// A run whose consumers receive nothing for so long has lost something.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often completeness is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What the consumers measured.
pub(super) struct Received {
    pub(super) end_to_end: Histogram<u64>,
    /// Acknowledged in the measured time.
    pub(super) acked: u64,
    pub(super) failed_settles: u64,
    pub(super) errors: u64,
    pub(super) error: Option<String>,
}

/// The consumers of a run, and how they are told to end.
pub(super) struct Running {
    task: JoinHandle<Received>,
    over: watch::Sender<bool>,
}

/// Attaches every consumer.
pub(super) async fn start(
    clients: &[Client],
    load: &Arc<Load>,
    tracker: &Arc<Tracker>,
    count: u32,
) -> Result<Vec<Running>, Failure> {
    // Enough to keep a consumer busy for a round trip; a bound of the client's memory nevertheless.
    let share = u64::from(load.window) * u64::from(load.producers) / u64::from(count);
    let credit = u32::try_from((share * 2).clamp(256, 16_384)).unwrap_or(16_384);
    let mut running = Vec::new();
    for i in 0..count as usize {
        let queue = clients[i % clients.len()].raw_queue(load.queues[i % load.queues.len()].as_str());
        let consumer = queue.consumer().credit(credit).attach().await?;
        let (over, ending) = watch::channel(false);
        let (load, tracker) = (load.clone(), tracker.clone());
        let task = tokio::spawn(async move {
            let clock = load.clock().await;
            let producers = load.producers as usize;
            One { clock, tracker, consumer, seen: vec![LastSeen::default(); producers], got: Received::new() }
                .run(ending)
                .await
        });
        running.push(Running { task, over });
    }
    Ok(running)
}

/// Waits until everything confirmed was received, or nothing comes any more; then ends the consumers.
pub(super) async fn finish(running: Vec<Running>, tracker: &Tracker, clock: Clock) -> Received {
    end_after(running, tracker, clock.to).await
}

/// The same, of a backlog that is all there.
pub(super) async fn drain(running: Vec<Running>, tracker: &Tracker, clock: Clock) -> Received {
    end_after(running, tracker, clock.from).await
}

async fn end_after(running: Vec<Running>, tracker: &Tracker, to: Instant) -> Received {
    let mut total = Received::new();
    let (mut count, mut moved) = (tracker.received_count(), Instant::now().max(to));
    while !running.is_empty() && !tracker.is_complete() && moved.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        let now = tracker.received_count();
        if now != count {
            (count, moved) = (now, Instant::now());
        }
    }
    for one in running {
        one.over.send_replace(true);
        match one.task.await {
            Ok(received) => total.add(received),
            Err(error) => total.failed(&error),
        }
    }
    total
}

impl Received {
    fn new() -> Self {
        Self { end_to_end: histogram(), acked: 0, failed_settles: 0, errors: 0, error: None }
    }

    fn failed(&mut self, error: &dyn std::fmt::Display) {
        self.errors += 1;
        self.error.get_or_insert_with(|| error.to_string());
    }

    fn add(&mut self, other: Self) {
        let _ = self.end_to_end.add(&other.end_to_end); // the bounds are the same
        self.acked += other.acked;
        self.failed_settles += other.failed_settles;
        self.errors += other.errors;
        self.error = self.error.take().or(other.error);
    }
}

/// One consumer.
struct One {
    clock: Clock,
    tracker: Arc<Tracker>,
    consumer: Consumer<Bytes, Raw>,
    /// Of each producer.
    seen: Vec<LastSeen>,
    got: Received,
}

impl One {
    async fn run(mut self, mut ending: watch::Receiver<bool>) -> Received {
        // Acknowledgements that were answered before, and at the end of, the measured time.
        let (mut before, mut after) = (None, None);
        loop {
            let mark = match (before, after) {
                (None, _) => Some(self.clock.from),
                (Some(_), None) => Some(self.clock.to),
                _ => None,
            };
            let next = tokio::select! {
                biased;
                () = tokio::time::sleep_until(mark.unwrap_or(self.clock.to)), if mark.is_some() => {
                    let count = self.consumer.settled_count();
                    if before.is_none() { before = Some(count) } else { after = Some(count) }
                    continue;
                }
                _ = ending.wait_for(|over| *over) => break,
                next = self.consumer.next() => next,
            };
            match next {
                Some(Ok(delivery)) => self.take(delivery),
                Some(Err(error)) => self.got.failed(&error),
                None => break,
            }
            while let Some(Ok(delivery)) = self.consumer.try_next() {
                self.take(delivery);
            }
        }
        match self.consumer.settled().await {
            Ok(failures) => {
                self.got.failed_settles += failures.len() as u64;
                for failure in failures {
                    self.got.failed(&failure.error);
                }
            }
            Err(error) => self.got.failed(&error),
        }
        self.got.acked = after.unwrap_or_else(|| self.consumer.settled_count()) - before.unwrap_or(0);
        if let Err(error) = self.consumer.detach().await {
            self.got.failed(&error);
        }
        self.got
    }

    fn take(&mut self, delivery: Delivery<Bytes>) {
        let now = Instant::now();
        if let Some(payload) = Payload::decode(&delivery.value) {
            let first = self.tracker.received(payload.producer, payload.seq);
            if let Some(seen) = self.seen.get_mut(payload.producer as usize)
                && first
                && !seen.follows(delivery.position, payload.seq)
            {
                self.tracker.disordered(payload.producer);
            }
            if first && self.clock.counts(now) {
                record(
                    &mut self.got.end_to_end,
                    now.saturating_duration_since(self.clock.start + payload.sent),
                );
            }
        } else {
            self.got.failed(&"a message that no producer of this run sent");
        }
        delivery.ack_later();
    }
}
