//! Leases that end without an acknowledgement: where their messages go, and what that means for those leased behind them.

use std::collections::BTreeMap;

use quorate_simpoint::{Bug, planted};

use super::lanes::{self, LaneId};
use super::leave::{Why, chunk_of, leave, leave_all};
use super::runs::{self, Run, State};
use super::{failures, park};
use crate::command::OnExhausted;
use crate::effect::Effect;
use crate::message::EXPIRES;
use crate::reply::{Left, LeftHow};
use crate::store::{Store, StoreError};
use crate::tables::SubId;
use crate::tx::Tx;

/// Where messages went back to in their order domains: what is leased behind the lowest of each domain must be revoked. And what left
/// instead.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    /// Lowest position by lane; 0 stands for the whole subscription.
    lowest: BTreeMap<u64, u64>,
    pub(crate) left: Vec<Left>,
}

impl Behind {
    pub(crate) fn note(&mut self, lane: u64, position: u64) {
        let lowest = self.lowest.entry(lane).or_insert(position);
        *lowest = position.min(*lowest);
    }

    fn left(&mut self, part: &Run, how: LeftHow) {
        // A lease is never longer than a consumer's credit.
        let count = part.count as u32;
        match self.left.last_mut() {
            Some(last) if last.how == how && last.first_position + u64::from(last.count) == part.first => {
                last.count += count;
            }
            _ => self.left.push(Left { first_position: part.first, count, how }),
        }
    }
}

/// How leased messages failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed<'a> {
    /// When they are ready again; none: at once, since their lease ended by time.
    pub(crate) at_ms: Option<u64>,
    /// May be empty.
    pub(crate) reason: &'a str,
}

/// Leased messages failed: they go back, or are exhausted. `part` is a leased run that is gone from the rows and the counters.
pub(crate) fn fail<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    mut part: Run,
    failed: Failed<'_>,
    behind: &mut Behind,
) -> Result<(), StoreError> {
    let settings = tx.sub(sub)?.settings;
    failures::note(tx, sub, &mut part, failed.reason)?;
    if settings.max_attempts == 0 || part.attempt < settings.max_attempts {
        let state = failed.at_ms.map_or(State::Ready, |at_ms| State::Retrying { at_ms });
        let attempt = part.attempt.saturating_add(1);
        return go_back(tx, sub, Run { attempt, ..part }, state, behind);
    }
    let on_exhausted = settings.on_exhausted();
    if failed.at_ms.is_none() && on_exhausted != OnExhausted::Discard {
        failures::note(tx, sub, &mut part, "lease expired")?;
    }
    match on_exhausted {
        OnExhausted::Block => go_back(tx, sub, part, State::Blocked, behind),
        OnExhausted::Discard => {
            behind.left(&part, LeftHow::Discarded);
            leave_leased(tx, sub, &part, Why::Discarded)
        }
        OnExhausted::ParkKey | OnExhausted::Park | OnExhausted::Unspecified => {
            behind.left(&part, LeftHow::Parked);
            park::park(tx, sub, part, on_exhausted == OnExhausted::ParkKey, behind)
        }
    }
}

/// Leased messages go back to where they were in their order, but for those whose time has come, which expire.
pub(crate) fn go_back<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    part: Run,
    state: State,
    behind: &mut Behind,
) -> Result<(), StoreError> {
    let now_ms = tx.now_ms;
    let (mut at, mut gone) = (part.first, Vec::new());
    while at < part.end() {
        let chunk = chunk_of(&tx.rows, sub.queue, at)?;
        let stop = chunk.end().min(part.end());
        let is_over =
            |position| !part.kept && chunk.has(EXPIRES) && (1..=now_ms).contains(&chunk.expires_ms(position));
        while at < stop {
            let over = is_over(at);
            let to = (at + 1..stop).find(|position| is_over(*position) != over).unwrap_or(stop);
            let piece = part.part(at, to);
            if over {
                behind.left(&piece, LeftHow::Expired);
                unlease(tx, sub, &piece)?;
                gone.push((piece, Why::Expired));
            } else {
                // About a blocked message somebody decides, and no clock.
                let kept = piece.kept || state == State::Blocked;
                put_back(tx, sub, Run { kept, ..piece }, state, behind)?;
            }
            at = to;
        }
    }
    leave_all(tx, sub, &gone)
}

