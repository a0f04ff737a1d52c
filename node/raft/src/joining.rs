//! How a new node becomes a member of a cluster that is there already.
//!
//! It asks for membership until the leader takes it in under an id that nobody had before, first without a vote. Then it
//! writes its identity and follows the log; the leader gives it a vote when it has caught up. If a member of its name is
//! there, which is gone for good, the new one takes its place in the same step.
//!
//! Asking again is harmless: the leader knows the node by its incarnation.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_machine::Versions;
use quorate_proto::peer::v1 as wire;
use tonic::Code;

use crate::peers;
use crate::transport::Transport;
use crate::types::versions_to_wire;

/// Pause between two rounds.
const ASK_INTERVAL: Duration = Duration::from_millis(200);
/// A leader looks at the new node, and has two entries committed, before it answers.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);

/// A node that has no cluster yet.
pub struct Joiner {
    /// Its name.
    pub name: String,
    /// Its data directory.
    pub incarnation: [u8; 16],
    /// `host:port` where the members reach its peer API.
    pub peer_addr: String,
    /// `host:port` of its client API.
    pub client_addr: String,
    /// What its program reads and writes.
    pub versions: Versions,
    /// Opens connections.
    pub transport: Arc<dyn Transport>,
}

/// What a new member is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenIn {
    /// The cluster.
    pub cluster_id: [u8; 16],
    /// The new member's id.
    pub node_id: u64,
    /// Index of a membership that it is in.
    pub joined_at: u64,
}

/// The cluster does not take this node in, and asking again would not help.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the cluster does not take {name} in: {why}")]
pub struct Refused {
    /// This node.
    pub name: String,
    /// What the leader said.
    pub why: String,
}

impl Joiner {
    /// Asks `seeds`, and whom they name as the leader, until this node is a member. Asks without end: a node that waits for a
    /// majority to be there is not in error.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn join(&self, seeds: &[String]) -> Result<TakenIn, Refused> {
        let mut told = None;
        loop {
            let mut to_ask: VecDeque<String> = seeds.iter().cloned().collect();
            let mut hints = seeds.len();
            while let Some(addr) = to_ask.pop_front() {
                match self.ask(&addr).await {
                    Ok(answer) if answer.node_id != 0 => {
                        let cluster_id = answer.cluster_id.as_ref().try_into();
                        let bad = |_| self.refused("it named a cluster id that is not 16 bytes".into());
                        let cluster_id = cluster_id.map_err(bad)?;
                        let wire::JoinResponse { node_id, joined_at, .. } = answer;
                        return Ok(TakenIn { cluster_id, node_id, joined_at });
                    }
                    Ok(answer) if !answer.leader_addr.is_empty() && hints > 0 => {
                        hints -= 1;
                        to_ask.push_front(answer.leader_addr);
                    }
                    Ok(_) => {}
                    Err(status) if status.code() == Code::FailedPrecondition => {
                        return Err(self.refused(status.message().to_owned()));
                    }
                    Err(status) => {
                        let why = format!("{addr}: {}", status.message());
                        if told.as_ref() != Some(&why) {
                            tracing::info!("not a member yet: {why}");
                            told = Some(why);
                        }
                    }
                }
            }
            tokio::time::sleep(ASK_INTERVAL).await;
        }
    }

    async fn ask(&self, addr: &str) -> Result<wire::JoinResponse, tonic::Status> {
        let request = wire::JoinRequest {
            name: self.name.clone(),
            incarnation: Bytes::copy_from_slice(&self.incarnation),
            peer_addr: self.peer_addr.clone(),
            client_addr: self.client_addr.clone(),
            versions: Some(versions_to_wire(self.versions)),
        };
        let mut client = peers::client(&self.transport, addr);
        match tokio::time::timeout(JOIN_TIMEOUT, client.join(request)).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => Err(tonic::Status::deadline_exceeded("no answer in time")),
        }
    }

    fn refused(&self, why: String) -> Refused {
        Refused { name: self.name.clone(), why }
    }
}
