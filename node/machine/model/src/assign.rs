//! Who gets what, in the model.

use std::cmp::Reverse;

use quorate_machine::command::Order;
use quorate_machine::effect::Effect;

use crate::naive::{At, Naive, Sub};

/// A consumer and its credit.
type Credited = (u64, usize);

impl Naive {
    /// Hands out what can be handed out, in every subscription.
    pub fn assign_all(&mut self) {
        for queue in self.queues.values_mut() {
            for sub in queue.subs.values_mut() {
                let consumers: Vec<Credited> = self
                    .consumers
                    .iter()
                    .filter(|(_, row)| (row.queue, row.sub) == (queue.id, sub.id))
                    .map(|(id, row)| (*id, row.credit as usize))
                    .collect();
                if !sub.is_paused {
                    sub.assign(&consumers, self.now_ms, &mut self.effects);
                }
            }
        }
    }
}

impl Sub {
    fn assign(&mut self, consumers: &[Credited], now_ms: u64, effects: &mut Vec<Effect>) {
        if self.order() == Order::Total {
            // The one that attached first has the lowest id.
            let Some(active) = consumers.first() else { return };
            while self.free(*active) > 0 {
                let Some(next) = self.next_ones().first().copied() else { return };
                self.give(next, active.0, now_ms, effects);
            }
            return;
        }
        loop {
            while self.continue_a_key(consumers, now_ms, effects) {}
            if !self.deal_a_round(consumers, now_ms, effects) {
                return;
            }
        }
    }

    fn free(&self, (consumer, credit): Credited) -> usize {
        credit.saturating_sub(self.held(consumer).len())
    }

    fn give(&mut self, position: u64, consumer: u64, now_ms: u64, effects: &mut Vec<Effect>) {
        self.last_token += 1;
        let (token, deadline_ms) = (self.last_token, now_ms.saturating_add(self.settings.lease_ms));
        self.row_mut(position).at = At::Leased { consumer, token, deadline_ms };
        effects.push(Effect::Assigned { consumer, lease: self.lease(position) });
    }

    /// Gives a holder of keys one more message of them: the first consumer that can have one, the lowest such message.
    fn continue_a_key(&mut self, consumers: &[Credited], now_ms: u64, effects: &mut Vec<Effect>) -> bool {
        if self.order() != Order::Key {
            return false;
        }
        let holders = self.holders();
        for consumer in consumers.iter().filter(|consumer| self.free(**consumer) > 0) {
            for position in self.next_ones() {
                let held = holders.get(&self.row(position).key).filter(|(holder, _)| *holder == consumer.0);
                if held.is_some_and(|(_, held)| *held < self.settings.per_key_inflight as usize) {
                    self.give(position, consumer.0, now_ms, effects);
                    return true;
                }
            }
        }
        false
    }

    /// Deals what is on offer once round the consumers with credit left.
    fn deal_a_round(&mut self, consumers: &[Credited], now_ms: u64, effects: &mut Vec<Effect>) -> bool {
        let mut offered = self.next_ones();
        if self.order() == Order::Key {
            let holders = self.holders();
            offered.retain(|position| !holders.contains_key(&self.row(*position).key));
        }
        offered.sort_by_key(|position| (Reverse(self.row(*position).priority), *position));
        let mut waiting: Vec<Credited> =
            consumers.iter().copied().filter(|one| self.free(*one) > 0).collect();
        if offered.is_empty() || waiting.is_empty() {
            return false;
        }
        let served = waiting.iter().filter(|(id, _)| *id <= self.served_last).count();
        waiting.rotate_left(served);
        let share = offered.len().div_ceil(waiting.len());
        for consumer in waiting {
            let take = self.free(consumer).min(share).min(offered.len());
            for position in offered.drain(..take) {
                self.give(position, consumer.0, now_ms, effects);
                self.served_last = consumer.0;
            }
        }
        true
    }
}
