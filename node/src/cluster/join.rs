//! Taking a new member in, without a vote at first.

use std::collections::BTreeSet;

use quorate_machine::command::{GiveNodeIds, Verb};
use quorate_machine::reply::Reply;
use quorate_raft::service::{Joined, NotJoined};
use quorate_raft::types::Peer;
use quorate_raft::{Member, Membership, NotChanged, peers};
use quorate_simpoint::{Bug, planted};

use super::{Task, not_changed};
use crate::config::{NAME_BYTES_MAX, split_addr};

impl Task {
    /// Answers a new node that asks for membership.
    pub(super) async fn join(&self, new: Peer) -> Result<Joined, NotJoined> {
        if !self.leads() {
            return Ok(self.elsewhere(self.leader()));
        }
        check(&new)?;
        match self.take_in(new).await {
            Ok(taken_in) => taken_in,
            Err(NotChanged::NotLeader { leader }) => Ok(self.elsewhere(leader)),
            Err(e) => Err(NotJoined::Later(e.to_string())),
        }
    }

    fn elsewhere(&self, leader: Option<u64>) -> Joined {
        let members = self.parts.replica.membership().members;
        let leader = members.into_iter().find(|member| Some(member.id) == leader);
        Joined::Elsewhere(leader.map(|member| member.peer.peer_addr))
    }

    async fn take_in(&self, new: Peer) -> Result<Result<Joined, NotJoined>, NotChanged> {
        let membership = self.settled().await?;
        let known = membership.members.iter().find(|member| member.peer.incarnation == new.incarnation);
        if let Some(known) = known {
            return Ok(Ok(Joined::Member { id: known.id, joined_at: membership.index() })); // its answer was lost
        }
        for Member { id, peer } in membership.named(&new.name) {
            if self.is_there(peer).await {
                return Ok(Err(NotJoined::Refused(format!(
                    "{} is a member (id {id}) and answers at {}: two nodes cannot have one name",
                    peer.name, peer.peer_addr
                ))));
            }
        }
        if let Some(unfit) = self.unfit(&new) {
            return Ok(Err(unfit));
        }
        // Whoever of its name never got a vote has nobody who waits for it and leaves at once; one with a vote when the new one
        // gets it.
        let former = membership.named(&new.name).map(|member| member.id);
        let gone: BTreeSet<u64> = former.filter(|id| !membership.is_voter(*id)).collect();
        if let Err(problem) = self.look_at(&new).await {
            return Ok(Err(NotJoined::Later(problem)));
        }
        let id = self.next_id(&membership).await?;
        // A version that was raised before the id was given out is known here now, also if a former leader raised it.
        if let Some(unfit) = self.unfit(&new) {
            return Ok(Err(unfit));
        }
        tracing::info!("{} at {} is a new member with id {id}", new.name, new.peer_addr);
        let joined_at = self.parts.replica.add_learner(Member { id, peer: new }, gone, &membership).await?;
        Ok(Ok(Joined::Member { id, joined_at }))
    }

    /// Why a node cannot be a member whose program does not read what is written.
    fn unfit(&self, new: &Peer) -> Option<NotJoined> {
        let active = self.parts.replica.active_version();
        if new.versions.read(active) {
            return None;
        }
        let why = format!("it reads {}, and the cluster is at version {active}", new.versions);
        tracing::warn!("{} at {} is not taken in: {why}", new.name, new.peer_addr);
        Some(NotJoined::Refused(format!("{why}: run a program that reads it")))
    }

    /// Whether the node runs now, with its data.
    pub(super) async fn is_there(&self, peer: &Peer) -> bool {
        let answer = peers::ask(&self.parts.transport, &self.parts.me, &peer.peer_addr).await;
        answer.is_ok_and(|account| account.incarnation == peer.incarnation[..])
    }

    /// The new node must answer at the address that all members will know it by.
    async fn look_at(&self, new: &Peer) -> Result<(), String> {
        let (name, addr) = (&new.name, &new.peer_addr);
        let answer = peers::ask(&self.parts.transport, &self.parts.me, addr).await;
        let account = answer
            .map_err(|problem| format!("{name} does not answer at {addr}: {problem}; check --peer-addr"))?;
        if account.incarnation == new.incarnation[..] && account.name == *name {
            return Ok(());
        }
        Err(format!("at {addr} answers {:?}, not {name:?}: check --peer-addr", account.name))
    }

    async fn next_id(&self, membership: &Membership) -> Result<u64, NotChanged> {
        if planted(Bug::NodeIdUsedAgain) {
            return Ok(membership.highest_id() + 1);
        }
        self.give_ids(membership.highest_id(), 1).await
    }

    /// Gives out so many ids and returns the last that was ever given out.
    pub(super) async fn give_ids(&self, above: u64, count: u64) -> Result<u64, NotChanged> {
        match self.parts.proposer.propose(Verb::GiveNodeIds(GiveNodeIds { above, count })).await {
            Ok(Ok(Reply::NodeIdsGiven(id))) => Ok(id),
            Ok(Ok(_)) => Err(NotChanged::Busy("the answer was for another question".into())),
            Ok(Err(refusal)) => Err(NotChanged::Busy(refusal.to_string())),
            Err(e) => Err(not_changed(e)),
        }
    }
}

fn check(new: &Peer) -> Result<(), NotJoined> {
    if new.name.is_empty() || new.name.len() > NAME_BYTES_MAX {
        return Err(NotJoined::Refused(format!("a name must have 1 to {NAME_BYTES_MAX} bytes")));
    }
    for addr in [&new.peer_addr, &new.client_addr] {
        if split_addr(addr).is_none_or(|(_, port)| port == 0) {
            return Err(NotJoined::Refused(format!("{addr:?} is not host:port")));
        }
    }
    Ok(())
}
