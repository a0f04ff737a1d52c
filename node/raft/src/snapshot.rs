//! Moving a whole state to a replica whose part of the log is gone: rows in key order, in checked chunks.

use bytes::Bytes;
use openraft::SnapshotMeta;
use openraft::storage::Snapshot;
use quorate_proto::peer::v1 as wire;
use quorate_proto::peer::v1::peer_client::PeerClient;
use quorate_proto::peer::v1::snapshot_request::Part;
use quorate_simpoint::{Bug, buggify, planted};
use quorate_storage::Error;
use quorate_storage::log::ShardLog;
use quorate_storage::state::{Installer, State};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use twox_hash::XxHash3_128;

use crate::progress::Progress;
use crate::replica::Replica;
use crate::state_machine::{Received, SnapshotData};
use crate::types::{
    LogId, Vote, log_id_from_store, log_id_from_wire, log_id_to_store, log_id_to_wire, members_from_bytes,
    vote_from_wire, vote_to_store, vote_to_wire,
};

/// Chunks that wait to be sent. One may have the longest row, of some MiB; besides it one is read and one written.
const CHUNKS_IN_FLIGHT: usize = 1;
/// How late [`Bug::SnapshotClaimsTooMuch`] looks.
const LATE: std::time::Duration = std::time::Duration::from_millis(100);

