//! A transaction: each of its parts, and how many there are.

use super::messages::{batch, ranges, reasons};
use super::{at_most, invalid, namespace};
use crate::command::{
    Condition, LeaseRange, Outcome, Put, Require, RequireLengthBelow, RequireTail, RequireVersion,
    SettleLease, SettleRange, Transact,
};
use crate::limits::{
    PUBLISH_BYTES_MAX, SETTLE_MESSAGES_MAX, STATE_VALUE_BYTES_MAX, TRANSACTION_MESSAGES_MAX,
    TRANSACTION_PARTS_MAX, TTL_MS_MAX,
};
use crate::names::{Name, StateKey};
use crate::ops::Range;
use crate::reply::Refusal;

pub(super) fn transact(command: &Transact) -> Result<(), Refusal> {
    namespace(&command.namespace)?;
    let has_session = command.producer != 0 || command.epoch != 0;
    if has_session && command.seq == 0 {
        return invalid("seq", "must be at least 1");
    }
    counts(command)?;
    for part in &command.require {
        require(part)?;
    }
    reasons(&command.reasons)?;
    for SettleLease { queue, subscription, range } in &command.settle {
        Name::of("queue", queue)?;
        Name::or_default("subscription", subscription)?;
        Range::check(range, &command.reasons)?;
    }
    for part in &command.publish {
        if !part.queue.is_empty() {
            Name::of("queue", &part.queue)?;
        }
        batch(&part.lengths, part.messages.len())?;
    }
    command.put.iter().try_for_each(put)
}

/// Whether it is of a size that can be carried out.
fn counts(command: &Transact) -> Result<(), Refusal> {
    let Transact { require, settle, publish, put, .. } = command;
    let messages = publish.iter().map(|publish| publish.lengths.len() as u64).sum();
    let bytes = publish.iter().map(|publish| publish.messages.len() as u64).sum();
    let parts = TRANSACTION_PARTS_MAX as u64;
    at_most("require", require.len() as u64, parts, "requirements in a transaction")?;
    let held = require.iter().map(|require| match &require.condition {
        Some(Condition::Held(leases)) => u64::from(leases.count),
        _ => 0,
    });
    at_most("require", held.sum(), SETTLE_MESSAGES_MAX, "messages that are required to be held")?;
    ranges("settle", settle.iter().map(|lease| &lease.range))?;
    at_most("publish", publish.len() as u64, parts, "batches in a transaction")?;
    at_most("publish", messages, TRANSACTION_MESSAGES_MAX as u64, "messages in a transaction")?;
    at_most("publish", bytes, PUBLISH_BYTES_MAX as u64, "bytes in a transaction")?;
    at_most("put", put.len() as u64, parts, "keys in a transaction")?;
    if require.is_empty() && settle.is_empty() && publish.is_empty() && put.is_empty() {
        return invalid("transaction", "there is nothing in it");
    }
    Ok(())
}

fn require(require: &Require) -> Result<(), Refusal> {
    match &require.condition {
        None => invalid("require", "a requirement has no condition that this version knows"),
        Some(Condition::Version(RequireVersion { key, .. })) => StateKey::of(key).map(drop),
        Some(Condition::Tail(RequireTail { queue, .. })) => Name::of("queue", queue).map(drop),
        Some(Condition::LengthBelow(RequireLengthBelow { queue, subscription, .. })) => {
            Name::of("queue", queue)?;
            Name::or_default("subscription", subscription).map(drop)
        }
        Some(Condition::Held(LeaseRange { queue, subscription, first_position, count, first_token })) => {
            Name::of("queue", queue)?;
            Name::or_default("subscription", subscription)?;
            let outcome = Outcome::Extend.into();
            let (first_position, count, first_token) = (*first_position, *count, *first_token);
            let range = SettleRange { first_position, count, first_token, outcome, ..SettleRange::default() };
            Range::check(&range, &[]).map(drop)
        }
    }
}

fn put(put: &Put) -> Result<(), Refusal> {
    StateKey::of(&put.key)?;
    at_most("value", put.value.len() as u64, STATE_VALUE_BYTES_MAX as u64, "bytes")?;
    at_most("ttl_ms", put.ttl_ms, TTL_MS_MAX, "ms")?;
    if put.delete && (!put.value.is_empty() || put.ttl_ms != 0) {
        return invalid("delete", "a key that is deleted has neither a value nor a time to live");
    }
    Ok(())
}
