//! Brings the machine's answers and the model's into one form: message by message, since where runs begin and end is the
//! machine's own affair.

use std::mem::discriminant;

use quorate_machine::effect::{Effect, Lease};
use quorate_machine::read::{Peeked, Stat, State};
use quorate_machine::reply::{Outcome, Refusal, Reply};

use crate::naive::{At, Message, Naive, Queue};

/// A refusal without its wording.
fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Invalid { field, .. } => format!("invalid {field}"),
        Refusal::Malformed(_) => "malformed".into(),
        other => format!("{other:?}"),
    }
}

/// An answer, message by message.
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

/// A lease of several messages as one of each.
pub fn singles(lease: &Lease) -> Vec<Lease> {
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
            Effect::Attached { .. } | Effect::Ended { .. } => each.push(*effect),
        }
    }
    each.sort();
    each
}

/// The figures of a queue, counted.
pub fn stat(queue: &Queue, naive: &Naive) -> Stat {
    let count =
        |at: At| queue.open().filter(|(_, row)| discriminant(&row.at) == discriminant(&at)).count() as u64;
    let left = || queue.open().filter(|(_, row)| row.at != At::Done);
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

/// What a peek with no bounds would find; without a state, all that are not done.
pub fn peek(queue: &Queue, from: u64, state: Option<State>) -> Vec<Peeked> {
    let wanted = |row: &Peeked| state.map_or(row.state != State::Done, |state| state == row.state);
    let rows = queue.open().filter(|(position, _)| *position >= from);
    rows.map(|(position, row)| peeked(position, row)).filter(wanted).collect()
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

/// When the next tick is due, where no sweep is.
pub fn next_deadline(naive: &Naive) -> Option<u64> {
    let of_messages = naive.queues.values().flat_map(Queue::open).filter_map(|(_, row)| match row.at {
        At::Leased { deadline_ms, .. } => Some(deadline_ms),
        At::Retrying { at_ms } => Some(at_ms),
        At::Ready | At::Done => None,
    });
    of_messages.chain(naive.producers.values().map(|row| row.look_at_ms)).min()
}
