//! A member that was removed gets no word from the leader any more, so it asks: now and then, one member after the other.

use std::time::Duration;

use quorate_raft::peers;
use tokio::time::Instant;

use super::Task;

/// How often.
const ASK_INTERVAL: Duration = Duration::from_secs(2);

/// Whom was asked when.
#[derive(Default)]
pub(super) struct Ask {
    last: Option<Instant>,
    turn: usize,
}

impl Task {
    /// Asks the next member, if it is time, and ends this node if it is told that it is none.
    pub(super) async fn ask(&mut self) {
        if self.ask.last.is_some_and(|last| last.elapsed() < ASK_INTERVAL) {
            return;
        }
        self.ask.last = Some(Instant::now());
        let (me, replica) = (&self.parts.me, &self.parts.replica);
        let members = replica.membership().members.into_iter().filter(|member| member.id != me.node_id);
        let mut others: Vec<String> = members.map(|member| member.peer.peer_addr).collect();
        if others.is_empty() {
            // Perhaps it was removed before it heard of any member.
            others.clone_from(&self.parts.seeds);
        }
        if others.is_empty() {
            return;
        }
        self.ask.turn += 1;
        let addr = &others[self.ask.turn % others.len()];
        if peers::ask(&self.parts.transport, me, addr).await.is_ok_and(|account| account.removed) {
            tracing::error!("{addr} says that {} (id {}) is no member any more", me.name, me.node_id);
            replica.end_as_removed();
        }
    }
}
