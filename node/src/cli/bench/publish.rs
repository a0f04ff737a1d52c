//! The producers of a run.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use hdrhistogram::Histogram;
use quorate_client::{Client, Pending, Producer, Raw};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Clock;
use super::alarm::Alarms;
use super::load::{Load, histogram, record};
use super::payload::Payload;
use super::tracker::Tracker;
use crate::cli::Failure;

/// What the producers measured.
pub(super) struct Published {
    pub(super) confirm: Histogram<u64>,
    /// Receipts in the measured time.
    pub(super) confirmed: u64,
    /// Receipts from first to last.
    pub(super) confirmed_ever: u64,
    pub(super) errors: u64,
    /// The first one.
    pub(super) error: Option<String>,
}

impl Published {
    fn new() -> Self {
        Self { confirm: histogram(), confirmed: 0, confirmed_ever: 0, errors: 0, error: None }
    }

    fn failed(&mut self, error: &dyn std::fmt::Display) {
        self.errors += 1;
        self.error.get_or_insert_with(|| error.to_string());
    }

    fn add(&mut self, other: Self) {
        let _ = self.confirm.add(&other.confirm); // the bounds are the same
        self.confirmed += other.confirmed;
        self.confirmed_ever += other.confirmed_ever;
        self.errors += other.errors;
        self.error = self.error.take().or(other.error);
    }
}

/// Opens every session before the clock starts.
pub(super) async fn open(clients: &[Client], load: &Load) -> Result<Vec<Producer<Bytes, Raw>>, Failure> {
    let mut producers = Vec::new();
    for i in 0..load.producers {
        let queue = clients[i as usize % clients.len()]
            .raw_queue(load.queues[i as usize % load.queues.len()].as_str());
        producers.push(queue.producer().window(load.window).open().await?);
    }
    Ok(producers)
}

/// Runs the load to its end; everything that was sent has its receipt or its error.
pub(super) async fn run(
    producers: Vec<Producer<Bytes, Raw>>,
    load: &Arc<Load>,
    tracker: &Arc<Tracker>,
) -> Published {
    let (clock, producers_count) = (load.clock().await, load.producers);
    let alarms = load.pace.map(|pace| {
        Alarms::start(load.producers, move |i, seq| due_at(clock, pace, producers_count, i, seq))
    });
    let mut tasks = JoinSet::new();
    for (i, producer) in (0..).zip(producers) {
        let (load, tracker, alarms) = (load.clone(), tracker.clone(), alarms.clone());
        tasks.spawn(async move { one(i, producer, &load, alarms, &tracker).await });
    }
    drop(alarms);
    let mut total = Published::new();
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok(published) => total.add(published),
            Err(error) => total.failed(&error),
        }
    }
    total
}

async fn one(
    i: u32,
    producer: Producer<Bytes, Raw>,
    load: &Load,
    alarms: Option<Alarms>,
    tracker: &Tracker,
) -> Published {
    let clock = load.clock().await;
    // Bounded by the window, since what has its receipt is taken at once.
    let (sent, receipts) = mpsc::unbounded_channel();
    let mut published = Published::new();
    let (refused, ()) = tokio::join!(
        send(i, &producer, load, clock, alarms, sent),
        confirm(i, receipts, clock, tracker, &mut published)
    );
    if let Some(error) = refused {
        published.failed(&error);
    }
    if let Err(error) = producer.close().await {
        published.failed(&error);
    }
    published
}

/// Sends until the measured time is over. With a rate, the time of a message is when it was due, however late there was
/// room for it; without one, the confirmation is timed from when it got its place in the window.
async fn send(
    i: u32,
    producer: &Producer<Bytes, Raw>,
    load: &Load,
    clock: Clock,
    alarms: Option<Alarms>,
    sent: mpsc::UnboundedSender<(Instant, Pending)>,
) -> Option<quorate_client::Error> {
    let mut now = Instant::now();
    for seq in 0..load.share(i) {
        let due = match load.pace.zip(alarms.as_ref()) {
            None => now,
            Some((pace, alarms)) => {
                let due = due_at(clock, pace, load.producers, i, seq);
                alarms.wait(i, due).await;
                due
            }
        };
        if due >= clock.to || now >= clock.to {
            return None;
        }
        let payload = Payload { producer: i, seq, sent: due - clock.start };
        match producer.send(payload.encode(load.size)).await {
            Ok(pending) => {
                now = Instant::now();
                sent.send((if load.pace.is_some() { due } else { now }, pending)).ok()?;
            }
            Err(error) => return Some(error),
        }
    }
    None
}

async fn confirm(
    i: u32,
    mut receipts: mpsc::UnboundedReceiver<(Instant, Pending)>,
    clock: Clock,
    tracker: &Tracker,
    published: &mut Published,
) {
    let mut seq = 0;
    let mut now = Instant::now();
    loop {
        let Some((due, pending)) = timed(pin!(receipts.recv()), &mut now).await else { return };
        let result = timed(pending, &mut now).await;
        if now < due {
            // It was handed in after the clock was read, and is confirmed already.
            now = Instant::now();
        }
        match result {
            Ok(_) => {
                tracker.confirmed(i, seq);
                published.confirmed_ever += 1;
                if clock.counts(now) {
                    published.confirmed += 1;
                    record(&mut published.confirm, now - due);
                }
            }
            Err(error) => published.failed(&error),
        }
        seq += 1;
    }
}

/// When a message is due. Producers take turns rather than fire together.
fn due_at(clock: Clock, pace: Duration, producers: u32, i: u32, seq: u64) -> Instant {
    clock.start + pace * i / producers + pace.mul_f64(seq as f64)
}

/// Awaits, and reads the clock if that took a wait: once for receipts that come together.
async fn timed<F: Future + Unpin>(mut future: F, now: &mut Instant) -> F::Output {
    if let Some(output) = (&mut future).now_or_never() {
        return output;
    }
    let output = future.await;
    *now = Instant::now();
    output
}
