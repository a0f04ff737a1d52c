//! The incoming half: the peer API, which checks who is speaking and hands over to the shard's replica.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::alias::VoteOf;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, VoteRequest,
};
use parking_lot::RwLock;
use prost::Message as _;
use quorate_machine::Versions;
use quorate_proto::peer::v1 as wire;
use quorate_proto::peer::v1::append_response::Result as Answer;
use quorate_proto::peer::v1::peer_server::{Peer, PeerServer};
use quorate_proto::peer::v1::snapshot_request::Part;
use quorate_simpoint::{Bug, buggify, planted};
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::gate::Gate;
use crate::peers::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, Me, PEER_MESSAGE_BYTES_MAX, STREAM_WINDOW_BYTES,
};
use crate::replica::Replica;
use crate::reports::report_to_wire;
use crate::types::{
    LogId, Peer as NewNode, Types, log_id_from_wire, log_id_to_wire, versions_from_wire, versions_to_wire,
    vote_from_wire, vote_to_wire,
};
use crate::{Raft, agreement, snapshot, unanswered};

/// What the peer API answers from. It serves from the moment the node starts: a node without an identity says
/// so, which is how a cluster forms.
#[derive(Clone)]
pub struct PeerApi(Arc<Shared>);

/// What a node knows of itself before it has a cluster.
#[derive(Clone, Debug)]
pub struct LocalNode {
    /// Its name.
    pub name: String,
    /// Its data directory.
    pub incarnation: [u8; 16],
    /// `host:port` of its client API.
    pub client_addr: String,
    /// What its program reads and writes.
    pub versions: Versions,
}

struct Shared {
    node: LocalNode,
    me: RwLock<Option<Me>>,
    replicas: RwLock<BTreeMap<u32, Replica>>,
    adoptions: mpsc::Sender<wire::AdoptRequest>,
    joins: mpsc::Sender<Join>,
}

/// A new node that asks for membership. Dropping `answer` tells it to ask again.
#[derive(Debug)]
pub struct Join {
    /// Who asks.
    pub new: NewNode,
    /// What becomes of it.
    pub answer: oneshot::Sender<Result<Joined, NotJoined>>,
}

/// What a node that asks for membership is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// It is a member.
    Member {
        /// Its id.
        id: u64,
        /// Index of a membership that it is in.
        joined_at: u64,
    },
    /// Another node leads, which serves its peers there, if one is known.
    Elsewhere(Option<String>),
}

/// Why a node is not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotJoined {
    /// Not as it is.
    #[error("{0}")]
    Refused(String),
    /// Not now.
    #[error("{0}")]
    Later(String),
}

impl PeerApi {
    /// An API for a node that has a name and a data directory, and perhaps no cluster yet. Adoptions by the
    /// node that forms the cluster arrive at `adoptions`, and new nodes that ask for membership at `joins`.
    pub fn new(
        node: LocalNode,
        adoptions: mpsc::Sender<wire::AdoptRequest>,
        joins: mpsc::Sender<Join>,
    ) -> Self {
        let (me, replicas) = Default::default();
        Self(Arc::new(Shared { node, me, replicas, adoptions, joins }))
    }

    /// From now on the node is a member.
    pub fn set_identity(&self, me: Me) {
        *self.0.me.write() = Some(me);
    }

    /// From now on the shard is served.
    pub fn add_replica(&self, shard: u32, replica: Replica) {
        self.0.replicas.write().insert(shard, replica);
    }

    /// Lets go of the replicas, so that they can be shut down.
    pub fn clear(&self) {
        self.0.replicas.write().clear();
    }

