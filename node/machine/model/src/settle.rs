//! The model's settles.

use quorate_machine::command::{Outcome as To, Settle, SettleRange};
use quorate_machine::effect::Effect;
use quorate_machine::reply::{Left, NotSettled, Outcome, Refusal, Reply, Settled};
use twox_hash::XxHash3_64;

use crate::fields;
use crate::naive::{At, Naive, Sub};

impl Naive {
    pub(crate) fn settle(&mut self, command: &Settle) -> Outcome {
        let row = self.consumers.get(&command.consumer).ok_or(Refusal::UnknownConsumer)?;
        let (queue, sub, now_ms) = (row.queue, row.sub, self.now_ms);
        let mut joined: Vec<SettleRange> = Vec::new();
        let mut refused = Vec::new();
        let mut last_was_valid = false;
        for range in &command.ranges {
            let valid = fields::range(range, &command.reasons);
            let is_valid = valid.is_ok();
            match (valid, joined.last_mut()) {
                (Err(refusal), _) => {
                    let (first_position, count) = (range.first_position, range.count);
                    refused.push(NotSettled { first_position, count, refusal });
                }
                (Ok(()), Some(last)) if last_was_valid && continues(last, range) => last.count += range.count,
                (Ok(()), _) => joined.push(*range),
            }
            last_was_valid = is_valid;
        }
        let is_later = |range: &SettleRange| matches!(range.outcome(), To::Retry | To::Release | To::Park);
        let (mut effects, mut left) = (Vec::new(), Vec::new());
        for later in [false, true] {
            for range in joined.iter().filter(|range| is_later(range) == later) {
                let reason = (range.reason as usize).checked_sub(1).and_then(|at| command.reasons.get(at));
                let sub = self.sub_of(queue, sub);
                let held = sub.judge(command.consumer, range, &mut refused);
                let reason = reason.map_or("", String::as_str);
                left.extend(sub.carry_out(range, &held, reason, now_ms, &mut effects));
            }
        }
        let revoked = effects.iter().filter_map(|effect| match effect {
            Effect::Revoked { lease, .. } => Some(*lease),
            _ => None,
        });
        let revoked = revoked.collect();
        self.effects.extend(effects);
        Ok(Reply::Settled(Settled { refused, left, revoked }))
    }
}

fn continues(last: &SettleRange, next: &SettleRange) -> bool {
    // To others a reason means nothing.
    let has_a_reason = matches!(next.outcome(), To::Retry | To::Park);
    last.first_position + u64::from(last.count) == next.first_position
        && last.first_token + u64::from(last.count) == next.first_token
        && last.outcome == next.outcome
        && last.delay_ms == next.delay_ms
        && (last.reason == next.reason || !has_a_reason)
}

impl Sub {
    /// The messages of a range that the consumer holds under the tokens it names.
    fn judge(&self, consumer: u64, range: &SettleRange, refused: &mut Vec<NotSettled>) -> Vec<u64> {
        let mut held = Vec::new();
        for (position, token) in (range.first_position..).zip(range.first_token..).take(range.count as usize)
        {
            if self.is_held(consumer, position, token) {
                held.push(position);
                continue;
            }
            let refusal =
                if self.was_leased(position, token) { Refusal::StaleLease } else { Refusal::NeverLeased };
            refused.push(NotSettled { first_position: position, count: 1, refusal });
        }
        held
    }

    /// Whether there may have been such a lease: exactly that is not remembered.
    fn was_leased(&self, position: u64, token: u64) -> bool {
        (1..=self.before + self.rows.len() as u64).contains(&position)
            && (1..=self.last_token).contains(&token)
    }

    /// Carries out a range for what is held of it. Returns what was to go back, and left.
    pub(crate) fn carry_out(
        &mut self,
        range: &SettleRange,
        held: &[u64],
        reason: &str,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Vec<Left> {
        let (mut back, mut left) = (Vec::new(), Vec::new());
        for position in held {
            let went = match range.outcome() {
                To::Unspecified => panic!("such a range is refused"),
                To::Ack => {
                    self.row_mut(*position).at = At::Done;
                    continue;
                }
                To::Extend => {
                    let length_ms = if range.delay_ms == 0 { self.settings.lease_ms } else { range.delay_ms };
                    if let At::Leased { deadline_ms, .. } = &mut self.row_mut(*position).at {
                        *deadline_ms = now_ms.saturating_add(length_ms);
                    }
                    continue;
                }
                To::Release => self.go_back(*position, At::Ready, now_ms),
                To::Retry => {
                    self.note(*position, reason, now_ms);
                    let delay_ms = match range.delay_ms {
                        0 => self.backoff_ms(*position, range.first_token, now_ms),
                        given => given,
                    };
                    self.fail(*position, At::Retrying { at_ms: now_ms.saturating_add(delay_ms) }, now_ms)
                }
                To::Park => {
                    self.note(*position, reason, now_ms);
                    self.park_on_demand(*position)
                }
            };
            if went.revokes() {
                back.push(*position);
            }
            if let (To::Retry | To::Release, Some(how)) = (range.outcome(), went.left()) {
                left.push(Left { first_position: *position, count: 1, how });
            }
        }
        self.revoke_behind(&back, now_ms, effects);
        left
    }

    /// How long a message waits after its failed attempt.
    fn backoff_ms(&self, position: u64, first_token: u64, now_ms: u64) -> u64 {
        let mut backoff_ms = self.settings.backoff_first_ms;
        for _ in 1..self.row(position).attempt {
            if backoff_ms >= self.settings.backoff_last_ms {
                break;
            }
            backoff_ms *= 2;
        }
        backoff_ms = backoff_ms.min(self.settings.backoff_last_ms);
        let drawn_from = [first_token.to_be_bytes(), now_ms.to_be_bytes()].concat();
        let h = XxHash3_64::oneshot(&drawn_from);
        let jitter_percent = u64::from(self.settings.jitter_percent.unwrap_or(20));
        backoff_ms - backoff_ms * jitter_percent * (h % 1001) / 100_000
    }
}
