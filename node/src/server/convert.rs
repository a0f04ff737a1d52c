//! The one place where the wire's types and the machine's meet.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use quorate_machine::command::{self, Outcome, Publish, Settle};
use quorate_machine::effect::Lease;
use quorate_machine::limits::{PUBLISH_BYTES_MAX, PUBLISH_MESSAGES_MAX, REASON_BYTES_MAX, SETTLE_RANGES_MAX};
use quorate_machine::message::{self, Message};
use quorate_machine::reply::{LeftHow, NotSettled, PositionRun, ProducerOpened, Refusal, Settled};
use quorate_proto::v1;

use super::error::Failure;

/// The namespace or subscription meant by a request: none named means the one called `default`.
pub fn or_default(name: String) -> String {
    if name.is_empty() { "default".into() } else { name }
}

/// Takes in the messages of a batch as they came over the wire. Returns their lengths, their bytes, and what there is in any of them.
pub fn messages_in(messages: &[Bytes]) -> Result<(Vec<u32>, Bytes, u32), Failure> {
    at_most("messages", messages.len(), PUBLISH_MESSAGES_MAX)?;
    let mut attributes = 0;
    for message in messages {
        attributes |= message::admit(message)?;
    }
    at_most("messages", messages.iter().map(Bytes::len).sum(), PUBLISH_BYTES_MAX)?;
    let (lengths, bytes) = Publish::pack(messages);
    Ok((lengths, bytes, attributes))
}

/// Counts are looked at before anything is done for what they count.
pub fn at_most(field: &'static str, given: usize, most: usize) -> Result<(), Failure> {
    if given <= most {
        return Ok(());
    }
    Err(Refusal::Invalid { field, problem: format!("{given}, and {most} is the most at once") }.into())
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
        delay_ms: message.delay_ms,
        deliver_at_ms: message.deliver_at_ms,
        ttl_ms: message.ttl_ms,
        priority: message.priority,
    })
}

/// A settle of a consumer. Its ranges share the reasons that they have in common.
pub fn settle_in(consumer: u64, given: v1::Settle, mut reasons: Reasons) -> Result<Settle, Failure> {
    at_most("ranges", given.ranges.len(), SETTLE_RANGES_MAX)?;
    let ranges = given.ranges.into_iter().map(|range| range_in(range, &mut reasons)).collect();
    Ok(Settle { consumer, ranges, reasons: reasons.into_list() })
}

/// The reasons that ranges have in common, each once.
pub struct Reasons {
    numbers: BTreeMap<String, u32>,
    are_kept: bool,
}

impl Reasons {
    /// None yet. Those that are not kept are forgotten as they come.
    pub fn new(are_kept: bool) -> Self {
        Self { numbers: BTreeMap::new(), are_kept }
    }

    /// The number of a reason, counted from 1; 0 if there is none.
    fn number(&mut self, reason: String) -> u32 {
        if reason.len() > REASON_BYTES_MAX {
            return command::SettleRange::REASON_TOO_LONG;
        }
        if reason.is_empty() || !self.are_kept {
            return 0;
        }
        // As many as there are ranges at most.
        let next = u32::try_from(self.numbers.len() + 1).unwrap_or(command::SettleRange::REASON_TOO_LONG);
        *self.numbers.entry(reason).or_insert(next)
    }

    /// In the order of their numbers.
    pub fn into_list(self) -> Vec<String> {
        let mut list = vec![String::new(); self.numbers.len()];
        for (reason, number) in self.numbers {
            list[number as usize - 1] = reason;
        }
        list
    }
}

/// A range of leases.
pub fn range_in(range: v1::SettleRange, reasons: &mut Reasons) -> command::SettleRange {
    command::SettleRange {
        first_position: range.first_position,
        count: range.count,
        first_token: range.first_token,
        outcome: outcome_in(range.outcome).into(),
        delay_ms: range.delay_ms,
        reason: reasons.number(range.reason),
    }
}

