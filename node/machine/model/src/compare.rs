//! The machine held against the model.

use std::fmt::Debug;

use quorate_machine::Applied;
use quorate_machine::command::{Retain, Start, StartKind};
use quorate_machine::effect::{Effect, Lease};
use quorate_machine::read::{self, Peeked, QueueInfo, State, StateEntry, SubInfo};
use quorate_machine::reply::Outcome;
use quorate_machine::store::Read;
use quorate_machine::tables::Table;

use crate::naive::{At, Naive, Queue, Sub};
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
    naive.wrong.clone().map_or(Ok(()), Err)?;
    same("number of answers", &applied.replies.len(), &expected.len())?;
    for (at, (given, expected)) in applied.replies.iter().zip(expected).enumerate() {
        same(&format!("answer to command {at}"), &view::reply(given), &view::reply(expected))?;
    }
    same("effects", &view::effects(&applied.effects), &view::effects(&naive.effects))
}

/// Takes note of what the machine has not swept yet: until then nothing should ask where storage begins. What a deleted queue left
/// behind may be of any kind, and is the same to all: a tick comes for it at once.
pub fn note_sweeps(store: &impl Read, naive: &mut Naive) -> Same {
    let table = Table::Garbage as u8;
    let (mut from, end) = (vec![table], [table + 1]);
    naive.unswept = false;
    naive.queues.values_mut().for_each(|queue| queue.is_unswept = false);
    while let Some((key, _)) = store.first(&from, &end).map_err(failed)? {
        let id = key.get(6..14).and_then(|id| id.try_into().ok()).map(u64::from_be_bytes);
        let queue = naive.queues.values_mut().find(|queue| Some(queue.id) == id);
        match (key[1], queue) {
            // Who had not followed, not ended, or not got everything, may have left by itself.
            (1 | 2 | 8 | 9 | 10, _) | (_, None) => naive.unswept = true,
            (3..=6, Some(queue)) => queue.is_unswept = true,
            // A subscription that is behind, a consumer that leaves, and what is not handed out yet the model knows of itself.
            (_, Some(_)) => {}
        }
        from = [&key[..], &[0]].concat();
    }
    Ok(())
}

/// When the next tick is due.
pub fn deadline(applied: &Applied, naive: &Naive) -> Same {
    let (given, expected) = (applied.next_deadline_ms, view::next_deadline(naive));
    let is_at_once = given.is_some_and(|due_ms| due_ms <= naive.now_ms);
    let mut subs = naive.queues.values().flat_map(|queue| queue.subs.values());
    let is_behind =
        subs.any(|sub| !sub.following.is_empty() || sub.rows.last().is_some_and(|row| row.at == At::Unseen));
    let left = [
        (naive.unswept, "of what was deleted"),
        (!naive.ending.is_empty(), "of consumers that end"),
        (is_behind, "of a subscription that is behind"),
        (!naive.leaving.is_empty(), "of consumers that leave"),
        (!naive.unassigned.is_empty(), "of what is to be handed out"),
    ];
    let left: Vec<&str> = left.iter().filter(|(is_left, _)| *is_left).map(|(_, what)| *what).collect();
    if !left.is_empty() {
        let now_ms = naive.now_ms;
        return match is_at_once {
            true => Ok(()),
            false => Err(format!("the rest {} is due at {now_ms}, not at {given:?}", left.join(", "))),
        };
    }
    // What is stored for longer than it is needed may be swept at once, and may have to expire until then.
    // And a tick may look for what is too old when that has left for another reason.
    let has_other_bounds = |queue: &Queue| {
        let Retain { for_ms, bytes, count, latest_per_key, .. } = queue.settings.retain;
        for_ms > 0 && (bytes > 0 || count > 0 || latest_per_key)
    };
    let may_be_early = naive.queues.values().any(|queue| queue.is_unswept || has_other_bounds(queue));
    let is_early = given.is_some_and(|given| expected.is_none_or(|expected| given < expected));
    if may_be_early && (is_at_once || is_early) {
        return Ok(());
    }
    same("next deadline", &given, &expected)
}

