//! The producers of a run.

use std::sync::Arc;

use anyhow::Result;
use futures::{FutureExt as _, future};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::broker::{Confirm, Producer};
use crate::load::{Phase, Tally};
use crate::payload::Payload;

/// A message on its way: since when, and its number.
struct Sent {
    from: Instant,
    seq: u64,
    confirm: Confirm,
}

/// Runs one producer until its load is over and everything it sent has its confirmation or its error.
pub async fn run<P: Producer>(mut producer: P, id: u32, phase: Arc<Phase>) -> Result<Tally> {
    let mut tally = Tally::new()?;
    let window = Semaphore::new(phase.load.window as usize);
    // Bounded by the window.
    let (sent, confirms) = mpsc::unbounded_channel();
    tokio::join!(
        send(&mut producer, id, &phase, &window, sent),
        confirm(id, &phase, &window, confirms, &mut tally)
    );
    if let Err(error) = producer.finish().await {
        tally.failed(&error.context("closing a producer"));
    }
    Ok(tally)
}

/// Sends until the load is over. With a rate, a message's time is when it was due, however late there was room for it:
/// a broker that falls behind shows it.
async fn send<P: Producer>(
    producer: &mut P,
    id: u32,
    phase: &Phase,
    window: &Semaphore,
    sent: mpsc::UnboundedSender<Sent>,
) {
    for seq in 0..phase.share(id) {
        let due = phase.due(id, seq);
        if let Some(due) = due {
            phase.alarms.as_ref().expect("a load with a rate has them").wait(id, due).await;
        }
        let rooms = [Some(window), phase.waiting.as_ref()];
        for room in rooms.into_iter().flatten() {
            if !take(room, phase.clock.to).await {
                return;
            }
        }
        let now = Instant::now();
        if now >= phase.clock.to {
            return;
        }
        let from = due.unwrap_or(now);
        let payload = Payload { producer: id, seq, sent: from - phase.clock.start };
        let (confirm, ended) = match producer.send(phase.bodies.make(payload)).await {
            Ok(confirm) => (confirm, false),
            // Told where the other errors are. A producer that takes no message will take no other.
            Err(error) => (future::ready(Err(error)).boxed(), true),
        };
        if sent.send(Sent { from, seq, confirm }).is_err() || ended {
            return;
        }
    }
}

/// Takes a place; false if there is none until the end. Most often there is one, and then no timer is needed.
async fn take(room: &Semaphore, to: Instant) -> bool {
    let place = match room.try_acquire() {
        Ok(place) => Some(place),
        Err(_) => timeout_at(to, room.acquire()).await.ok().and_then(Result::ok),
    };
    place.map(|place| place.forget()).is_some()
}

/// Takes confirmations in the order of sending: brokers give them in that order, or nearly, and waiting for the
/// first alone costs least.
async fn confirm(
    id: u32,
    phase: &Phase,
    window: &Semaphore,
    mut confirms: mpsc::UnboundedReceiver<Sent>,
    tally: &mut Tally,
) {
    while let Some(Sent { from, seq, confirm }) = confirms.recv().await {
        match confirm.await {
            Ok(()) => {
                let now = Instant::now();
                phase.check.confirmed(id, seq);
                if phase.clock.counts(now) {
                    tally.messages += 1;
                    tally.record(now - from);
                }
            }
            Err(error) => tally.failed(&error.context("publishing")),
        }
        window.add_permits(1);
    }
}
