//! The `Cluster` service.

use quorate_machine::Versions;
use quorate_proto::v1;
use quorate_proto::v1::cluster_server::Cluster;
use quorate_raft::ReplicaStatus;
use tonic::{Request, Response, Status};

use super::Api;
use super::status::Failure;
use crate::service::cluster::Account;

#[tonic::async_trait]
impl Cluster for Api {
    async fn members(&self, _: Request<v1::MembersRequest>) -> Result<Response<v1::MembersResponse>, Status> {
        let context = self.admit(String::new())?;
        let found = self.0.members(&context).map_err(Failure::from)?;
        let members = found.membership.members.iter().map(|member| v1::Member {
            id: member.id,
            name: member.peer.name.clone(),
            client_addr: member.peer.client_addr.clone(),
            peer_addr: member.peer.peer_addr.clone(),
            voter: found.membership.is_voter(member.id),
        });
        Ok(Response::new(v1::MembersResponse {
            cluster_id: quorate_raft::hex(&found.cluster_id),
            members: members.collect(),
            leader_id: found.leader,
        }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let context = self.admit(String::new())?;
        let accounts = self.0.accounts(&context).await.map_err(Failure::from)?;
        let replicas = accounts.into_iter().flat_map(replicas_out).collect();
        Ok(Response::new(v1::StatusResponse { replicas }))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let context = self.admit(String::new())?;
        let v1::RemoveMemberRequest { name } = request.into_inner();
        self.0.remove_member(&context, name).await.map_err(Failure::from)?;
        Ok(Response::new(v1::RemoveMemberResponse {}))
    }

    async fn version(&self, _: Request<v1::VersionRequest>) -> Result<Response<v1::VersionResponse>, Status> {
        let context = self.admit(String::new())?;
        let active = self.0.active_version(&context).map_err(Failure::from)?;
        let found = self.0.members(&context).map_err(Failure::from)?;
        let members = found.membership.members.iter().map(|member| {
            let Versions { reads_from, reads_to, writes } = member.peer.versions;
            v1::MemberVersions { id: member.id, name: member.peer.name.clone(), reads_from, reads_to, writes }
        });
        Ok(Response::new(v1::VersionResponse { active, members: members.collect() }))
    }

    async fn raise_version(
        &self,
        request: Request<v1::RaiseVersionRequest>,
    ) -> Result<Response<v1::RaiseVersionResponse>, Status> {
        let context = self.admit(String::new())?;
        let v1::RaiseVersionRequest { to } = request.into_inner();
        let active = self.0.raise_version(&context, to).await.map_err(Failure::from)?;
        Ok(Response::new(v1::RaiseVersionResponse { active }))
    }
}

/// A member's own account of its replicas, or one line that it is unreachable.
fn replicas_out(mut account: Account) -> Vec<v1::ReplicaStatus> {
    let unreachable = || vec![ReplicaStatus { role: "unreachable".into(), ..ReplicaStatus::default() }];
    let replicas = account.replicas.take().unwrap_or_else(unreachable);
    replicas.into_iter().map(|replica| replica_out(&account, replica)).collect()
}

fn replica_out(account: &Account, replica: ReplicaStatus) -> v1::ReplicaStatus {
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
    v1::ReplicaStatus {
        name: account.name.clone(),
        id: account.id,
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
        client_addr: account.client_addr.clone(),
        disk_free: replica.disk_free,
        room: replica.room,
        reserve: replica.reserve,
        disk: disk.into(),
        log_stalled_ms: replica.log_stalled_ms,
    }
}
