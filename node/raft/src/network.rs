//! The outgoing half of replication: openraft's network over the peer API.
//!
//! One long append stream for each follower, a connection of its own for heartbeats and votes so that bulk
//! data cannot delay them, another for snapshots.

mod streams;
mod wire_form;

use std::sync::Arc;
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
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;

use streams::{is_of_purged, message_bytes, until_deposed, until_reset};
use wire_form::{answer_from_wire, append_to_wire, incomplete, rpc_error};

use crate::agreement::{self, Comparison};
use crate::ending::Ending;
use crate::gate::Gate;
use crate::peers::{self, Confirmed, Me};
use crate::progress::{Progress, Stalled};
use crate::reports::{Reports, report_from_wire};
use crate::resets::Resets;
use crate::snapshot::{self, NotSent};
use crate::state_machine::SnapshotData;
use crate::transport::Transport;
use crate::types::{
    LogId, Peer, Types, log_id_from_wire, log_id_to_wire, members_from_bytes, vote_from_wire, vote_to_wire,
};
use crate::under_way::UnderWay;

/// A restarted follower is tried again this often.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// One that has refused a snapshot, since it has no room, is offered one again this often: each costs a flush.
const REFUSED_INTERVAL: Duration = Duration::from_secs(1);
/// A snapshot that does not get on for so long is given up where room is short.
const SHORT_OF_ROOM_STALL: Duration = Duration::from_secs(5);
/// A snapshot that did not arrive is sent again after this, then after twice as long each time, up to the greatest.
const SNAPSHOT_RETRY_INTERVAL: Duration = RETRY_INTERVAL;
const SNAPSHOT_RETRY_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// A follower that takes nothing more is asked after this often.
const STUCK_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// For so long it is waited for; then openraft is told that it cannot be reached, so that its part of the log may go.
const STUCK_PATIENCE: Duration = Duration::from_secs(1);

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
    /// A snapshot that does not get on for so long is given up.
    pub snapshot_stall: Duration,
    /// Longest message that a peer takes, in bytes.
    pub peer_message_bytes_max: usize,
    /// The snapshots that are being sent.
    pub under_way: Arc<UnderWay>,
    /// What followers say of their disks.
    pub reports: Arc<Reports>,
    /// Ends streams that hold the log.
    pub resets: Arc<Resets>,
    /// For how long a report counts, and how long a log may stand still until it is stalled.
    pub stuck: (Duration, Duration),
    /// Which version is active, and where this replica's end is said.
    pub(crate) gate: Gate,
    /// What of the states of the others was compared with this one's.
    pub(crate) comparison: Comparison,
}

impl Network {
    /// Adds to a heartbeat what a follower is asked and told of its state.
    fn ask_for_digest(&self, target: u64, request: &mut wire::AppendRequest) {
        request.checkpoint = self.comparison.question(agreement::now(&self.state)).map(Into::into);
        request.differs = self.comparison.verdict_on(target).map(Into::into);
    }

    /// Compares what a follower answered.
    fn compare(&self, target: u64, answer: &wire::AppendResponse) {
        let Some(checkpoint) = agreement::from_wire(answer.checkpoint.as_ref()) else { return };
        let voters = || {
            let members = members_from_bytes(&self.state.applied().membership).unwrap_or_default();
            members.membership().voter_ids().collect()
        };
        if let Some(why) = self.comparison.answered(target, checkpoint, Instant::now(), voters) {
            self.gate.end().because(why);
        }
    }
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
    told: Told,
}

/// What was said last of a peer that cannot be served: it is tried again many times a second, and said once.
#[derive(Default)]
struct Told(Option<String>);

impl Told {
    /// Whether this is another problem than the one before.
    fn is_news(&mut self, problem: &str) -> bool {
        self.0.replace(problem.to_owned()).is_none_or(|before| before != problem)
    }
}

/// Hands out the connections.
pub struct Connections(pub Arc<Network>);

