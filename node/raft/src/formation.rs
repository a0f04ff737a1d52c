//! How a cluster forms out of new nodes.
//!
//! Every node that was started with `--bootstrap` asks the others who they are. Only when all of them are new
//! does the first of the list draw the cluster's id and number the nodes in the order of the list; it writes
//! its own identity first, then tells the others theirs until each has it on disk. Only then does the log
//! begin. A founder that dies half way starts over from its own identity with the same numbers.
//!
//! A node that finds a cluster joins it (`joining.rs`), also if the others know its name: it has lost its data, and does not
//! come back under its old id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::peer::v1 as wire;
use quorate_simpoint::{Bug, planted};
use tokio::sync::mpsc;

use crate::peers::{self, HELLO_TIMEOUT, Me};
use crate::transport::Transport;
use crate::types::{Peer, versions_from_wire};

/// How often the others are asked.
const ASK_INTERVAL: Duration = Duration::from_millis(200);

/// A node that has no cluster yet, and the list it was started with.
pub struct Formation {
    /// This node's name.
    pub name: String,
    /// This node's data directory.
    pub incarnation: [u8; 16],
    /// The first members, by name, with the addresses of their peer APIs; includes this node.
    pub bootstrap: Vec<(String, String)>,
    /// Opens connections.
    pub transport: Arc<dyn Transport>,
}

/// What a node becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Founding {
    /// All are new and this node is the first: it founds the cluster under this id.
    Found,
    /// There is a cluster already: this node may join it as a new member.
    Late,
    /// The founder told this node who it is.
    Adopted {
        /// The cluster.
        cluster_id: [u8; 16],
        /// This node's id.
        node_id: u64,
    },
}

/// Why a node cannot become a member.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FormationError {
    /// The list does not name this node, or names somebody twice.
    #[error("--bootstrap must name {name:?} once and nobody twice")]
    BadList {
        /// This node.
        name: String,
    },
    /// There is a cluster, and this node is no part of it.
    #[error(
        "{at} belongs to cluster {cluster}, which {name} is no member of: --bootstrap forms a cluster out of \
         new nodes only"
    )]
    AlreadyFormed {
        /// This node.
        name: String,
        /// Who said so.
        at: String,
        /// The cluster, in hexadecimal.
        cluster: String,
    },
    /// A half-formed cluster whose founder lost its data.
    #[error(
        "{at} was adopted into cluster {cluster}, whose founder is gone before the cluster began: nothing was \
         stored yet, empty the data directories of all its nodes and start again"
    )]
    FounderLost {
        /// Who said so.
        at: String,
        /// The cluster, in hexadecimal.
        cluster: String,
    },
    /// The answers make no sense together.
    #[error("the cluster cannot form: {0}")]
    Confused(String),
}

impl Formation {
    fn position(&self) -> Result<usize, FormationError> {
        let bad = || FormationError::BadList { name: self.name.clone() };
        let mut names: Vec<&str> = self.bootstrap.iter().map(|(name, _)| name.as_str()).collect();
        let position = names.iter().position(|name| *name == self.name).ok_or_else(bad)?;
        names.sort_unstable();
        names.dedup();
        if names.len() == self.bootstrap.len() { Ok(position) } else { Err(bad()) }
    }

    /// Waits until this node is adopted, or may found the cluster. Asks without end: a node that waits for
    /// others to start is not in error.
    pub async fn decide(
        &self,
        adoptions: &mut mpsc::Receiver<wire::AdoptRequest>,
    ) -> Result<Founding, FormationError> {
        let first = self.position()? == 0;
        loop {
            let answers = self.ask_all().await;
            for (founder_id, answer) in (1..).zip(&answers) {
                let Some((at, answer)) = answer else { continue };
                if planted(Bug::AmnesiaAccepted)
                    && let Some(member) = answer.members.iter().find(|m| m.name == self.name)
                {
                    let (cluster_id, node_id) = (answer.cluster_id.clone(), member.id);
                    return adopted(&wire::AdoptRequest { cluster_id, node_id, ..Default::default() });
                }
                if !answer.members.is_empty() {
                    return Ok(Founding::Late);
                }
                check(at, founder_id, answer, first)?;
            }
            let all_new =
                answers.iter().all(|a| a.as_ref().is_some_and(|(_, hello)| hello.cluster_id.is_empty()));
            if first && all_new {
                return Ok(Founding::Found);
            }
            match tokio::time::timeout(ASK_INTERVAL, adoptions.recv()).await {
                Ok(Some(adoption)) => return adopted(&adoption),
                Ok(None) => return Err(FormationError::Confused("the peer API has stopped".into())),
                Err(_) => {}
            }
        }
    }

