//! What the machine refuses, as the wire tells it.

use quorate_machine::reply::{Found, Part, Refusal};
use tonic::Code;

use super::error::Failure;

/// The status, the stable reason, and what to do.
type Told = (Code, &'static str, &'static str);

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        if let Refusal::PreconditionFailed { part, nth, found } = refusal {
            let part = match part {
                Part::Require => "require",
                Part::Settle => "settle",
            };
            let (Found::Version(value) | Found::Tail(value) | Found::Length(value) | Found::NotHeld(value)) =
                found;
            return Self::unmet(refusal.to_string(), part, nth, value);
        }
        let (code, reason, action) = told(&refusal);
        Self::refused(code, reason, refusal.to_string(), action)
    }
}

fn told(refusal: &Refusal) -> Told {
    match refusal {
        Refusal::Invalid { .. } => (Code::InvalidArgument, "INVALID", "correct the request"),
        Refusal::LimitReached { .. } => {
            (Code::ResourceExhausted, "LIMIT_REACHED", "remove some, or use several namespaces")
        }
        Refusal::UnknownProducer
        | Refusal::ProducerFenced { .. }
        | Refusal::ProducerTaken { .. }
        | Refusal::SequenceGap { .. }
        | Refusal::ReceiptForgotten { .. } => of_producers(refusal),
        Refusal::UnknownConsumer
        | Refusal::ConsumerFenced { .. }
        | Refusal::StaleLease
        | Refusal::NeverLeased => of_consumers(refusal),
        Refusal::UnknownNamespace(_)
        | Refusal::UnknownQueue(_)
        | Refusal::UnknownSubscription(_)
        | Refusal::QueueExists(_)
        | Refusal::SubscriptionExists(_)
        | Refusal::RevisionChanged { .. }
        | Refusal::LastSubscription
        | Refusal::OutOfRange { .. }
        | Refusal::UnknownMessage(_)
        | Refusal::UnknownId(_)
        | Refusal::NotDelayed(_)
        | Refusal::QueueFull { .. }
        | Refusal::LagReached { .. }
        | Refusal::Unroutable(_)
        | Refusal::PreconditionFailed { .. } => of_queues(refusal),
    }
}

fn of_queues(refusal: &Refusal) -> Told {
    match refusal {
        Refusal::UnknownNamespace(_) => {
            (Code::NotFound, "UNKNOWN_NAMESPACE", "use the namespace \"default\"")
        }
        Refusal::UnknownQueue(_) => (Code::NotFound, "UNKNOWN_QUEUE", "create the queue first"),
        Refusal::UnknownSubscription(_) => {
            (Code::NotFound, "UNKNOWN_SUBSCRIPTION", "create the subscription first")
        }
        Refusal::QueueExists(_) => {
            (Code::AlreadyExists, "QUEUE_EXISTS", "choose another name, or delete the queue first")
        }
        Refusal::SubscriptionExists(_) => {
            (Code::AlreadyExists, "SUBSCRIPTION_EXISTS", "choose another name, or update the subscription")
        }
        Refusal::RevisionChanged { .. } => {
            (Code::Aborted, "REVISION_CHANGED", "read the settings again, and decide anew")
        }
        Refusal::LastSubscription => {
            (Code::FailedPrecondition, "LAST_SUBSCRIPTION", "create another one first")
        }
        Refusal::OutOfRange { .. } => {
            let action = "choose a position that the queue stores, or earliest or latest";
            (Code::OutOfRange, "OUT_OF_RANGE", action)
        }
        Refusal::Unroutable(_) => {
            let action =
                "give a queue a route for it (`quorate queue update --route`), or correct the subject";
            (Code::FailedPrecondition, "UNROUTABLE", action)
        }
        Refusal::QueueFull { .. } => {
            let action = "consume or discard messages, or raise the queue's limit, then publish again";
            (Code::ResourceExhausted, "QUEUE_FULL", action)
        }
        Refusal::LagReached { .. } => {
            let action = "see to it that somebody consumes from it, seek or delete it, or raise its max_lag";
            (Code::ResourceExhausted, "QUEUE_FULL", action)
        }
        Refusal::UnknownMessage(_) | Refusal::UnknownId(_) => {
            (Code::NotFound, "UNKNOWN_MESSAGE", "look with `quorate peek` at what there is")
        }
        Refusal::NotDelayed(_) => {
            let action = "only a message that is not due yet anywhere can be cancelled or moved";
            (Code::FailedPrecondition, "NOT_DELAYED", action)
        }
        _ => (Code::Internal, "INTERNAL", "look at the node's log"),
    }
}

fn of_producers(refusal: &Refusal) -> Told {
    match refusal {
        Refusal::UnknownProducer => {
            (Code::NotFound, "UNKNOWN_PRODUCER", "open a new session; what has no receipt is unknown")
        }
        Refusal::SequenceGap { .. } => {
            let action = "send again from the first batch without a receipt";
            (Code::FailedPrecondition, "SEQUENCE_GAP", action)
        }
        Refusal::ReceiptForgotten { .. } => {
            let action = "acknowledge only receipts that you keep";
            (Code::FailedPrecondition, "RECEIPT_FORGOTTEN", action)
        }
        _ => (Code::Aborted, "PRODUCER_FENCED", "use one producer for a session name"),
    }
}

fn of_consumers(refusal: &Refusal) -> Told {
    match refusal {
        Refusal::UnknownConsumer => (Code::NotFound, "UNKNOWN_CONSUMER", "attach with a new session"),
        Refusal::ConsumerFenced { .. } => (Code::Aborted, "CONSUMER_FENCED", "use one stream for a session"),
        Refusal::StaleLease => {
            let action = "drop the work: the message is or was given out again";
            (Code::FailedPrecondition, "STALE_LEASE", action)
        }
        _ => {
            let action = "settle only what was delivered, with its token";
            (Code::FailedPrecondition, "NEVER_LEASED", action)
        }
    }
}
