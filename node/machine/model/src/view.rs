//! Brings the machine's answers and the model's into one form: message by message, since where runs begin and end is the
//! machine's own affair.

use quorate_machine::effect::{Effect, Lease};
use quorate_machine::read::{Peeked, Stat, State};
use quorate_machine::reply::{LeftHow, Outcome, PositionRun, Refusal, Reply};

use crate::naive::{At, Naive, Queue, Row, Sub};

/// A refusal without its wording.
fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Invalid { field, .. } => format!("invalid {field}"),
        other => format!("{other:?}"),
    }
}

/// An answer, message by message.
pub fn reply(outcome: &Outcome) -> String {
    match outcome {
        Err(given) => refusal(given),
        Ok(Reply::Published { positions }) => format!("at {:?}", places(positions)),
        Ok(Reply::Transacted(done)) => {
            let published: Vec<_> = done
                .published
                .iter()
                .map(|placed| (placed.nth, &placed.queue, places(&placed.positions)))
                .collect();
            format!("at {published:?}, versions {:?}, duplicate {}", done.versions, done.duplicate)
        }
        Ok(Reply::Attached(attached)) => {
            let leases: Vec<Lease> = attached.leases.iter().flat_map(singles).collect();
            format!(
                "{:?} {leases:?}",
                quorate_machine::reply::Attached { leases: Vec::new(), ..attached.clone() }
            )
        }
        Ok(Reply::Settled(settled)) => {
            let mut refused: Vec<(u64, String)> = Vec::new();
            for part in &settled.refused {
                let positions = (part.first_position..).take(part.count.max(1) as usize);
                refused.extend(positions.map(|position| (position, refusal(&part.refusal))));
            }
            refused.sort();
            let mut left: Vec<(u64, LeftHow)> = Vec::new();
            for part in &settled.left {
                left.extend((part.first_position..).take(part.count as usize).map(|at| (at, part.how)));
            }
            left.sort();
            let mut revoked: Vec<Lease> = settled.revoked.iter().flat_map(singles).collect();
            revoked.sort();
            format!("refused {refused:?}, left {left:?}, revoked {revoked:?}")
        }
        Ok(other) => format!("{other:?}"),
    }
}

/// Position by position, and whether it is a duplicate.
fn places(runs: &[PositionRun]) -> Vec<(u64, bool)> {
    let each = |run: &PositionRun| {
        let duplicate = run.duplicate;
        (run.first_position..).take(run.count as usize).map(move |position| (position, duplicate))
    };
    runs.iter().flat_map(each).collect()
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
            Effect::Attached { .. } | Effect::Ended { .. } | Effect::StateChanged { .. } => {
                each.push(*effect)
            }
        }
    }
    each.sort();
    each
}

/// The figures of a subscription, counted.
pub fn stat(queue: &Queue, sub: &Sub, naive: &Naive) -> Stat {
    let count = |state: State| sub.open().filter(|row| state_of(sub, row) == state).count() as u64;
    let left = || sub.open().filter(|row| !matches!(row.at, At::Done | At::Unseen));
    let message = |row: &Row| queue.message(row.position);
    Stat {
        length: left().count() as u64,
        ready: count(State::Ready),
        leased: count(State::Leased),
        delayed: count(State::Delayed),
        retrying: count(State::Retrying),
        parked: count(State::Parked),
        bytes: left().map(|row| message(row).bytes.len() as u64).sum(),
        first_position: left().next().map_or(0, |row| row.position),
        last_position: queue.next_position() - 1,
        oldest_age_ms: left().next().map_or(0, |row| naive.now_ms - message(row).published_at_ms),
        consumers: naive.consumers.values().filter(|row| (row.queue, row.sub) == (queue.id, sub.id)).count()
            as u32,
        expired: sub.expired,
        discarded: sub.discarded,
        dropped: sub.dropped,
        unseen: sub.open().filter(|row| row.at == At::Unseen).count() as u64,
    }
}

/// Where a message stands, as a peek says it.
pub fn state_of(sub: &Sub, row: &Row) -> State {
    match row.at {
        _ if sub.is_parked(row) => State::Parked,
        At::Delayed => State::Delayed,
        At::Ready => State::Ready,
        At::Leased { .. } => State::Leased,
        At::Retrying { .. } => State::Retrying,
        At::Parked { .. } => State::Parked,
        At::Done | At::Unseen => State::Done,
    }
}

/// What a peek with no bounds would find; without a state, all that are not done.
pub fn peek(queue: &Queue, sub: &Sub, from: u64, state: Option<State>) -> Vec<Peeked> {
    let wanted = |row: &Peeked| state.map_or(row.state != State::Done, |state| state == row.state);
    let rows = sub.open().filter(|row| row.position >= from);
    rows.map(|row| peeked(queue, sub, row)).filter(wanted).collect()
}

fn peeked(queue: &Queue, sub: &Sub, row: &Row) -> Peeked {
    let (token, due_at_ms) = match row.at {
        At::Leased { token, deadline_ms, .. } => (token, deadline_ms),
        At::Retrying { at_ms } => (0, at_ms),
        At::Delayed => (0, row.due_ms),
        At::Ready | At::Parked { .. } | At::Done | At::Unseen => (0, 0),
    };
    let message = queue.message(row.position);
    Peeked {
        position: row.position,
        state: state_of(sub, row),
        attempt: row.attempt,
        published_at_ms: message.published_at_ms,
        token,
        due_at_ms,
        failures: row.failures.clone(),
        message: message.bytes.clone(),
    }
}

/// When the next tick is due, where no sweep is.
pub fn next_deadline(naive: &Naive) -> Option<u64> {
    let subs = naive.queues.values().flat_map(|queue| queue.subs.values());
    let of_rows = subs.flat_map(Sub::open).filter_map(|row| match row.at {
        At::Leased { deadline_ms, .. } => Some(deadline_ms),
        At::Retrying { at_ms } => Some(at_ms),
        At::Delayed => Some(row.due_ms),
        At::Ready | At::Parked { .. } | At::Done | At::Unseen => None,
    });
    let of_expiries = naive.queues.values().flat_map(expiries);
    let of_producers = naive.producers.values().map(|row| row.look_at_ms);
    let of_jobs = naive.jobs.values().map(|job| job.due_ms);
    let of_state = naive.state.values().filter_map(|kept| kept.expires_ms);
    let of_ages = naive.queues.values().filter_map(|queue| {
        let mut within = queue.batches.iter().filter(|batch| !batch.is_past);
        within.next().and_then(|batch| queue.too_old_ms(batch))
    });
    of_rows.chain(of_expiries).chain(of_producers).chain(of_jobs).chain(of_state).chain(of_ages).min()
}

/// A message has a deadline for its expiry until a tick has passed over it, or it is no longer stored: whoever is done with it.
fn expiries(queue: &Queue) -> impl Iterator<Item = u64> {
    let stored = queue.batches.iter().flat_map(|batch| batch.first..batch.end);
    let messages = stored.map(|position| queue.message(position));
    messages.filter(|message| message.expiry_is_ahead).filter_map(|message| message.expires_ms())
}
