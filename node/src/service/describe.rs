//! What each error means to a client: a stable reason, a sentence for people, and the same facts as data.
//!
//! Programs act on the reason and the details, and never on the sentence: it may change at any time. Which reason has
//! which details is part of the protocol, and stands in docs/protocol.md.

use std::fmt::Display;

use quorate_machine::reply::{Found, Part, Problem, Refusal};

use super::error::{
    CommandError, ConsumeError, NoSpace, Overload, QueryError, RaiseVersionError, RemoveMemberError,
    Unavailable,
};
use super::reason::Reason;
use crate::cluster::{RaiseError, RemoveError};

/// Facts by their names.
pub type Details = Vec<(&'static str, String)>;

/// An error as any protocol may tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Why.
    pub reason: Reason,
    /// What happened, for people.
    pub message: String,
    /// What to do about it, for people.
    pub action: &'static str,
    /// The facts of the message.
    pub details: Details,
}

impl Description {
    /// Without details, and with the reason's usual action.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), action: reason.action(), details: Vec::new() }
    }

    /// The same, with facts.
    #[must_use]
    pub fn with<const N: usize>(mut self, details: [(&'static str, &dyn Display); N]) -> Self {
        self.details.extend(facts(details));
        self
    }

    /// The same, with another thing to do.
    #[must_use]
    pub fn action(self, action: &'static str) -> Self {
        Self { action, ..self }
    }
}

/// An error that a client is told of.
pub trait Describe {
    /// What it means.
    fn describe(&self) -> Description;
}

impl Describe for Unavailable {
    fn describe(&self) -> Description {
        match self {
            Self::NotLeader { name, client_addr } => {
                Description::new(Reason::NotLeader, format!("{name} leads this shard, at {client_addr}"))
                    .with([("leader_name", name), ("leader_addr", client_addr)])
            }
            Self::NoQuorum => {
                let message =
                    "there is no quorum: this node knows of no leader that a majority of the members follows";
                Description::new(Reason::NoQuorum, message)
            }
            Self::Forming => {
                let message = "there is no quorum: this node is not part of a cluster yet, it waits for the other nodes";
                Description::new(Reason::NoQuorum, message)
                    .action("start the other nodes of --bootstrap, then retry")
            }
            Self::ShuttingDown => Description::new(Reason::ShuttingDown, "this node is shutting down"),
        }
    }
}

impl Describe for Overload {
    fn describe(&self) -> Description {
        let of = |message: &str| Description::new(Reason::Overloaded, message);
        match self {
            Self::Waiting => of("more waits for an answer than this node has memory for"),
            Self::Watches => of("too many wait for changes of the state at this node")
                .action("wait for fewer keys at once"),
            Self::MemberChanges => of("other changes of the members are waiting"),
            Self::FellBehind => {
                of("the consumer does not read what it was sent").action("attach again and grant less credit")
            }
        }
    }
}

impl Describe for NoSpace {
    fn describe(&self) -> Description {
        match self {
            Self::Voters(short) => {
                let list = |what: fn(&quorate_raft::Short) -> String| {
                    short.nodes.iter().map(what).collect::<Vec<_>>().join(",")
                };
                Description::new(Reason::NoSpace, short.to_string()).with([
                    ("nodes", &list(|node| node.name.clone())),
                    ("free_bytes", &list(|node| node.report.free_bytes.to_string())),
                    ("reserve_bytes", &list(|node| node.report.reserve_bytes.to_string())),
                ])
            }
            Self::Leader { node, room } => {
                Description::new(Reason::NoSpace, format!("the leader {node} has {room}")).with([
                    ("nodes", node),
                    ("free_bytes", &room.free_bytes),
                    ("reserve_bytes", &room.reserve_bytes),
                ])
            }
        }
    }
}

impl Describe for CommandError {
    fn describe(&self) -> Description {
        match self {
            Self::Refused(refusal) => refusal.describe(),
            Self::Unavailable(why) => why.describe(),
            Self::NoSpace(why) => why.describe(),
            Self::Overload(which) => which.describe(),
            Self::Unknown => unknown(),
            Self::Internal(what) => Description::new(Reason::Internal, what.clone()),
        }
    }
}

impl Describe for QueryError {
    fn describe(&self) -> Description {
        match self {
            Self::Refused(refusal) => refusal.describe(),
            Self::Unavailable(why) => why.describe(),
            Self::Overload(which) => which.describe(),
            Self::Internal(what) => Description::new(Reason::Internal, what.clone()),
        }
    }
}

impl Describe for ConsumeError {
    fn describe(&self) -> Description {
        match self {
            Self::Command(e) => e.describe(),
            Self::Superseded => {
                Description::new(Reason::ConsumerFenced, "the session was attached by another stream")
            }
            Self::SessionEnded => {
                let message = "the session ended: its queue was deleted, or it was detached elsewhere";
                Description::new(Reason::UnknownConsumer, message)
            }
        }
    }
}

impl Describe for RemoveMemberError {
    fn describe(&self) -> Description {
        match self {
            Self::Refused(e) => e.describe(),
            Self::Unavailable(why) => why.describe(),
            Self::Busy(why) => busy(why),
            Self::Unknown => unknown(),
        }
    }
}

impl Describe for RaiseVersionError {
    fn describe(&self) -> Description {
        match self {
            Self::Refused(e) => e.describe(),
            Self::Unavailable(why) => why.describe(),
            Self::Busy(why) => busy(why),
            Self::Unknown => unknown(),
        }
    }
}

impl Describe for RemoveError {
    fn describe(&self) -> Description {
        let of = |reason| Description::new(reason, self.to_string());
        match self {
            Self::UnknownMember(name) => of(Reason::UnknownMember).with([("member", name)]),
            Self::Last(name) => of(Reason::QuorumAtRisk).with([("member", name)]),
            Self::QuorumAtRisk { name, rest, answering } => {
                of(Reason::QuorumAtRisk).with([("member", name), ("rest", rest), ("answering", answering)])
            }
            Self::Overloaded => Overload::MemberChanges.describe(),
            Self::NotChanged(e) => busy(&e.to_string()),
        }
    }
}

impl Describe for RaiseError {
    fn describe(&self) -> Description {
        let of = |reason| Description::new(reason, self.to_string());
        match self {
            Self::NotRead { name, id, versions, to } => {
                let (from, up_to) = (versions.reads_from, versions.reads_to);
                of(Reason::VersionNotRead).with([
                    ("member", name),
                    ("id", id),
                    ("reads_from", &from),
                    ("reads_to", &up_to),
                    ("version", to),
                ])
            }
            Self::Silent { name, id, problem: _ } => of(Reason::VersionNotRead)
                .with([("member", name), ("id", id)])
                .action("bring the member back, or remove it: all have to say that they read it"),
            Self::Overloaded => Overload::MemberChanges.describe(),
            Self::NotChanged(e) => busy(&e.to_string()),
        }
    }
}

fn unknown() -> Description {
    let message = "the outcome is unknown: leadership or the majority was lost after the write was taken";
    Description::new(Reason::Unknown, message)
}

fn busy(why: &str) -> Description {
    Description::new(Reason::Overloaded, why).action("wait until the change under way is done")
}

impl Describe for Refusal {
    fn describe(&self) -> Description {
        let told = Description::new(reason(self), self.to_string());
        let told = match self {
            Self::LagReached { .. } => {
                told.action("start a consumer, seek or delete the subscription, or raise its max_lag")
            }
            _ => told,
        };
        Description { details: details(self), ..told }
    }
}

fn reason(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::Invalid { .. } => Reason::Invalid,
        Refusal::UnknownNamespace(_) => Reason::UnknownNamespace,
        Refusal::UnknownQueue(_) => Reason::UnknownQueue,
        Refusal::UnknownSubscription(_) => Reason::UnknownSubscription,
        Refusal::QueueExists(_) => Reason::QueueExists,
        Refusal::SubscriptionExists(_) => Reason::SubscriptionExists,
        Refusal::RevisionChanged { .. } => Reason::RevisionChanged,
        Refusal::LastSubscription => Reason::LastSubscription,
        Refusal::OutOfRange { .. } => Reason::OutOfRange,
        Refusal::UnknownMessage(_) | Refusal::UnknownId(_) => Reason::UnknownMessage,
        Refusal::NotDelayed(_) => Reason::NotDelayed,
        Refusal::QueueFull { .. } | Refusal::LagReached { .. } => Reason::QueueFull,
        Refusal::Unroutable(_) => Reason::Unroutable,
        Refusal::PreconditionFailed { .. } => Reason::PreconditionFailed,
        Refusal::LimitReached { .. } => Reason::LimitReached,
        Refusal::UnknownProducer => Reason::UnknownProducer,
        Refusal::ProducerFenced { .. } | Refusal::ProducerTaken { .. } => Reason::ProducerFenced,
        Refusal::SequenceGap { .. } => Reason::SequenceGap,
        Refusal::ReceiptForgotten { .. } => Reason::ReceiptForgotten,
        Refusal::UnknownConsumer => Reason::UnknownConsumer,
        Refusal::ConsumerFenced { .. } => Reason::ConsumerFenced,
        Refusal::StaleLease => Reason::StaleLease,
        Refusal::NeverLeased => Reason::NeverLeased,
    }
}

