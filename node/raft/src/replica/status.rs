//! What a replica says of itself and of the members.

use bytes::Bytes;
use openraft::ServerState;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use quorate_proto::peer::v1 as wire;
use tokio::sync::watch;

use super::Replica;
use crate::Error;
use crate::reports::Shortage;
use crate::reports::{in_a_word, report_to_wire};
use crate::types::{log_id_to_wire, peer_to_wire};

impl Replica {
    /// The members, as this replica knows them.
    pub fn members(&self) -> Vec<wire::Member> {
        let metrics = self.0.raft.metrics().borrow_watched().membership_config.clone();
        metrics.membership().nodes().map(|(id, peer)| peer_to_wire(*id, peer)).collect()
    }

    /// This replica's account of itself.
    pub fn status(&self) -> Result<wire::PeerReplica, Error> {
        let metrics = self.0.raft.metrics().borrow_watched().clone();
        let (digest_index, digest) = {
            let reader = self.0.state.read();
            let digest = quorate_machine::read::digest(&reader).map_err(|e| Error::Stopped(e.to_string()))?;
            (reader.applied().last.map_or(0, |id| id.index), digest)
        };
        let report = self.0.health.report();
        let role = match metrics.state {
            ServerState::Leader if self.0.leadership.borrow().mine => "leader",
            ServerState::Leader | ServerState::Follower => "follower",
            ServerState::Candidate => "candidate",
            ServerState::Learner | ServerState::Shutdown => "learner",
        };
        let index = |id: &Option<crate::types::LogId>| id.as_ref().map_or(0, |id| id.index);
        Ok(wire::PeerReplica {
            shard: self.0.shard,
            role: role.into(),
            term: metrics.current_term,
            last: metrics.last_log_index.unwrap_or(0),
            committed: index(&metrics.local_committed),
            applied: index(&metrics.last_applied),
            flushed: self.0.state.flushed().map_or(0, |id| id.index),
            purged: index(&metrics.purged),
            digest_index,
            digest: Bytes::copy_from_slice(&digest),
            disk_free: self.0.log.disk_free_bytes(),
            report: Some(report_to_wire(&report)),
            disk: in_a_word(&report, self.0.settings.log_stall_after).into(),
        })
    }

    /// Why new bytes are refused, while they are and this node leads.
    pub fn refusal(&self) -> watch::Receiver<Option<Shortage>> {
        self.0.refusal.subscribe()
    }

    pub(crate) fn refuse(&self, why: Option<Shortage>) {
        self.0.refusal.send_if_modified(|before| {
            let (was, is) = (before.is_some(), why.is_some());
            if was != is {
                let why = why.as_ref().map_or_else(|| "there is room again".into(), ToString::to_string);
                tracing::warn!(refused = is, "new bytes: {why}");
            }
            std::mem::replace(before, why.clone()) != why
        });
    }

    /// Where a member serves its peers.
    pub(crate) fn peer_addr_of(&self, id: Option<u64>) -> Option<String> {
        let membership = self.0.raft.metrics().borrow_watched().membership_config.clone();
        membership.membership().get_node(&id?).map(|peer| peer.peer_addr.clone())
    }

    /// This node's place among the voters without the leader, in the order of ids; none if it has no vote.
    pub(crate) fn rank_among_followers(&self, leader: Option<u64>) -> Option<u32> {
        let membership = self.0.raft.metrics().borrow_watched().membership_config.clone();
        let mut voters: Vec<u64> = membership.voter_ids().filter(|id| Some(*id) != leader).collect();
        voters.sort_unstable();
        let rank = voters.iter().position(|id| *id == self.0.me.node_id)?;
        u32::try_from(rank).ok()
    }

    /// Incarnation of a member, if it is one.
    pub(crate) fn incarnation_of(&self, id: u64) -> Option<[u8; 16]> {
        let membership = self.0.raft.metrics().borrow_watched().membership_config.clone();
        membership.membership().get_node(&id).map(|peer| peer.incarnation)
    }

    /// The last entry that is on this node's disk.
    pub(crate) fn durable_tail(&self) -> Option<wire::LogId> {
        let durable = self.0.log.durable().or_else(|| self.0.log.purged());
        durable.map(|id| log_id_to_wire(&crate::types::log_id_from_store(id)))
    }
}
