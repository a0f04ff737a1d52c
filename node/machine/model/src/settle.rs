//! The model's settles and ticks.

use quorate_machine::command::{Outcome as Settled, Settle, SettleRange};
use quorate_machine::effect::Effect;
use quorate_machine::reply::{NotSettled, Outcome, Refusal, Reply};

use crate::fields;
use crate::naive::{At, Naive, Queue};

impl Naive {
    pub(crate) fn settle(&mut self, command: &Settle) -> Outcome {
        let queue = self.consumers.get(&command.consumer).ok_or(Refusal::UnknownConsumer)?.queue;
        let mut joined: Vec<SettleRange> = Vec::new();
        let mut refused = Vec::new();
        let mut last_was_valid = false;
        for range in &command.ranges {
            let valid = fields::range(range);
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
        let gives_back = |range: &SettleRange| matches!(range.outcome(), Settled::Retry | Settled::Release);
        for second in [false, true] {
            for range in joined.iter().filter(|range| gives_back(range) == second) {
                self.settle_range(queue, command.consumer, range, &mut refused);
            }
        }
        Ok(Reply::Settled(refused))
    }

    fn settle_range(
        &mut self,
        queue: u64,
        consumer: u64,
        range: &SettleRange,
        refused: &mut Vec<NotSettled>,
    ) {
        let now_ms = self.now_ms;
        let mut effects = Vec::new();
        let queue = self.queue_by_id(queue);
        let settings = queue.settings;
        let mut settled = Vec::new();
        for (position, token) in (range.first_position..).zip(range.first_token..).take(range.count as usize)
        {
            if queue.is_held(consumer, position, token) {
                settled.push(position);
                continue;
            }
            let leased_once =
                (1..=queue.leased_up_to).contains(&position) && (1..=queue.last_token).contains(&token);
            let refusal = if leased_once { Refusal::StaleLease } else { Refusal::NeverLeased };
            refused.push(NotSettled { first_position: position, count: 1, refusal });
        }
        for position in &settled {
            let message = queue.message(*position);
            message.at = match (range.outcome(), message.at) {
                (Settled::Ack, _) => At::Done,
                (Settled::Release, _) => At::Ready,
                (Settled::Retry, _) => {
                    let mut delay_ms = settings.backoff_first_ms;
                    for _ in 1..message.attempt {
                        delay_ms = (delay_ms * 2).min(settings.backoff_last_ms);
                    }
                    message.attempt += 1;
                    At::Retrying {
                        at_ms: now_ms + if range.delay_ms == 0 { delay_ms } else { range.delay_ms },
                    }
                }
                (_, At::Leased { consumer, token, .. }) => {
                    let length_ms = if range.delay_ms == 0 { settings.lease_ms } else { range.delay_ms };
                    At::Leased { consumer, token, deadline_ms: now_ms + length_ms }
                }
                (_, at) => at,
            };
        }
        if let Some(first) = settled.first()
            && matches!(range.outcome(), Settled::Retry | Settled::Release)
            && queue.is_total()
        {
            for position in queue.held(consumer) {
                if position > *first {
                    effects.push(Effect::Revoked { consumer, lease: queue.lease(position) });
                    queue.message(position).at = At::Ready;
                }
            }
        }
        self.effects.extend(effects);
    }

    pub(crate) fn tick(&mut self) -> Outcome {
        let now_ms = self.now_ms;
        for queue in self.queues.values_mut() {
            expire(queue, now_ms, &mut self.effects);
            let open = queue.done_up_to;
            for message in &mut queue.messages[open..] {
                if matches!(message.at, At::Retrying { at_ms } if at_ms <= now_ms) {
                    message.at = At::Ready;
                }
            }
        }
        self.producers.retain(|_, row| row.used_at_ms + row.ttl_ms > now_ms);
        for row in self.producers.values_mut() {
            if row.look_at_ms <= now_ms {
                row.look_at_ms = row.used_at_ms + row.ttl_ms;
            }
        }
        self.unswept = false;
        Ok(Reply::Done)
    }
}

fn continues(last: &SettleRange, next: &SettleRange) -> bool {
    last.first_position + u64::from(last.count) == next.first_position
        && last.first_token + u64::from(last.count) == next.first_token
        && last.outcome == next.outcome
        && last.delay_ms == next.delay_ms
}

/// What is over counts an attempt; with order total, whatever is leased behind it goes back too.
fn expire(queue: &mut Queue, now_ms: u64, effects: &mut Vec<Effect>) {
    let mut something_is_over = false;
    for position in queue.done_up_to as u64 + 1..=queue.messages.len() as u64 {
        let At::Leased { consumer, deadline_ms, .. } = queue.message(position).at else { continue };
        let is_over = deadline_ms <= now_ms;
        something_is_over |= is_over;
        if is_over || (something_is_over && queue.is_total()) {
            effects.push(Effect::Revoked { consumer, lease: queue.lease(position) });
            let message = queue.message(position);
            message.at = At::Ready;
            message.attempt += u32::from(is_over);
        }
    }
}