fn details(refusal: &Refusal) -> Details {
    match refusal {
        Refusal::Invalid { field, problem } => of_invalid(field, problem),
        Refusal::UnknownNamespace(name) => facts([("namespace", name)]),
        Refusal::UnknownQueue(name) | Refusal::QueueExists(name) => facts([("queue", name)]),
        Refusal::UnknownSubscription(name) | Refusal::SubscriptionExists(name) => {
            facts([("subscription", name)])
        }
        Refusal::RevisionChanged { given, current }
        | Refusal::ProducerFenced { given, current }
        | Refusal::ConsumerFenced { given, current } => facts([("given", given), ("current", current)]),
        Refusal::OutOfRange { position, first, next } => {
            facts([("position", position), ("first", first), ("next", next)])
        }
        Refusal::UnknownMessage(position) | Refusal::NotDelayed(position) => facts([("position", position)]),
        Refusal::UnknownId(id) => facts([("id", id)]),
        Refusal::QueueFull { what, holds, more, limit } => {
            facts([("what", what), ("holds", holds), ("more", more), ("limit", limit)])
        }
        Refusal::LagReached { subscription, holds, more, limit } => facts([
            ("subscription", subscription),
            ("what", &"messages"),
            ("holds", holds),
            ("more", more),
            ("limit", limit),
        ]),
        Refusal::Unroutable(subject) => facts([("subject", subject)]),
        Refusal::PreconditionFailed { part, nth, found } => of_precondition(*part, *nth, *found),
        Refusal::LimitReached { what, limit } => facts([("what", what), ("limit", limit)]),
        Refusal::ProducerTaken { epoch } => facts([("current", epoch)]),
        Refusal::SequenceGap { given, last } => facts([("given", given), ("last", last)]),
        Refusal::ReceiptForgotten { given, acked } => facts([("given", given), ("acked", acked)]),
        Refusal::LastSubscription
        | Refusal::UnknownProducer
        | Refusal::UnknownConsumer
        | Refusal::StaleLease
        | Refusal::NeverLeased => Vec::new(),
    }
}

fn facts<const N: usize>(facts: [(&'static str, &dyn Display); N]) -> Details {
    facts.map(|(name, value)| (name, value.to_string())).into()
}

fn of_invalid(field: &'static str, problem: &Problem) -> Details {
    match problem {
        Problem::Over { found, limit, unit: _ } => {
            facts([("field", &field), ("found", found), ("limit", limit)])
        }
        Problem::NotWithin { found, min, max } => {
            facts([("field", &field), ("found", found), ("least", min), ("limit", max)])
        }
        Problem::Other(_) => facts([("field", &field)]),
    }
}

fn of_precondition(part: Part, nth: u32, found: Found) -> Details {
    let part = match part {
        Part::Require => "require",
        Part::Settle => "settle",
    };
    let (Found::Version(value) | Found::Tail(value) | Found::Length(value) | Found::NotHeld(value)) = found;
    facts([("part", &part), ("nth", &nth), ("found", &value)])
}
