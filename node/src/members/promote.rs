//! Giving a new member its vote when it has caught up, in rounds (Ongaro's thesis, 4.2.1): in each it is sent what the log
//! had at the round's beginning. When a round was short, so is what the cluster would wait for.

use std::time::Duration;

use quorate_raft::Membership;
use quorate_simpoint::{Bug, planted};
use tokio::time::Instant;

use super::Task;

/// A round that takes no longer than this is short.
const ROUND_MAX: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Round {
    id: u64,
    /// Where the log ended when it began.
    target: u64,
    began: Instant,
}

impl Task {
    /// Finishes what was left half done, then looks after the first new member.
    pub(super) async fn promote(&mut self) {
        let membership = self.parts.replica.membership();
        if membership.is_joint() {
            if planted(Bug::ChangeLeftHalfDone) {
                return;
            }
            if self.settled().await.is_ok() {
                tracing::info!("a change of members is finished that was left half done");
            }
            return;
        }
        let Some(id) = membership.learners().map(|member| member.id).next() else {
            self.round = None;
            return;
        };
        if membership.committed && self.has_caught_up(id) {
            self.round = None;
            self.give_vote(id, &membership).await;
        }
    }

    fn has_caught_up(&mut self, id: u64) -> bool {
        let replica = &self.parts.replica;
        let new = || Round { id, target: replica.last_index(), began: Instant::now() };
        let Some(round) = self.round.as_ref().filter(|round| round.id == id) else {
            self.round = Some(new());
            return false;
        };
        if replica.matched(id).is_none_or(|matched| matched < round.target) {
            return false;
        }
        let was_short = round.began.elapsed() <= ROUND_MAX;
        self.round = Some(new());
        was_short
    }

    /// Whoever had its name is gone for good and leaves in the same step.
    async fn give_vote(&self, id: u64, membership: &Membership) {
        let Some(new) = membership.members.iter().find(|member| member.id == id) else { return };
        let name = &new.peer.name;
        let mut voters = membership.target();
        let former: Vec<u64> = membership.named(name).map(|m| m.id).filter(|other| *other != id).collect();
        voters.retain(|voter| planted(Bug::FormerKeepsItsVote) || !former.contains(voter));
        voters.insert(id);
        match self.parts.replica.change_voters(voters, membership).await {
            Ok(()) if former.is_empty() => tracing::info!("{name} (id {id}) has a vote from now on"),
            Ok(()) => tracing::info!("{name} (id {id}) has taken the place of {former:?}"),
            Err(e) => tracing::info!("{name} (id {id}) has no vote yet: {e}"),
        }
    }
}
