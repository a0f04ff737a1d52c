//! Settling leases.
//!
//! Acknowledgements and extensions of a settle are carried out first, then the others, each in the order
//! given; ranges given one after the other that continue each other count as one. What goes back revokes the leases behind it in its
//! order: ranges that speak of those and come later find them stale.

use quorate_simpoint::{Bug, planted};

use super::Done;
use super::ranges::{Part, Range};
use crate::command::{OnExhausted, Outcome, Settings, Settle};
use crate::effect::Effect;
use crate::reply::{Left, NotSettled, Refusal, Reply, Settled};
use crate::store::{Store, StoreError};
use crate::subs::back::{Behind, Failed, fail, go_back, leave_leased, revoke_behind};
use crate::subs::failures;
use crate::subs::leave::Why;
use crate::subs::park::park;
use crate::subs::runs::{self, Run, State};
use crate::tables::SubId;
use crate::tx::Tx;

pub(crate) fn settle<S: Store>(tx: &mut Tx<'_, S>, command: &Settle) -> Done {
    let sub = tx.sub_of(command.consumer)?.ok_or(Refusal::UnknownConsumer)?;

    let mut ranges: Vec<Result<Range, NotSettled>> = Vec::with_capacity(command.ranges.len());
    for given in &command.ranges {
        let (first_position, count) = (given.first_position, given.count);
        let range = Range::check(given, &command.reasons);
        let range = range.map_err(|refusal| NotSettled { first_position, count, refusal });
        match (&range, ranges.last_mut()) {
            (Ok(range), Some(Ok(last))) if last.is_continued_by(range) => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    let mut left = Vec::new();
    let before = tx.effects.len();
    let mut refused: Vec<Vec<NotSettled>> = vec![Vec::new(); ranges.len()];
    for gives_up in [false, true] {
        for (range, refused) in ranges.iter().zip(&mut refused) {
            match range {
                Ok(range) if range.gives_up() == gives_up => {
                    *refused = carry_out(tx, sub, command.consumer, range, &command.reasons, &mut left)?;
                }
                Ok(_) => {}
                Err(invalid) => *refused = vec![invalid.clone()],
            }
        }
    }
    tx.touch(sub);
    let revoked = tx.effects[before..].iter().filter_map(|effect| match effect {
        Effect::Revoked { lease, .. } => Some(*lease),
        _ => None,
    });
    Ok(Reply::Settled(Settled { refused: refused.concat(), left, revoked: revoked.collect() }))
}

/// Carries out a range. Returns what of it is not settled; in `left` what was to go back and left.
pub(super) fn carry_out<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    consumer: u64,
    range: &Range,
    reasons: &[String],
    left: &mut Vec<Left>,
) -> Result<Vec<NotSettled>, StoreError> {
    let (parts, refused) = range.judge(tx, sub, consumer)?;
    let reason = reasons.get((range.reason as usize).wrapping_sub(1)).map_or("", String::as_str);
    let settings = tx.sub(sub)?.settings;
    let mut behind = Behind::default();
    for Part { run, from, to } in &parts {
        if range.outcome == Outcome::Extend {
            let part = runs::carve(tx, sub, run, *from, *to)?;
            let longer = extended(part, range.delay_ms, &settings, tx.now_ms);
            runs::write(tx, sub, if planted(Bug::ExtendIgnored) { &part } else { &longer })?;
            continue;
        }
        let mut part = runs::take(tx, sub, run, *from, *to)?;
        match range.outcome {
            Outcome::Ack => leave_leased(tx, sub, &part, Why::Done)?,
            Outcome::Release => {
                let attempt = part.attempt + u32::from(planted(Bug::AttemptCountedOnRelease));
                go_back(tx, sub, Run { attempt, ..part }, State::Ready, &mut behind)?;
            }
            Outcome::Retry => {
                let at_ms = tx.now_ms.saturating_add(range.backoff_ms(part.attempt, &settings, tx.now_ms));
                fail(tx, sub, part, Failed { at_ms: Some(at_ms), reason }, &mut behind)?;
            }
            Outcome::Park => {
                failures::note(tx, sub, &mut part, reason)?;
                let whole_key = settings.on_exhausted() == OnExhausted::ParkKey;
                park(tx, sub, part, whole_key, &mut behind)?;
            }
            Outcome::Unspecified | Outcome::Extend => {}
        }
    }
    revoke_behind(tx, sub, consumer, &behind, false)?;
    left.append(&mut behind.left);
    Ok(refused)
}

fn extended(part: Run, delay_ms: u64, settings: &Settings, now_ms: u64) -> Run {
    let length_ms = if delay_ms == 0 { settings.lease_ms } else { delay_ms };
    match part.state {
        State::Leased { consumer, first_token, .. } => {
            let deadline_ms = now_ms.saturating_add(length_ms);
            Run { state: State::Leased { consumer, first_token, deadline_ms }, ..part }
        }
        _ => part,
    }
}