/// An outcome that is not known is refused by the machine, range by range.
fn outcome_in(outcome: i32) -> Outcome {
    match v1::Outcome::try_from(outcome) {
        Ok(v1::Outcome::Ack) => Outcome::Ack,
        Ok(v1::Outcome::Retry) => Outcome::Retry,
        Ok(v1::Outcome::Release) => Outcome::Release,
        Ok(v1::Outcome::Extend) => Outcome::Extend,
        Ok(v1::Outcome::Park) => Outcome::Park,
        Ok(v1::Outcome::Unspecified) | Err(_) => Outcome::Unspecified,
    }
}

/// The answer to a settle.
pub fn settled_out(id: u64, settled: Settled, now_ms: u64) -> v1::Settled {
    let refused = settled.refused.into_iter().map(not_settled_out).collect();
    let left = settled.left.into_iter().map(|left| v1::SettleLeft {
        first_position: left.first_position,
        count: left.count,
        how: match left.how {
            LeftHow::Parked => v1::LeftHow::Parked.into(),
            LeftHow::Discarded => v1::LeftHow::Discarded.into(),
            LeftHow::Expired => v1::LeftHow::Expired.into(),
        },
    });
    let revoked = settled.revoked.iter().map(revoked_out);
    v1::Settled { id, refused, left: left.collect(), revoked: revoked.collect(), now_ms }
}

/// A lease that is no more.
pub fn revoked_out(lease: &Lease) -> v1::Revoked {
    let Lease { first_position, count, first_token, .. } = *lease;
    v1::Revoked { first_position, count, first_token }
}

fn not_settled_out(not_settled: NotSettled) -> v1::SettleRefused {
    v1::SettleRefused {
        first_position: not_settled.first_position,
        count: not_settled.count,
        refusal: Some(Failure::from(not_settled.refusal).into_refusal()),
    }
}

/// An open producer session.
pub fn opened_out(opened: ProducerOpened) -> v1::ProducerOpened {
    let ProducerOpened { producer, epoch, last_seq } = opened;
    v1::ProducerOpened { epoch, last_seq, producer }
}

/// Positions of published messages.
pub fn positions_out(runs: Vec<PositionRun>) -> Vec<v1::PositionRun> {
    let out = |run: PositionRun| {
        let PositionRun { first_position, count, duplicate } = run;
        v1::PositionRun { first_position, count, duplicate }
    };
    runs.into_iter().map(out).collect()
}

/// A count from a request: zero means the default, and more than the most is refused.
pub fn bounded(given: u32, default: u32, most: u32, field: &str) -> Result<u32, Failure> {
    match given {
        0 => Ok(default),
        n if n <= most => Ok(n),
        n => Err(Failure::invalid(format!("{field}: {n} is more than {most}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(reason: &str) -> v1::SettleRange {
        v1::SettleRange { count: 1, reason: reason.into(), ..v1::SettleRange::default() }
    }

    #[test]
    fn reasons_are_shared_and_keep_the_order_in_which_they_came() {
        let long = "x".repeat(REASON_BYTES_MAX + 1);
        let ranges = ["b", "", "a", "b", &long, "a", &long[1..]].map(range).to_vec();
        let settle =
            settle_in(7, v1::Settle { id: 1, ranges: ranges.clone() }, Reasons::new(true)).expect("few");
        let numbers: Vec<u32> = settle.ranges.iter().map(|range| range.reason).collect();
        assert_eq!(numbers, [1, 0, 2, 1, command::SettleRange::REASON_TOO_LONG, 2, 3]);
        assert_eq!(settle.reasons, ["b", "a", &long[1..]]);
        let settle = settle_in(7, v1::Settle { id: 1, ranges }, Reasons::new(false)).expect("few");
        let numbers: Vec<u32> = settle.ranges.iter().map(|range| range.reason).collect();
        assert_eq!(
            numbers,
            [0, 0, 0, 0, command::SettleRange::REASON_TOO_LONG, 0, 0],
            "unlawful in any case"
        );
        assert!(settle.reasons.is_empty());
    }

    #[test]
    fn more_ranges_than_may_be_are_not_looked_at() {
        let ranges = vec![range("r"); SETTLE_RANGES_MAX + 1];
        assert!(settle_in(7, v1::Settle { id: 1, ranges }, Reasons::new(true)).is_err());
    }
}
