//! Settling leases.
//!
//! Acknowledgements and extensions of a settle are carried out first, then retries and releases, each in the order
//! given; ranges given one after the other that continue each other count as one. In a subscription of order
//! `total` a retry or a release revokes the leases behind its range: ranges that speak of those and come
//! later find them stale.

use quorate_simpoint::{Bug, planted};

use super::Done;
use super::done::done;
use super::ranges::{Part, Range};
use crate::command::{Outcome, Settings, Settle};
use crate::effect::Effect;
use crate::limits::{SETTLE_MESSAGES_MAX, SETTLE_RANGES_MAX};
use crate::reply::{NotSettled, Refusal, Reply};
use crate::runs::{self, Run, State};
use crate::store::{Store, StoreError};
use crate::tables::SubId;
use crate::tx::Tx;

pub(crate) fn settle<S: Store>(tx: &mut Tx<'_, S>, command: &Settle) -> Done {
    if command.ranges.len() > SETTLE_RANGES_MAX {
        let problem = format!("at most {SETTLE_RANGES_MAX} at once");
        return Err(Refusal::Invalid { field: "ranges", problem }.into());
    }
    let messages: u64 = command.ranges.iter().map(|range| u64::from(range.count)).sum();
    if messages > SETTLE_MESSAGES_MAX {
        let problem = format!("they name {messages} messages, and {SETTLE_MESSAGES_MAX} is the most at once");
        return Err(Refusal::Invalid { field: "ranges", problem }.into());
    }
    let sub = tx.find_consumer(command.consumer)?.ok_or(Refusal::UnknownConsumer)?.sub_id();

    let mut ranges: Vec<Result<Range, NotSettled>> = Vec::with_capacity(command.ranges.len());
    for given in &command.ranges {
        let (first_position, count) = (given.first_position, given.count);
        let range = Range::check(given).map_err(|refusal| NotSettled { first_position, count, refusal });
        match (&range, ranges.last_mut()) {
            (Ok(range), Some(Ok(last))) if last.is_continued_by(range) => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    let mut refused: Vec<Vec<NotSettled>> = vec![Vec::new(); ranges.len()];
    for gives_back in [false, true] {
        for (range, refused) in ranges.iter().zip(&mut refused) {
            match range {
                Ok(range) if matches!(range.outcome, Outcome::Retry | Outcome::Release) == gives_back => {
                    *refused = carry_out(tx, sub, command.consumer, range)?;
                }
                Ok(_) => {}
                Err(invalid) => *refused = vec![invalid.clone()],
            }
        }
    }
    tx.touch(sub);
    Ok(Reply::Settled(refused.concat()))
}

fn carry_out<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    consumer: u64,
    range: &Range,
) -> Result<Vec<NotSettled>, StoreError> {
    let (parts, refused) = range.judge(tx, sub, consumer)?;
    let settings = tx.sub(sub)?.settings;
    for Part { run, from, to } in &parts {
        let part = runs::carve(tx, sub, run, *from, *to)?;
        if range.outcome == Outcome::Extend {
            let longer = extended(part, range.delay_ms, &settings, tx.now_ms);
            runs::write(tx, sub, if planted(Bug::ExtendIgnored) { &part } else { &longer })?;
            continue;
        }
        runs::uncount(tx, sub, &part)?;
        match range.outcome {
            Outcome::Ack => done(tx, sub, *from, *to)?,
            Outcome::Release => {
                let attempt = part.attempt + u32::from(planted(Bug::AttemptCountedOnRelease));
                runs::place(tx, sub, Run { attempt, state: State::Ready, ..part })?;
            }
            Outcome::Retry => {
                let at_ms = tx.now_ms.saturating_add(backoff_ms(range.delay_ms, part.attempt, &settings));
                let attempt = part.attempt.saturating_add(1);
                runs::place(tx, sub, Run { attempt, state: State::Retrying { at_ms }, ..part })?;
            }
            Outcome::Unspecified | Outcome::Extend => {}
        }
    }
    let gave_back = matches!(range.outcome, Outcome::Retry | Outcome::Release);
    if let Some(Part { from, .. }) = parts.first()
        && gave_back
        && tx.sub(sub)?.is_total()
    {
        revoke_behind(tx, sub, consumer, *from)?;
    }
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

/// How long a message waits after its failed attempt `attempt`.
fn backoff_ms(delay_ms: u64, attempt: u32, settings: &Settings) -> u64 {
    if delay_ms != 0 {
        return delay_ms;
    }
    // 2^30 times the shortest first backoff is above the longest last one.
    let doublings = attempt.saturating_sub(1).min(32);
    settings.backoff_first_ms.saturating_mul(1 << doublings).min(settings.backoff_last_ms)
}

/// Order `total`: gives back what is leased behind `position`, so that nothing overtakes it. Counts no attempt.
fn revoke_behind<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    consumer: u64,
    position: u64,
) -> Result<(), StoreError> {
    for run in runs::held(&tx.rows, sub, consumer, position, u64::MAX)? {
        revoke(tx, sub, &run, run.attempt)?;
    }
    Ok(())
}

/// Takes a lease away; the next delivery carries `attempt`.
pub(super) fn revoke<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    run: &Run,
    attempt: u32,
) -> Result<(), StoreError> {
    let Some((consumer, lease)) = run.lease(sub) else { return Ok(()) };
    runs::erase(tx, sub, run)?;
    runs::uncount(tx, sub, run)?;
    runs::place(tx, sub, Run { attempt, state: State::Ready, ..*run })?;
    tx.effects.push(Effect::Revoked { consumer, lease });
    Ok(())
}
