//! The cluster as this node sees it.

use std::time::Duration;

use quorate_raft::{Membership, ReplicaStatus, ask_for_account};

use super::error::{RaiseVersionError, RemoveMemberError, Unavailable};
use super::{Context, Service};

/// A member that does not answer within this is listed as unreachable.
const STATUS_TIMEOUT: Duration = Duration::from_millis(700);

/// Who belongs to the cluster.
#[derive(Debug, Clone)]
pub struct Members {
    /// The cluster's id.
    pub cluster_id: [u8; 16],
    /// The members.
    pub membership: Membership,
    /// Who leads; 0: nobody, as far as this node knows.
    pub leader: u64,
}

/// A member, and what it says of its replicas.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// `host:port` of its client API.
    pub client_addr: String,
    /// Its replicas; `None` if it does not answer.
    pub replicas: Option<Vec<ReplicaStatus>>,
}

impl Service {
    /// The members.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub fn members(&self, context: &Context) -> Result<Members, Unavailable> {
        let ((me, _), shard) = (self.member()?, self.shard(context)?);
        let leader = shard.leadership.borrow().leader.unwrap_or(0);
        Ok(Members { cluster_id: me.cluster_id, membership: shard.replica.membership(), leader })
    }

    /// What each member says of its replicas.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn accounts(&self, context: &Context) -> Result<Vec<Account>, Unavailable> {
        let members = self.shard(context)?.replica.members();
        let asked = members.into_iter().map(async |member| {
            let answer = self.ask(context, (member.id, &member.peer_addr)).await;
            let replicas = answer
                .inspect_err(|why| tracing::info!("{} gave no account of itself: {why}", member.name))
                .ok();
            Account { id: member.id, name: member.name, client_addr: member.client_addr, replicas }
        });
        Ok(futures::future::join_all(asked).await)
    }

    /// Removes a member.
    ///
    /// # Errors
    /// See [`RemoveMemberError`].
    pub async fn remove_member(&self, context: &Context, name: String) -> Result<(), RemoveMemberError> {
        let ((_, members), shard) = (self.member()?, self.shard(context)?);
        let done = members.remove(name).await;
        done.map_err(|e| RemoveMemberError::of(e, |leader| shard.not_leader(leader)))
    }

    /// The version that is active.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub fn active_version(&self, context: &Context) -> Result<u32, Unavailable> {
        Ok(self.shard(context)?.replica.active_version())
    }

    /// Raises the active version; to 0: the highest that all members read. Returns what is active now.
    ///
    /// # Errors
    /// See [`RaiseVersionError`].
    pub async fn raise_version(&self, context: &Context, to: u32) -> Result<u32, RaiseVersionError> {
        let ((_, members), shard) = (self.member()?, self.shard(context)?);
        let done = members.raise(to).await;
        done.map_err(|e| RaiseVersionError::of(e, |leader| shard.not_leader(leader)))
    }

    async fn ask(
        &self,
        context: &Context,
        (id, peer_addr): (u64, &str),
    ) -> Result<Vec<ReplicaStatus>, String> {
        let (me, _) = self.member().map_err(|_| "not a member yet")?;
        if id == me.node_id {
            let shard = self.shard(context).map_err(|_| "shutting down")?;
            return Ok(vec![shard.replica.status().map_err(|e| e.to_string())?.into()]);
        }
        ask_for_account(&self.0.transport, me, (id, peer_addr), context.shard(), STATUS_TIMEOUT).await
    }
}