/// What is sent out for a lease is what was published.
pub fn sent(store: &impl Read, applied: &Applied, naive: &Naive) -> Same {
    for effect in &applied.effects {
        let Effect::Assigned { lease, .. } = effect else { continue };
        let Some(queue) = naive.queues.values().find(|queue| queue.id == lease.queue) else { continue };
        let sent = read::lease_messages(store, lease).map_err(failed)?;
        same("number of messages of a lease", &sent.len(), &(lease.count as usize))?;
        for (sent, single) in sent.iter().zip(view::singles(lease)) {
            let row = queue.message(sent.position);
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
    same("time", &read::now_ms(store).map_err(failed)?, &naive.now_ms)?;
    same("active version", &read::active_version(store).map_err(failed)?, &naive.version())?;
    queues(store, naive)?;
    for (name, queue) in &naive.queues {
        subs(store, name, queue)?;
        log(store, name, queue)?;
        for (sub_name, sub) in &queue.subs {
            let stat = read::stat(store, "default", name, sub_name).map_err(failed)?;
            same(&format!("figures of {name}/{sub_name}"), &stat, &view::stat(queue, sub, naive))?;
            peeks(store, (name, sub_name), queue, sub, None)?;
            for state in [State::Ready, State::Leased, State::Delayed, State::Retrying, State::Parked] {
                peeks(store, (name, sub_name), queue, sub, Some(state))?;
            }
            held(store, naive, sub)?;
        }
    }
    state(store, naive)?;
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

/// The keyed state, in pages and key by key.
fn state(store: &impl Read, naive: &Naive) -> Same {
    let expected: Vec<StateEntry> = naive
        .state
        .iter()
        .map(|(key, kept)| StateEntry {
            key: key.clone(),
            version: kept.version,
            value: kept.value.clone(),
            expires_ms: kept.expires_ms.unwrap_or(0),
        })
        .collect();
    let (mut found, mut after): (Vec<StateEntry>, String) = (Vec::new(), String::new());
    loop {
        let (page, more) = read::state_keys(store, "default", "", &after, 3).map_err(failed)?;
        found.extend(page);
        match found.last() {
            Some(last) if more => after = last.key.clone(),
            _ => break,
        }
    }
    same("the state", &found, &expected)?;
    let mut keys: Vec<String> = naive.state.keys().cloned().collect();
    keys.push("nothing is there".into());
    same("the state, key by key", &read::state(store, "default", &keys).map_err(failed)?, &expected)
}

/// What each consumer of a subscription holds, in the order in which it got it.
fn held(store: &impl Read, naive: &Naive, sub: &Sub) -> Same {
    for consumer in naive.consumers.iter().filter(|(_, row)| (row.queue, row.sub) == (sub.queue, sub.id)) {
        let given = read::held(store, *consumer.0).map_err(failed)?;
        let leases: Vec<Lease> = given.leases.iter().flat_map(view::singles).collect();
        let mut expected: Vec<Lease> = sub.held(*consumer.0).into_iter().map(|at| sub.lease(at)).collect();
        expected.sort_by_key(|lease| lease.first_token);
        let what = format!("what {} holds", consumer.0);
        same(&what, &(leases, given.next_token), &(expected, sub.last_token + 1))?;
    }
    Ok(())
}

fn queues(store: &impl Read, naive: &Naive) -> Same {
    let (listed, more) = read::queues(store, "default", "", 0).map_err(failed)?;
    let info = |(name, row): (&String, &Queue)| QueueInfo {
        name: name.clone(),
        settings: row.subs.get("default").map(|sub| (sub.settings, sub.filter.clone())),
        created_at_ms: row.created_at_ms,
        queue: row.settings,
        revision: row.revision,
        routes: row.routes.clone(),
    };
    let expected: Vec<QueueInfo> = naive.queues.iter().map(info).collect();
    same("queues", &(listed, more), &(expected, false))
}

fn subs(store: &impl Read, name: &str, queue: &Queue) -> Same {
    let listed = read::subs(store, "default", name).map_err(failed)?;
    let info = |(name, sub): (&String, &Sub)| SubInfo {
        name: name.clone(),
        settings: sub.settings,
        filter: sub.filter.clone(),
        revision: sub.revision,
        paused: sub.is_paused,
    };
    let expected: Vec<SubInfo> = queue.subs.iter().map(info).collect();
    same(&format!("subscriptions of {name}"), &listed, &expected)
}

/// What a queue stores, and what is missing of it, from the first position on.
fn log(store: &impl Read, name: &str, queue: &Queue) -> Same {
    if queue.is_unswept {
        return Ok(());
    }
    let (mut found, mut missing, mut at) = (Vec::new(), Vec::new(), 1);
    while at < queue.next_position() {
        let start = Start { kind: StartKind::Position.into(), at };
        let page = read::messages(store, "default", name, &start, 5).map_err(failed)?;
        same("where the page begins, and the end", &(page.from, page.end), &(at, queue.next_position()))?;
        if page.next <= at {
            return Err(format!("reading {name} does not get on from {at}"));
        }
        at = page.next;
        found.extend(page.messages.into_iter().map(|row| (row.position, row.published_at_ms, row.message)));
        missing.extend(page.missing.into_iter().flat_map(|(from, to)| from..to));
    }
    let all = || queue.positions().zip(&queue.messages);
    let expected: Vec<_> = all()
        .filter(|(position, _)| queue.is_stored(*position) && !queue.is_superseded(*position))
        .map(|(position, row)| (position, row.published_at_ms, row.bytes.clone()))
        .collect();
    same(&format!("what {name} stores"), &found, &expected)?;
    let is_sparse = queue.settings.retain.latest_per_key;
    let is_missing =
        |position: &u64| !queue.is_stored(*position) && (!is_sparse || *position < queue.past_to);
    let expected: Vec<u64> = (1..queue.next_position()).filter(is_missing).collect();
    // Of what was superseded it is not said why it left: with others for their age, or before that.
    let is_superseded =
        |position: &u64| queue.positions().contains(position) && queue.is_superseded(*position);
    missing.retain(|position| !is_superseded(position));
    let expected: Vec<u64> = expected.into_iter().filter(|position| !is_superseded(position)).collect();
    same(&format!("what is missing of {name}"), &missing, &expected)
}

fn peeks(
    store: &impl Read,
    (name, sub_name): (&str, &str),
    queue: &Queue,
    sub: &Sub,
    state: Option<State>,
) -> Same {
    // In pages, to try their seams too.
    let (mut found, mut from): (Vec<Peeked>, u64) = (Vec::new(), 0);
    loop {
        let (page, next) = read::peek(store, "default", name, sub_name, from, 7, state).map_err(failed)?;
        found.extend(page);
        from = next;
        if next == 0 {
            break;
        }
    }
    let what = format!("messages of {name}/{sub_name} in state {state:?}");
    same(&what, &found, &view::peek(queue, sub, 0, state))
}
