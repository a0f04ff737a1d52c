//! Lets replicated time pass: when the earliest deadline has come, the leader proposes a tick.

use std::sync::Arc;
use std::time::Duration;

use quorate_machine::command::{Tick, Verb};
use quorate_raft::Replica;
use quorate_simpoint::{Bug, buggify, planted};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::proposal::Proposer;

/// Shortest time between two ticks: a leader whose clock is behind replicated time does not spin.
const TICK_INTERVAL_MIN: Duration = Duration::from_millis(5);
/// Longest sleep: after a jump of the clock, deadlines are looked at again this soon.
const TICK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Proposes ticks while this node leads.
pub async fn run(
    replica: Replica,
    proposer: Proposer,
    clock: Arc<dyn Clock>,
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
        let wait = match due {
            Some(due) => Duration::from_millis(due.saturating_sub(clock.now_ms())).min(TICK_INTERVAL_MAX),
            None => TICK_INTERVAL_MAX,
        };
        if due.is_some() && (wait.is_zero() || buggify("node/ticker/early")) {
            if buggify("node/ticker/twice") {
                let _ = proposer.propose(Verb::Tick(Tick {})).await;
            }
            // Whatever the answer: the deadline is looked at again.
            let _ = proposer.propose(Verb::Tick(Tick {})).await;
            tokio::time::sleep(TICK_INTERVAL_MIN).await;
            continue;
        }
        tokio::select! {
            biased;
            changed = next_deadline.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}
