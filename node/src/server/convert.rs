//! The one place where the wire's types and the machine's meet.

use bytes::Bytes;
use prost::Message as _;
use quorate_machine::command::{self, Order, Outcome, Settings};
use quorate_machine::message::{self, Message};
use quorate_machine::reply::{NotSettled, PositionRun};
use quorate_proto::v1;

use super::error::Failure;

/// The namespace or subscription meant by a request: none named means the one called `default`.
pub fn or_default(name: String) -> String {
    if name.is_empty() { "default".into() } else { name }
}

/// Checks a message as it came over the wire; the machine keeps it as it is.
pub fn check_message(encoded: &Bytes) -> Result<(), Failure> {
    let message = Message::decode(encoded.clone())
        .map_err(|e| Failure::invalid(format!("messages: one of them cannot be read: {e}")))?;
    Ok(message::check(&message)?)
}

/// A stored message as the wire carries it.
pub fn message_out(stored: Bytes) -> Result<v1::Message, Failure> {
    let message = Message::decode(stored)
        .map_err(|e| Failure::internal(format!("a stored message cannot be decoded: {e}")))?;
    let headers = message.headers.into_iter().map(|h| v1::Header { name: h.name, value: h.value });
    Ok(v1::Message {
        id: message.id,
        key: message.key,
        subject: message.subject,
        headers: headers.collect(),
        body: message.body,
        content_type: message.content_type,
    })
}

/// Settings of a subscription; none means all defaults.
pub fn settings_in(settings: Option<v1::SubscriptionSettings>) -> Result<Settings, Failure> {
    let settings = settings.unwrap_or_default();
    let order = match v1::Order::try_from(settings.order) {
        Ok(v1::Order::Unspecified) => Order::Unspecified,
        Ok(v1::Order::None) => Order::None,
        Ok(v1::Order::Total) => Order::Total,
        Err(_) => return Err(Failure::invalid("order: not one that this version knows (none, total)")),
    };
    Ok(Settings {
        order: order.into(),
        lease_ms: settings.lease_ms,
        backoff_first_ms: settings.backoff_first_ms,
        backoff_last_ms: settings.backoff_last_ms,
    })
}

/// Settings as the wire carries them.
pub fn settings_out(settings: &Settings) -> v1::SubscriptionSettings {
    v1::SubscriptionSettings {
        order: order_out(settings).into(),
        lease_ms: settings.lease_ms,
        backoff_first_ms: settings.backoff_first_ms,
        backoff_last_ms: settings.backoff_last_ms,
    }
}

/// The order of a subscription.
pub fn order_out(settings: &Settings) -> v1::Order {
    match settings.order() {
        Order::Total => v1::Order::Total,
        Order::None | Order::Unspecified => v1::Order::None,
    }
}

/// What becomes of some leases. An outcome that is not known is refused by the machine, range by range.
pub fn range_in(range: &v1::SettleRange) -> command::SettleRange {
    let outcome = match v1::Outcome::try_from(range.outcome) {
        Ok(v1::Outcome::Ack) => Outcome::Ack,
        Ok(v1::Outcome::Retry) => Outcome::Retry,
        Ok(v1::Outcome::Release) => Outcome::Release,
        Ok(v1::Outcome::Extend) => Outcome::Extend,
        Ok(v1::Outcome::Unspecified) | Err(_) => Outcome::Unspecified,
    };
    command::SettleRange {
        first_position: range.first_position,
        count: range.count,
        first_token: range.first_token,
        outcome: outcome.into(),
        delay_ms: range.delay_ms,
    }
}

/// What was not settled.
pub fn not_settled_out(not_settled: NotSettled) -> v1::SettleRefused {
    v1::SettleRefused {
        first_position: not_settled.first_position,
        count: not_settled.count,
        refusal: Some(Failure::from(not_settled.refusal).into_refusal()),
    }
}

/// Positions of published messages.
pub fn positions_out(runs: Vec<PositionRun>) -> Vec<v1::PositionRun> {
    runs.into_iter().map(|r| v1::PositionRun { first_position: r.first_position, count: r.count }).collect()
}
