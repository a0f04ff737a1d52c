//! Requests and answers as the wire has them.

use openraft::AnyError;
use openraft::errors::{NetworkError, RPCError, Unreachable};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use quorate_proto::peer::v1 as wire;
use tonic::{Code, Status};

use crate::types::{Types, entry_to_wire, log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire};

pub(super) fn append_to_wire(
    request: AppendEntriesRequest<Types>,
    route: Option<wire::Route>,
) -> wire::AppendRequest {
    wire::AppendRequest {
        route,
        vote: Some(vote_to_wire(&request.vote)),
        prev: request.prev_log_id.as_ref().map(log_id_to_wire),
        entries: request.entries.into_iter().map(entry_to_wire).collect(),
        committed: request.leader_commit.as_ref().map(log_id_to_wire),
        ..wire::AppendRequest::default()
    }
}

pub(super) fn answer_from_wire(
    answer: wire::AppendResponse,
) -> Result<StreamAppendResult<Types>, RPCError<Types>> {
    use wire::append_response::Result as Answer;
    Ok(match answer.result.ok_or_else(|| incomplete("an append answer without a result"))? {
        Answer::Matched(matched) => Ok(matched.last.map(log_id_from_wire)),
        Answer::Conflict(id) => Err(StreamAppendError::Conflict(log_id_from_wire(id))),
        Answer::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_from_wire(vote))),
    })
}

pub(super) fn incomplete(what: &str) -> RPCError<Types> {
    RPCError::Network(NetworkError::new(&AnyError::error(what)))
}

/// An unreachable peer is backed off from at once; other failures are tried again sooner.
pub(super) fn rpc_error(status: &Status) -> RPCError<Types> {
    match status.code() {
        Code::Unavailable | Code::FailedPrecondition => RPCError::Unreachable(Unreachable::new(status)),
        _ => RPCError::Network(NetworkError::new(status)),
    }
}
