//! Brings the machine's answers and the model's into one form: message by message, since where runs begin and end is the
//! machine's own affair.

use std::mem::discriminant;

use proptest::prelude::*;
use quorate_machine::effect::{Effect, Lease};
use quorate_machine::read::{self, Peeked, Stat, State};
use quorate_machine::reply::{Outcome, Refusal, Reply};
use quorate_machine::{Applied, MemoryStore};

use crate::naive::{At, Message, Naive, Queue};

/// A refusal without its wording.
fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Invalid { field, .. } => format!("invalid {field}"),
        other => format!("{other:?}"),
    }
}

pub fn reply(outcome: &Outcome) -> String {
    match outcome {
        Err(given) => refusal(given),
        Ok(Reply::Published { positions, duplicates }) => {
            let positions: Vec<u64> = positions
                .iter()
                .flat_map(|run| run.first_position..run.first_position + u64::from(run.count))
                .collect();
            format!("at {positions:?}, {duplicates} of them duplicates")
        }
        Ok(Reply::Attached(attached)) => {
            let leases: Vec<Lease> = attached.leases.iter().flat_map(singles).collect();
            format!(
                "{:?} {leases:?}",
                quorate_machine::reply::Attached { leases: Vec::new(), ..attached.clone() }
            )
        }
        Ok(Reply::Settled(refused)) => {
            let mut each: Vec<(u64, String)> = Vec::new();
            for part in refused {
                let positions = (part.first_position..).take(part.count.max(1) as usize);
                each.extend(positions.map(|position| (position, refusal(&part.refusal))));
            }
            each.sort();
            format!("{each:?}")
        }
        Ok(other) => format!("{other:?}"),
    }
}

fn singles(lease: &Lease) -> Vec<Lease> {
    let single = |at: u32| Lease {
        first_position: lease.first_position + u64::from(at),
        count: 1,
        first_token: lease.first_token + u64::from(at),
        ..*lease
    };
    (0..lease.count).map(single).collect()
}

/// Sorted; the tokens keep the order in which messages were handed out.
pub fn effects(effects: &[Effect]) -> Vec<Effect> {
    let mut each: Vec<Effect> = Vec::new();
    for effect in effects {
        match effect {
            Effect::Assigned { consumer, lease } => {
                each.extend(
                    singles(lease).into_iter().map(|lease| Effect::Assigned { consumer: *consumer, lease }),
                );
            }
            Effect::Revoked { consumer, lease } => {
                each.extend(
                    singles(lease).into_iter().map(|lease| Effect::Revoked { consumer: *consumer, lease }),
                );
            }
            Effect::Ended { .. } => each.push(*effect),
        }
    }
    each.sort();
    each
}

fn stat(queue: &Queue, naive: &Naive) -> Stat {
    let count = |at: At| {
        queue.messages.iter().filter(|row| discriminant(&row.at) == discriminant(&at)).count() as u64
    };
    let left = || (1u64..).zip(&queue.messages).filter(|(_, row)| row.at != At::Done);
    Stat {
        length: left().count() as u64,
        ready: count(At::Ready),
        leased: count(At::Leased { consumer: 0, token: 0, deadline_ms: 0 }),
        delayed: 0,
        retrying: count(At::Retrying { at_ms: 0 }),
        parked: 0,
        bytes: left().map(|(_, row)| row.bytes.len() as u64).sum(),
        first_position: left().next().map_or(0, |(position, _)| position),
        last_position: queue.messages.len() as u64,
        oldest_age_ms: left().next().map_or(0, |(_, row)| naive.now_ms - row.published_at_ms),
        consumers: naive.consumers.values().filter(|row| row.queue == queue.id).count() as u32,
    }
}

fn peeked(position: u64, row: &Message) -> Peeked {
    let (state, token, due_at_ms) = match row.at {
        At::Ready => (State::Ready, 0, 0),
        At::Leased { token, deadline_ms, .. } => (State::Leased, token, deadline_ms),
        At::Retrying { at_ms } => (State::Retrying, 0, at_ms),
        At::Done => (State::Done, 0, 0),
    };
    let (attempt, published_at_ms, message) = (row.attempt, row.published_at_ms, row.bytes.clone());
    Peeked { position, state, attempt, published_at_ms, token, due_at_ms, message }
}

