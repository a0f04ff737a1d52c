//! Which values a command's fields may have, and what is meant where a zero says «the default».

use quorate_machine::command::{Attach, OpenProducer, Order, Outcome, Settings, SettleRange};
use quorate_machine::limits::{
    BACKOFF_FIRST_MS_DEFAULT, BACKOFF_LAST_MS_DEFAULT, BACKOFF_MS_MAX, CONSUMER_LABEL_BYTES_MAX, CREDIT_MAX,
    LEASE_MS_DEFAULT, LEASE_MS_MAX, LEASE_MS_MIN, NAME_BYTES_MAX, PRODUCER_HOLDER_BYTES,
    PRODUCER_NAME_BYTES_MAX, PRODUCER_TTL_MS_DEFAULT, PRODUCER_TTL_MS_MAX, PRODUCER_TTL_MS_MIN,
    SESSION_NAME_BYTES, SESSION_TIMEOUT_MS_DEFAULT, SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MIN,
};
use quorate_machine::reply::Refusal;

use crate::naive::invalid;

fn require(holds: bool, field: &'static str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(invalid(field)) }
}

fn number(field: &'static str, given: u64, default: u64, min: u64, max: u64) -> Result<u64, Refusal> {
    let meant = if given == 0 { default } else { given };
    require((min..=max).contains(&meant), field)?;
    Ok(meant)
}

pub(crate) fn name(name: &str) -> Result<(), Refusal> {
    let first = name.chars().next().is_some_and(|first| first.is_ascii_alphanumeric());
    let rest = name.chars().all(|one| one.is_ascii_alphanumeric() || ".-_".contains(one));
    require(first && rest && name.len() <= NAME_BYTES_MAX, "name")
}

pub(crate) fn settings(given: &Settings) -> Result<Settings, Refusal> {
    require(Order::try_from(given.order).is_ok(), "order")?;
    let order = if given.order == Order::Total as i32 { Order::Total } else { Order::None };
    let lease_ms = number("lease_ms", given.lease_ms, LEASE_MS_DEFAULT, LEASE_MS_MIN, LEASE_MS_MAX)?;
    let (first, last) = (given.backoff_first_ms, given.backoff_last_ms);
    // A default gives way to the bound that was given.
    let first_default = match last {
        0 => BACKOFF_FIRST_MS_DEFAULT,
        last => BACKOFF_FIRST_MS_DEFAULT.min(last),
    };
    let first = number("backoff_first_ms", first, first_default, 1, BACKOFF_MS_MAX)?;
    let last = number("backoff_last_ms", last, BACKOFF_LAST_MS_DEFAULT.max(first), 1, BACKOFF_MS_MAX)?;
    require(first <= last, "backoff_last_ms")?;
    Ok(Settings { order: order.into(), lease_ms, backoff_first_ms: first, backoff_last_ms: last })
}

/// The session's time to live.
pub(crate) fn open(command: &OpenProducer) -> Result<u64, Refusal> {
    require((1..=PRODUCER_NAME_BYTES_MAX).contains(&command.session.len()), "session")?;
    require(command.holder.len() == PRODUCER_HOLDER_BYTES, "holder")?;
    number("ttl_ms", command.ttl_ms, PRODUCER_TTL_MS_DEFAULT, PRODUCER_TTL_MS_MIN, PRODUCER_TTL_MS_MAX)
}

pub(crate) fn credit(credit: u32) -> Result<(), Refusal> {
    require(credit <= CREDIT_MAX, "credit")
}

/// The session's timeout.
pub(crate) fn attach(command: &Attach) -> Result<u64, Refusal> {
    require(command.session.len() == SESSION_NAME_BYTES, "session")?;
    require(command.name.len() <= CONSUMER_LABEL_BYTES_MAX, "name")?;
    credit(command.credit)?;
    number(
        "session_timeout_ms",
        command.session_timeout_ms,
        SESSION_TIMEOUT_MS_DEFAULT,
        SESSION_TIMEOUT_MS_MIN,
        SESSION_TIMEOUT_MS_MAX,
    )
}

/// A range of a settle.
pub(crate) fn range(range: &SettleRange) -> Result<(), Refusal> {
    let outcome = Outcome::try_from(range.outcome).unwrap_or(Outcome::Unspecified);
    let count = u64::from(range.count);
    require(outcome != Outcome::Unspecified, "outcome")?;
    require(count > 0, "count")?;
    require(range.first_position.checked_add(count).is_some(), "first_position")?;
    require(range.first_token.checked_add(count).is_some(), "first_token")?;
    let longest_ms = match outcome {
        Outcome::Retry => BACKOFF_MS_MAX,
        Outcome::Extend => LEASE_MS_MAX,
        _ => u64::MAX, // it means nothing
    };
    let too_short = outcome == Outcome::Extend && (1..LEASE_MS_MIN).contains(&range.delay_ms);
    require(range.delay_ms <= longest_ms && !too_short, "delay_ms")
}