    /// Tells every other node who it is, until all of them have it on disk. Returns the members.
    pub async fn adopt_all(&self, me: &Me, client_addr: &str) -> Result<BTreeMap<u64, Peer>, FormationError> {
        self.position()?;
        loop {
            let answers = self.ask_all().await;
            let mut members = BTreeMap::new();
            for (index, answer) in answers.iter().enumerate() {
                let id = index as u64 + 1;
                let (name, peer_addr) = self.bootstrap[index].clone();
                if name == me.name {
                    let (client_addr, incarnation) = (client_addr.to_owned(), me.incarnation);
                    let versions = me.versions;
                    members.insert(id, Peer { name, peer_addr, client_addr, incarnation, versions });
                    continue;
                }
                let Some((_, hello)) = answer else { continue };
                if hello.cluster_id.is_empty() {
                    self.adopt(me, id, &peer_addr, hello).await;
                } else if hello.cluster_id.as_ref() == me.cluster_id && hello.node_id == id {
                    let incarnation = hello.incarnation.as_ref().try_into();
                    let incarnation =
                        incarnation.map_err(|_| FormationError::Confused("a bad incarnation".into()))?;
                    let client_addr = hello.client_addr.clone();
                    let versions = versions_from_wire(hello.versions)
                        .map_err(|why| FormationError::Confused(format!("{name}: {why}")))?;
                    members.insert(id, Peer { name, peer_addr, client_addr, incarnation, versions });
                } else {
                    let (name, at) = (me.name.clone(), name);
                    return Err(FormationError::AlreadyFormed { name, at, cluster: hex(&hello.cluster_id) });
                }
            }
            if members.len() == self.bootstrap.len() {
                return Ok(members);
            }
            tokio::time::sleep(ASK_INTERVAL).await;
        }
    }

    async fn adopt(&self, me: &Me, node_id: u64, addr: &str, hello: &wire::HelloResponse) {
        let request = wire::AdoptRequest {
            cluster_id: Bytes::copy_from_slice(&me.cluster_id),
            node_id,
            incarnation: hello.incarnation.clone(),
            members: Vec::new(),
        };
        let mut client = peers::client(&self.transport, addr);
        let asked = tokio::time::timeout(HELLO_TIMEOUT, client.adopt(request)).await;
        if let Ok(Err(status)) = asked {
            tracing::warn!("{} at {addr} was not adopted yet: {}", hello.name, status.message());
        }
    }

    /// Every node's own account, in the order of the list; this node's is made up, silent ones are `None`.
    async fn ask_all(&self) -> Vec<Option<(String, wire::HelloResponse)>> {
        let asked = self.bootstrap.iter().map(|(name, addr)| async move {
            if *name == self.name {
                return Some((
                    name.clone(),
                    wire::HelloResponse { name: name.clone(), ..Default::default() },
                ));
            }
            let request = wire::HelloRequest {
                name: self.name.clone(),
                incarnation: Bytes::copy_from_slice(&self.incarnation),
                ..Default::default()
            };
            let mut client = peers::client(&self.transport, addr);
            let answer =
                tokio::time::timeout(HELLO_TIMEOUT, client.hello(request)).await.ok()?.ok()?.into_inner();
            if answer.name != *name {
                tracing::warn!("at {addr} answers {:?}, not {name:?}: check --bootstrap", answer.name);
                return None;
            }
            Some((name.clone(), answer))
        });
        futures::future::join_all(asked).await
    }
}

/// What the answer of a node that knows no members means for a node without data. Had that node been adopted by a founder,
/// it would have `founder_id`.
fn check(at: &str, founder_id: u64, answer: &wire::HelloResponse, first: bool) -> Result<(), FormationError> {
    if answer.cluster_id.is_empty() || answer.tails.is_empty() {
        return Ok(()); // new, or starting: what it has in its log it will say then
    }
    if answer.node_id != founder_id {
        return Ok(()); // it joins a cluster that began long ago, and has nothing of its log yet
    }
    let cluster = hex(&answer.cluster_id);
    match first {
        true => Err(FormationError::FounderLost { at: at.to_owned(), cluster }),
        false => Ok(()), // still forming
    }
}

fn adopted(request: &wire::AdoptRequest) -> Result<Founding, FormationError> {
    let cluster_id = request.cluster_id.as_ref().try_into();
    let cluster_id = cluster_id.map_err(|_| FormationError::Confused("a bad cluster id".into()))?;
    Ok(Founding::Adopted { cluster_id, node_id: request.node_id })
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a node says whose log is open and empty.
    fn without_members(node_id: u64, log_is_open: bool) -> wire::HelloResponse {
        let tails = if log_is_open { vec![wire::ShardTail::default()] } else { Vec::new() };
        let cluster_id = Bytes::from_static(&[7; 16]);
        wire::HelloResponse { node_id, cluster_id, tails, ..Default::default() }
    }

    #[test]
    fn only_who_was_adopted_and_has_started_tells_of_a_cluster_that_never_began() {
        let lost = |answer: &wire::HelloResponse, first| check("n3", 3, answer, first).is_err();
        assert!(lost(&without_members(3, true), true));
        assert!(!lost(&without_members(3, true), false), "the founder may still be at it");
        assert!(!lost(&without_members(3, false), true), "it is starting");
        assert!(!lost(&without_members(5, true), true), "it joins as a new member");
        assert!(!lost(&wire::HelloResponse::default(), true), "it is new");
    }
}
