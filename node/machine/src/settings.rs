//! What settings mean: defaults filled in, ranges and contradictions checked.

use crate::command::{OnExhausted, OnFull, Order, QueueSettings, Retain, Settings};
use crate::limits::{
    BACKOFF_FIRST_MS_DEFAULT, BACKOFF_LAST_MS_DEFAULT, BACKOFF_MS_MAX, JITTER_PERCENT_DEFAULT,
    JITTER_PERCENT_MAX, LEASE_MS_DEFAULT, LEASE_MS_MAX, LEASE_MS_MIN, PER_KEY_INFLIGHT_MAX, TTL_MS_MAX,
};
use crate::ops::in_range;
use crate::reply::{Problem, Refusal};

fn invalid<T>(field: &'static str, problem: impl Into<Problem>) -> Result<T, Refusal> {
    Err(Refusal::Invalid { field, problem: problem.into() })
}

/// Settings of a subscription. A default gives way to a bound that was given: a first backoff above the
/// default of the last one moves that up, and the other way round.
pub(crate) fn resolve(given: &Settings) -> Result<Settings, Refusal> {
    let order = match Order::try_from(given.order) {
        Ok(Order::Unspecified) => Order::None,
        Ok(order) => order,
        Err(_) => return invalid("order", format!("{} is not known", given.order)),
    };
    let lease_ms = in_range("lease_ms", given.lease_ms, LEASE_MS_DEFAULT, LEASE_MS_MIN, LEASE_MS_MAX)?;
    let (first, last) = (given.backoff_first_ms, given.backoff_last_ms);
    let first_default = if last == 0 { BACKOFF_FIRST_MS_DEFAULT } else { BACKOFF_FIRST_MS_DEFAULT.min(last) };
    let backoff_first_ms = in_range("backoff_first_ms", first, first_default, 1, BACKOFF_MS_MAX)?;
    let last_default = BACKOFF_LAST_MS_DEFAULT.max(backoff_first_ms);
    let backoff_last_ms = in_range("backoff_last_ms", last, last_default, 1, BACKOFF_MS_MAX)?;
    if backoff_first_ms > backoff_last_ms {
        return invalid(
            "backoff_last_ms",
            format!("{backoff_last_ms} is less than backoff_first_ms, {backoff_first_ms}"),
        );
    }
    let jitter_percent = given.jitter_percent.unwrap_or(JITTER_PERCENT_DEFAULT);
    if jitter_percent > JITTER_PERCENT_MAX {
        return invalid("jitter_percent", format!("{jitter_percent} is above {JITTER_PERCENT_MAX}"));
    }
    Ok(Settings {
        order: order.into(),
        lease_ms,
        backoff_first_ms,
        backoff_last_ms,
        jitter_percent: Some(jitter_percent),
        max_attempts: given.max_attempts,
        on_exhausted: exhausted(given, order)?.into(),
        per_key_inflight: per_key(given, order)?,
        auto_ack: given.auto_ack,
        max_lag: given.max_lag,
        on_lag: full("on_lag", given.on_lag, given.max_lag != 0, "needs max_lag")?,
    })
}

fn exhausted(given: &Settings, order: Order) -> Result<OnExhausted, Refusal> {
    let field = "on_exhausted";
    match (OnExhausted::try_from(given.on_exhausted), given.max_attempts) {
        (Err(_), _) => invalid(field, format!("{} is not known", given.on_exhausted)),
        (Ok(OnExhausted::Unspecified), 0) => Ok(OnExhausted::Unspecified),
        (Ok(_), 0) => invalid(field, "needs max_attempts: without it no message is ever exhausted"),
        (Ok(OnExhausted::ParkKey), _) if order != Order::Key => invalid(field, "park_key needs order key"),
        (Ok(OnExhausted::Block), _) if order == Order::None => {
            invalid(field, "block needs order total or key: with order none nothing waits for anything")
        }
        (Ok(OnExhausted::Unspecified), _) => Ok(OnExhausted::Park),
        (Ok(given), _) => Ok(given),
    }
}

fn per_key(given: &Settings, order: Order) -> Result<u32, Refusal> {
    match (given.per_key_inflight, order) {
        (0, Order::Key) => Ok(1),
        (most, Order::Key) if most <= PER_KEY_INFLIGHT_MAX => Ok(most),
        (_, Order::Key) => invalid("per_key_inflight", format!("must be at most {PER_KEY_INFLIGHT_MAX}")),
        (0 | 1, _) => Ok(0),
        _ => invalid("per_key_inflight", "needs order key"),
    }
}

/// Settings of a queue itself.
pub(crate) fn resolve_queue(given: &QueueSettings) -> Result<QueueSettings, Refusal> {
    if given.ttl_ms > TTL_MS_MAX {
        return invalid("ttl_ms", format!("must be at most {TTL_MS_MAX}"));
    }
    let limited = given.max_length != 0 || given.max_bytes != 0;
    let on_full = full("on_full", given.on_full, limited, "needs max_length or max_bytes")?;
    Ok(QueueSettings { on_full, retain: retain(&given.retain)?, ..*given })
}

fn retain(given: &Retain) -> Result<Retain, Refusal> {
    if given.for_ms > TTL_MS_MAX {
        return invalid("retain", format!("a time must be at most {TTL_MS_MAX} ms"));
    }
    Ok(Retain { until_done: given.until_done || !given.has_bounds(), ..*given })
}

/// Which messages are the latest of their keys is kept from the first one on, or not at all.
pub(crate) fn check_retain(now: &Retain, given: &Retain) -> Result<(), Refusal> {
    if now.latest_per_key != given.latest_per_key {
        return invalid("retain", "latest_per_key is fixed when the queue is created");
    }
    Ok(())
}

fn full(field: &'static str, given: i32, limited: bool, needs: &str) -> Result<i32, Refusal> {
    let meant = match (OnFull::try_from(given), limited) {
        (Err(_), _) => return invalid(field, format!("{given} is not known")),
        (Ok(OnFull::Unspecified), true) => OnFull::Reject,
        (Ok(OnFull::Unspecified), false) => OnFull::Unspecified,
        (Ok(_), false) => return invalid(field, needs),
        (Ok(meant), true) => meant,
    };
    Ok(meant.into())
}

/// Priorities and order do not go together.
pub(crate) fn check_priorities(
    field: &'static str,
    queue: &QueueSettings,
    order: Order,
) -> Result<(), Refusal> {
    if queue.priorities && order != Order::None {
        return invalid(
            field,
            "priorities and order do not go together: order none is the only one for such a queue",
        );
    }
    Ok(())
}