/// Every read, against the model.
pub fn compare_reads(store: &MemoryStore, naive: &Naive, applied: &Applied) -> Result<(), TestCaseError> {
    let (listed, more) = read::queues(store, "default", "", 0).expect("it exists");
    let listed: Vec<_> = listed.into_iter().map(|row| (row.name, row.settings, row.created_at_ms)).collect();
    let expected: Vec<_> =
        naive.queues.iter().map(|(name, row)| (name.clone(), row.settings, row.created_at_ms)).collect();
    prop_assert_eq!(listed, expected);
    prop_assert!(!more);
    prop_assert_eq!(read::now_ms(store).ok(), Some(naive.now_ms));
    for (name, queue) in &naive.queues {
        prop_assert_eq!(read::stat(store, "default", name, "").expect("it exists"), stat(queue, naive));
        let all: Vec<Peeked> =
            (1..).zip(&queue.messages).map(|(position, row)| peeked(position, row)).collect();
        for state in [None, Some(State::Ready), Some(State::Leased), Some(State::Retrying)] {
            let expected: Vec<_> = all
                .iter()
                .filter(|row| state.map_or(row.state != State::Done, |state| state == row.state))
                .cloned()
                .collect();
            // In pages, to try their seams too.
            let (mut found, mut from) = (Vec::new(), 0);
            loop {
                let (page, next) = read::peek(store, "default", name, "", from, 7, state).expect("it exists");
                found.extend(page);
                from = next;
                if next == 0 {
                    break;
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
    let listed = read::consumers(store).expect("memory does not fail");
    let listed: Vec<_> =
        listed.iter().map(|row| (row.consumer, row.generation, row.credit, row.session_timeout_ms)).collect();
    let expected: Vec<_> = naive
        .consumers
        .iter()
        .map(|(id, row)| (*id, row.generation, row.credit, row.session_timeout_ms))
        .collect();
    prop_assert_eq!(listed, expected);
    compare_messages(store, naive, &applied.effects)?;
    compare_deadline(naive, applied.next_deadline_ms)
}

/// What is sent out for a lease is what was published.
fn compare_messages(store: &MemoryStore, naive: &Naive, effects: &[Effect]) -> Result<(), TestCaseError> {
    for effect in effects {
        let Effect::Assigned { lease, .. } = effect else { continue };
        let Some(queue) = naive.queues.values().find(|queue| queue.id == lease.queue) else { continue };
        let sent = read::lease_messages(store, lease).expect("memory does not fail");
        prop_assert_eq!(sent.len(), lease.count as usize);
        for (sent, single) in sent.iter().zip(singles(lease)) {
            let row = &queue.messages[sent.position as usize - 1];
            prop_assert_eq!((sent.position, sent.token), (single.first_position, single.first_token));
            prop_assert_eq!((sent.published_at_ms, &sent.message), (row.published_at_ms, &row.bytes));
        }
    }
    Ok(())
}

fn compare_deadline(naive: &Naive, given: Option<u64>) -> Result<(), TestCaseError> {
    if naive.unswept {
        prop_assert!(given.is_some_and(|due| due <= naive.now_ms), "a sweep is due at once, not {:?}", given);
        return Ok(());
    }
    let of_messages =
        naive.queues.values().flat_map(|queue| &queue.messages).filter_map(|row| match row.at {
            At::Leased { deadline_ms, .. } => Some(deadline_ms),
            At::Retrying { at_ms } => Some(at_ms),
            At::Ready | At::Done => None,
        });
    let expected = of_messages.chain(naive.producers.values().map(|row| row.look_at_ms)).min();
    prop_assert_eq!(given, expected);
    Ok(())
}

/// What a search has to come across.
pub const CASES: [&str; 19] = [
    "queue created again",
    "queue exists with other settings",
    "new messages",
    "known messages",
    "messages known in part",
    "fenced producer",
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
];

/// Counts what came up in an entry.
pub fn tally(applied: &Applied, tally: &mut crate::Tally) {
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
        Ok(_) => "other",
        Err(Refusal::QueueExists(_)) => "queue exists with other settings",
        Err(Refusal::ProducerFenced { .. }) => "fenced producer",
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
        Effect::Ended { .. } => "ended",
    };
    let each = applied.replies.iter().map(of_reply).chain(applied.effects.iter().map(of_effect));
    for case in each {
        *tally.entry(case).or_default() += 1;
    }
}
