//! Connections to the other nodes, and the check of whom they lead to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use quorate_machine::Versions;
use quorate_machine::limits::{ENTRY_BYTES_MAX, PUBLISH_BYTES_MAX};
use quorate_proto::peer::v1 as wire;
use quorate_proto::peer::v1::peer_client::PeerClient;
use quorate_simpoint::{Bug, buggify, planted};
use tonic::transport::{Channel, Endpoint};

use crate::log_store::READ_BYTES_MAX;
use crate::settings::READ_ENTRIES_MAX;
use crate::transport::Transport;
use crate::types::{LogId, Peer, log_id_from_wire, versions_from_wire, versions_to_wire};

/// What a message between peers has besides the bytes of entries: heads of as many as openraft puts into one, and room for growth.
const MESSAGE_HEAD_BYTES_MAX: usize = 1024 * 1024;
/// Largest message between peers, in bytes: one read of the log, and an entry on top of it.
pub const PEER_MESSAGE_BYTES_MAX: usize = READ_BYTES_MAX as usize + ENTRY_BYTES_MAX + MESSAGE_HEAD_BYTES_MAX;

const _: () = assert!(READ_ENTRIES_MAX as usize * ENTRY_HEAD_BYTES <= MESSAGE_HEAD_BYTES_MAX);
// A snapshot sends rows as they are, in parts of a quarter of a MiB: the longest row is a batch of messages.
const _: () = assert!(PUBLISH_BYTES_MAX + MESSAGE_HEAD_BYTES_MAX < PEER_MESSAGE_BYTES_MAX);
/// Deadline of a hello, and of opening a connection.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(1);

/// What an entry takes in a message besides its payload, in bytes.
pub(crate) const ENTRY_HEAD_BYTES: usize = 64;

pub(crate) const STREAM_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 64 * 1024 * 1024;
/// Every frame is a call to the system, at the sender and at the receiver.
pub(crate) const FRAME_BYTES_MAX: u32 = 256 * 1024;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Who this node is, as its peers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Me {
    /// The cluster.
    pub cluster_id: [u8; 16],
    /// This node.
    pub node_id: u64,
    /// Its data directory.
    pub incarnation: [u8; 16],
    /// Its name.
    pub name: String,
    /// Index of a membership that it was in.
    pub joined_at: u64,
    /// What its program reads and writes.
    pub versions: Versions,
}

impl Me {
    /// Addresses a request to a peer.
    pub fn route(&self, to: u64, shard: u32) -> wire::Route {
        wire::Route {
            cluster_id: Bytes::copy_from_slice(&self.cluster_id),
            from: self.node_id,
            from_incarnation: Bytes::copy_from_slice(&self.incarnation),
            to,
            shard,
        }
    }

    /// `active_version` is 0 but for a leader.
    fn hello(&self, active_version: u32) -> wire::HelloRequest {
        wire::HelloRequest {
            versions: Some(versions_to_wire(self.versions)),
            active_version,
            joined_at: self.joined_at,
            name: self.name.clone(),
            cluster_id: Bytes::copy_from_slice(&self.cluster_id),
            node_id: self.node_id,
            incarnation: Bytes::copy_from_slice(&self.incarnation),
        }
    }
}

/// A client of the peer API at `host:port`. It connects at the first call and again after a failure.
pub fn client(transport: &Arc<dyn Transport>, addr: &str) -> PeerClient<Channel> {
    let transport = transport.clone();
    let target = addr.to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let connecting = transport.connect(target.clone());
        async move { connecting.await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://peer")
        .connect_timeout(HELLO_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector);
    PeerClient::new(channel)
        .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX)
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its data directory.
    pub incarnation: Bytes,
    /// What its program reads and writes.
    pub versions: Versions,
    /// It is a member of the same cluster, and knows that the asking node is none any more.
    pub removed: bool,
}

/// Asks a node who it is.
///
/// # Errors
/// Why there was no answer.
pub async fn ask(transport: &Arc<dyn Transport>, me: &Me, addr: &str) -> Result<Account, String> {
    let mut client = client(transport, addr);
    let answer = tokio::time::timeout(HELLO_TIMEOUT, client.hello(me.hello(0))).await;
    let answer = answer.map_err(|_| "no answer within 1 s".to_owned())?;
    let answer = answer.map_err(|status| status.message().to_owned())?.into_inner();
    let removed = answer.removed && answer.cluster_id == me.cluster_id[..];
    let versions = versions_from_wire(answer.versions).map_err(|why| why.to_string())?;
    Ok(Account { name: answer.name, incarnation: answer.incarnation, versions, removed })
}

