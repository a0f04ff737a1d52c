//! The outgoing half of replication: openraft's network over the peer API.
//!
//! One long append stream for each follower, a connection of its own for heartbeats and votes so that bulk
//! data cannot delay them, another for snapshots.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend};
use quorate_proto::peer::v1 as wire;
use quorate_proto::peer::v1::peer_client::PeerClient;
use quorate_simpoint::buggify;
use quorate_storage::log::ShardLog;
use quorate_storage::state::State;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::peers::{self, Confirmed, Me};
use crate::snapshot;
use crate::state_machine::SnapshotData;
use crate::transport::Transport;
use crate::types::{
    Peer, Types, entry_to_wire, log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire,
};

/// A restarted follower is tried again this often.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Makes the connections of one shard to its other replicas.
pub struct Network {
    /// Who is speaking.
    pub me: Me,
    /// The shard.
    pub shard: u32,
    /// Opens connections.
    pub transport: Arc<dyn Transport>,
    /// What followers confirmed.
    pub confirmed: Arc<Confirmed>,
    /// Rows of snapshots are read from here.
    pub state: State,
    /// What of the log is still there.
    pub log: ShardLog,
    /// Deadline of a whole snapshot transfer.
    pub snapshot_timeout: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Replication,
    Heartbeat,
    Snapshot,
}

/// One connection to one peer.
pub struct Connection {
    shared: Arc<Network>,
    target: u64,
    peer: Peer,
    purpose: Purpose,
    client: PeerClient<Channel>,
}

/// Hands out the connections.
pub struct Connections(pub Arc<Network>);

impl Connections {
    fn connect(&self, target: u64, peer: &Peer, purpose: Purpose) -> Connection {
        let client = peers::client(&self.0.transport, &peer.peer_addr);
        Connection { shared: self.0.clone(), target, peer: peer.clone(), purpose, client }
    }
}

impl RaftNetworkFactory<Types> for Connections {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, peer: &Peer) -> Connection {
        self.connect(target, peer, Purpose::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: u64, peer: &Peer) -> Connection {
        self.connect(target, peer, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, peer: &Peer) -> Connection {
        self.connect(target, peer, Purpose::Snapshot)
    }
}

impl Connection {
    fn route(&self) -> Option<wire::Route> {
        Some(self.shared.me.route(self.target, self.shared.shard))
    }

    /// A call under its deadline.
    async fn within<T>(
        &self,
        deadline: Duration,
        action: RPCTypes,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, RPCError<Types>> {
        match tokio::time::timeout(deadline, call).await {
            Ok(answer) => answer.map(tonic::Response::into_inner).map_err(|s| rpc_error(&s)),
            Err(_) => {
                let (id, target) = (self.shared.me.node_id, self.target);
                Err(RPCError::Timeout(Timeout { action, id, target, timeout: deadline }))
            }
        }
    }

    async fn ask_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
        pre: bool,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = wire::VoteRequest {
            route: self.route(),
            vote: Some(vote_to_wire(&request.vote)),
            last: request.last_log_id.as_ref().map(log_id_to_wire),
            leadership_transfer: request.leadership_transfer,
        };
        let mut client = self.client.clone();
        let call =
            async move { if pre { client.pre_vote(request).await } else { client.vote(request).await } };
        let answer = self.within(option.hard_ttl(), RPCTypes::Vote, call).await?;
        if buggify("raft/network/lose_vote") {
            return Err(incomplete("a vote answer that was lost"));
        }
        let vote =
            answer.vote.map(vote_from_wire).ok_or_else(|| incomplete("a vote answer without its vote"))?;
        Ok(VoteResponse::new(vote, answer.last.map(log_id_from_wire), answer.granted))
    }

    /// Opens the replication stream after making sure who is at the other end.
    async fn open_stream<S>(&mut self, input: S) -> Result<BoxStream<'static, StreamItem>, RPCError<Types>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let mut input = input.peekable();
        let first = std::pin::Pin::new(&mut input).peek().await;
        let Some(term) = first.map(|request| request.vote.leader_id.term) else {
            return Ok(futures::stream::empty().boxed());
        };
        let (target, shard) = (self.target, self.shared.shard);
        let shared = self.shared.clone();
        peers::hello(&mut self.client, &shared.me, (target, &self.peer), (shard, term), &shared.confirmed)
            .await
            .map_err(|e| {
                if !matches!(e, peers::HelloError::Silent { .. }) {
                    tracing::error!("not replicating to {}: {e}", self.peer.name);
                }
                RPCError::Unreachable(Unreachable::new(&e))
            })?;
        let mut route = self.route();
        let log = shared.log.clone();
        let vote = shared.log.clone();
        let input = until_deposed(input, term, move || vote.vote().map_or(0, |vote| vote.term));
        let input = input.take_while(move |request| futures::future::ready(!is_of_purged(request, &log)));
        let requests = input.map(move |request| append_to_wire(request, route.take()));
        let answers = self.client.append(requests).await.map_err(|s| rpc_error(&s))?.into_inner();
        let confirmed = shared.confirmed.clone();
        let answers = answers.map(move |answer| {
            if buggify("raft/network/break_stream") {
                return Err(incomplete("an append answer that was lost"));
            }
            let result = answer_from_wire(answer.map_err(|s| rpc_error(&s))?)?;
            if let Ok(Some(last)) = &result {
                confirmed.note(target, shard, term, *last);
            }
            Ok(result)
        });
        Ok(answers.boxed())
    }
}

