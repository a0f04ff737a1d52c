//! The gap that a publisher sees when the process of its queue's leader is killed, or stopped.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::broker::{Broker, Producer};
use crate::flow::{stored, verdict};
use crate::load::{Load, Tally};
use crate::payload::{Bodies, Payload};

/// How long the publisher works before the kill.
const BEFORE: Duration = Duration::from_secs(2);
/// How long it goes on afterwards: some brokers stumble twice.
const AFTER: Duration = Duration::from_secs(3);
/// How long it may stand still.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// When a message without a confirmation is given up and the next one is sent. Those who hold a message until a new
/// leader is there confirm it long before.
const PATIENCE: Duration = Duration::from_millis(500);
/// After an error.
const PAUSE: Duration = Duration::from_millis(10);

/// One message in flight. The publisher is connected to a node that survives, where it has the choice.
pub async fn run<B: Broker>(broker: &B, load: Load, pids: &[i32], signal: Signal) -> Result<Value> {
    let leader = broker.leader().await?;
    let pid = pids.get(leader).with_context(|| format!("no process of node {}", leader + 1))?;
    let victim = Pid::from_raw(*pid).context("a process id")?;
    let survivor = (leader + 1) % pids.len();
    let mut publisher = OneInFlight {
        producer: broker.producer(survivor).await?,
        bodies: Bodies::new(load.size as usize),
        began: Instant::now(),
        sent: 0,
        confirmed: Vec::new(),
        tally: Tally::new()?,
    };
    publisher.work(|publisher| publisher.began.elapsed() >= BEFORE).await;
    ensure!(!publisher.confirmed.is_empty(), "nothing was confirmed before the kill");
    kill_process(victim, signal).with_context(|| format!("killing process {pid}"))?;
    let killed = Instant::now();
    publisher.work(|publisher| publisher.goes_again(killed) || killed.elapsed() >= RECOVERY_MAX).await;
    let recovered = publisher.confirmed.last().is_some_and(|last| *last > killed);
    ensure!(recovered, "nothing was confirmed within {} s after the kill", RECOVERY_MAX.as_secs());
    if signal == Signal::STOP {
        kill_process(victim, Signal::CONT).with_context(|| format!("waking process {pid}"))?;
        sleep(AFTER).await; // it has to learn what happened before it can be asked
    }
    let confirmed = publisher.confirmed.len() as u64;
    let missing = confirmed.saturating_sub(stored(broker, survivor, confirmed).await?);
    let mut report = json!({
        "gap_ms": (publisher.gap(killed).as_secs_f64() * 10_000.0).round() / 10.0,
        "leader": leader + 1,
        "messages": confirmed,
    });
    // Errors are what a kill is about; only a loss is a fault.
    let errors = (publisher.tally.errors, publisher.tally.error.take());
    publisher.tally.errors = 0;
    verdict(&mut report, &[&publisher.tally], missing, 0);
    (report["errors"], report["error"]) = (json!(errors.0), json!(errors.1));
    Ok(report)
}

struct OneInFlight<P> {
    producer: P,
    bodies: Bodies,
    began: Instant,
    sent: u64,
    /// When each confirmation came.
    confirmed: Vec<Instant>,
    tally: Tally,
}

impl<P: Producer> OneInFlight<P> {
    async fn work(&mut self, over: impl Fn(&Self) -> bool) {
        while !over(self) {
            let payload = Payload { producer: 0, seq: self.sent, sent: self.began.elapsed() };
            self.sent += 1;
            let body = self.bodies.make(payload);
            match timeout(PATIENCE, async { self.producer.send(body).await?.await }).await {
                Ok(Ok(())) => self.confirmed.push(Instant::now()),
                Ok(Err(error)) => {
                    self.tally.failed(&error.context("publishing"));
                    sleep(PAUSE).await;
                }
                Err(_) => {}
            }
        }
    }

    /// Whether confirmations came for a while after the longest gap so far.
    fn goes_again(&self, killed: Instant) -> bool {
        let (Some(last), Some(end)) = (self.confirmed.last(), self.end_of_gap(killed)) else { return false };
        end.elapsed() >= AFTER && last.elapsed() < PATIENCE
    }

    /// The longest time between two confirmations of which the later came after the kill.
    fn gap(&self, killed: Instant) -> Duration {
        self.longest(killed).map_or(Duration::ZERO, |(before, after)| after - before)
    }

    fn end_of_gap(&self, killed: Instant) -> Option<Instant> {
        self.longest(killed).map(|(_, after)| after)
    }

    fn longest(&self, killed: Instant) -> Option<(Instant, Instant)> {
        let after_kill = self.confirmed.partition_point(|at| *at <= killed).max(1);
        let pairs = self.confirmed[after_kill - 1..].windows(2).map(|pair| (pair[0], pair[1]));
        pairs.max_by_key(|(before, after)| *after - *before)
    }
}
