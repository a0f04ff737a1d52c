//! Lets replicated time pass: when the earliest deadline has come, or when nothing was stamped for long, the leader
//! proposes a tick.

use std::sync::Arc;
use std::time::Duration;

use quorate_machine::command::{Tick, Verb};
use quorate_raft::Replica;
use quorate_simpoint::{Bug, buggify, planted};
use tokio::sync::watch;

use crate::shards::proposal::{LeaderTime, Proposer, STAMP_AGE_MS_MAX};

/// Shortest time between two ticks: what is due and cannot be carried out is not tried without a pause.
const TICK_INTERVAL_MIN: Duration = Duration::from_millis(5);
/// The longest of these pauses. It is as long as the tick before it took: while a million messages are due, others have half of the
/// time.
const TICK_PAUSE_MAX: Duration = Duration::from_millis(50);
/// Longest sleep: time may run a little faster than the sleep.
const TICK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Proposes ticks while this node leads.
pub async fn run(
    replica: Replica,
    proposer: Proposer,
    time: Arc<LeaderTime>,
    mut next_deadline: watch::Receiver<Option<u64>>,
) {
    let mut leadership = replica.leadership();
    loop {
        if leadership.wait_for(|l| l.mine).await.is_err() {
            return;
        }
        if planted(Bug::TickerStops) && leadership.borrow().term > 3 {
            return;
        }
        let due = *next_deadline.borrow_and_update();
        let at_the_latest = time.last_stamp_ms().saturating_add(STAMP_AGE_MS_MAX);
        let tick_at = due.map_or(at_the_latest, |due| due.min(at_the_latest));
        let wait = Duration::from_millis(tick_at.saturating_sub(time.now_ms())).min(TICK_INTERVAL_MAX);
        if wait.is_zero() || due.is_some() && buggify("node/ticker/early") {
            if buggify("node/ticker/twice") {
                let _ = proposer.propose(Verb::Tick(Tick {})).await;
            }
            // Whatever the answer: the deadline is looked at again.
            let began = tokio::time::Instant::now();
            let _ = proposer.propose(Verb::Tick(Tick {})).await;
            tokio::time::sleep(began.elapsed().clamp(TICK_INTERVAL_MIN, TICK_PAUSE_MAX)).await;
            continue;
        }
        tokio::select! {
            biased;
            changed = next_deadline.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}