/// Why a snapshot was not sent.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// The receiver has no room for it.
    #[error("{0}")]
    Refused(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl From<Status> for NotSent {
    fn from(status: Status) -> Self {
        let what = status.message().to_owned();
        if status.code() == Code::ResourceExhausted { NotSent::Refused(what) } else { NotSent::Failed(what) }
    }
}

fn failed(e: impl std::fmt::Display) -> NotSent {
    NotSent::Failed(e.to_string())
}

/// Sends the state as it stands on disk. Returns the vote of the receiver.
pub async fn send(
    state: &State,
    client: &mut PeerClient<Channel>,
    route: wire::Route,
    vote: &Vote,
    progress: &Progress,
) -> Result<Vote, NotSent> {
    let mut snapshot = state.snapshot().await.map_err(failed)?;
    progress.note();
    let mut claimed = snapshot.applied();
    if planted(Bug::SnapshotClaimsTooMuch) {
        tokio::time::sleep(LATE).await;
        claimed = state.applied().last;
    }
    let last = claimed.ok_or_else(|| failed("there is no state to send yet"))?;
    if last.term > vote.leader_id.term {
        return Err(failed("this node is no longer the leader that the snapshot was asked of"));
    }
    let head = wire::SnapshotHead {
        route: Some(route),
        vote: Some(vote_to_wire(vote)),
        last: Some(log_id_to_wire(&log_id_from_store(last))),
        membership: snapshot.membership(),
        // What is active now may be later than what the rows say. Whoever cannot read it cannot take part anyway.
        version: quorate_machine::read::active_version(&state.read()).map_err(failed)?,
        bytes: snapshot.bytes(),
    };
    let (tx, rx) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let part = |part| wire::SnapshotRequest { part: Some(part) };
    let produce = async {
        let (mut hash, mut rows) = (XxHash3_128::new(), 0);
        let _ = tx.send(part(Part::Head(head))).await; // a closed channel shows in the answer
        while let Some(chunk) = snapshot.next_chunk().map_err(failed)? {
            if buggify("raft/snapshot/give_up") {
                return Err(failed("the transfer is given up half way"));
            }
            hash.write(&chunk.bytes);
            rows += chunk.rows;
            if tx.send(part(Part::Chunk(chunk.bytes))).await.is_err() {
                return Ok(());
            }
            progress.note();
        }
        let digest = Bytes::copy_from_slice(&hash.finish_128().to_be_bytes());
        let _ = tx.send(part(Part::End(wire::SnapshotEnd { rows, digest }))).await;
        drop((tx, snapshot)); // the environment may use its pages again while the receiver works
        Ok::<(), NotSent>(())
    };
    let answer = async { client.snapshot(ReceiverStream::new(rx)).await.map_err(NotSent::from) };
    let ((), answer) = futures::try_join!(produce, answer)?;
    answer.into_inner().vote.map(vote_from_wire).ok_or_else(|| failed("an answer without a vote"))
}

/// Receives what [`send`] sends, and installs it once all of it has arrived and been checked.
pub async fn receive(
    replica: &Replica,
    head: wire::SnapshotHead,
    parts: Streaming<wire::SnapshotRequest>,
) -> Result<wire::SnapshotResponse, Status> {
    replica.gate().check(head.version, "the leader's snapshot").map_err(Status::failed_precondition)?;
    let vote = head.vote.map(vote_from_wire).ok_or_else(|| missing("vote"))?;
    let last = head.last.map(log_id_from_wire).ok_or_else(|| missing("log id"))?;
    if last.leader_id > vote.leader_id {
        return Err(Status::failed_precondition("the snapshot is newer than the vote it is sent under"));
    }
    let last_membership =
        members_from_bytes(&head.membership).map_err(|e| Status::invalid_argument(e.to_string()))?;
    // What waits for room would wait in front of it.
    if replica.state().room().waiting {
        return Err(Status::resource_exhausted("the state of the receiver waits for room"));
    }
    let progress = Progress::new(replica.settings().snapshot_stall);
    let rows = rows(replica.state(), head.bytes, parts, &progress);
    let (installer, rows) =
        progress.watch(rows).await.map_err(|e| Status::deadline_exceeded(e.to_string()))??;
    let log = replica.log();
    if holds(log, &vote, &last).map_err(|e| Status::internal(e.to_string()))? {
        return Ok(wire::SnapshotResponse { vote: Some(vote_to_wire(&vote)) });
    }
    let meta = SnapshotMeta { last_log_id: Some(last), last_membership };
    let snapshot = SnapshotData::Received(Box::new(Received { installer, rows }));
    let answer = replica.raft().install_full_snapshot(vote, Snapshot { meta, snapshot }).await;
    let answer = answer.map_err(|e| Status::unavailable(e.to_string()))?;
    Ok(wire::SnapshotResponse { vote: Some(vote_to_wire(&answer.vote)) })
}

/// Takes the rows in, up to the end and its digest. Returns how many there must be.
async fn rows(
    state: &State,
    bytes: u64,
    mut parts: Streaming<wire::SnapshotRequest>,
    progress: &Progress,
) -> Result<(Installer, u64), Status> {
    let mut installer = state.install(bytes).await.map_err(not_taken)?;
    let mut hash = XxHash3_128::new();
    loop {
        match parts.message().await?.and_then(|m| m.part) {
            Some(Part::Chunk(chunk)) => {
                hash.write(&chunk);
                installer.chunk(chunk).await.map_err(not_taken)?;
                progress.note();
            }
            Some(Part::End(end)) if end.digest.as_ref() == hash.finish_128().to_be_bytes() => {
                return Ok((installer, end.rows));
            }
            Some(Part::End(_)) => return Err(Status::data_loss("the snapshot was damaged on its way")),
            Some(Part::Head(_)) => return Err(Status::invalid_argument("a second head")),
            None => return Err(Status::cancelled("the snapshot ended before its end")),
        }
    }
}

fn not_taken(e: Error) -> Status {
    let what = e.to_string();
    match e {
        Error::BadChunk { .. } => Status::data_loss(what),
        Error::NoRoomForSnapshot { .. } => Status::resource_exhausted(what),
        Error::SnapshotReplaced { .. } => Status::aborted(what),
        _ => Status::internal(what),
    }
}

/// Whether the log on disk has everything up to `last` already. That is so if it has that very entry, and not if it merely ends
/// there or later: an entry of a later leader may lie at the same index, whose leader never had `last` (Raft, figure 8). What
/// was purged is committed, and so is what a snapshot covers. A leader that does not know how far a follower got, and has purged
/// its own log, sends a snapshot to one that needs none; openraft would then go back to where the snapshot ends, to which its
/// debug builds object. Under another vote openraft decides.
fn holds(log: &ShardLog, vote: &Vote, last: &LogId) -> Result<bool, Error> {
    let last = log_id_to_store(last);
    if log.vote() != Some(vote_to_store(vote))
        || log.durable().is_none_or(|durable| durable.index < last.index)
    {
        return Ok(false);
    }
    if log.purged().is_some_and(|purged| purged.index >= last.index) {
        return Ok(true);
    }
    Ok(log.id_at(last.index)? == Some(last))
}

fn missing(what: &str) -> Status {
    Status::invalid_argument(format!("a snapshot head without its {what}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_storage::DataDir;
    use quorate_storage::disk::{DiskRunner, Threads};
    use quorate_storage::identity::{FORMAT, Identity};
    use quorate_storage::log::{Kind, Log, LogId as Id, LogOptions, Record};

    use super::*;

    fn vote(term: u64, node: u64) -> Vote {
        vote_from_wire(wire::Vote { term, node, committed: true })
    }

    fn id(term: u64, index: u64) -> Id {
        Id { term, node: term % 3, index }
    }

    /// A log that has voted, with entries of these terms from index 0 on.
    async fn log(dir: &std::path::Path, voted: &Vote, terms: &[u64]) -> (Log, ShardLog) {
        let data = DataDir::open(dir).expect("a new data directory");
        let identity = Identity {
            format_version: FORMAT,
            cluster_id: [1; 16],
            node_id: 5,
            name: "n5".into(),
            incarnation: [2; 16],
            joined_at: 0,
            voted: false,
        };
        data.create(identity).expect("an identity");
        let runner: Arc<dyn DiskRunner> = Arc::new(Threads);
        let log = Log::open(&data, LogOptions::default(), &runner).expect("a log");
        let shard = log.shard(0).expect("a shard");
        let records = terms.iter().zip(0..).map(|(term, index)| Record {
            id: id(*term, index),
            kind: Kind::Blank,
            payload: Bytes::new(),
        });
        shard
            .append(records.collect(), Box::new(|result| result.expect("it is written")))
            .expect("it is taken");
        shard.save_vote(vote_to_store(voted)).await.expect("it is written");
        shard.wait_durable(terms.len() as u64 - 1).await.expect("it is written");
        (log, shard)
    }

    fn held(log: &ShardLog, vote: &Vote, last: Id) -> bool {
        holds(log, vote, &log_id_from_store(last)).expect("it can be read")
    }

    #[tokio::test]
    async fn a_snapshot_of_what_the_log_holds_is_not_installed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (_log, log) = log(dir.path(), &vote(4, 1), &[1, 1, 2, 2, 4]).await;
        for (last, expected) in [
            (id(2, 3), true),
            (id(4, 4), true),
            (id(1, 1), true),
            (id(4, 5), false), // it ends before
            (id(1, 2), false), // something else is there
        ] {
            assert_eq!(held(&log, &vote(4, 1), last), expected, "{last:?}");
        }
        assert!(!held(&log, &vote(5, 2), id(2, 3)), "another leader");
        log.purge(id(2, 2)).expect("it is purged");
        assert!(held(&log, &vote(4, 1), id(2, 2)) && held(&log, &vote(4, 1), id(1, 1)), "it was committed");
        assert!(held(&log, &vote(4, 1), id(2, 3)));
    }

    /// Raft, figure 8: S1 wrote X in term 2, to a minority. S5 led term 3 with other votes and wrote Y there. S1 leads again, in
    /// term 4, commits X by an entry of its own behind it, and sends S5 a snapshot that ends at X. S5 has Y, whose term is
    /// higher and whose index is the same, and must not say that it has X.
    #[tokio::test]
    async fn an_entry_of_a_later_term_at_the_same_index_is_not_the_same() {
        let (x, y) = (id(2, 7), id(3, 7));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (_log, s5) = log(dir.path(), &vote(4, 1), &[1, 1, 1, 1, 1, 1, 1, y.term]).await;
        assert_eq!(s5.durable(), Some(y));
        assert!(y >= x && y.index >= x.index, "which was enough to be mistaken");
        assert!(!held(&s5, &vote(4, 1), x));
        assert!(held(&s5, &vote(4, 1), id(1, 6)), "what is before it is the same");
    }
}
