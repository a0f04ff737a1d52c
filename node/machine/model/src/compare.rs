//! The machine held against the model.

use std::fmt::Debug;

use quorate_machine::Applied;
use quorate_machine::effect::Effect;
use quorate_machine::read::{self, Peeked, State};
use quorate_machine::reply::Outcome;
use quorate_machine::store::Read;

use crate::naive::{Naive, Queue};
use crate::view;

/// Nothing, or what differs.
pub type Same = Result<(), String>;

fn same<T: PartialEq + Debug>(what: &str, given: &T, expected: &T) -> Same {
    if given == expected {
        return Ok(());
    }
    Err(format!("{what}: {given:?}, and the model says {expected:?}"))
}

fn failed(error: impl std::fmt::Display) -> String {
    format!("a read failed: {error}")
}

/// Answers and effects of an entry, against the answers of the model and the effects that it noted.
pub fn answers(applied: &Applied, expected: &[Outcome], naive: &Naive) -> Same {
    same("number of answers", &applied.replies.len(), &expected.len())?;
    for (at, (given, expected)) in applied.replies.iter().zip(expected).enumerate() {
        same(&format!("answer to command {at}"), &view::reply(given), &view::reply(expected))?;
    }
    same("effects", &view::effects(&applied.effects), &view::effects(&naive.effects))
}

/// When the next tick is due.
pub fn deadline(applied: &Applied, naive: &Naive) -> Same {
    if !naive.unswept {
        return same("next deadline", &applied.next_deadline_ms, &view::next_deadline(naive));
    }
    match applied.next_deadline_ms {
        Some(due) if due <= naive.now_ms => Ok(()),
        given => Err(format!("a sweep is due at {}, not at {given:?}", naive.now_ms)),
    }
}

/// What is sent out for a lease is what was published.
pub fn sent(store: &impl Read, applied: &Applied, naive: &Naive) -> Same {
    for effect in &applied.effects {
        let Effect::Assigned { lease, .. } = effect else { continue };
        let Some(queue) = naive.queues.values().find(|queue| queue.id == lease.queue) else { continue };
        let sent = read::lease_messages(store, lease).map_err(failed)?;
        same("number of messages of a lease", &sent.len(), &(lease.count as usize))?;
        for (sent, single) in sent.iter().zip(view::singles(lease)) {
            let row = &queue.messages[sent.position as usize - 1];
            let (position, token) = (single.first_position, single.first_token);
            same("leased", &(sent.position, sent.token), &(position, token))?;
            let given = (sent.published_at_ms, &sent.message);
            same(&format!("message {position}"), &given, &(row.published_at_ms, &row.bytes))?;
        }
    }
    Ok(())
}

/// Every read there is, over the whole state.
pub fn reads(store: &impl Read, naive: &Naive) -> Same {
    let (listed, more) = read::queues(store, "default", "", 0).map_err(failed)?;
    let listed: Vec<_> = listed.into_iter().map(|row| (row.name, row.settings, row.created_at_ms)).collect();
    let expected: Vec<_> =
        naive.queues.iter().map(|(name, row)| (name.clone(), row.settings, row.created_at_ms)).collect();
    same("queues", &(listed, more), &(expected, false))?;
    same("time", &read::now_ms(store).map_err(failed)?, &naive.now_ms)?;
    for (name, queue) in &naive.queues {
        let stat = read::stat(store, "default", name, "").map_err(failed)?;
        same(&format!("figures of {name}"), &stat, &view::stat(queue, naive))?;
        for state in [None, Some(State::Ready), Some(State::Leased), Some(State::Retrying)] {
            peeks(store, name, queue, state)?;
        }
    }
    let listed = read::consumers(store).map_err(failed)?;
    let listed: Vec<_> =
        listed.iter().map(|row| (row.consumer, row.generation, row.credit, row.session_timeout_ms)).collect();
    let expected: Vec<_> = naive
        .consumers
        .iter()
        .map(|(id, row)| (*id, row.generation, row.credit, row.session_timeout_ms))
        .collect();
    same("consumers", &listed, &expected)
}

fn peeks(store: &impl Read, name: &str, queue: &Queue, state: Option<State>) -> Same {
    // In pages, to try their seams too.
    let (mut found, mut from): (Vec<Peeked>, u64) = (Vec::new(), 0);
    loop {
        let (page, next) = read::peek(store, "default", name, "", from, 7, state).map_err(failed)?;
        found.extend(page);
        from = next;
        if next == 0 {
            break;
        }
    }
    same(&format!("messages of {name} in state {state:?}"), &found, &view::peek(queue, 0, state))
}
