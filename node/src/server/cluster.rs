//! The cluster as this node sees it.

use std::time::Duration;

use quorate_machine::Versions;
use quorate_proto::peer::v1 as peer;
use quorate_proto::v1;
use quorate_proto::v1::cluster_server::Cluster;
use quorate_raft::{NotChanged, peers};
use tonic::{Request, Response, Status};

use super::Api;
use super::error::Failure;
use crate::members::{RaiseError, RemoveError};

/// A member that does not answer within this is listed as unreachable.
const STATUS_TIMEOUT: Duration = Duration::from_millis(700);

#[tonic::async_trait]
impl Cluster for Api {
    async fn members(&self, _: Request<v1::MembersRequest>) -> Result<Response<v1::MembersResponse>, Status> {
        let me = self.me()?;
        let shard = self.shard_of("default")?;
        let membership = shard.replica.membership();
        let members = membership.members.iter().map(|member| v1::Member {
            id: member.id,
            name: member.peer.name.clone(),
            client_addr: member.peer.client_addr.clone(),
            peer_addr: member.peer.peer_addr.clone(),
            voter: membership.is_voter(member.id),
        });
        Ok(Response::new(v1::MembersResponse {
            cluster_id: quorate_raft::hex(&me.cluster_id),
            members: members.collect(),
            leader_id: shard.leadership.borrow().leader.unwrap_or(0),
        }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let members = self.shard_of("default")?.replica.members();
        let asked = members.iter().map(|member| self.account_of(member));
        let replicas = futures::future::join_all(asked).await.into_iter().flatten().collect();
        Ok(Response::new(v1::StatusResponse { replicas }))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let shard = self.shard_of("default")?;
        match shard.members.remove(request.into_inner().name).await {
            Ok(()) => Ok(Response::new(v1::RemoveMemberResponse {})),
            Err(RemoveError::NotChanged(NotChanged::NotLeader { leader })) => {
                Err(shard.not_leader(leader).into())
            }
            Err(e) => Err(Failure::not_removed(&e).into()),
        }
    }

    async fn version(&self, _: Request<v1::VersionRequest>) -> Result<Response<v1::VersionResponse>, Status> {
        let shard = self.shard_of("default")?;
        let membership = shard.replica.membership();
        let members = membership.members.iter().map(|member| {
            let Versions { reads_from, reads_to, writes } = member.peer.versions;
            v1::MemberVersions { id: member.id, name: member.peer.name.clone(), reads_from, reads_to, writes }
        });
        let (active, members) = (shard.replica.active_version(), members.collect());
        Ok(Response::new(v1::VersionResponse { active, members }))
    }

    async fn raise_version(
        &self,
        request: Request<v1::RaiseVersionRequest>,
    ) -> Result<Response<v1::RaiseVersionResponse>, Status> {
        let shard = self.shard_of("default")?;
        match shard.members.raise(request.into_inner().to).await {
            Ok(active) => Ok(Response::new(v1::RaiseVersionResponse { active })),
            Err(RaiseError::NotChanged(NotChanged::NotLeader { leader })) => {
                Err(shard.not_leader(leader).into())
            }
            Err(e) => Err(Failure::not_raised(&e).into()),
        }
    }
}

impl Api {
    /// A member's own account of its replicas, or one line that it is unreachable.
    async fn account_of(&self, member: &peer::Member) -> Vec<v1::ReplicaStatus> {
        match self.ask(member).await {
            Ok(replicas) => replicas.into_iter().map(|r| replica_out(member, r)).collect(),
            Err(why) => {
                tracing::info!("{} gave no account of itself: {why}", member.name);
                let unreachable = peer::PeerReplica { role: "unreachable".into(), ..Default::default() };
                vec![replica_out(member, unreachable)]
            }
        }
    }

    async fn ask(&self, member: &peer::Member) -> Result<Vec<peer::PeerReplica>, String> {
        let me = self.me().map_err(|_| "not a member yet")?;
        if member.id == me.node_id {
            let shard = self.shard_of("default").map_err(|_| "shutting down")?;
            return Ok(vec![shard.replica.status().map_err(|e| e.to_string())?]);
        }
        let mut client = peers::client(&self.0.transport, &member.peer_addr);
        let request = peer::PeerStatusRequest { route: Some(me.route(member.id, 0)) };
        let answer = tokio::time::timeout(STATUS_TIMEOUT, client.status(request)).await;
        let answer = answer.map_err(|_| "no answer in time")?.map_err(|s| s.message().to_owned())?;
        Ok(answer.into_inner().replicas)
    }
}

fn replica_out(member: &peer::Member, replica: peer::PeerReplica) -> v1::ReplicaStatus {
    let role = match replica.role.as_str() {
        "leader" => v1::Role::Leader,
        "follower" => v1::Role::Follower,
        "learner" => v1::Role::Learner,
        "candidate" => v1::Role::Candidate,
        _ => v1::Role::Unreachable,
    };
    let disk = match replica.disk.as_str() {
        "ok" => v1::DiskState::Ok,
        "low" => v1::DiskState::Low,
        "short" => v1::DiskState::Short,
        "waiting" => v1::DiskState::Waiting,
        "stalled" => v1::DiskState::Stalled,
        _ => v1::DiskState::Unspecified,
    };
    let report = replica.report.unwrap_or_default();
    v1::ReplicaStatus {
        name: member.name.clone(),
        id: member.id,
        shard: replica.shard,
        role: role.into(),
        term: replica.term,
        last: replica.last,
        committed: replica.committed,
        applied: replica.applied,
        flushed: replica.flushed,
        purged: replica.purged,
        digest_index: replica.digest_index,
        digest: quorate_raft::hex(&replica.digest),
        client_addr: member.client_addr.clone(),
        disk_free: replica.disk_free,
        room: report.free_bytes,
        reserve: report.reserve_bytes,
        disk: disk.into(),
        log_stalled_ms: report.stalled_ms,
    }
}

impl From<quorate_raft::Error> for Failure {
    fn from(e: quorate_raft::Error) -> Self {
        Failure::internal(e.to_string())
    }
}
