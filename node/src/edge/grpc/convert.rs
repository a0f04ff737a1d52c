//! Messages, leases and positions, in from the wire and out to it.

use bytes::Bytes;
use prost::Message as _;
use quorate_machine::command::Outcome;
use quorate_machine::effect::Lease;
use quorate_machine::message::Message;
use quorate_machine::reply::{LeftHow, NotSettled, PositionRun, ProducerOpened, Settled};
use quorate_proto::v1;

use super::status::Failure;
use crate::service::settle::Range;

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

/// A range of leases.
pub fn range_in(range: v1::SettleRange) -> Range {
    let v1::SettleRange { first_position, count, first_token, outcome, delay_ms, reason } = range;
    Range { first_position, count, first_token, outcome: outcome_in(outcome), delay_ms, reason }
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
