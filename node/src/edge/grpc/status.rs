//! How gRPC tells an error: the code of its status, and the reason with its details.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use quorate_proto::{ERROR_DOMAIN, v1};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::service::Ended;
use crate::service::describe::{Describe, Description};
use crate::service::reason::Reason;

/// A request that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    code: Code,
    /// What is told.
    pub told: Description,
}

impl<D: Describe> From<D> for Failure {
    fn from(e: D) -> Self {
        Self::new(e.describe())
    }
}

impl<P: Describe> From<Ended<P, Failure>> for Failure {
    fn from(ended: Ended<P, Failure>) -> Self {
        match ended {
            Ended::Service(e) => e.into(),
            Ended::Requests(failure) => failure,
        }
    }
}

impl Failure {
    fn new(told: Description) -> Self {
        Self { code: code(told.reason), told }
    }

    /// The request cannot be understood.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Description::new(Reason::Invalid, message))
    }

    /// A field has a value that this version does not know.
    pub fn not_known(field: &'static str, known: &str) -> Self {
        let message = format!("{field}: not one that this version knows ({known})");
        Self::new(Description::new(Reason::Invalid, message).with([("field", &field)]))
    }

    /// Half-sent requests hold as much as they may, and did so for as long as one waits.
    pub fn too_much_half_sent() -> Self {
        let message = "half-sent requests hold all the memory of this node that there is for them";
        Self::new(Description::new(Reason::Overloaded, message))
    }

    /// A request was begun and not finished.
    pub fn too_slow(bytes: usize, of_bytes: usize) -> Self {
        let message =
            format!("a message was begun and not finished in time: {bytes} of {of_bytes} bytes came");
        let told = Description::new(Reason::Overloaded, message);
        Self::new(told.action("send shorter messages, or over a faster connection"))
    }

    /// A request was opened and nothing followed.
    pub fn says_nothing(after: Duration) -> Self {
        let message = format!("nothing was asked within {} s after the call was opened", after.as_secs());
        let told = Description::new(Reason::Overloaded, message);
        Self::new(told.action("send the request when the call is opened"))
    }

    /// What a request of a stream that cannot be read has for an answer; `None` if the client is gone.
    pub fn unreadable(status: &Status) -> Option<Self> {
        let code = status.code();
        if status.get_details_error_info().is_some_and(|info| info.reason == Reason::Overloaded.name()) {
            let told = Description::new(Reason::Overloaded, status.message());
            return Some(Self { code, told: told.action("send shorter messages, after a pause") });
        }
        let says = format!("the request cannot be read: {}", status.message());
        let codes = [Code::OutOfRange, Code::InvalidArgument, Code::Internal, Code::Unimplemented];
        codes.contains(&code).then(|| Self::invalid(says))
    }

    /// What is stored cannot be read.
    pub fn internal(what: impl Display) -> Self {
        Self::new(Description::new(Reason::Internal, what.to_string()))
    }

    /// The failure inside a stream's answer.
    pub fn into_refusal(self) -> v1::Refusal {
        let Description { reason, message, action, details } = self.told;
        v1::Refusal {
            reason: reason.name().into(),
            message,
            action: action.into(),
            retry: reason.retry(),
            details: details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }
}