    /// The gRPC service.
    pub fn into_service(self) -> PeerServer<Self> {
        PeerServer::new(self)
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX)
    }

    /// The replica that a request is meant for, if it is meant for this node at all.
    fn replica(&self, route: Option<wire::Route>) -> Result<Replica, Status> {
        let route = route.ok_or_else(|| Status::invalid_argument("a request without a route"))?;
        let me = self.0.me.read();
        let me = me.as_ref().ok_or_else(|| Status::failed_precondition("this node has no cluster yet"))?;
        if route.cluster_id.as_ref() != me.cluster_id || route.to != me.node_id {
            let to = route.to;
            return Err(Status::failed_precondition(format!(
                "the request is for node {to} of another cluster or another node; this is {} (id {})",
                me.name, me.node_id
            )));
        }
        let replicas = self.0.replicas.read();
        let replica = replicas.get(&route.shard);
        let replica = replica.ok_or_else(|| Status::unavailable("the shard is not served here (yet)"))?;
        match replica.incarnation_of(route.from) {
            Some(known) if known != route.from_incarnation.as_ref() && !planted(Bug::AmnesiaAccepted) => {
                Err(Status::failed_precondition(
                    "the sender's data directory is not the one that is a member: it lost its data",
                ))
            }
            _ => Ok(replica.clone()),
        }
    }

    /// Whether the asking node, which was a member, is none any more. An id that has left never comes back.
    fn has_removed(&self, asking: &wire::HelloRequest) -> bool {
        let me = self.0.me.read();
        let of_this_cluster = me.as_ref().is_some_and(|me| me.cluster_id == asking.cluster_id.as_ref());
        let replicas = self.0.replicas.read();
        let Some(replica) = replicas.get(&0).filter(|_| of_this_cluster) else { return false };
        let (index, members) = replica.applied_membership();
        index >= asking.joined_at && !members.is_empty() && !members.contains(&asking.node_id)
    }

    /// A leader says which version is active, and this program does not read it: it must not take part any more.
    fn leave_if_unfit(&self, asking: &wire::HelloRequest) {
        if asking.active_version == 0 || self.0.node.versions.read(asking.active_version) {
            return;
        }
        let of_this_cluster =
            self.0.me.read().as_ref().is_some_and(|me| me.cluster_id == asking.cluster_id.as_ref());
        for replica in self.0.replicas.read().values().filter(|_| of_this_cluster) {
            if replica.incarnation_of(asking.node_id).is_some_and(|known| known == asking.incarnation[..]) {
                // What it returns is said at the gate.
                let _ = replica.gate().check(asking.active_version, "what the cluster writes");
            }
        }
    }

    fn raft(&self, route: Option<wire::Route>) -> Result<Raft, Status> {
        Ok(self.replica(route)?.raft().clone())
    }
}

fn fatal(e: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("the replica has stopped: {e}"))
}

fn incomplete(what: &str) -> Status {
    Status::invalid_argument(format!("a request without its {what}"))
}

/// Calls that are open on one connection of a peer: one stream, and a few questions beside it.
const STREAMS_PER_CONNECTION_MAX: u32 = 64;

/// The peer API on a router, with windows that let a stream fill a fast link.
pub fn router(api: PeerApi) -> Router {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .add_service(api.into_service())
}

#[tonic::async_trait]
impl Peer for PeerApi {
    async fn hello(
        &self,
        request: Request<wire::HelloRequest>,
    ) -> Result<Response<wire::HelloResponse>, Status> {
        let request = request.into_inner();
        self.leave_if_unfit(&request);
        let me = self.0.me.read().clone();
        let replicas = self.0.replicas.read();
        let tails =
            replicas.iter().map(|(shard, r)| wire::ShardTail { shard: *shard, last: r.durable_tail() });
        Ok(Response::new(wire::HelloResponse {
            name: self.0.node.name.clone(),
            cluster_id: me.as_ref().map_or_else(Bytes::new, |me| Bytes::copy_from_slice(&me.cluster_id)),
            node_id: me.map_or(0, |me| me.node_id),
            incarnation: Bytes::copy_from_slice(&self.0.node.incarnation),
            tails: tails.collect(),
            members: replicas.get(&0).map(Replica::members).unwrap_or_default(),
            client_addr: self.0.node.client_addr.clone(),
            removed: self.has_removed(&request),
            versions: Some(versions_to_wire(self.0.node.versions)),
        }))
    }

