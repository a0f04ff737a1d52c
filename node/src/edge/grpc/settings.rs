//! Settings of queues and subscriptions, in from the wire and out to it.

use quorate_machine::command::{
    Filter, OnExhausted, OnFull, Order, QueueSettings, Retain, Settings, Start, StartKind,
};
use quorate_machine::message::Header;
use quorate_proto::v1;
use quorate_proto::v1::start::Start as From;

use super::status::Failure;

/// Settings of a subscription and what it takes; none means all defaults.
pub fn settings_in(
    settings: Option<v1::SubscriptionSettings>,
) -> Result<(Settings, Option<Filter>), Failure> {
    let settings = settings.unwrap_or_default();
    let order = match v1::Order::try_from(settings.order) {
        Ok(v1::Order::Unspecified) => Order::Unspecified,
        Ok(v1::Order::None) => Order::None,
        Ok(v1::Order::Total) => Order::Total,
        Ok(v1::Order::Key) => Order::Key,
        Err(_) => return Err(Failure::not_known("order", "none, key, total")),
    };
    let on_exhausted = match v1::OnExhausted::try_from(settings.on_exhausted) {
        Ok(v1::OnExhausted::Unspecified) => OnExhausted::Unspecified,
        Ok(v1::OnExhausted::Park) => OnExhausted::Park,
        Ok(v1::OnExhausted::ParkKey) => OnExhausted::ParkKey,
        Ok(v1::OnExhausted::Block) => OnExhausted::Block,
        Ok(v1::OnExhausted::Discard) => OnExhausted::Discard,
        Err(_) => {
            return Err(Failure::not_known("on_exhausted", "park, park-key, block, discard"));
        }
    };
    let found = Settings {
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
        on_lag: full_in("on_lag", settings.on_lag)?.into(),
    };
    Ok((found, settings.filter.map(filter_in)))
}

/// Settings as the wire carries them.
pub fn settings_out(settings: &Settings, filter: Option<Filter>) -> v1::SubscriptionSettings {
    let on_exhausted = match settings.on_exhausted() {
        OnExhausted::Unspecified => v1::OnExhausted::Unspecified,
        OnExhausted::Park => v1::OnExhausted::Park,
        OnExhausted::ParkKey => v1::OnExhausted::ParkKey,
        OnExhausted::Block => v1::OnExhausted::Block,
        OnExhausted::Discard => v1::OnExhausted::Discard,
    };
    v1::SubscriptionSettings {
        order: order_out(settings).into(),
        lease_ms: settings.lease_ms,
        backoff_first_ms: settings.backoff_first_ms,
        backoff_last_ms: settings.backoff_last_ms,
        jitter_percent: settings.jitter_percent,
        max_attempts: settings.max_attempts,
        on_exhausted: on_exhausted.into(),
        per_key_inflight: settings.per_key_inflight,
        auto_ack: settings.auto_ack,
        max_lag: settings.max_lag,
        on_lag: full_out(settings.on_lag()).into(),
        filter: filter.map(filter_out),
    }
}

/// The order of a subscription.
pub fn order_out(settings: &Settings) -> v1::Order {
    match settings.order() {
        Order::Total => v1::Order::Total,
        Order::Key => v1::Order::Key,
        Order::None | Order::Unspecified => v1::Order::None,
    }
}

/// What a subscription takes.
pub fn filter_in(filter: v1::Filter) -> Filter {
    let headers = filter.headers.into_iter().map(|h| Header { name: h.name, value: h.value });
    Filter { subject: filter.subject, headers: headers.collect() }
}

fn filter_out(filter: Filter) -> v1::Filter {
    let headers = filter.headers.into_iter().map(|h| v1::Header { name: h.name, value: h.value });
    v1::Filter { subject: filter.subject, headers: headers.collect() }
}

/// Settings of a queue itself and its routes; none means no rules.
pub fn queue_in(settings: Option<v1::QueueSettings>) -> Result<(QueueSettings, Vec<String>), Failure> {
    let settings = settings.unwrap_or_default();
    let on_full = full_in("on_full", settings.on_full)?;
    let retain = retain_in(settings.retain.unwrap_or_default());
    let v1::QueueSettings { ttl_ms, priorities, max_length, max_bytes, routes, .. } = settings;
    let on_full = on_full.into();
    Ok((QueueSettings { ttl_ms, priorities, max_length, max_bytes, on_full, retain }, routes))
}

/// Settings of a queue as the wire carries them.
pub fn queue_out(settings: &QueueSettings, routes: Vec<String>) -> v1::QueueSettings {
    let on_full = full_out(settings.on_full());
    let retain = Some(retain_out(settings.retain));
    let QueueSettings { ttl_ms, priorities, max_length, max_bytes, .. } = *settings;
    v1::QueueSettings { ttl_ms, priorities, max_length, max_bytes, on_full: on_full.into(), retain, routes }
}

fn retain_in(retain: v1::Retain) -> Retain {
    let v1::Retain { until_done, for_ms, bytes, count, latest_per_key } = retain;
    Retain { until_done, for_ms, bytes, count, latest_per_key }
}

fn retain_out(retain: Retain) -> v1::Retain {
    let Retain { until_done, for_ms, bytes, count, latest_per_key } = retain;
    v1::Retain { until_done, for_ms, bytes, count, latest_per_key }
}

fn full_in(field: &'static str, given: i32) -> Result<OnFull, Failure> {
    match v1::OnFull::try_from(given) {
        Ok(v1::OnFull::Unspecified) => Ok(OnFull::Unspecified),
        Ok(v1::OnFull::Reject) => Ok(OnFull::Reject),
        Ok(v1::OnFull::DropOldest) => Ok(OnFull::DropOldest),
        Err(_) => Err(Failure::not_known(field, "reject, drop-oldest")),
    }
}

fn full_out(on_full: OnFull) -> v1::OnFull {
    match on_full {
        OnFull::Unspecified => v1::OnFull::Unspecified,
        OnFull::Reject => v1::OnFull::Reject,
        OnFull::DropOldest => v1::OnFull::DropOldest,
    }
}

/// Where a subscription begins; none means at the earliest message.
pub fn start_in(start: Option<v1::Start>) -> Start {
    let (kind, at) = match start.and_then(|start| start.start) {
        None | Some(From::Earliest(_)) => (StartKind::Earliest, 0),
        Some(From::Latest(_)) => (StartKind::Latest, 0),
        Some(From::Position(position)) => (StartKind::Position, position),
        Some(From::TimeMs(time_ms)) => (StartKind::Time, time_ms),
    };
    Start { kind: kind.into(), at }
}