/// Ends when the node has voted in a later term than the one in which it began to send. openraft ends its replication task a
/// little later; meanwhile the task would go on from an entry of its own term that the new leader has replaced, to which its
/// debug builds object.
fn until_deposed<S: Stream + Unpin>(
    mut input: S,
    term: u64,
    voted_in: impl Fn() -> u64 + Unpin,
) -> impl Stream<Item = S::Item> + Unpin {
    futures::stream::poll_fn(move |cx| match voted_in() > term {
        true => Poll::Ready(None),
        false => input.poll_next_unpin(cx),
    })
}

/// Whether openraft wanted to send entries that were purged meanwhile. It gives a follower that needs them a snapshot, but
/// its replication task may still be at an older order, for which it read nothing (see `log_store.rs`). The stream ends
/// there, and the task looks for the newer order before it tries again.
fn is_of_purged(request: &AppendEntriesRequest<Types>, log: &ShardLog) -> bool {
    let next = request.prev_log_id.map_or(0, |prev| prev.index + 1);
    request.entries.is_empty() && log.purged().is_some_and(|purged| next <= purged.index)
}

type StreamItem = Result<StreamAppendResult<Types>, RPCError<Types>>;

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let request = append_to_wire(request, self.route());
        let mut client = self.client.clone();
        let call = async move { client.heartbeat(request).await };
        let answer = self.within(option.hard_ttl(), RPCTypes::AppendEntries, call).await?;
        Ok(match answer_from_wire(answer)? {
            Ok(last) => AppendEntriesResponse::PartialSuccess(last),
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, StreamItem>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        if self.purpose == Purpose::Heartbeat {
            return openraft::network::stream_append_sequential(self, input, option);
        }
        // The stream lives as long as the follower does; HTTP/2 keep-alive ends one that went silent.
        Box::pin(async move { Ok(self.open_stream(input).await? as BoxStream<'s, StreamItem>) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(request, option, false).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(request, option, true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        _snapshot: SnapshotOf<Types, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        debug_assert!(self.purpose == Purpose::Snapshot);
        let route = self.shared.me.route(self.target, self.shared.shard);
        let send = snapshot::send(&self.shared.state, &mut self.client, route, &vote);
        let deadline = self.shared.snapshot_timeout;
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = tokio::time::timeout(deadline, send) => match sent {
                Ok(Ok(vote)) => Ok(SnapshotResponse::new(vote)),
                Ok(Err(e)) => Err(StreamingError::Network(NetworkError::new(&AnyError::error(e)))),
                Err(_) => Err(StreamingError::Timeout(Timeout {
                    action: RPCTypes::InstallSnapshot,
                    id: self.shared.me.node_id,
                    target: self.target,
                    timeout: deadline,
                })),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let request = wire::TransferLeaderRequest {
            route: self.route(),
            vote: Some(vote_to_wire(request.from_leader())),
            to: *request.to_node_id(),
            last: request.last_log_id().map(log_id_to_wire),
        };
        let mut client = self.client.clone();
        let call = async move { client.transfer_leader(request).await };
        self.within(option.hard_ttl(), RPCTypes::TransferLeader, call).await?;
        Ok(Ok(()))
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(RETRY_INTERVAL)))
    }
}

fn append_to_wire(request: AppendEntriesRequest<Types>, route: Option<wire::Route>) -> wire::AppendRequest {
    wire::AppendRequest {
        route,
        vote: Some(vote_to_wire(&request.vote)),
        prev: request.prev_log_id.as_ref().map(log_id_to_wire),
        entries: request.entries.into_iter().map(entry_to_wire).collect(),
        committed: request.leader_commit.as_ref().map(log_id_to_wire),
    }
}

fn answer_from_wire(answer: wire::AppendResponse) -> Result<StreamAppendResult<Types>, RPCError<Types>> {
    use wire::append_response::Result as Answer;
    Ok(match answer.result.ok_or_else(|| incomplete("an append answer without a result"))? {
        Answer::Matched(matched) => Ok(matched.last.map(log_id_from_wire)),
        Answer::Conflict(id) => Err(StreamAppendError::Conflict(log_id_from_wire(id))),
        Answer::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_from_wire(vote))),
    })
}

fn incomplete(what: &str) -> RPCError<Types> {
    RPCError::Network(NetworkError::new(&AnyError::error(what)))
}

/// An unreachable peer is backed off from at once; other failures are tried again sooner.
fn rpc_error(status: &Status) -> RPCError<Types> {
    match status.code() {
        Code::Unavailable | Code::FailedPrecondition => RPCError::Unreachable(Unreachable::new(status)),
        _ => RPCError::Network(NetworkError::new(status)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test]
    async fn whoever_voted_in_a_later_term_sends_no_more() {
        let voted_in = AtomicU64::new(3);
        let input = futures::stream::iter(0..9).inspect(|n| {
            voted_in.store(if *n < 4 { 3 } else { 4 }, Ordering::Relaxed);
        });
        let sent = until_deposed(input, 3, || voted_in.load(Ordering::Relaxed)).collect::<Vec<_>>();
        assert_eq!(sent.await, [0, 1, 2, 3, 4]);
    }
}
