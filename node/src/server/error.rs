//! Every refusal as the wire tells it: a stable reason, what happened, what to do, whether to retry.

use std::collections::HashMap;
use std::time::Duration;

use quorate_proto::{ERROR_DOMAIN, v1};
use quorate_raft::NotChanged;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::members::{RaiseError, RemoveError};

/// A request that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    code: Code,
    reason: &'static str,
    message: String,
    action: &'static str,
    retry: bool,
    /// What else the status says: who leads, or what a transaction needed.
    more: Vec<(&'static str, String)>,
}

impl Failure {
    fn new(
        code: Code,
        reason: &'static str,
        message: impl Into<String>,
        action: &'static str,
        retry: bool,
    ) -> Self {
        Self { code, reason, message: message.into(), action, retry, more: Vec::new() }
    }

    /// The machine refused it; a repetition would be refused as well.
    pub(super) fn refused(code: Code, reason: &'static str, message: String, action: &'static str) -> Self {
        Self::new(code, reason, message, action, false)
    }

    /// A transaction needs what is not the case.
    pub(super) fn unmet(message: String, part: &'static str, nth: u32, found: u64) -> Self {
        let action = "look at what is the case now, and decide anew";
        let mut failure = Self::new(Code::Aborted, "PRECONDITION_FAILED", message, action, false);
        failure.more = vec![("part", part.into()), ("nth", nth.to_string()), ("found", found.to_string())];
        failure
    }

    /// Another node leads.
    pub fn not_leader(name: String, client_addr: String) -> Self {
        let message = format!("{name} leads this shard");
        let mut failure = Self::new(Code::Unavailable, "NOT_LEADER", message, "ask the leader", true);
        failure.more = vec![("leader_name", name), ("leader_addr", client_addr)];
        failure
    }

    /// No leader is known, or it hears from no majority.
    pub fn no_quorum() -> Self {
        let message =
            "there is no quorum: this node knows of no leader that a majority of the members follows";
        Self::new(
            Code::Unavailable,
            "NO_QUORUM",
            message,
            "bring back the members that are down, then retry",
            true,
        )
    }

    /// The node is not part of a cluster yet.
    pub fn forming() -> Self {
        let message =
            "there is no quorum: this node is not part of a cluster yet, it waits for the other nodes";
        Self::new(
            Code::Unavailable,
            "NO_QUORUM",
            message,
            "start the other nodes of --bootstrap, then retry",
            true,
        )
    }

    /// The write was taken and its leader lost before the answer.
    pub fn unknown() -> Self {
        let message = "the outcome is unknown: leadership or the majority was lost after the write was taken";
        let action = "repeat it under the same session: what took effect is not done twice";
        Self::new(Code::Unknown, "UNKNOWN", message, action, true)
    }

    /// The node is about to stop.
    pub fn shutting_down() -> Self {
        let message = "this node is shutting down";
        Self::new(Code::Unavailable, "SHUTTING_DOWN", message, "go on at another node", true)
    }

    /// The disk of this node is nearly full.
    pub fn no_space(detail: String) -> Self {
        let action = "consume or delete messages, or give the data directory more room; settling goes on";
        Self::new(Code::ResourceExhausted, "NO_SPACE", detail, action, true)
    }

    /// The consumer reads too slowly.
    pub fn fell_behind() -> Self {
        let message = "the consumer does not read what it was sent";
        Self::new(Code::ResourceExhausted, "OVERLOADED", message, "attach again and grant less credit", true)
    }

    /// More wait for changes of the state than a node has room for.
    pub fn too_many_watches() -> Self {
        let message = "too many wait for changes of the state at this node";
        Self::new(Code::ResourceExhausted, "OVERLOADED", message, "wait for fewer keys at once", true)
    }

    /// Half-sent requests hold as much as they may, and did so for as long as one waits.
    pub fn too_much_half_sent() -> Self {
        let message = "half-sent requests hold all the memory of this node that there is for them";
        Self::new(Code::ResourceExhausted, "OVERLOADED", message, "send it again after a pause", true)
    }

    /// As much waits to be let in as may.
    pub fn too_much_waits() -> Self {
        let message = "more waits for an answer than this node has memory for";
        Self::new(Code::ResourceExhausted, "OVERLOADED", message, "send it again after a pause", true)
    }

    /// A request was begun and not finished.
    pub fn too_slow(bytes: usize, of_bytes: usize) -> Self {
        let message =
            format!("a message was begun and not finished in time: {bytes} of {of_bytes} bytes came");
        let action = "send shorter messages, or over a faster connection";
        Self::new(Code::ResourceExhausted, "OVERLOADED", message, action, true)
    }

