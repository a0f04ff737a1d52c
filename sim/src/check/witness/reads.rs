//! What reads said, against the model's state after the entry that they name.

use std::time::Duration;

use prost::Message as _;
use quorate_client::Snapshot;
use quorate_machine::command::{Batch, OnExhausted, Order, Settings};
use quorate_machine::message::Message;
use quorate_machine::read::{Peeked, Stat, State};
use quorate_model::naive::{Kept, Naive, Queue, Sub};
use quorate_model::view;
use quorate_proto::v1 as wire;

use crate::check::facts::{Facts, Listing};
use crate::check::log::CommittedLog;
use crate::check::report::Report;
use crate::history::{Answer, Call, OpId};

const CHECK: &str = "read";
/// Leaders stamp something at least every 10 s; one that cannot is soon none any more.
const AGE_MS_MAX: u64 = 60_000;

/// A peek for no number of messages means so many.
const PEEK_DEFAULT: usize = 20;

/// A read that looked after an entry.
pub(in crate::check) struct Asked<'a> {
    pub(super) index: u64,
    pub(super) op: OpId,
    pub(super) at: Duration,
    pub(super) call: &'a Call,
    pub(super) answer: &'a Answer,
}

/// The entry after which a read looked, if it says so.
pub(super) fn applied_index(answer: &Answer) -> Option<u64> {
    match answer {
        Answer::Stat(stat) => Some(stat.applied_index),
        Answer::State(seen) => Some(seen.applied_index),
        Answer::Peeked(peeked) => Some(peeked.applied_index),
        Answer::Shown(shown) => shown.stat.as_ref().map(|stat| stat.applied_index),
        _ => None,
    }
}

/// Replays the log and compares each read at its place.
pub(super) fn compare(log: &CommittedLog, facts: &Facts, mut asked: Vec<Asked<'_>>, report: &mut Report) {
    asked.sort_by_key(|asked| (asked.index, asked.op));
    let mut naive = Naive::default();
    let mut next = log.first();
    for asked in asked {
        while next <= asked.index {
            let bytes = log.get(next).and_then(|entry| entry.bytes.clone());
            if let Some(Ok(batch)) = bytes.map(Batch::decode) {
                naive.follow(&batch, facts.steps(next));
            }
            next += 1;
        }
        if let Err(problem) = same(&asked, &naive) {
            let what = format!("#{} {:?} after {}: {problem}", asked.op.0, asked.call, asked.index);
            report.safety("P7", CHECK, asked.at, what);
        }
    }
}

fn same(asked: &Asked<'_>, naive: &Naive) -> Result<(), String> {
    let find = |name: &str| -> Result<(&Queue, &Sub), String> {
        let queue = naive.queues.get(name).ok_or_else(|| format!("there was no queue {name}"))?;
        let sub = queue.subs.get("default").ok_or_else(|| format!("{name} had no default subscription"))?;
        Ok((queue, sub))
    };
    match (asked.call, asked.answer) {
        (Call::GetState { key }, Answer::State(given)) => same_state(given, naive.state.get(key)),
        (Call::Stat { queue }, Answer::Stat(given)) => {
            let (queue, sub) = find(queue)?;
            same_stat(given, &view::stat(queue, sub, naive))
        }
        (Call::Peek { queue, from, count, state }, Answer::Peeked(given)) => {
            same_peek(given, find(queue)?, *from, *count, *state)
        }
        (Call::ShowQueue { queue }, Answer::Shown(given)) => {
            let (row, sub) = find(queue)?;
            let shown = given.queue.as_ref().ok_or("no queue is shown")?;
            if shown.name != *queue
                || shown.created_at_ms != row.created_at_ms
                || !same_settings(shown, Some(&sub.settings))
            {
                return Err(format!("shown as {shown:?}, it is {:?} of {}", sub.settings, row.created_at_ms));
            }
            same_stat(given.stat.as_ref().ok_or("no stat is shown")?, &view::stat(row, sub, naive))
        }
        (call, answer) => Err(format!("{call:?} was answered {answer:?}")),
    }
}

fn same_state(given: &Snapshot, expected: Option<&Kept>) -> Result<(), String> {
    let given = given.entries.iter().map(|entry| (entry.version, &entry.value, entry.expires_ms));
    let expected = expected.iter().map(|kept| (kept.version, &kept.value, kept.expires_ms.unwrap_or(0)));
    let (given, expected): (Vec<_>, Vec<_>) = (given.collect(), expected.collect());
    if given == expected { Ok(()) } else { Err(format!("{given:?}, the model says {expected:?}")) }
}

fn same_stat(given: &wire::StatResponse, expected: &Stat) -> Result<(), String> {
    // Time passes between two entries, too; a leader lets no long time pass without one.
    let age = expected.oldest_age_ms..=expected.oldest_age_ms + AGE_MS_MAX;
    let aged =
        if given.first_position == 0 { given.oldest_age_ms == 0 } else { age.contains(&given.oldest_age_ms) };
    let given = Stat {
        length: given.length,
        ready: given.ready,
        leased: given.leased,
        delayed: given.delayed,
        retrying: given.retrying,
        parked: given.parked,
        bytes: given.bytes,
        first_position: given.first_position,
        last_position: given.last_position,
        oldest_age_ms: if aged { expected.oldest_age_ms } else { given.oldest_age_ms },
        consumers: given.consumers,
        expired: given.expired,
        discarded: given.discarded,
        dropped: given.dropped,
        unseen: given.unseen,
    };
    if given == *expected { Ok(()) } else { Err(format!("{given:?}, the model says {expected:?}")) }
}