impl Connections {
    fn connect(&self, target: u64, peer: &Peer, purpose: Purpose) -> Connection {
        let client = peers::client(&self.0.transport, &peer.peer_addr);
        Connection {
            shared: self.0.clone(),
            target,
            peer: peer.clone(),
            purpose,
            client,
            told: Told::default(),
        }
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

impl Network {
    /// Whether a peer can take a request. One that it cannot would be tried again for ever, and nothing behind it committed, while heartbeats go
    /// on and nobody elects another: so this replica ends, and the others elect without the entry, which is on one disk only.
    fn can_send(&self, request: &AppendEntriesRequest<Types>, peer: &str) -> bool {
        let limit = self.peer_message_bytes_max;
        let bytes = message_bytes(request);
        if bytes <= limit {
            return true;
        }
        let index = request.entries.first().map_or(0, |entry| entry.log_id.index);
        self.gate.end().because(Ending::TooLarge { index, bytes, limit, peer: peer.to_owned() });
        false
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

    /// Returns once the follower does not say that it takes nothing more, or says nothing.
    async fn until_unstuck(&self) {
        while self.is_stuck() {
            tokio::time::sleep(STUCK_LOOK_INTERVAL).await;
        }
    }

    /// Returns once the follower may be sent entries.
    async fn until_sent_entries(&self) {
        while self.is_stuck() || self.shared.reports.spared().contains(&self.target) {
            tokio::time::sleep(STUCK_LOOK_INTERVAL).await;
        }
    }

    fn is_stuck(&self) -> bool {
        let Network { reports, stuck: (age, stall_after), .. } = &*self.shared;
        reports.is_stuck(self.target, *age, *stall_after)
    }

    fn takes_nothing(&self) -> Unreachable<Types> {
        Unreachable::new(&AnyError::error(format!("the disk of {} takes nothing more", self.peer.name)))
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
        if tokio::time::timeout(STUCK_PATIENCE, self.until_sent_entries()).await.is_err() {
            return Err(RPCError::Unreachable(self.takes_nothing()));
        }
        let me = (&shared.me, shared.gate.active());
        let hello =
            peers::hello(&mut self.client, me, (target, &self.peer), (shard, term), &shared.confirmed);
        match hello.await {
            Ok(()) => self.told = Told::default(),
            Err(e) => {
                if !matches!(e, peers::HelloError::Silent { .. }) && self.told.is_news(&e.to_string()) {
                    tracing::error!("not replicating to {}, and trying on: {e}", self.peer.name);
                }
                return Err(RPCError::Unreachable(Unreachable::new(&e)));
            }
        }
        let mut route = self.route();
        let log = shared.log.clone();
        let vote = shared.log.clone();
        let input = until_deposed(input, term, move || vote.vote().map_or(0, |vote| vote.term));
        let input = input.take_while(move |request| futures::future::ready(!is_of_purged(request, &log)));
        let (ends, name) = (shared.clone(), self.peer.name.clone());
        let input = input.take_while(move |request| futures::future::ready(ends.can_send(request, &name)));
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
        Ok(until_reset(answers, shared.resets.asked(target)).boxed())
    }
}

impl Connection {
    /// Sends the state. The log keeps what follows `last`, which is where openraft goes on when the state has arrived.
    async fn send_snapshot(
        &mut self,
        vote: &VoteOf<Types>,
        last: Option<LogId>,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let shared = self.shared.clone();
        let transfer = shared.under_way.begin(last.map_or(0, |last| last.index));
        let route = shared.me.route(self.target, shared.shard);
        // It holds what it needs of the log: where room is short, nobody can wait for that.
        let (log, state, stall) = (shared.log.clone(), shared.state.clone(), shared.snapshot_stall);
        let progress = Progress::with(move || match log.room().is_short() || state.room().is_short() {
            true => stall.min(SHORT_OF_ROOM_STALL),
            false => stall,
        });
        let send = snapshot::send(&shared.state, &mut self.client, route, vote, &progress);
        match progress.watch(send).await {
            Ok(Ok(vote)) => {
                self.told = Told::default();
                transfer.arrived();
                Ok(SnapshotResponse::new(vote))
            }
            Ok(Err(e)) => {
                let is_refused = matches!(e, NotSent::Refused(_));
                if is_refused && self.told.is_news(&e.to_string()) {
                    tracing::warn!("no snapshot for {} yet: {e}", self.peer.name);
                }
                if is_refused {
                    drop(transfer);
                    tokio::time::sleep(REFUSED_INTERVAL).await;
                }
                Err(StreamingError::Network(NetworkError::new(&e)))
            }
            Err(Stalled(timeout)) => {
                tracing::warn!("a snapshot for {} did not get on for {timeout:?}", self.peer.name);
                Err(StreamingError::Timeout(Timeout {
                    action: RPCTypes::InstallSnapshot,
                    id: shared.me.node_id,
                    target: self.target,
                    timeout,
                }))
            }
        }
    }
}

type StreamItem = Result<StreamAppendResult<Types>, RPCError<Types>>;

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let mut request = append_to_wire(request, self.route());
        self.shared.ask_for_digest(self.target, &mut request);
        let mut client = self.client.clone();
        let call = async move { client.heartbeat(request).await };
        let answer = self.within(option.hard_ttl(), RPCTypes::AppendEntries, call).await?;
        self.shared.compare(self.target, &answer);
        if let Some(report) = &answer.report {
            self.shared.reports.note(self.target, report_from_wire(report));
        }
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
        snapshot: SnapshotOf<Types, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        debug_assert!(self.purpose == Purpose::Snapshot);
        // A whole state is not sent again and again to a disk that takes nothing. What openraft knows of the snapshot is old when
        // the disk is back: it asks for the one of then.
        if self.is_stuck() {
            return tokio::select! {
                biased;
                closed = cancel => Err(StreamingError::Closed(closed)),
                () = self.until_unstuck() => Err(StreamingError::Unreachable(self.takes_nothing())),
            };
        }
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(&vote, snapshot.meta.last_log_id) => sent,
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
        if self.purpose != Purpose::Snapshot {
            return Some(Backoff::new(std::iter::repeat(RETRY_INTERVAL)));
        }
        let longer = |last: &Duration| Some((2 * *last).min(SNAPSHOT_RETRY_INTERVAL_MAX));
        Some(Backoff::new(std::iter::successors(Some(SNAPSHOT_RETRY_INTERVAL), longer)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_problem_that_stays_is_said_once_and_said_again_when_it_comes_back() {
        let mut told = Told::default();
        let said: Vec<bool> =
            ["empty", "empty", "empty", "back", "empty"].map(|what| told.is_news(what)).into();
        assert_eq!(said, [true, false, false, true, true]);
        told = Told::default();
        assert!(told.is_news("empty"), "it was well in between");
    }

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
