//! Giving a new member its vote when it has caught up, in rounds (Ongaro's thesis, 4.2.1): in each it is sent what the log
//! had at the round's beginning. When a round was short, so is what the cluster would wait for.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_raft::Membership;
use quorate_simpoint::{Bug, planted};
use tokio::time::Instant;

use super::Task;

/// A round that takes no longer than this is short.
const ROUND_MAX: Duration = Duration::from_secs(1);

/// How each new member is catching up.
#[derive(Default)]
pub(super) struct Rounds(BTreeMap<u64, Round>);

struct Round {
    /// Where the log ended when it began.
    target: u64,
    began: Instant,
}

impl Rounds {
    /// The first of the new members that has caught up: one that is gone holds up nobody else. `last` is where the log ends,
    /// `matched` how far a member has it.
    fn caught_up(
        &mut self,
        now: Instant,
        new: &[u64],
        last: u64,
        matched: impl Fn(u64) -> Option<u64>,
    ) -> Option<u64> {
        self.0.retain(|id, _| new.contains(id));
        let begin = || Round { target: last, began: now };
        new.iter().copied().find(|id| {
            let round = self.0.entry(*id).or_insert_with(begin);
            if matched(*id).is_none_or(|matched| matched < round.target) {
                return false;
            }
            let was_short = now - round.began <= ROUND_MAX;
            *round = begin();
            was_short
        })
    }

    /// Of another leadership nothing counts.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
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
        let leftovers = membership.leftovers();
        if membership.committed && !leftovers.is_empty() {
            match self.parts.replica.drop_learners(leftovers.clone(), &membership).await {
                Ok(()) => tracing::info!("{leftovers:?} are members no more: later ones have their names"),
                Err(e) => {
                    tracing::info!("{leftovers:?}, whose names later ones have, are members still: {e}")
                }
            }
            return;
        }
        let new: Vec<u64> = membership.learners().map(|member| member.id).collect();
        let replica = &self.parts.replica;
        let (now, last) = (Instant::now(), replica.last_index());
        if membership.committed
            && let Some(id) = self.rounds.caught_up(now, &new, last, |id| replica.matched(id))
        {
            self.give_vote(id, &membership).await;
        }
    }

    /// Whoever had its name is gone for good and leaves in the same step.
    async fn give_vote(&self, id: u64, membership: &Membership) {
        let Some(new) = membership.members.iter().find(|member| member.id == id) else { return };
        let name = &new.peer.name;
        let mut voters = membership.target();
        let former: Vec<u64> = membership.named(name).map(|m| m.id).filter(|other| *other != id).collect();
        let without_vote = former.iter().copied().filter(|id| !membership.is_voter(*id)).collect();
        voters.retain(|voter| planted(Bug::FormerKeepsItsVote) || !former.contains(voter));
        voters.insert(id);
        match self.parts.replica.change_voters(voters, without_vote, membership).await {
            Ok(()) if former.is_empty() => tracing::info!("{name} (id {id}) has a vote from now on"),
            Ok(()) => tracing::info!("{name} (id {id}) has taken the place of {former:?}"),
            Err(e) => tracing::info!("{name} (id {id}) has no vote yet: {e}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_member_that_is_gone_holds_up_nobody_and_a_long_round_does_not_count() {
        let (mut rounds, start) = (Rounds::default(), Instant::now());
        let mut look = |at: Duration, last, fifth| {
            rounds.caught_up(start + at, &[4, 5], last, |id| (id == 5).then_some(fifth))
        };
        assert_eq!(look(Duration::ZERO, 100, 10), None);
        assert_eq!(look(ROUND_MAX * 2, 200, 100), None, "it took too long");
        assert_eq!(look(ROUND_MAX * 2 + ROUND_MAX / 2, 210, 199), None, "it is not there yet");
        assert_eq!(look(ROUND_MAX * 3, 220, 200), Some(5));
    }
}
