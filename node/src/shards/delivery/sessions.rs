//! Ends the sessions of consumers that went away and did not come back in time.
//!
//! The timers are the leader's own; only the end is an entry. It names the generation that was lost, so a
//! session that was resumed meanwhile lives on.

use std::sync::Arc;
use std::time::Duration;

use quorate_machine::command::{Detach, Verb};
use quorate_raft::{Leadership, Replica};
use quorate_simpoint::{Bug, buggify, planted};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Hub, Known};
use crate::shards::proposal::Proposer;

/// How often the timers are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Deadline of the first look at the state after an election.
const BARRIER_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs while the node does; acts while it leads.
pub async fn run(replica: Replica, proposer: Proposer, hub: Arc<Hub>) {
    let mut leadership = replica.leadership();
    loop {
        let Ok(term) = leadership.wait_for(|l| l.mine).await.map(|l| l.term) else { return };
        // Every session of former leaders is in the state only after the barrier.
        if replica.read_barrier(BARRIER_TIMEOUT).await.is_err() {
            tokio::time::sleep(LOOK_INTERVAL).await;
            continue;
        }
        if !planted(Bug::SessionsNotAdopted) {
            hub.adopt(&replica);
        }
        // Leadership that was lost and won again between two looks is another: sessions were attached elsewhere.
        while leads_in(&leadership, term) {
            for (consumer, generation) in hub.overdue(Instant::now()) {
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
        if !leadership.borrow().mine {
            hub.clear();
        }
    }
}

fn leads_in(leadership: &watch::Receiver<Leadership>, term: u64) -> bool {
    let now = leadership.borrow();
    now.mine && now.term == term
}

impl Hub {
    /// Starts the timers of sessions that have no stream here.
    fn adopt(&self, replica: &Replica) {
        let stored = match quorate_machine::read::consumers(&replica.state().read()) {
            Ok(stored) => stored,
            Err(e) => return tracing::error!("the sessions cannot be read: {e}"),
        };
        for session in stored {
            self.expect(session.consumer, session.generation, session.session_timeout_ms);
        }
    }

    /// The sessions that had no stream for longer than they may.
    pub(super) fn overdue(&self, now: Instant) -> Vec<(u64, u64)> {
        let consumers = self.consumers.lock();
        let is_over = |known: &Known| {
            known.lost_at.is_some_and(|at| now.saturating_duration_since(at) >= known.session_timeout)
        };
        let overdue = consumers.iter().filter(|(_, known)| is_over(known));
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
