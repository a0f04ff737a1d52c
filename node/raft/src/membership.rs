//! The members of a shard, and changing them one step at a time, without openraft's generics.
//!
//! Each change says on which membership it is based, and is refused if that is no longer the one in force: so a change never
//! undoes another. Voters change by joint consensus (Ongaro's thesis, 4.3): the change counts when a majority of the old
//! and one of the new voters have it. A leader that dies in between leaves the joint membership behind, for the next to
//! finish.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::errors::{ClientWriteError, RaftError};
use openraft::type_config::async_runtime::watch::WatchReceiver;
use openraft::{ChangeMembers, Precondition};

use crate::replica::Replica;
use crate::types::{LogId, Peer, Types};

/// Deadline of a change; the outcome of one that takes longer is seen in the membership.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Given out by the cluster, once.
    pub id: u64,
    /// Who and where it is.
    pub peer: Peer,
}

/// Who takes part, as a replica knows it.
#[derive(Debug, Clone, Default)]
pub struct Membership {
    /// Voters and learners, in the order of their ids.
    pub members: Vec<Member>,
    /// One set of voters, or two while they change: the last is what they change to.
    pub voters: Vec<BTreeSet<u64>>,
    /// Whether a majority has it.
    pub committed: bool,
    /// Of the entry that set it.
    log_id: Option<LogId>,
}

impl Membership {
    /// Index of the entry that set it.
    pub fn index(&self) -> u64 {
        self.log_id.as_ref().map_or(0, |id| id.index)
    }

    /// Who votes, or will when the change under way is done.
    pub fn target(&self) -> BTreeSet<u64> {
        self.voters.last().cloned().unwrap_or_default()
    }

    /// The highest id among the members.
    pub fn highest_id(&self) -> u64 {
        self.members.iter().map(|member| member.id).max().unwrap_or(0)
    }

    /// Whether voters are being changed.
    pub fn is_joint(&self) -> bool {
        self.voters.len() > 1
    }

    /// Whether the member votes.
    pub fn is_voter(&self, id: u64) -> bool {
        self.voters.iter().any(|set| set.contains(&id))
    }

    /// Whether it is a member.
    pub fn has(&self, id: u64) -> bool {
        self.members.iter().any(|member| member.id == id)
    }

    /// Members that only follow.
    pub fn learners(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| !self.is_voter(member.id))
    }

    /// Members without a vote whose name a later member has: that was taken in only because they were gone, so nobody waits for
    /// them. A join that was interrupted may have left them behind.
    pub fn leftovers(&self) -> BTreeSet<u64> {
        let later = |one: &Member| self.named(&one.peer.name).any(|other| other.id > one.id);
        self.learners().filter(|one| later(one)).map(|one| one.id).collect()
    }

    /// A change of the members that share a name is under way while there are two of them.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Member> {
        self.members.iter().filter(move |member| member.peer.name == name)
    }
}

/// Why a membership was not changed, or not for certain.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum NotChanged {
    /// Another node leads.
    #[error("another node leads")]
    NotLeader {
        /// Its id, if known.
        leader: Option<u64>,
    },
    /// Nothing was changed: another change is under way, or the membership is not the expected one any more.
    #[error("the members are being changed: {0}")]
    Busy(String),
    /// It was not done in time, or leadership was lost meanwhile: the membership will tell.
    #[error("whether the members were changed is not known yet")]
    Unknown,
}

/// The change, and before it in the same step that these are no members any more.
fn with_removed(gone: BTreeSet<u64>, change: ChangeMembers<u64, Peer>) -> ChangeMembers<u64, Peer> {
    match gone.is_empty() {
        true => change,
        false => ChangeMembers::Batch(vec![ChangeMembers::RemoveNodes(gone), change]),
    }
}

impl Replica {
    /// The membership in force.
    pub fn membership(&self) -> Membership {
        let metrics = self.raft().server_metrics().borrow_watched().clone();
        let stored = &metrics.membership_config;
        let membership = stored.membership();
        Membership {
            members: membership.nodes().map(|(id, peer)| Member { id: *id, peer: peer.clone() }).collect(),
            voters: membership.get_joint_config().clone(),
            committed: metrics.committed_membership_config.log_id() == stored.log_id(),
            log_id: *stored.log_id(),
        }
    }

    /// Takes a member in that gets the log and has no vote, in the place of those of `gone`, who have none either: in one step.
    /// Returns the index of the membership that it is in.
    ///
    /// # Errors
    /// See [`NotChanged`].
    pub async fn add_learner(
        &self,
        new: Member,
        gone: BTreeSet<u64>,
        based_on: &Membership,
    ) -> Result<u64, NotChanged> {
        let new = ChangeMembers::AddNodes(BTreeMap::from([(new.id, new.peer)]));
        self.change(with_removed(gone, new), based_on).await
    }

