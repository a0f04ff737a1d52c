//! Ends the sessions of consumers that went away and did not come back in time.
//!
//! The timers are the leader's own; only the end is an entry. It names the generation that was lost, so a
//! session that was resumed meanwhile lives on.

use std::sync::Arc;
use std::time::Duration;

use quorate_machine::command::{Detach, Verb};
use quorate_raft::Replica;
use quorate_simpoint::{Bug, buggify, planted};
use tokio::time::Instant;

use super::{Hub, Known};
use crate::proposal::Proposer;

/// How often the timers are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Deadline of the first look at the state after an election.
const BARRIER_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs while the node does; acts while it leads.
pub async fn run(replica: Replica, proposer: Proposer, hub: Arc<Hub>) {
    let mut leadership = replica.leadership();
    loop {
        if leadership.wait_for(|l| l.mine).await.is_err() {
            return;
        }
        // Every session of former leaders is in the state only after the barrier.
        if replica.read_barrier(BARRIER_TIMEOUT).await.is_err() {
            tokio::time::sleep(LOOK_INTERVAL).await;
            continue;
        }
        if !planted(Bug::SessionsNotAdopted) {
            hub.adopt(&replica);
        }
        while leadership.borrow().mine {
            for (consumer, generation) in hub.overdue() {
                if buggify("node/sessions/end_twice") {
                    let _ = proposer.propose(Verb::Detach(Detach { consumer, generation })).await;
                }
                // The effect of the entry forgets the session; an unknown outcome is asked for again.
                if let Ok(Err(_)) = proposer.propose(Verb::Detach(Detach { consumer, generation })).await {
                    // It ended, or was resumed under another generation, whose timer must run then.
                    hub.forget(consumer, generation);
                    hub.adopt(&replica);
                }
            }
            let soon = buggify("node/sessions/look_early");
            tokio::time::sleep(if soon { Duration::from_millis(1) } else { LOOK_INTERVAL }).await;
        }
        hub.clear();
    }
}

impl Hub {
    /// Starts the timers of sessions that have no stream here.
    fn adopt(&self, replica: &Replica) {
        let stored = match quorate_machine::read::consumers(&replica.state().read()) {
            Ok(stored) => stored,
            Err(e) => return tracing::error!("the sessions cannot be read: {e}"),
        };
        let mut consumers = self.consumers.lock();
        for session in stored {
            let known = consumers.get(&session.consumer).map(|known| known.generation);
            if known.is_none_or(|generation| generation < session.generation) {
                let known = Known {
                    generation: session.generation,
                    session_timeout: Duration::from_millis(session.session_timeout_ms),
                    news: None,
                    lost_at: Some(Instant::now()),
                };
                consumers.insert(session.consumer, known);
            }
        }
    }

    fn overdue(&self) -> Vec<(u64, u64)> {
        let consumers = self.consumers.lock();
        let overdue =
            consumers.iter().filter(|(_, k)| k.lost_at.is_some_and(|at| at.elapsed() >= k.session_timeout));
        overdue.map(|(consumer, known)| (*consumer, known.generation)).collect()
    }

    fn forget(&self, consumer: u64, generation: u64) {
        let mut consumers = self.consumers.lock();
        if consumers.get(&consumer).is_some_and(|k| k.generation == generation && k.news.is_none()) {
            consumers.remove(&consumer);
        }
    }

    /// Another node leads: its shell takes over, and the streams here end.
    fn clear(&self) {
        self.consumers.lock().clear();
    }
}