fn put_back<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    piece: Run,
    state: State,
    behind: &mut Behind,
) -> Result<(), StoreError> {
    let row = tx.sub(sub)?;
    if !row.is_keyed() {
        if row.is_total() {
            behind.note(0, piece.first);
        }
        return runs::place(tx, sub, Run { state, ..piece });
    }
    for (position, lane) in lanes::of(&tx.rows, sub.queue, piece.first, piece.end())? {
        let single = Run { first: position, count: 1, state, ..piece };
        if lane == 0 {
            runs::place(tx, sub, single)?;
            continue;
        }
        let id = LaneId { sub, lane };
        behind.note(lane, position);
        lanes::unleased(tx, id, position)?;
        let state = if state == State::Ready { State::Waiting } else { state };
        lanes::queue(tx, id, Run { state, ..single })?;
        lanes::advance(tx, id)?;
    }
    Ok(())
}

/// Leased messages leave. `part` is gone from the rows and the counters.
pub(crate) fn leave_leased<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    part: &Run,
    why: Why,
) -> Result<(), StoreError> {
    unlease(tx, sub, part)?;
    leave(tx, sub, part, why)
}

/// Leased messages are about to leave: their keys go on without them.
fn unlease<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, part: &Run) -> Result<(), StoreError> {
    if !tx.sub(sub)?.is_keyed() {
        return Ok(());
    }
    for (position, lane) in lanes::of(&tx.rows, sub.queue, part.first, part.end())? {
        if lane != 0 {
            let id = LaneId { sub, lane };
            lanes::unleased(tx, id, position)?;
            lanes::advance(tx, id)?;
        }
    }
    Ok(())
}

/// Revokes what `consumer` holds behind messages that went back. Counts no attempt, but with `expiring` for leases that are
/// over as well.
pub(crate) fn revoke_behind<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    consumer: u64,
    behind: &Behind,
    expiring: bool,
) -> Result<(), StoreError> {
    let now_ms = tx.now_ms;
    for (lane, lowest) in &behind.lowest {
        let (lane, lowest) = (*lane, *lowest);
        let held = match lane {
            0 => runs::held(&tx.rows, sub, consumer, lowest, u64::MAX)?,
            lane => singles(tx, LaneId { sub, lane }, lowest)?,
        };
        for run in held {
            let over =
                expiring && matches!(run.state, State::Leased { deadline_ms, .. } if deadline_ms <= now_ms);
            if over || !(expiring && planted(Bug::RunNotRevoked)) {
                revoke(tx, sub, &run, over)?;
            }
        }
    }
    Ok(())
}

/// The leased messages of a lane behind a position.
fn singles<S: Store>(tx: &mut Tx<'_, S>, id: LaneId, lowest: u64) -> Result<Vec<Run>, StoreError> {
    let leased = tx.lane(id)?.leased.clone();
    let mut found = Vec::new();
    for position in leased.into_iter().filter(|position| *position > lowest) {
        let run = runs::at(&tx.rows, id.sub, position)?.ok_or_else(|| lanes::lost(id, position))?;
        found.push(run.part(position, position + 1));
    }
    Ok(found)
}

/// Takes a lease away, or a part of one; `over`: it ended by time, which is a failure. What is leased behind is the caller's.
fn revoke<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, part: &Run, over: bool) -> Result<(), StoreError> {
    let run = runs::at(&tx.rows, sub, part.first)?
        .ok_or_else(|| StoreError(format!("{sub:?} has no run at {}", part.first)))?;
    let Some((consumer, lease)) = part.lease(sub) else { return Ok(()) };
    let taken = runs::take(tx, sub, &run, part.first, part.end())?;
    tx.effects.push(Effect::Revoked { consumer, lease });
    let mut behind = Behind::default(); // the caller goes through everything behind
    if over {
        return fail(tx, sub, taken, EXPIRED, &mut behind);
    }
    go_back(tx, sub, taken, State::Ready, &mut behind)
}

const EXPIRED: Failed<'_> = Failed { at_ms: None, reason: "" };

/// The leases of a run up to `to` ended by time, and with them the others of their domains that are over or behind them.
pub(crate) fn expire<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, run: &Run, to: u64) -> Result<(), StoreError> {
    let Some((consumer, lease)) = run.part(run.first, to).lease(sub) else { return Ok(()) };
    let taken = runs::take(tx, sub, run, run.first, to)?;
    tx.effects.push(Effect::Revoked { consumer, lease });
    let mut behind = Behind::default();
    fail(tx, sub, taken, EXPIRED, &mut behind)?;
    revoke_behind(tx, sub, consumer, &behind, true)
}