/// A page may end early, but not leave anything out before its end.
fn same_peek(
    given: &wire::PeekResponse,
    (queue, sub): (&Queue, &Sub),
    from: u64,
    count: u32,
    state: Option<wire::MessageState>,
) -> Result<(), String> {
    let state = match state {
        None | Some(wire::MessageState::Unspecified) => None,
        Some(wire::MessageState::Ready) => Some(State::Ready),
        Some(wire::MessageState::Leased) => Some(State::Leased),
        Some(wire::MessageState::Delayed) => Some(State::Delayed),
        Some(wire::MessageState::Retrying) => Some(State::Retrying),
        Some(wire::MessageState::Parked) => Some(State::Parked),
        Some(wire::MessageState::Done) => return Ok(()), // of what is done, nothing says how long it stays
    };
    let count = if count == 0 { PEEK_DEFAULT } else { count as usize };
    let all = view::peek(queue, sub, from, state);
    let end = match given.next_position {
        0 => all.len(),
        next => all.partition_point(|row| row.position < next),
    };
    if given.messages.len() != end || end > count {
        let (found, next) = (given.messages.len(), given.next_position);
        return Err(format!("{found} messages and next {next}, the model has {end} of {} there", all.len()));
    }
    for (given, expected) in given.messages.iter().zip(&all) {
        if !same_message(given, expected)? {
            let position = expected.position;
            let about = (expected.state, expected.attempt, expected.token, expected.due_at_ms);
            return Err(format!("{position} is {about:?} in the model, and was answered as {given:?}"));
        }
    }
    Ok(())
}

fn same_message(given: &wire::PeekedMessage, expected: &Peeked) -> Result<bool, String> {
    let state = match expected.state {
        State::Ready => wire::MessageState::Ready,
        State::Leased => wire::MessageState::Leased,
        State::Delayed => wire::MessageState::Delayed,
        State::Retrying => wire::MessageState::Retrying,
        State::Parked => wire::MessageState::Parked,
        State::Done => wire::MessageState::Done,
    };
    let stored = Message::decode(expected.message.clone()).map_err(|e| e.to_string())?;
    let message = given.message.clone().unwrap_or_default();
    let failures = given.failures.iter().map(|one| (one.time_ms, one.attempt, &one.reason));
    let headers = stored.headers.into_iter().map(|header| (header.name, header.value));
    Ok(given.position == expected.position
        && given.state == i32::from(state)
        && given.attempt == expected.attempt
        && given.published_at_ms == expected.published_at_ms
        && (given.token, given.due_at_ms) == (expected.token, expected.due_at_ms)
        && (message.id, message.key, message.subject) == (stored.id, stored.key, stored.subject)
        && (message.body, message.content_type) == (stored.body, stored.content_type)
        && (message.delay_ms, message.deliver_at_ms) == (stored.delay_ms, stored.deliver_at_ms)
        && (message.ttl_ms, message.priority) == (stored.ttl_ms, stored.priority)
        && failures.eq(expected.failures.iter().map(|one| (one.time_ms, one.attempt, &one.reason)))
        && message.headers.into_iter().map(|header| (header.name, header.value)).eq(headers))
}

/// What a subscription takes is not among its settings in the log's facts, and is left out.
pub(super) fn same_settings(given: &wire::Queue, expected: Option<&Settings>) -> bool {
    let given = given.default_subscription.clone();
    let given = given.map(|settings| wire::SubscriptionSettings { filter: None, ..settings });
    given == expected.map(wire_settings)
}

fn wire_settings(settings: &Settings) -> wire::SubscriptionSettings {
    let order = match settings.order() {
        Order::Total => wire::Order::Total,
        Order::Key => wire::Order::Key,
        Order::None | Order::Unspecified => wire::Order::None,
    };
    let on_exhausted = match settings.on_exhausted() {
        OnExhausted::Unspecified => wire::OnExhausted::Unspecified,
        OnExhausted::Park => wire::OnExhausted::Park,
        OnExhausted::ParkKey => wire::OnExhausted::ParkKey,
        OnExhausted::Block => wire::OnExhausted::Block,
        OnExhausted::Discard => wire::OnExhausted::Discard,
    };
    wire::SubscriptionSettings {
        order: order.into(),
        lease_ms: settings.lease_ms,
        backoff_first_ms: settings.backoff_first_ms,
        backoff_last_ms: settings.backoff_last_ms,
        jitter_percent: settings.jitter_percent,
        max_attempts: settings.max_attempts,
        on_exhausted: on_exhausted.into(),
        per_key_inflight: settings.per_key_inflight,
        auto_ack: settings.auto_ack,
        max_lag: settings.max_lag,
        on_lag: settings.on_lag,
        filter: None,
    }
}

pub(super) fn same_listing(given: &[wire::Queue], expected: &Listing) -> bool {
    given.len() == expected.len()
        && given.iter().zip(expected).all(|(given, (name, (settings, created_at_ms)))| {
            given.name == *name
                && given.created_at_ms == *created_at_ms
                && same_settings(given, settings.as_ref())
        })
}
