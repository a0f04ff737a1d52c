//! Loads at a steady pace: publish, pipeline, and the draining of a backlog.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::alarm::Alarms;
use crate::broker::{Broker, Producer};
use crate::check::Check;
use crate::consume::{Consumers, await_all};
use crate::cost::Sample;
use crate::load::{Clock, Load, Phase, Tally, due_at};
use crate::payload::Bodies;
use crate::produce;

/// How long a broker may take until its count of messages is what it confirmed: some count late.
const COUNT_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked.
const LOOK: Duration = Duration::from_millis(200);
/// Between a backlog's making and its draining.
const PAUSE: Duration = Duration::from_secs(1);

/// Producers alone, for a time.
pub async fn publish<B: Broker>(broker: &B, load: Load, pids: &[i32]) -> Result<Value> {
    let producers = producers(broker, load.producers).await?;
    let phase = Arc::new(phase(load, Clock::timed(&load)));
    let running = start(producers, &phase);
    let samples = measure(&phase, pids).await?;
    let published = join(running).await?;
    let confirmed = phase.check.confirmed_count();
    let missing = confirmed.saturating_sub(stored(broker, 0, confirmed).await?);
    let mut report = json!({ "confirm_us": published.percentiles() });
    verdict(&mut report, &[&published], missing, 0);
    rates(&mut report, &load, published.messages, load.seconds as f64);
    report["cpu"] = samples.1.since(&samples.0, published.messages);
    Ok(report)
}

/// Producers and consumers, for a time.
pub async fn pipeline<B: Broker>(broker: &B, load: Load, pids: &[i32]) -> Result<Value> {
    let consumers = consumers(broker, load.consumers).await?;
    let producers = producers(broker, load.producers).await?;
    let phase =
        Phase { waiting: Some(Semaphore::new(load.waiting as usize)), ..phase(load, Clock::timed(&load)) };
    let phase = Arc::new(phase);
    let consumers = Consumers::start(consumers, &phase);
    let running = start(producers, &phase);
    let samples = measure(&phase, pids).await?;
    let published = join(running).await?;
    let received = consumers.finish(&phase).await?;
    let mut report =
        json!({ "confirm_us": published.percentiles(), "end_to_end_us": received.percentiles() });
    verdict(&mut report, &[&published, &received], phase.check.missing(), phase.check.repeated());
    rates(&mut report, &load, received.messages, load.seconds as f64);
    report["cpu"] = samples.1.since(&samples.0, received.messages);
    Ok(report)
}

/// Makes a backlog, and then measures how fast consumers take it.
pub async fn drain<B: Broker>(broker: &B, load: Load, pids: &[i32]) -> Result<Value> {
    let producers = producers(broker, load.producers).await?;
    let phase = Arc::new(Phase { total: Some(load.messages), ..phase(load, Clock::open_end()) });
    let published = join(start(producers, &phase)).await?;
    sleep(PAUSE).await;
    // From before the consumers connect, since some brokers deliver from then on.
    let (before, began) = (Sample::take(pids)?, Instant::now());
    let consumers = Consumers::start(consumers(broker, load.consumers).await?, &phase);
    await_all(&phase).await;
    let (seconds, after) = (began.elapsed().as_secs_f64(), Sample::take(pids)?);
    let received = consumers.finish(&phase).await?;
    let mut report = json!({});
    verdict(&mut report, &[&published, &received], phase.check.missing(), phase.check.repeated());
    rates(&mut report, &load, received.messages, seconds);
    report["cpu"] = after.since(&before, received.messages);
    Ok(report)
}

fn phase(load: Load, clock: Clock) -> Phase {
    let check = Check::new(load.producers);
    let start = clock.start;
    let alarms = load.rate.map(|rate| {
        Alarms::start(load.producers, move |id, seq| due_at(start, rate, load.producers, id, seq))
    });
    Phase { load, clock, alarms, check, bodies: Bodies::new(load.size as usize), waiting: None, total: None }
}

/// Connects producers to all nodes in turn.
async fn producers<B: Broker>(broker: &B, count: u32) -> Result<Vec<B::Producer>> {
    let mut connected = Vec::new();
    for node in 0..count as usize {
        connected.push(broker.producer(node).await?);
    }
    Ok(connected)
}

/// Connects consumers to all nodes in turn.
async fn consumers<B: Broker>(broker: &B, count: u32) -> Result<Vec<B::Consumer>> {
    let mut connected = Vec::new();
    for node in 0..count as usize {
        connected.push(broker.consumer(node).await?);
    }
    Ok(connected)
}

fn start<P: Producer>(producers: Vec<P>, phase: &Arc<Phase>) -> JoinSet<Result<Tally>> {
    let mut running = JoinSet::new();
    for (id, producer) in (0..).zip(producers) {
        running.spawn(produce::run(producer, id, phase.clone()));
    }
    running
}

async fn join(mut running: JoinSet<Result<Tally>>) -> Result<Tally> {
    let mut total = Tally::new()?;
    while let Some(ended) = running.join_next().await {
        total.add(ended??)?;
    }
    Ok(total)
}

/// What had been used when the measured time began and ended.
async fn measure(phase: &Phase, pids: &[i32]) -> Result<(Sample, Sample)> {
    sleep_until(phase.clock.from).await;
    let before = Sample::take(pids)?;
    sleep_until(phase.clock.to).await;
    Ok((before, Sample::take(pids)?))
}

/// The queue's length, once it is what was confirmed or the broker has had its time.
pub async fn stored<B: Broker>(broker: &B, node: usize, confirmed: u64) -> Result<u64> {
    let began = Instant::now();
    loop {
        let stored = broker.stored(node).await?;
        if stored >= confirmed || began.elapsed() >= COUNT_PATIENCE {
            return Ok(stored);
        }
        sleep(LOOK).await;
    }
}

/// Whether what was confirmed arrived, and what went wrong.
pub fn verdict(report: &mut Value, tallies: &[&Tally], missing: u64, repeated: u64) {
    let errors: u64 = tallies.iter().map(|tally| tally.errors).sum();
    report["errors"] = json!(errors);
    report["error"] = json!(tallies.iter().find_map(|tally| tally.error.as_ref()));
    report["missing"] = json!(missing);
    report["repeated"] = json!(repeated);
    report["verified"] = json!(errors == 0 && missing == 0);
}

fn rates(report: &mut Value, load: &Load, messages: u64, seconds: f64) {
    let rate = messages as f64 / seconds;
    report["messages"] = json!(messages);
    report["seconds"] = json!((seconds * 1000.0).round() / 1000.0);
    report["msgs_per_second"] = json!(rate.round());
    report["mb_per_second"] = json!((rate * f64::from(load.size) / 1e4).round() / 100.0);
}
