//! Moving a whole state to a replica whose part of the log is gone: rows in key order, in checked chunks.

use bytes::Bytes;
use openraft::SnapshotMeta;
use openraft::storage::Snapshot;
use quorate_proto::peer::v1 as wire;
use quorate_proto::peer::v1::peer_client::PeerClient;
use quorate_proto::peer::v1::snapshot_request::Part;
use quorate_simpoint::{Bug, buggify, planted};
use quorate_storage::log::{self, ShardLog};
use quorate_storage::state::State;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use twox_hash::XxHash3_128;

use crate::Raft;
use crate::state_machine::{Received, SnapshotData};
use crate::types::{
    LogId, Vote, log_id_from_store, log_id_from_wire, log_id_to_store, log_id_to_wire, members_from_bytes,
    vote_from_wire, vote_to_store, vote_to_wire,
};

/// Chunks on their way at once.
const CHUNKS_IN_FLIGHT: usize = 4;
/// How late [`Bug::SnapshotClaimsTooMuch`] looks.
const LATE: std::time::Duration = std::time::Duration::from_millis(100);

/// Sends the state as it stands on disk. Returns the vote of the receiver.
pub async fn send(
    state: &State,
    client: &mut PeerClient<Channel>,
    route: wire::Route,
    vote: &Vote,
) -> Result<Vote, String> {
    let mut snapshot = state.snapshot().await.map_err(|e| e.to_string())?;
    let mut claimed = snapshot.applied();
    if planted(Bug::SnapshotClaimsTooMuch) {
        tokio::time::sleep(LATE).await;
        claimed = state.applied().last;
    }
    let last = claimed.ok_or("there is no state to send yet")?;
    if last.term > vote.leader_id.term {
        return Err("this node is no longer the leader that the snapshot was asked of".into());
    }
    let head = wire::SnapshotHead {
        route: Some(route),
        vote: Some(vote_to_wire(vote)),
        last: Some(log_id_to_wire(&log_id_from_store(last))),
        membership: snapshot.membership(),
    };
    let (tx, rx) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let part = |part| wire::SnapshotRequest { part: Some(part) };
    let produce = async {
        let (mut hash, mut rows) = (XxHash3_128::new(), 0);
        let _ = tx.send(part(Part::Head(head))).await; // a closed channel shows in the answer
        while let Some(chunk) = snapshot.next_chunk().map_err(|e| e.to_string())? {
            if buggify("raft/snapshot/give_up") {
                return Err("the transfer is given up half way".into());
            }
            hash.write(&chunk.bytes);
            rows += chunk.rows;
            if tx.send(part(Part::Chunk(chunk.bytes))).await.is_err() {
                return Ok(());
            }
        }
        let digest = Bytes::copy_from_slice(&hash.finish_128().to_be_bytes());
        let _ = tx.send(part(Part::End(wire::SnapshotEnd { rows, digest }))).await;
        drop(tx);
        Ok::<(), String>(())
    };
    let answer = async { client.snapshot(ReceiverStream::new(rx)).await.map_err(|s| s.message().to_owned()) };
    let ((), answer) = futures::try_join!(produce, answer)?;
    answer.into_inner().vote.map(vote_from_wire).ok_or_else(|| "an answer without a vote".into())
}

/// Receives what [`send`] sends, and installs it once all of it has arrived and been checked.
pub async fn receive(
    raft: &Raft,
    state: &State,
    log: &ShardLog,
    head: wire::SnapshotHead,
    mut parts: Streaming<wire::SnapshotRequest>,
) -> Result<wire::SnapshotResponse, Status> {
    let vote = head.vote.map(vote_from_wire).ok_or_else(|| missing("vote"))?;
    let last = head.last.map(log_id_from_wire).ok_or_else(|| missing("log id"))?;
    if last.leader_id > vote.leader_id {
        return Err(Status::failed_precondition("the snapshot is newer than the vote it is sent under"));
    }
    let last_membership =
        members_from_bytes(&head.membership).map_err(|e| Status::invalid_argument(e.to_string()))?;
    let internal = |e: quorate_storage::Error| Status::internal(e.to_string());
    let mut installer = state.install().map_err(internal)?;
    let mut hash = XxHash3_128::new();
    let rows = loop {
        match parts.message().await?.and_then(|m| m.part) {
            Some(Part::Chunk(chunk)) => {
                hash.write(&chunk);
                installer.chunk(chunk).map_err(|e| Status::data_loss(e.to_string()))?;
            }
            Some(Part::End(end)) if end.digest.as_ref() == hash.finish_128().to_be_bytes() => break end.rows,
            Some(Part::End(_)) => return Err(Status::data_loss("the snapshot was damaged on its way")),
            Some(Part::Head(_)) => return Err(Status::invalid_argument("a second head")),
            None => return Err(Status::cancelled("the snapshot ended before its end")),
        }
    };
    if holds(log.vote(), log.durable(), &vote, &last) {
        return Ok(wire::SnapshotResponse { vote: Some(vote_to_wire(&vote)) });
    }
    let meta = SnapshotMeta { last_log_id: Some(last), last_membership };
    let snapshot = SnapshotData::Received(Box::new(Received { installer, rows }));
    let answer = raft.install_full_snapshot(vote, Snapshot { meta, snapshot }).await;
    let answer = answer.map_err(|e| Status::unavailable(e.to_string()))?;
    Ok(wire::SnapshotResponse { vote: Some(vote_to_wire(&answer.vote)) })
}

/// Whether the log on disk has everything up to `last` already. That is so if it ends there or later in the order of log ids, since what a
/// snapshot covers is committed. A leader that does not know how far a follower got, and has purged its own log, sends a snapshot to one that
/// needs none; openraft would then go back to where the snapshot ends, to which its debug builds object. Under another vote openraft decides.
fn holds(voted: Option<log::Vote>, durable: Option<log::LogId>, vote: &Vote, last: &LogId) -> bool {
    let last = log_id_to_store(last);
    voted == Some(vote_to_store(vote))
        && durable.is_some_and(|durable| durable >= last && durable.index >= last.index)
}

fn missing(what: &str) -> Status {
    Status::invalid_argument(format!("a snapshot head without its {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(term: u64, node: u64) -> Vote {
        vote_from_wire(wire::Vote { term, node, committed: true })
    }

    fn id(term: u64, index: u64) -> log::LogId {
        log::LogId { term, node: 2, index }
    }

    #[test]
    fn a_snapshot_of_what_the_log_holds_is_not_installed() {
        let last = log_id_from_store(id(2, 609));
        let voted = Some(vote_to_store(&vote(2, 2)));
        for (durable, held) in [
            (Some(id(2, 610)), true),
            (Some(id(2, 609)), true),
            (Some(id(3, 700)), true), // a later leader had all that was committed
            (Some(id(2, 608)), false),
            (Some(id(1, 700)), false), // may be cut off yet
            (Some(id(3, 600)), false),
            (None, false),
        ] {
            assert_eq!(holds(voted, durable, &vote(2, 2), &last), held, "{durable:?}");
        }
        assert!(!holds(voted, Some(id(2, 610)), &vote(3, 1), &last), "another leader");
        assert!(!holds(None, Some(id(2, 610)), &vote(2, 2), &last));
    }
}