impl From<Failure> for Status {
    fn from(Failure { code, told }: Failure) -> Self {
        let Description { reason, message, action, details } = told;
        let mut metadata = HashMap::from([
            ("action".to_owned(), action.to_owned()),
            ("retry".to_owned(), reason.retry().to_string()),
        ]);
        metadata.extend(details.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let details = ErrorDetails::with_error_info(reason.name(), ERROR_DOMAIN, metadata);
        Status::with_error_details(code, message, details)
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

/// The code of a reason's status.
fn code(reason: Reason) -> Code {
    match reason {
        Reason::NotLeader | Reason::NoQuorum | Reason::ShuttingDown => Code::Unavailable,
        Reason::Unknown => Code::Unknown,
        Reason::Invalid => Code::InvalidArgument,
        Reason::UnknownNamespace
        | Reason::UnknownQueue
        | Reason::UnknownSubscription
        | Reason::UnknownMessage
        | Reason::UnknownProducer
        | Reason::UnknownConsumer
        | Reason::UnknownMember => Code::NotFound,
        Reason::QueueExists | Reason::SubscriptionExists => Code::AlreadyExists,
        Reason::RevisionChanged
        | Reason::PreconditionFailed
        | Reason::ProducerFenced
        | Reason::ConsumerFenced => Code::Aborted,
        Reason::LastSubscription
        | Reason::NotDelayed
        | Reason::Unroutable
        | Reason::SequenceGap
        | Reason::ReceiptForgotten
        | Reason::StaleLease
        | Reason::NeverLeased
        | Reason::QuorumAtRisk
        | Reason::VersionNotRead => Code::FailedPrecondition,
        Reason::OutOfRange => Code::OutOfRange,
        Reason::QueueFull | Reason::LimitReached | Reason::NoSpace | Reason::Overloaded => {
            Code::ResourceExhausted
        }
        Reason::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use quorate_machine::Versions;
    use quorate_machine::reply::{Found, Part, Problem, Refusal};
    use quorate_raft::{Report, Short, Shortage};
    use quorate_storage::space::{Bound, Room};

    use super::*;
    use crate::cluster::{RaiseError, RemoveError};
    use crate::service::error::{ConsumeError, NoSpace, Overload, Unavailable};

    /// A refusal of each kind, and of each kind of facts.
    fn refusals() -> Vec<Refusal> {
        let name = || "n".to_owned();
        let invalid = |problem| Refusal::Invalid { field: "name", problem };
        vec![
            invalid(Problem::Over { found: 2, limit: 1, unit: "bytes" }),
            invalid(Problem::NotWithin { found: 2, min: 0, max: 1 }),
            invalid(Problem::from("is not known")),
            Refusal::UnknownNamespace(name()),
            Refusal::UnknownQueue(name()),
            Refusal::UnknownSubscription(name()),
            Refusal::QueueExists(name()),
            Refusal::SubscriptionExists(name()),
            Refusal::RevisionChanged { given: 1, current: 2 },
            Refusal::LastSubscription,
            Refusal::OutOfRange { position: 1, first: 2, next: 3 },
            Refusal::UnknownMessage(1),
            Refusal::UnknownId(name()),
            Refusal::NotDelayed(1),
            Refusal::QueueFull { what: "bytes", holds: 1, more: 2, limit: 3 },
            Refusal::LagReached { subscription: name(), holds: 1, more: 2, limit: 3 },
            Refusal::Unroutable(name()),
            Refusal::PreconditionFailed { part: Part::Require, nth: 1, found: Found::Tail(2) },
            Refusal::LimitReached { what: "queues", limit: 1 },
            Refusal::UnknownProducer,
            Refusal::ProducerFenced { given: 1, current: 2 },
            Refusal::ProducerTaken { epoch: 1 },
            Refusal::SequenceGap { given: 1, last: 2 },
            Refusal::ReceiptForgotten { given: 1, acked: 2 },
            Refusal::UnknownConsumer,
            Refusal::ConsumerFenced { given: 1, current: 2 },
            Refusal::StaleLease,
            Refusal::NeverLeased,
        ]
    }

    fn samples() -> Vec<Description> {
        let name = || "n1".to_owned();
        let short = Shortage { nodes: vec![Short { name: name(), report: Report::default() }], voters: 3 };
        let room = Room { free_bytes: 1, reserve_bytes: 2, bound: Bound::Volume, waiting: false };
        let others: [&dyn Describe; 15] = [
            &Unavailable::NotLeader { name: name(), client_addr: "h:1".into() },
            &Unavailable::NoQuorum,
            &Unavailable::Forming,
            &Unavailable::ShuttingDown,
            &Overload::Watches,
            &NoSpace::Voters(short),
            &NoSpace::Leader { node: name(), room },
            &ConsumeError::Command(crate::service::error::CommandError::Unknown),
            &ConsumeError::Superseded,
            &ConsumeError::SessionEnded,
            &RemoveError::UnknownMember(name()),
            &RemoveError::QuorumAtRisk { name: name(), rest: 2, answering: 1 },
            &RaiseError::NotRead { name: name(), id: 1, versions: Versions::OWN, to: 9 },
            &RaiseError::Silent { name: name(), id: 1, problem: String::new() },
            &crate::service::error::QueryError::Internal(String::new()),
        ];
        let refusals = refusals();
        let refusals = refusals.iter().map(|refusal| refusal as &dyn Describe);
        others.into_iter().chain(refusals).map(Describe::describe).collect()
    }

    /// What stands between two `|`, of rows like this one: `| reason | status | details | …`.
    fn row<'a>(page: &'a str, reason: &str) -> Vec<&'a str> {
        let begin = format!("| `{reason}` | ");
        let rows = page.lines().filter(|line| line.starts_with(&begin));
        rows.flat_map(|line| line.split('|').map(str::trim).skip(2)).collect()
    }

    #[test]
    fn the_page_of_the_protocol_has_every_reason_with_its_status_and_its_details() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md"))
            .expect("the page");
        let mut given: BTreeMap<Reason, BTreeSet<&str>> = BTreeMap::new();
        for told in samples() {
            given.entry(told.reason).or_default().extend(told.details.iter().map(|(name, _)| *name));
        }
        let all: BTreeSet<Reason> = Reason::ALL.iter().copied().collect();
        assert_eq!(given.keys().copied().collect::<BTreeSet<_>>(), all, "there is a sample of each");
        for (reason, details) in given {
            let row = row(&page, reason.name());
            let [status, named, ..] = row[..] else { panic!("{} is not on the page", reason.name()) };
            let capital = |c: char| if c.is_ascii_uppercase() { format!("_{c}") } else { c.to_string() };
            let code = format!("{:?}", code(reason)).chars().map(capital).collect::<String>().to_uppercase();
            assert_eq!(status, format!("`{}`", code.trim_start_matches('_')), "{}", reason.name());
            let named: BTreeSet<&str> = named.split('`').skip(1).step_by(2).collect();
            assert_eq!(named, details, "the details of {}", reason.name());
        }
    }

    #[test]
    fn a_status_and_a_refusal_in_a_stream_say_the_same() {
        for told in samples() {
            let failure = Failure::new(told.clone());
            let refusal = failure.clone().into_refusal();
            let status = Status::from(failure);
            let mut metadata = status.get_details_error_info().expect("details").metadata;
            assert_eq!(metadata.remove("action").as_deref(), Some(told.action));
            assert_eq!(metadata.remove("retry"), Some(told.reason.retry().to_string()));
            assert_eq!((refusal.message.as_str(), &refusal.details), (status.message(), &metadata));
            assert_eq!(refusal.reason, told.reason.name());
        }
    }
}
