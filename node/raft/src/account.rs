//! What a node says of its replicas, when it is asked.

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::peer::v1 as wire;

use crate::peers::{self, Me};
use crate::transport::Transport;

/// How a replica is doing.
#[derive(Debug, Clone, Default)]
pub struct ReplicaStatus {
    /// Of which shard.
    pub shard: u32,
    /// `leader`, `follower`, `learner` or `candidate`.
    pub role: String,
    /// The term that it is in.
    pub term: u64,
    /// Index of the last entry of its log.
    pub last: u64,
    /// … of the last that it knows to be committed.
    pub committed: u64,
    /// … of the last that it has applied.
    pub applied: u64,
    /// … of the last whose effects are on disk.
    pub flushed: u64,
    /// … of the last that was removed from its log.
    pub purged: u64,
    /// Index at which the digest was taken.
    pub digest_index: u64,
    /// Digest of the state.
    pub digest: Vec<u8>,
    /// Bytes that its disk has free.
    pub disk_free: u64,
    /// Bytes that can still be stored.
    pub room: u64,
    /// Of these, bytes that are kept for what makes room.
    pub reserve: u64,
    /// `ok`, `low`, `short`, `waiting` or `stalled`.
    pub disk: String,
    /// For so long nothing of what waits for the log's disk got there, in milliseconds.
    pub log_stalled_ms: u64,
}

impl From<wire::PeerReplica> for ReplicaStatus {
    fn from(replica: wire::PeerReplica) -> Self {
        let report = replica.report.unwrap_or_default();
        Self {
            shard: replica.shard,
            role: replica.role,
            term: replica.term,
            last: replica.last,
            committed: replica.committed,
            applied: replica.applied,
            flushed: replica.flushed,
            purged: replica.purged,
            digest_index: replica.digest_index,
            digest: replica.digest.to_vec(),
            disk_free: replica.disk_free,
            room: report.free_bytes,
            reserve: report.reserve_bytes,
            disk: replica.disk,
            log_stalled_ms: report.stalled_ms,
        }
    }
}

/// Asks another member for its replicas.
///
/// # Errors
/// Why it gave no answer within the deadline, in words.
pub async fn ask_for_account(
    transport: &Arc<dyn Transport>,
    me: &Me,
    (id, peer_addr): (u64, &str),
    shard: u32,
    deadline: Duration,
) -> Result<Vec<ReplicaStatus>, String> {
    let mut client = peers::client(transport, peer_addr);
    let request = wire::PeerStatusRequest { route: Some(me.route(id, shard)) };
    let answer = tokio::time::timeout(deadline, client.status(request)).await;
    let answer = answer.map_err(|_| "no answer in time")?.map_err(|s| s.message().to_owned())?;
    Ok(answer.into_inner().replicas.into_iter().map(ReplicaStatus::from).collect())
}