    async fn adopt(
        &self,
        request: Request<wire::AdoptRequest>,
    ) -> Result<Response<wire::AdoptResponse>, Status> {
        let request = request.into_inner();
        if request.incarnation.as_ref() != self.0.node.incarnation {
            return Err(Status::failed_precondition("the adoption is for another data directory"));
        }
        if let Some(me) = self.0.me.read().as_ref() {
            let same = me.cluster_id == request.cluster_id.as_ref() && me.node_id == request.node_id;
            let refusal = || Status::already_exists("this node is a member of another cluster");
            return if same { Ok(Response::new(wire::AdoptResponse {})) } else { Err(refusal()) };
        }
        // Answered before the identity is on disk: the former asks again until a hello shows the identity.
        self.0.adoptions.try_send(request).map_err(|_| Status::unavailable("an adoption is under way"))?;
        Ok(Response::new(wire::AdoptResponse {}))
    }

    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        let me = self.0.me.read().clone();
        let me = me.ok_or_else(|| Status::unavailable("this node is no member yet, either"))?;
        let new = new_node(request.into_inner())?;
        let (answer, answered) = oneshot::channel();
        let join = Join { new, answer };
        self.0.joins.try_send(join).map_err(|_| Status::unavailable("other members are being changed"))?;
        let answer = answered.await.map_err(|_| Status::unavailable("this node is stopping"))?;
        let mut response = wire::JoinResponse::default();
        match answer {
            Ok(Joined::Member { id, joined_at }) => {
                response.cluster_id = Bytes::copy_from_slice(&me.cluster_id);
                response.node_id = id;
                response.joined_at = joined_at;
            }
            Ok(Joined::Elsewhere(leader)) => response.leader_addr = leader.unwrap_or_default(),
            Err(NotJoined::Refused(why)) => return Err(Status::failed_precondition(why)),
            Err(NotJoined::Later(why)) => return Err(Status::unavailable(why)),
        }
        Ok(Response::new(response))
    }

    async fn vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let mut request = request.into_inner();
        let raft = self.raft(request.route.take())?;
        let answer = raft.vote(vote_request(request)?).await.map_err(fatal)?;
        Ok(Response::new(vote_response(answer)))
    }

    async fn pre_vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let mut request = request.into_inner();
        let raft = self.raft(request.route.take())?;
        let answer = raft.pre_vote(vote_request(request)?).await.map_err(fatal)?;
        Ok(Response::new(vote_response(answer)))
    }

    type AppendStream = Pin<Box<dyn Stream<Item = Result<wire::AppendResponse, Status>> + Send>>;

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let mut requests = request.into_inner();
        let Some(mut first) = requests.message().await? else {
            return Ok(Response::new(futures::stream::empty().boxed()));
        };
        let replica = self.replica(first.route.take())?;
        let log = replica.log().clone();
        if buggify("raft/service/refuse_append") {
            return Err(Status::unavailable("the stream is refused this time"));
        }
        let gate = replica.gate().clone();
        let (taken, answers) = unanswered::sides(log.queue_bytes_max() / 4);
        taken.take(first.encoded_len()).await;
        let first = append_request(first, &gate)?;
        replica.heard().note(&first.vote);
        // A request that cannot be read ends the stream: the leader opens a new one from what was confirmed. If the program is too
        // old for it, the gate has ended the replica. What a disk that hangs has not taken stays with the leader, or on its way here.
        let rest = requests
            .then(move |request| {
                let (log, gate, taken) = (log.clone(), gate.clone(), taken.clone());
                async move {
                    let request = request?;
                    log.ready().await;
                    match taken.take(request.encoded_len()).await {
                        true => append_request(request, &gate),
                        false => Err(Status::cancelled("the leader is not there any more")),
                    }
                }
            })
            .inspect(|request| {
                let broken = |status: &Status| matches!(status.code(), Code::Cancelled | Code::Unknown);
                if let Err(status) = request.as_ref().map_err(|status| status.clone())
                    && !broken(&status)
                {
                    tracing::warn!("a leader's stream ends: {}", status.message());
                }
            })
            .take_while(|request| futures::future::ready(request.is_ok()))
            .filter_map(|request| futures::future::ready(request.ok()));
        let input = futures::stream::once(futures::future::ready(first)).chain(rest);
        let answers = replica.raft().stream_append(input).map(move |answer| {
            answers.answered();
            answer.map(append_answer).map_err(fatal)
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn heartbeat(
        &self,
        request: Request<wire::AppendRequest>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        let mut request = request.into_inner();
        let replica = self.replica(request.route.take())?;
        let asked = agreement::from_wire(request.checkpoint.as_ref());
        let differs = agreement::from_wire(request.differs.as_ref());
        let request = append_request(request, replica.gate())?;
        let (vote, prev) = (request.vote, request.prev_log_id);
        let last = request.entries.last().map(|e| e.log_id).or(prev);
        replica.heard().note(&request.vote);
        // The leader waits for one interval. Raft's own result needs what was sent before to be on disk, the report needs nothing.
        let interval = Duration::from_millis(replica.settings().heartbeat_ms);
        let patience = interval / 2;
        let answered = tokio::time::timeout(patience, replica.raft().append_entries(request)).await;
        replica.health().core_answered(answered.is_ok());
        let mut response = match answered {
            Err(_) => follows(&replica, &vote, prev, interval / 4).await,
            Ok(answer) => match answer.map_err(fatal)? {
                AppendEntriesResponse::Conflict if prev.is_none() => {
                    return Err(Status::internal("a conflict at the start of the log"));
                }
                answer => append_answer(answer.into_stream_result(prev, last)),
            },
        };
        if buggify("raft/service/lose_heartbeat") {
            return Err(Status::unavailable("the answer to the heartbeat is lost"));
        }
        response.report = Some(report_to_wire(&replica.health().report()));
        // Only who leads is answered; what it says is for this replica if that has another digest there.
        if !matches!(response.result, Some(Answer::HigherVote(_))) {
            response.checkpoint = {
                let now = agreement::now(replica.state());
                replica.checkpoints().answer(asked, now).map(Into::into)
            };
            if let Some(why) = differs.and_then(|theirs| replica.checkpoints().against(theirs)) {
                replica.gate().end().because(why);
            }
        }
        Ok(Response::new(response))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotRequest>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        let mut parts = request.into_inner();
        let Some(Part::Head(mut head)) = parts.message().await?.and_then(|m| m.part) else {
            return Err(incomplete("head"));
        };
        let replica = self.replica(head.route.take())?;
        let answer = snapshot::receive(&replica, head, parts).await?;
        Ok(Response::new(answer))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        let mut request = request.into_inner();
        let raft = self.raft(request.route.take())?;
        let vote = request.vote.map(vote_from_wire).ok_or_else(|| incomplete("vote"))?;
        let request =
            TransferLeaderRequest::<Types>::new(vote, request.to, request.last.map(log_id_from_wire));
        match raft.handle_transfer_leader(request).await.map_err(fatal)? {
            Ok(()) => Ok(Response::new(wire::TransferLeaderResponse {})),
            Err(refused) => Err(Status::failed_precondition(refused.to_string())),
        }
    }

    async fn status(
        &self,
        request: Request<wire::PeerStatusRequest>,
    ) -> Result<Response<wire::PeerStatusResponse>, Status> {
        let mut route = request.into_inner().route.ok_or_else(|| incomplete("route"))?;
        route.shard = 0;
        self.replica(Some(route))?;
        let replicas: Vec<Replica> = self.0.replicas.read().values().cloned().collect();
        let replicas = replicas.iter().map(Replica::status).collect::<Result<_, _>>();
        Ok(Response::new(wire::PeerStatusResponse { replicas: replicas.map_err(fatal)? }))
    }
}

/// The answer to a heartbeat whose result waits for the disk: that this replica follows the leader now, by the word of Raft's own
/// task, and has what it confirmed before. A lease and a read ask for no more, and once a long entry is on disk it would be old. A
/// replica whose disk stands still does not count.
async fn follows(
    replica: &Replica,
    vote: &VoteOf<Types>,
    confirmed: Option<LogId>,
    patience: Duration,
) -> wire::AppendResponse {
    // What nothing was confirmed to may not have this vote on disk.
    if confirmed.is_none() || replica.health().report().is_stalled(replica.settings().log_stall_after) {
        return wire::AppendResponse::default();
    }
    let own = replica.raft().with_raft_state(|state| *state.vote_ref());
    match tokio::time::timeout(patience, own).await {
        Ok(Ok(own)) if own == *vote => append_answer(Ok(confirmed)),
        _ => wire::AppendResponse::default(),
    }
}

fn new_node(request: wire::JoinRequest) -> Result<NewNode, Status> {
    let incarnation = request.incarnation.as_ref().try_into();
    Ok(NewNode {
        name: request.name,
        peer_addr: request.peer_addr,
        client_addr: request.client_addr,
        incarnation: incarnation.map_err(|_| Status::failed_precondition("an incarnation has 16 bytes"))?,
        versions: versions_from_wire(request.versions)
            .map_err(|why| Status::failed_precondition(why.to_string()))?,
    })
}

fn vote_request(request: wire::VoteRequest) -> Result<VoteRequest<Types>, Status> {
    let vote = request.vote.map(vote_from_wire).ok_or_else(|| incomplete("vote"))?;
    let mut vote_request = VoteRequest::new(vote, request.last.map(log_id_from_wire));
    vote_request.leadership_transfer = request.leadership_transfer;
    Ok(vote_request)
}

fn vote_response(answer: openraft::raft::VoteResponse<Types>) -> wire::VoteResponse {
    wire::VoteResponse {
        vote: Some(vote_to_wire(&answer.vote)),
        granted: answer.vote_granted,
        last: answer.last_log_id.as_ref().map(log_id_to_wire),
    }
}

fn append_request(request: wire::AppendRequest, gate: &Gate) -> Result<AppendEntriesRequest<Types>, Status> {
    let entries = request.entries.into_iter().map(|entry| gate.entry(entry)).collect::<Result<_, _>>();
    Ok(AppendEntriesRequest {
        vote: request.vote.map(vote_from_wire).ok_or_else(|| incomplete("vote"))?,
        prev_log_id: request.prev.map(log_id_from_wire),
        entries: entries.map_err(Status::failed_precondition)?,
        leader_commit: request.committed.map(log_id_from_wire),
    })
}

fn append_answer(answer: StreamAppendResult<Types>) -> wire::AppendResponse {
    let result = match answer {
        Ok(last) => Answer::Matched(wire::Matched { last: last.as_ref().map(log_id_to_wire) }),
        Err(StreamAppendError::Conflict(id)) => Answer::Conflict(log_id_to_wire(&id)),
        Err(StreamAppendError::HigherVote(vote)) => Answer::HigherVote(vote_to_wire(&vote)),
    };
    wire::AppendResponse { result: Some(result), checkpoint: None, report: None }
}
