//! What is published and settled.

use super::{at_most, invalid};
use crate::command::{Publish, Settle, SettleRange};
use crate::limits::{
    PUBLISH_BYTES_MAX, PUBLISH_MESSAGES_MAX, REASON_BYTES_MAX, SETTLE_MESSAGES_MAX, SETTLE_RANGES_MAX,
};
use crate::reply::Refusal;

pub(super) fn publish(command: &Publish) -> Result<(), Refusal> {
    super::queue(&command.namespace, "queue", &command.queue)?;
    batch(&command.lengths, command.messages.len())?;
    let has_session = command.producer != 0 || command.epoch != 0;
    if has_session && command.first_seq == 0 {
        return invalid("first_seq", "must be at least 1");
    }
    Ok(())
}

/// There are messages, not too many, and their lengths are those of the bytes.
pub(super) fn batch(lengths: &[u32], bytes: usize) -> Result<(), Refusal> {
    if !(1..=PUBLISH_MESSAGES_MAX).contains(&lengths.len()) {
        let problem = format!("{}, and a batch holds 1 to {PUBLISH_MESSAGES_MAX}", lengths.len());
        return invalid("messages", problem);
    }
    at_most("messages", bytes as u64, PUBLISH_BYTES_MAX as u64, "bytes in a batch")?;
    let sum: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
    if sum != bytes as u64 {
        return invalid("lengths", format!("they add up to {sum}, not {bytes}"));
    }
    Ok(())
}

/// How many ranges and reasons there are. The ranges are judged one by one when they are carried out: some may be refused, and others
/// not.
pub(super) fn settle(command: &Settle) -> Result<(), Refusal> {
    ranges("ranges", command.ranges.iter())?;
    reasons(&command.reasons)
}

pub(super) fn ranges<'a>(
    field: &'static str,
    ranges: impl ExactSizeIterator<Item = &'a SettleRange>,
) -> Result<(), Refusal> {
    at_most(field, ranges.len() as u64, SETTLE_RANGES_MAX as u64, "ranges")?;
    let messages = ranges.map(|range| u64::from(range.count)).sum();
    at_most(field, messages, SETTLE_MESSAGES_MAX, "messages")
}

/// Reasons that ranges may name: no more than there may be ranges.
pub(super) fn reasons(reasons: &[String]) -> Result<(), Refusal> {
    at_most("reasons", reasons.len() as u64, SETTLE_RANGES_MAX as u64, "reasons")?;
    let longest = reasons.iter().map(String::len).max().unwrap_or(0);
    at_most("reason", longest as u64, REASON_BYTES_MAX as u64, "bytes")
}
