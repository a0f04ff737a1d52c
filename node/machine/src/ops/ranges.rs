//! The ranges of a settle: which of them can be carried out, and which leases they speak of.

use quorate_simpoint::{Bug, planted};
use twox_hash::XxHash3_64;

use crate::command::{Outcome, Settings, SettleRange};
use crate::limits::{BACKOFF_MS_MAX, LEASE_MS_MAX, LEASE_MS_MIN, REASON_BYTES_MAX};
use crate::reply::{NotSettled, Problem, Refusal};
use crate::store::{Store, StoreError};
use crate::subs::runs::{self, Run, State};
use crate::tables::SubId;
use crate::tx::Tx;

/// One range, or several given one after the other that continue each other: clients that settle message by
/// message then cost no more than those that settle in ranges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) first_token: u64,
    pub(super) outcome: Outcome,
    pub(super) delay_ms: u64,
    /// Number of the reason, counted from 1; 0: none.
    pub(super) reason: u32,
}

/// A stretch of a leased run.
pub(super) struct Part {
    pub(super) run: Run,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Range {
    pub(crate) fn check(range: &SettleRange, reasons: &[String]) -> Result<Self, Refusal> {
        let refused = |field, problem| Err(Refusal::Invalid { field, problem });
        let invalid = |field, problem: &str| refused(field, Problem::from(problem));
        let outcome = match Outcome::try_from(range.outcome) {
            Ok(Outcome::Unspecified) | Err(_) => return invalid("outcome", "is not known"),
            Ok(outcome) => outcome,
        };
        if range.count == 0 {
            return invalid("count", "must be at least 1");
        }
        let Some(end) = range.first_position.checked_add(range.count.into()) else {
            return invalid("first_position", "is out of range");
        };
        if range.first_token.checked_add(range.count.into()).is_none() {
            return invalid("first_token", "is out of range");
        }
        match outcome {
            Outcome::Retry if range.delay_ms > BACKOFF_MS_MAX => {
                let (found, limit) = (range.delay_ms, BACKOFF_MS_MAX);
                return refused("delay_ms", Problem::Over { found, limit, unit: "ms" });
            }
            Outcome::Extend if !matches!(range.delay_ms, 0 | LEASE_MS_MIN..=LEASE_MS_MAX) => {
                let (found, min, max) = (range.delay_ms, LEASE_MS_MIN, LEASE_MS_MAX);
                return refused("delay_ms", Problem::NotWithin { found, min, max });
            }
            _ => {}
        }
        let reason = match outcome {
            Outcome::Retry | Outcome::Park => range.reason,
            _ => 0, // they need none
        };
        if reason != 0 {
            if reason == SettleRange::REASON_TOO_LONG {
                return invalid("reason", &format!("is longer than {REASON_BYTES_MAX} bytes"));
            }
            if reasons.get(reason as usize - 1).is_none() {
                return invalid("reason", "names none of the reasons");
            }
        }
        let (first, first_token, delay_ms) = (range.first_position, range.first_token, range.delay_ms);
        Ok(Self { first, end, first_token, outcome, delay_ms, reason })
    }

    /// Whether its messages may revoke what is leased behind them: such ranges are carried out last.
    pub(super) fn gives_up(&self) -> bool {
        !matches!(self.outcome, Outcome::Ack | Outcome::Extend)
    }

    /// Whether `next` says the same of the messages and tokens that follow.
    pub(super) fn is_continued_by(&self, next: &Range) -> bool {
        next.first == self.end
            && next.first_token == self.token(self.end)
            && next.outcome == self.outcome
            && next.delay_ms == self.delay_ms
            && next.reason == self.reason
    }

    /// How long its messages wait after their failed attempt `attempt`.
    pub(super) fn backoff_ms(&self, attempt: u32, settings: &Settings, now_ms: u64) -> u64 {
        if self.delay_ms != 0 {
            return self.delay_ms;
        }
        // 2^30 times the shortest first backoff is above the longest last one.
        let doublings = attempt.saturating_sub(1).min(32);
        let full_ms = settings.backoff_first_ms.saturating_mul(1 << doublings).min(settings.backoff_last_ms);
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&self.first_token.to_be_bytes());
        seed[8..].copy_from_slice(&now_ms.to_be_bytes());
        let drawn = XxHash3_64::oneshot(&seed) % 1001;
        // The longest backoff is below 2^32 ms, so this stays far below 2^64.
        full_ms - full_ms * u64::from(settings.jitter_percent.unwrap_or(0)) * drawn / 100_000
    }

    fn token(&self, position: u64) -> u64 {
        self.first_token.wrapping_add(position - self.first)
    }

    /// The parts of the consumer's leases that the range names with their current tokens; and what is not settled.
    pub(super) fn judge<S: Store>(
        &self,
        tx: &mut Tx<'_, S>,
        sub: SubId,
        consumer: u64,
    ) -> Result<(Vec<Part>, Vec<NotSettled>), StoreError> {
        let bounds = (tx.queue(sub.queue)?.next_position, tx.sub(sub)?.next_token);
        let (mut parts, mut refused, mut at) = (Vec::new(), Vec::new(), self.first);
        for run in runs::held(&tx.rows, sub, consumer, self.first, self.end)? {
            let (from, to) = (run.first.max(self.first), run.end().min(self.end));
            let State::Leased { first_token, .. } = run.state else { continue };
            let current = first_token + (from - run.first) == self.token(from);
            if current || planted(Bug::StaleSettleAccepted) {
                self.refuse(bounds, at, from, &mut refused);
                parts.push(Part { run, from, to });
                at = to;
            }
        }
        self.refuse(bounds, at, self.end, &mut refused);
        Ok((parts, refused))
    }

    /// Says why `from..to` are not settled.
    fn refuse(&self, bounds: (u64, u64), from: u64, to: u64, refused: &mut Vec<NotSettled>) {
        let (tail, next_token) = bounds;
        let never = |position: u64| {
            let token = self.token(position);
            position == 0 || position >= tail || token == 0 || token >= next_token
        };
        // The reason changes at no other positions than these.
        let mut cuts = [
            from,
            1,
            tail,
            self.first.saturating_add(1u64.saturating_sub(self.first_token)),
            self.first.saturating_add(next_token.saturating_sub(self.first_token)),
            to,
        ];
        cuts.sort_unstable();
        for pair in cuts.windows(2) {
            let (start, stop) = (pair[0].max(from), pair[1].min(to));
            if start >= stop {
                continue;
            }
            let refusal = if never(start) { Refusal::NeverLeased } else { Refusal::StaleLease };
            push(refused, start, stop - start, refusal);
        }
    }
}

fn push(refused: &mut Vec<NotSettled>, first_position: u64, count: u64, refusal: Refusal) {
    // The messages of a settle are fewer than SETTLE_MESSAGES_MAX.
    let count = count as u32;
    match refused.last_mut() {
        Some(last)
            if last.refusal == refusal && last.first_position + u64::from(last.count) == first_position =>
        {
            last.count += count;
        }
        _ => refused.push(NotSettled { first_position, count, refusal }),
    }
}
