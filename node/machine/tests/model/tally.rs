//! What a search comes across.

use quorate_machine::Applied;
use quorate_machine::effect::Effect;
use quorate_machine::reply::{Outcome, Refusal, Reply};

/// What a search has to come across.
pub const CASES: [&str; 22] = [
    "queue created again",
    "queue exists with other settings",
    "new messages",
    "known messages",
    "messages known in part",
    "fenced producer",
    "taken producer",
    "gap",
    "forgotten receipt",
    "unknown producer",
    "settled whole",
    "stale lease",
    "never leased",
    "resumed with leases",
    "fenced consumer",
    "first delivery",
    "later delivery",
    "revoked",
    "ended",
    "invalid",
    "node id",
    "no node id left",
];

/// Counts what came up in an entry.
pub fn count(applied: &Applied, tally: &mut crate::Tally) {
    let of_reply = |outcome: &Outcome| match outcome {
        Ok(Reply::QueueCreated { created: false, .. }) => "queue created again",
        Ok(Reply::Published { duplicates: 0, .. }) => "new messages",
        Ok(Reply::Published { positions, duplicates }) => {
            let count: u32 = positions.iter().map(|run| run.count).sum();
            if *duplicates == count { "known messages" } else { "messages known in part" }
        }
        Ok(Reply::Attached(attached)) if attached.resumed && !attached.leases.is_empty() => {
            "resumed with leases"
        }
        Ok(Reply::Settled(refused)) => match refused.first().map(|part| &part.refusal) {
            None => "settled whole",
            Some(Refusal::StaleLease) => "stale lease",
            Some(Refusal::NeverLeased) => "never leased",
            Some(_) => "invalid",
        },
        Ok(Reply::NodeIdsGiven(_)) => "node id",
        Err(Refusal::LimitReached { what: "ids of nodes", .. }) => "no node id left",
        Ok(_) => "other",
        Err(Refusal::QueueExists(_)) => "queue exists with other settings",
        Err(Refusal::ProducerFenced { .. }) => "fenced producer",
        Err(Refusal::ProducerTaken { .. }) => "taken producer",
        Err(Refusal::ConsumerFenced { .. }) => "fenced consumer",
        Err(Refusal::SequenceGap { .. }) => "gap",
        Err(Refusal::ReceiptForgotten { .. }) => "forgotten receipt",
        Err(Refusal::UnknownProducer) => "unknown producer",
        Err(_) => "other refusal",
    };
    let of_effect = |effect: &Effect| match effect {
        Effect::Assigned { lease, .. } if lease.attempt > 1 => "later delivery",
        Effect::Assigned { .. } => "first delivery",
        Effect::Revoked { .. } => "revoked",
        Effect::Attached { .. } => "session attached",
        Effect::Ended { .. } => "ended",
    };
    let each = applied.replies.iter().map(of_reply).chain(applied.effects.iter().map(of_effect));
    for case in each {
        *tally.entry(case).or_default() += 1;
    }
}
