//! The consumers of a run.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::broker::Consumer;
use crate::load::{Phase, Tally};
use crate::payload::Payload;

/// How long nothing may arrive before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// Consumers at work.
pub struct Consumers {
    tasks: JoinSet<Result<Tally>>,
    over: watch::Sender<bool>,
}

impl Consumers {
    /// Starts them.
    pub fn start<C: Consumer>(consumers: Vec<C>, phase: &Arc<Phase>) -> Self {
        let (over, ending) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for consumer in consumers {
            tasks.spawn(run(consumer, phase.clone(), ending.clone()));
        }
        Self { tasks, over }
    }

    /// Ends them once everything confirmed has arrived, or nothing has arrived for a while.
    pub async fn finish(mut self, phase: &Phase) -> Result<Tally> {
        await_all(phase).await;
        self.over.send_replace(true);
        let mut total = Tally::new()?;
        while let Some(ended) = self.tasks.join_next().await {
            total.add(ended??)?;
        }
        Ok(total)
    }
}

/// Waits until everything confirmed has arrived; false if nothing has arrived for a while.
pub async fn await_all(phase: &Phase) -> bool {
    let (mut count, mut moved) = (phase.check.received_count(), Instant::now());
    while phase.check.missing() > 0 {
        if moved.elapsed() >= PATIENCE {
            return false;
        }
        sleep(LOOK).await;
        let now = phase.check.received_count();
        if now != count {
            (count, moved) = (now, Instant::now());
        }
    }
    true
}

async fn run<C: Consumer>(
    mut consumer: C,
    phase: Arc<Phase>,
    mut ending: watch::Receiver<bool>,
) -> Result<Tally> {
    let mut tally = Tally::new()?;
    loop {
        let next = tokio::select! {
            biased;
            _ = ending.wait_for(|over| *over) => break,
            next = consumer.next() => next,
        };
        let (mut tickets, mut count) = (Vec::new(), 0);
        match next {
            Ok(messages) => {
                for (body, ticket) in messages {
                    take(&body, &phase, &mut tally);
                    tickets.push(ticket);
                    count += 1;
                }
            }
            Err(error) => {
                // What follows most errors is the same error again.
                tally.failed(&error.context("receiving"));
                break;
            }
        }
        if let Err(error) = consumer.ack(tickets).await {
            tally.failed(&error.context("acknowledging"));
            break;
        }
        if phase.clock.counts(Instant::now()) {
            tally.messages += count;
        }
    }
    if let Err(error) = consumer.finish().await {
        tally.failed(&error.context("closing a consumer"));
    }
    Ok(tally)
}

fn take(body: &[u8], phase: &Phase, tally: &mut Tally) {
    let Some(payload) = Payload::decode(body) else {
        return tally.failed(&anyhow!("a message that no producer of this run sent"));
    };
    if !phase.check.received(payload.producer, payload.seq) {
        return;
    }
    if let Some(waiting) = &phase.waiting {
        waiting.add_permits(1);
    }
    let now = Instant::now();
    if phase.clock.counts(now) {
        tally.record(now.saturating_duration_since(phase.clock.start + payload.sent));
    }
}