/// Why a peer is not spoken to.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HelloError {
    /// It did not answer.
    #[error("{name} at {addr} does not answer: {problem}")]
    Silent {
        /// The peer.
        name: String,
        /// Its address.
        addr: String,
        /// What happened.
        problem: String,
    },
    /// Somebody else answers at its address.
    #[error("at {addr} answers {found}, not {name} (id {id}): check the addresses and the data directories")]
    Stranger {
        /// The address.
        addr: String,
        /// Who answered.
        found: String,
        /// Who should have.
        name: String,
        /// Who should have.
        id: u64,
    },
    /// Its program cannot read what this leader writes.
    #[error("{name} (id {id}) reads {versions}, and the cluster is at version {active}: upgrade it")]
    Unfit {
        /// The peer.
        name: String,
        /// The peer.
        id: u64,
        /// What it reads.
        versions: Versions,
        /// What is active.
        active: u32,
    },
    /// It lost entries that it had confirmed.
    #[error(
        "{name} (id {id}) confirmed the log up to {confirmed} and now ends at {found}: its disk lost data; \
         remove it and let it join as a new member"
    )]
    WentBack {
        /// The peer.
        name: String,
        /// The peer.
        id: u64,
        /// Up to where it had confirmed.
        confirmed: u64,
        /// Where it ends now.
        found: u64,
    },
}

/// What each follower confirmed to this node while it led one term: openraft checks only in debug builds that
/// a follower does not go back behind it.
#[derive(Default)]
pub struct Confirmed {
    by_peer: Mutex<BTreeMap<(u64, u32), (u64, LogId)>>,
    /// What each follower's program reads and writes.
    versions: Mutex<BTreeMap<u64, Versions>>,
}

impl Confirmed {
    /// The peer confirmed its log up to `last` to the leader of `term`.
    pub fn note(&self, peer: u64, shard: u32, term: u64, last: LogId) {
        self.by_peer.lock().insert((peer, shard), (term, last));
    }

    /// What a peer said that it reads and writes, last.
    pub fn declared(&self, peer: u64) -> Option<Versions> {
        self.versions.lock().get(&peer).copied()
    }

    fn get(&self, peer: u64, shard: u32, term: u64) -> Option<LogId> {
        let by_peer = self.by_peer.lock();
        by_peer.get(&(peer, shard)).filter(|(noted, _)| *noted == term).map(|(_, last)| *last)
    }
}

/// Asks a peer who it is, and refuses it if it is somebody else, cannot read what is written now, or has lost what it confirmed.
pub async fn hello(
    client: &mut PeerClient<Channel>,
    (me, active): (&Me, u32),
    (id, peer): (u64, &Peer),
    (shard, term): (u32, u64),
    confirmed: &Confirmed,
) -> Result<(), HelloError> {
    let silent = |problem: String| HelloError::Silent {
        name: peer.name.clone(),
        addr: peer.peer_addr.clone(),
        problem,
    };
    if buggify("raft/peers/hello_twice") {
        let _ = tokio::time::timeout(HELLO_TIMEOUT, client.hello(me.hello(active))).await; // the second counts
    }
    let answer = tokio::time::timeout(HELLO_TIMEOUT, client.hello(me.hello(active)))
        .await
        .map_err(|_| silent("no answer within 1 s".into()))?
        .map_err(|status| silent(status.message().to_owned()))?
        .into_inner();
    let same = answer.cluster_id.as_ref() == me.cluster_id
        && answer.node_id == id
        && (answer.incarnation.as_ref() == peer.incarnation || planted(Bug::AmnesiaAccepted));
    if !same {
        let found = match answer.cluster_id.is_empty() {
            true => format!("{:?}, a new node without data", answer.name),
            false => format!("{:?} (id {}) with another identity", answer.name, answer.node_id),
        };
        let name = peer.name.clone();
        return Err(HelloError::Stranger { addr: peer.peer_addr.clone(), found, name, id });
    }
    let versions = versions_from_wire(answer.versions).map_err(|why| silent(why.to_string()))?;
    confirmed.versions.lock().insert(id, versions);
    if !versions.read(active) {
        return Err(HelloError::Unfit { name: peer.name.clone(), id, versions, active });
    }
    // A node that starts or stops has no log open: that says nothing of what is in it.
    let tail = answer.tails.iter().find(|t| t.shard == shard);
    let tail = tail.ok_or_else(|| silent(format!("it does not serve shard {shard} now")))?;
    let last = tail.last.map(log_id_from_wire);
    match confirmed.get(id, shard, term) {
        Some(noted) if last.as_ref() < Some(&noted) => Err(HelloError::WentBack {
            name: peer.name.clone(),
            id,
            confirmed: noted.index,
            found: last.map_or(0, |id| id.index),
        }),
        _ => Ok(()),
    }
}
