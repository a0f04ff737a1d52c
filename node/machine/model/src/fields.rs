//! Which values a command's fields may have, and what is meant where a zero says «the default».

use prost::Message as _;
use quorate_machine::command::{
    Action, Attach, Condition, Filter, OnExhausted, OnFull, OpenProducer, Order, Outcome, Put, QueueSettings,
    Retain, Selector, Settings, SettleRange, Transact,
};
use quorate_machine::limits::{
    BACKOFF_FIRST_MS_DEFAULT, BACKOFF_LAST_MS_DEFAULT, BACKOFF_MS_MAX, CONSUMER_LABEL_BYTES_MAX, CREDIT_MAX,
    FILTER_BYTES_MAX, FILTER_HEADERS_MAX, JITTER_PERCENT_DEFAULT, JITTER_PERCENT_MAX, LEASE_MS_DEFAULT,
    LEASE_MS_MAX, LEASE_MS_MIN, NAME_BYTES_MAX, PER_KEY_INFLIGHT_MAX, PRODUCER_HOLDER_BYTES,
    PRODUCER_NAME_BYTES_MAX, PRODUCER_TTL_MS_DEFAULT, PRODUCER_TTL_MS_MAX, PRODUCER_TTL_MS_MIN,
    PUBLISH_BYTES_MAX, ROUTES_MAX, SESSION_NAME_BYTES, SESSION_TIMEOUT_MS_DEFAULT, SESSION_TIMEOUT_MS_MAX,
    SESSION_TIMEOUT_MS_MIN, SETTLE_MESSAGES_MAX, SETTLE_RANGES_MAX, STATE_KEY_BYTES_MAX,
    STATE_VALUE_BYTES_MAX, SUBJECT_BYTES_MAX, TRANSACTION_MESSAGES_MAX, TRANSACTION_PARTS_MAX,
    TRANSACTIONS_UNACKED_MAX, TTL_MS_MAX,
};
use quorate_machine::reply::Refusal;

use crate::filter::is_pattern;
use crate::naive::invalid;

pub(crate) fn require(holds: bool, field: &'static str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(invalid(field)) }
}

fn number(field: &'static str, given: u64, default: u64, min: u64, max: u64) -> Result<u64, Refusal> {
    let meant = if given == 0 { default } else { given };
    require((min..=max).contains(&meant), field)?;
    Ok(meant)
}

pub(crate) fn is_name(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|first| first.is_ascii_alphanumeric());
    let rest = name.chars().all(|one| one.is_ascii_alphanumeric() || ".-_".contains(one));
    first && rest && name.len() <= NAME_BYTES_MAX
}

pub(crate) fn namespace(name: &str) -> Result<(), Refusal> {
    if ["", "default"].contains(&name) { Ok(()) } else { Err(Refusal::UnknownNamespace(name.into())) }
}

pub(crate) fn settings(given: &Settings) -> Result<Settings, Refusal> {
    let order = match Order::try_from(given.order).map_err(|_| invalid("order"))? {
        Order::Unspecified => Order::None,
        order => order,
    };
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
    let jitter_percent = given.jitter_percent.unwrap_or(JITTER_PERCENT_DEFAULT);
    require(jitter_percent <= JITTER_PERCENT_MAX, "jitter_percent")?;
    let on_exhausted = on_exhausted(given, order)?;
    let per_key_inflight = match order {
        Order::Key => given.per_key_inflight.max(1),
        _ => 0,
    };
    let is_fine =
        given.per_key_inflight <= per_key_inflight.max(1) && per_key_inflight <= PER_KEY_INFLIGHT_MAX;
    require(is_fine, "per_key_inflight")?;
    Ok(Settings {
        order: order.into(),
        lease_ms,
        backoff_first_ms: first,
        backoff_last_ms: last,
        jitter_percent: Some(jitter_percent),
        max_attempts: given.max_attempts,
        on_exhausted: on_exhausted.into(),
        per_key_inflight,
        auto_ack: given.auto_ack,
        max_lag: given.max_lag,
        on_lag: when_full("on_lag", given.on_lag, given.max_lag > 0)?.into(),
    })
}

fn on_exhausted(given: &Settings, order: Order) -> Result<OnExhausted, Refusal> {
    let is_limited = given.max_attempts > 0;
    let on_exhausted = OnExhausted::try_from(given.on_exhausted).map_err(|_| invalid("on_exhausted"))?;
    let is_fine = match on_exhausted {
        OnExhausted::Unspecified => true,
        OnExhausted::Park | OnExhausted::Discard => is_limited,
        OnExhausted::ParkKey => is_limited && order == Order::Key,
        OnExhausted::Block => is_limited && order != Order::None,
    };
    require(is_fine, "on_exhausted")?;
    let is_default = on_exhausted == OnExhausted::Unspecified && is_limited;
    Ok(if is_default { OnExhausted::Park } else { on_exhausted })
}

pub(crate) fn queue_settings(given: &QueueSettings) -> Result<QueueSettings, Refusal> {
    require(given.ttl_ms <= TTL_MS_MAX, "ttl_ms")?;
    let has_limit = given.max_length > 0 || given.max_bytes > 0;
    let on_full = when_full("on_full", given.on_full, has_limit)?.into();
    require(given.retain.for_ms <= TTL_MS_MAX, "retain")?;
    let Retain { for_ms, bytes, count, latest_per_key, until_done } = given.retain;
    let is_bounded = latest_per_key || for_ms + bytes.min(1) + count.min(1) > 0;
    let retain = Retain { until_done: until_done || !is_bounded, ..given.retain };
    Ok(QueueSettings { on_full, retain, ..*given })
}