    /// Writes down what a member says of itself anew. Who and where it is must be as before.
    ///
    /// # Errors
    /// See [`NotChanged`].
    pub async fn describe(&self, members: Vec<Member>, based_on: &Membership) -> Result<(), NotChanged> {
        let nodes = members.into_iter().map(|member| (member.id, member.peer)).collect();
        self.change(ChangeMembers::SetNodes(nodes), based_on).await.map(drop)
    }

    /// Lets go of members that have no vote.
    ///
    /// # Errors
    /// See [`NotChanged`].
    pub async fn drop_learners(&self, ids: BTreeSet<u64>, based_on: &Membership) -> Result<(), NotChanged> {
        self.change(ChangeMembers::RemoveNodes(ids), based_on).await.map(drop)
    }

    /// Makes these the voters; who voted before and is not among them is no member any more, and neither is who is in `gone`,
    /// who have no vote. Finishes a change that was left half done if these are what it changes to.
    ///
    /// # Errors
    /// See [`NotChanged`].
    pub async fn change_voters(
        &self,
        ids: BTreeSet<u64>,
        gone: BTreeSet<u64>,
        based_on: &Membership,
    ) -> Result<(), NotChanged> {
        let voters = ChangeMembers::ReplaceAllVoters(ids);
        self.change(with_removed(gone, voters), based_on).await.map(drop)
    }

    async fn change(
        &self,
        change: ChangeMembers<u64, Peer>,
        based_on: &Membership,
    ) -> Result<u64, NotChanged> {
        // A leader whose own removal is committed has not stepped down yet, and openraft takes it for no leader any more.
        if !based_on.has(self.node_id()) {
            return Err(NotChanged::NotLeader { leader: None });
        }
        let unchanged =
            Precondition::<Types>::LastMembershipLogId { last_membership_log_id: based_on.log_id };
        let changing = self.raft().change_membership_if(change, false, [unchanged]);
        match tokio::time::timeout(CHANGE_TIMEOUT, changing).await {
            Ok(Ok(written)) => Ok(written.log_id.index),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                Err(NotChanged::NotLeader { leader: to.leader_id })
            }
            Ok(Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)))) => Err(NotChanged::Unknown),
            Ok(Err(RaftError::APIError(e))) => Err(NotChanged::Busy(e.to_string())),
            Ok(Err(RaftError::Fatal(_))) | Err(_) => Err(NotChanged::Unknown),
        }
    }

    /// How far the log of another member is known to match, if this node leads and it has answered.
    pub fn matched(&self, id: u64) -> Option<u64> {
        let metrics = self.raft().data_metrics().borrow_watched().clone();
        metrics.replication?.get(&id)?.as_ref().map(|id| id.index)
    }

    /// Index of the last entry of this node's log.
    pub fn last_index(&self) -> u64 {
        self.log().last().map_or(0, |id| id.index)
    }

    /// Index of the entry that set the last membership that this node applied, and who is in it. Both are facts: what was
    /// applied was committed.
    pub fn applied_membership(&self) -> (u64, BTreeSet<u64>) {
        let applied = self.state().applied().membership;
        let Ok(members) = crate::types::members_from_bytes(&applied) else { return Default::default() };
        let ids = members.membership().nodes().map(|(id, _)| *id).collect();
        (members.log_id().as_ref().map_or(0, |id| id.index), ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(members: &[(u64, &str)], voters: &[u64]) -> Membership {
        let peer = |name: &str| Peer { name: name.into(), ..Peer::default() };
        let members = members.iter().map(|(id, name)| Member { id: *id, peer: peer(name) });
        Membership {
            members: members.collect(),
            voters: vec![voters.iter().copied().collect()],
            ..Membership::default()
        }
    }

    #[test]
    fn left_over_is_who_has_no_vote_and_a_successor() {
        let n3_came_back_twice = [(1, "n1"), (2, "n2"), (3, "n3"), (4, "n3"), (5, "n3"), (6, "n6")];
        let leftovers = |voters: &[u64]| Vec::from_iter(membership(&n3_came_back_twice, voters).leftovers());
        assert_eq!(leftovers(&[1, 2, 3]), [4], "3 keeps its vote until 5 has it, and 6 is only new");
        assert_eq!(leftovers(&[1, 2, 5]), [3, 4]);
        assert!(leftovers(&[1, 2, 3, 4, 5]).is_empty());
    }
}
