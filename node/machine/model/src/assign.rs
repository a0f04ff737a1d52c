//! Who gets what, in the model.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use quorate_machine::command::Order;
use quorate_machine::effect::Effect;
use quorate_machine::work::Kind;

use crate::naive::{At, Consumer, Naive, Sub, take_first};

/// A consumer and its credit.
type Credited = (u64, usize);

impl Naive {
    /// Hands out what can be handed out, in every subscription; if the machine says that it stopped before, only so much.
    pub fn assign_all(&mut self) {
        let mut given: BTreeMap<(u64, u32), u64> = BTreeMap::new();
        // Who was left before, and is not spoken of, has to wait.
        given.extend(self.unassigned.iter().map(|place| (*place, 0)).filter(|_| self.told.is_some()));
        while let Some(step) = take_first(&mut self.told, |step| step.kind == Kind::Assigned) {
            let place = (step.queue, step.sub);
            if step.first > 0 {
                given.insert(place, step.end);
            } else if given.remove(&place).is_none() {
                self.wrong.get_or_insert_with(|| format!("{step:?}, and nothing of it was left"));
            }
        }
        let subs = || self.queues.values().flat_map(|queue| queue.subs.values());
        let exists = |place: &(u64, u32)| subs().any(|sub| (sub.queue, sub.id) == *place);
        self.unassigned = given.keys().copied().filter(exists).collect();
        for queue in self.queues.values_mut() {
            for sub in queue.subs.values_mut() {
                // Who has not followed gets nothing.
                let credit = |id: &u64, row: &Consumer| match sub.following.contains_key(id) {
                    true => 0,
                    false => row.credit as usize,
                };
                let consumers: Vec<Credited> = self
                    .consumers
                    .iter()
                    .filter(|(_, row)| (row.queue, row.sub) == (queue.id, sub.id))
                    .map(|(id, row)| (*id, credit(id, row)))
                    .collect();
                let mut left = given.get(&(queue.id, sub.id)).copied().unwrap_or(u64::MAX);
                if !sub.is_paused {
                    sub.assign(&consumers, self.now_ms, &mut left, &mut self.effects);
                }
                if left > 0 && left < u64::MAX / 2 {
                    self.wrong.get_or_insert_with(|| format!("{left} more were handed out of {}", sub.id));
                }
            }
        }
    }
}

impl Sub {
    fn assign(&mut self, consumers: &[Credited], now_ms: u64, left: &mut u64, effects: &mut Vec<Effect>) {
        if self.order() == Order::Total {
            // The one that attached first has the lowest id.
            let Some(active) = consumers.first() else { return };
            while self.free(*active) > 0 && *left > 0 {
                let Some(next) = self.next_ones().first().copied() else { return };
                self.give(next, active.0, now_ms, effects);
                *left -= 1;
            }
            return;
        }
        loop {
            while *left > 0 && self.continue_a_key(consumers, now_ms, effects) {
                *left -= 1;
            }
            if *left == 0 || !self.deal_a_round(consumers, now_ms, left, effects) {
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
    fn deal_a_round(
        &mut self,
        consumers: &[Credited],
        now_ms: u64,
        left: &mut u64,
        effects: &mut Vec<Effect>,
    ) -> bool {
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
            let most = usize::try_from(*left).unwrap_or(usize::MAX);
            let take = self.free(consumer).min(share).min(offered.len()).min(most);
            for position in offered.drain(..take) {
                self.give(position, consumer.0, now_ms, effects);
                self.served_last = consumer.0;
                *left -= 1;
            }
        }
        true
    }
}