fn when_full(field: &'static str, given: i32, has_limit: bool) -> Result<OnFull, Refusal> {
    let given = OnFull::try_from(given).map_err(|_| invalid(field))?;
    require(has_limit || given == OnFull::Unspecified, field)?;
    let is_default = has_limit && given == OnFull::Unspecified;
    Ok(if is_default { OnFull::Reject } else { given })
}

/// The filter that is meant: one without a condition is none.
pub(crate) fn filter(given: Option<&Filter>) -> Result<Option<Filter>, Refusal> {
    let Some(filter) = given else { return Ok(None) };
    let is_fine = filter.subject.len() <= SUBJECT_BYTES_MAX
        && is_pattern(&filter.subject)
        && filter.headers.len() <= FILTER_HEADERS_MAX
        && filter.headers.iter().all(|header| !header.name.is_empty())
        && filter.encoded_len() <= FILTER_BYTES_MAX;
    require(is_fine, "filter")?;
    let has_a_condition = !filter.subject.is_empty() || !filter.headers.is_empty();
    Ok(has_a_condition.then(|| filter.clone()))
}

/// The revision that a command changes, against the one that there is.
pub(crate) fn revision(given: u64, current: u64) -> Result<(), Refusal> {
    if given == 0 || given == current { Ok(()) } else { Err(Refusal::RevisionChanged { given, current }) }
}

pub(crate) fn action(given: i32) -> Result<Action, Refusal> {
    let action = Action::try_from(given).unwrap_or(Action::Unspecified);
    require(action != Action::Unspecified, "action")?;
    Ok(action)
}

pub(crate) fn selector(given: &Selector) -> Result<Selector, Refusal> {
    require(given.to_position == 0 || given.from_position <= given.to_position, "selector")?;
    Ok(Selector { filter: filter(given.filter.as_ref())?, ..given.clone() })
}

/// The session's time to live.
pub(crate) fn open(command: &OpenProducer) -> Result<u64, Refusal> {
    require((1..=PRODUCER_NAME_BYTES_MAX).contains(&command.session.len()), "session")?;
    require(command.holder.len() == PRODUCER_HOLDER_BYTES, "holder")?;
    number("ttl_ms", command.ttl_ms, PRODUCER_TTL_MS_DEFAULT, PRODUCER_TTL_MS_MIN, PRODUCER_TTL_MS_MAX)
}

pub(crate) fn routes(routes: &[String]) -> Result<(), Refusal> {
    let is_one = |route: &String| !route.is_empty() && route.len() <= SUBJECT_BYTES_MAX && is_pattern(route);
    let mut each = routes.to_vec();
    each.sort();
    each.dedup();
    require(routes.len() <= ROUTES_MAX && routes.iter().all(is_one) && each.len() == routes.len(), "routes")
}

/// A transaction's number in its session.
pub(crate) fn seq(given: u64, acked: u64) -> Result<(), Refusal> {
    if given <= acked {
        return Err(Refusal::ReceiptForgotten { given, acked });
    }
    let limit = TRANSACTIONS_UNACKED_MAX;
    let what = "transactions without an acknowledged receipt";
    if given - acked > limit { Err(Refusal::LimitReached { what, limit }) } else { Ok(()) }
}

/// How much there is in a transaction.
pub(crate) fn transaction(given: &Transact) -> Result<(), Refusal> {
    let most = TRANSACTION_PARTS_MAX;
    let held = given.require.iter().map(|one| match &one.condition {
        Some(Condition::Held(leases)) => u64::from(leases.count),
        _ => 0,
    });
    require(given.require.len() <= most && held.sum::<u64>() <= SETTLE_MESSAGES_MAX, "require")?;
    let settled: u64 = given.settle.iter().map(|lease| u64::from(lease.range.count)).sum();
    require(given.settle.len() <= SETTLE_RANGES_MAX && settled <= SETTLE_MESSAGES_MAX, "settle")?;
    let messages: usize = given.publish.iter().map(|batch| batch.lengths.len()).sum();
    let bytes: usize = given.publish.iter().map(|batch| batch.messages.len()).sum();
    let is_of_a_size = messages <= TRANSACTION_MESSAGES_MAX && bytes <= PUBLISH_BYTES_MAX;
    require(given.publish.len() <= most && is_of_a_size, "publish")?;
    require(given.put.len() <= most, "put")?;
    let parts = given.require.len() + given.settle.len() + given.publish.len() + given.put.len();
    require(parts > 0, "transaction")
}

pub(crate) fn key(key: &str) -> Result<(), Refusal> {
    require((1..=STATE_KEY_BYTES_MAX).contains(&key.len()), "key")
}

pub(crate) fn put(put: &Put) -> Result<(), Refusal> {
    key(&put.key)?;
    require(put.value.len() <= STATE_VALUE_BYTES_MAX, "value")?;
    require(put.ttl_ms <= TTL_MS_MAX, "ttl_ms")?;
    require(!put.delete || put.value.is_empty() && put.ttl_ms == 0, "delete")
}

/// Messages back to back, with their lengths.
pub(crate) fn messages(lengths: &[u32], messages: &[u8]) -> Result<(), Refusal> {
    require(!lengths.is_empty(), "messages")?;
    require(lengths.iter().map(|length| *length as usize).sum::<usize>() == messages.len(), "lengths")
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

/// A range of a settle that gave these reasons.
pub(crate) fn range(range: &SettleRange, reasons: &[String]) -> Result<(), Refusal> {
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
    require(range.delay_ms <= longest_ms && !too_short, "delay_ms")?;
    if range.reason == 0 || !matches!(outcome, Outcome::Retry | Outcome::Park) {
        return Ok(()); // it means nothing
    }
    let reason = reasons.get(range.reason as usize - 1);
    require(reason.is_some(), "reason")
}