    /// A request was opened and nothing followed.
    pub fn says_nothing(after: Duration) -> Self {
        let message = format!("nothing was asked within {} s after the call was opened", after.as_secs());
        Self::new(
            Code::ResourceExhausted,
            "OVERLOADED",
            message,
            "send the request when the call is opened",
            true,
        )
    }

    /// The session was taken over by a later attach.
    pub fn superseded() -> Self {
        let message = "the session was attached by another stream";
        Self::new(Code::Aborted, "CONSUMER_FENCED", message, "use one stream for a session", false)
    }

    /// The session ended while its stream was open.
    pub fn session_ended() -> Self {
        let message = "the session ended: its queue was deleted, or it was detached elsewhere";
        Self::new(Code::Aborted, "UNKNOWN_CONSUMER", message, "attach with a new session", false)
    }

    /// The members are not changed as asked.
    pub fn not_removed(e: &RemoveError) -> Self {
        let new = |code, reason, action, retry| Self::new(code, reason, e.to_string(), action, retry);
        match e {
            RemoveError::UnknownMember(_) => {
                new(Code::NotFound, "UNKNOWN_MEMBER", "look at `quorate cluster status`", false)
            }
            RemoveError::Last(_) | RemoveError::QuorumAtRisk { .. } => {
                let action = "bring the other members back, or let new ones join, then remove it";
                new(Code::FailedPrecondition, "QUORUM_AT_RISK", action, false)
            }
            RemoveError::Overloaded | RemoveError::NotChanged(NotChanged::Busy(_)) => {
                new(Code::Unavailable, "OVERLOADED", "wait until the change under way is done", true)
            }
            RemoveError::NotChanged(NotChanged::NotLeader { .. }) => Self::no_quorum(),
            RemoveError::NotChanged(NotChanged::Unknown) => Self::unknown(),
        }
    }

    /// The active version is not raised.
    pub fn not_raised(e: &RaiseError) -> Self {
        let new = |code, reason, action, retry| Self::new(code, reason, e.to_string(), action, retry);
        match e {
            RaiseError::NotRead { .. } => {
                let action = "start it with a newer program, or remove it; `quorate cluster version` shows all members";
                new(Code::FailedPrecondition, "VERSION_NOT_READ", action, false)
            }
            RaiseError::Silent { .. } => {
                let action = "bring the member back, or remove it: all have to say that they read it";
                new(Code::FailedPrecondition, "VERSION_NOT_READ", action, false)
            }
            RaiseError::Overloaded | RaiseError::NotChanged(NotChanged::Busy(_)) => {
                new(Code::Unavailable, "OVERLOADED", "wait until the change under way is done", true)
            }
            RaiseError::NotChanged(NotChanged::NotLeader { .. }) => Self::no_quorum(),
            RaiseError::NotChanged(NotChanged::Unknown) => Self::unknown(),
        }
    }

    /// The request cannot be understood.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, "INVALID", message, "correct the request", false)
    }

    /// What a request of a stream that cannot be read has for an answer; `None` if nobody is there to be told.
    pub fn unreadable(status: &Status) -> Option<Self> {
        if status.get_details_error_info().is_some_and(|info| info.reason == "OVERLOADED") {
            let action = "send shorter messages, after a pause";
            return Some(Self::new(status.code(), "OVERLOADED", status.message(), action, true));
        }
        let says = format!("the request cannot be read: {}", status.message());
        let codes = [Code::OutOfRange, Code::InvalidArgument, Code::Internal, Code::Unimplemented];
        codes.contains(&status.code()).then(|| Self::invalid(says))
    }

    /// The state cannot be read.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, "INTERNAL", message, "look at the node's log", false)
    }

    /// The failure inside a stream's answer.
    pub fn into_refusal(self) -> v1::Refusal {
        v1::Refusal {
            reason: self.reason.into(),
            message: self.message,
            action: self.action.into(),
            retry: self.retry,
        }
    }
}

/// Gives a refusal a reason that was made before a service was asked, of a request that is too long or cannot be read.
pub fn with_reason(answer: http::Response<Body>) -> http::Response<Body> {
    let refused = Status::from_header_map(answer.headers())
        .filter(|status| status.details().is_empty() && status.code() != Code::Unimplemented);
    let failure = refused.and_then(|status| {
        let failure = Failure::unreadable(&status)?;
        Some(Failure { code: status.code(), ..failure })
    });
    failure.map_or(answer, |failure| Status::from(failure).into_http())
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let mut metadata = HashMap::from([
            ("action".to_owned(), failure.action.to_owned()),
            ("retry".to_owned(), failure.retry.to_string()),
        ]);
        metadata.extend(failure.more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let details = ErrorDetails::with_error_info(failure.reason, ERROR_DOMAIN, metadata);
        Status::with_error_details(failure.code, failure.message, details)
    }
}
