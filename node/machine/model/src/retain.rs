//! What the model's queues retain.

use quorate_machine::command::Retain;
use quorate_machine::effect::Effect;

use crate::naive::{At, Queue, Sub, Together};

impl Sub {
    /// A message leaves, whatever state it is in.
    pub(crate) fn drop_one(&mut self, position: u64, effects: &mut Vec<Effect>) {
        if matches!(self.row(position).at, At::Done | At::Unseen) {
            return;
        }
        if let At::Leased { consumer, .. } = self.row(position).at {
            effects.push(Effect::Revoked { consumer, lease: self.lease(position) });
        }
        self.row_mut(position).at = At::Done;
        self.dropped += 1;
    }
}

impl Queue {
    /// Whether a later message has the same key, in a queue that retains the latest of each.
    pub fn is_superseded(&self, position: u64) -> bool {
        let key = &self.message(position).content.key;
        let mut later = self.messages_from(position + 1).iter();
        self.settings.retain.latest_per_key && later.any(|message| message.content.key == *key)
    }

    /// Whether every bound that is set keeps a batch; without any, nothing is kept.
    pub fn is_within_bounds(&self, batch: &Together) -> bool {
        let Retain { for_ms, bytes, count, latest_per_key, .. } = self.settings.retain;
        let has_others = for_ms > 0 || bytes > 0 || count > 0;
        let is_latest = (batch.first..batch.end).any(|position| !self.is_superseded(position));
        (has_others || latest_per_key) && !(has_others && batch.is_past) && (is_latest || !latest_per_key)
    }

    /// When a batch gets too old, if there is a bound of age.
    pub fn too_old_ms(&self, batch: &Together) -> Option<u64> {
        let for_ms = self.settings.retain.for_ms;
        (for_ms > 0).then(|| batch.published_at_ms.saturating_add(for_ms))
    }

    /// Whether a batch is beyond the bounds of age, as it is at a time, of size or of number.
    pub(crate) fn is_beyond(&self, batch: &Together, time_ms: u64) -> bool {
        let Retain { bytes, count, .. } = self.settings.retain;
        let after = self.messages_from(batch.end);
        let bytes_after = || after.iter().map(|message| message.bytes.len() as u64).sum::<u64>();
        count > 0 && after.len() as u64 >= count
            || bytes > 0 && bytes_after() >= bytes
            || self.too_old_ms(batch).is_some_and(|too_old_ms| too_old_ms <= time_ms)
    }

    /// Finds what is beyond the bounds, and without `until_done` drops what is not done of it.
    pub(crate) fn retain(&mut self, time_ms: u64, effects: &mut Vec<Effect>) {
        for at in 0..self.batches.len() {
            if self.is_beyond(&self.batches[at], time_ms) {
                self.batches[at].is_past = true;
                self.past_to = self.past_to.max(self.batches[at].end);
            }
        }
        if self.settings.retain.until_done {
            return;
        }
        let is_wanted =
            |batch: &Together, position| self.is_within_bounds(batch) && !self.is_superseded(position);
        let unwanted: Vec<u64> = self
            .batches
            .iter()
            .flat_map(|batch| (batch.first..batch.end).filter(move |position| !is_wanted(batch, *position)))
            .collect();
        for sub in self.subs.values_mut() {
            for position in &unwanted {
                sub.drop_one(*position, effects);
            }
        }
    }

    /// The bounds were changed.
    pub(crate) fn apply_bounds_anew(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        for batch in &mut self.batches {
            batch.is_past = false;
        }
        self.retain(now_ms, effects);
    }
}
