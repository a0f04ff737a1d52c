//! What time brings about in the model: messages expire, fall due, are ready again, and leases end.

use std::collections::BTreeSet;

use quorate_machine::command::Reschedule;
use quorate_machine::effect::Effect;
use quorate_machine::reply::{Outcome, Refusal, Reply};

use crate::naive::{At, Naive, Row, Sub, Together, invalid};
use crate::order::Went;

/// Why a message is parked whose last lease ended by time.
const LEASE_EXPIRED: &str = "lease expired";

impl Naive {
    pub(crate) fn tick(&mut self) -> Outcome {
        let now_ms = self.now_ms;
        for queue in self.queues.values_mut() {
            for position in queue.batches.iter().flat_map(|batch| batch.first..batch.end) {
                let message = &mut queue.messages[position as usize - 1];
                let is_ahead = message.expires_ms().is_some_and(|expires_ms| expires_ms > now_ms);
                message.expiry_is_ahead = message.expiry_is_ahead && is_ahead;
            }
            let ages: Vec<(u64, Together)> = queue
                .batches
                .iter()
                .filter_map(|batch| Some((queue.too_old_ms(batch)?, batch.clone())))
                .filter(|(too_old_ms, _)| *too_old_ms <= now_ms)
                .collect();
            let waits = queue.settings.retain.until_done;
            for sub in queue.subs.values_mut() {
                let mut times = sub.times_up_to(now_ms);
                times.extend(ages.iter().map(|(too_old_ms, _)| *too_old_ms));
                for time_ms in times {
                    sub.end_leases(time_ms, now_ms, &mut self.effects);
                    sub.fall_due(time_ms);
                    sub.expire(time_ms);
                    let too_old = ages.iter().filter(|(too_old_ms, _)| !waits && *too_old_ms == time_ms);
                    for position in too_old.flat_map(|(_, batch)| batch.first..batch.end) {
                        sub.drop_one(position, &mut self.effects);
                    }
                }
            }
            queue.retain(now_ms, &mut self.effects);
            queue.is_unswept = false;
        }
        self.expire_state();
        self.producers.retain(|_, row| row.used_at_ms + row.ttl_ms > now_ms);
        for row in self.producers.values_mut() {
            if row.look_at_ms <= now_ms {
                row.look_at_ms = row.used_at_ms + row.ttl_ms;
            }
        }
        self.unswept = false;
        Ok(Reply::Done)
    }

    pub(crate) fn reschedule(&mut self, command: &Reschedule) -> Outcome {
        let now_ms = self.now_ms;
        let queue = self.queue(&command.namespace, &command.queue)?;
        let (mut position, id) = (command.position, &command.id);
        if !id.is_empty() {
            if position > 0 {
                return Err(invalid("id"));
            }
            position = queue.find_id(id).ok_or_else(|| Refusal::UnknownId(id.clone()))?;
        }
        let index = position.wrapping_sub(1) as usize;
        let has = |sub: &&mut Sub| sub.rows.get(index).is_some_and(|row| row.at != At::Done);
        let mut subs: Vec<&mut Sub> = queue.subs.values_mut().filter(has).collect();
        if subs.is_empty() {
            return Err(Refusal::UnknownMessage(position));
        }
        if subs.iter().any(|sub| sub.row(position).at != At::Delayed) {
            return Err(Refusal::NotDelayed(position));
        }
        if command.deliver_at_ms == 0 {
            for sub in subs {
                sub.row_mut(position).at = At::Done;
            }
            return Ok(Reply::Done);
        }
        let message = &mut queue.messages[index];
        message.due_ms = command.deliver_at_ms.max(now_ms);
        message.expiry_is_ahead = message.ttl_ms > 0;
        for sub in &mut subs {
            let row = sub.row_mut(position);
            row.due_ms = message.due_ms;
            row.expires_ms = message.expires_ms();
            if row.due_ms <= now_ms {
                row.at = At::Ready;
            }
        }
        Ok(Reply::Done)
    }
}

impl Sub {
    /// What is due is carried out in the order of its times: whether a message's time comes before or after its key is parked is
    /// all that this decides.
    fn times_up_to(&self, now_ms: u64) -> BTreeSet<u64> {
        let mut times = BTreeSet::new();
        for row in self.open() {
            match row.at {
                At::Leased { deadline_ms, .. } => times.insert(deadline_ms),
                At::Retrying { at_ms } => times.insert(at_ms),
                At::Delayed => times.insert(row.due_ms),
                At::Ready | At::Parked { .. } | At::Done => false,
            };
            times.extend(row.expires_ms);
        }
        times.into_iter().filter(|time_ms| *time_ms <= now_ms).collect()
    }

    /// Leases end; of those behind in their domains, whatever is over by now ends with them.
    fn end_leases(&mut self, time_ms: u64, now_ms: u64, effects: &mut Vec<Effect>) {
        let leased_until = |row: &Row| match row.at {
            At::Leased { deadline_ms, .. } => Some(deadline_ms),
            _ => None,
        };
        let ends = |row: &&Row| leased_until(row).is_some_and(|deadline_ms| deadline_ms <= time_ms);
        let first: Vec<u64> = self.open().filter(ends).map(|row| row.position).collect();
        let mut back = Vec::new();
        for position in first {
            if self.end_lease(position, now_ms, effects).revokes() {
                back.push(position);
            }
        }
        let is_over = |row: &&Row| leased_until(row).is_some_and(|deadline_ms| deadline_ms <= now_ms);
        let behind = |row: &&Row| self.is_behind_any(row, &back);
        let over: Vec<u64> = self.open().filter(is_over).filter(behind).map(|row| row.position).collect();
        for position in over {
            self.end_lease(position, now_ms, effects);
        }
        self.revoke_behind(&back, now_ms, effects);
    }

    fn end_lease(&mut self, position: u64, now_ms: u64, effects: &mut Vec<Effect>) -> Went {
        if let At::Leased { consumer, .. } = self.row(position).at {
            effects.push(Effect::Revoked { consumer, lease: self.lease(position) });
        }
        if self.is_exhausted(position) {
            self.note(position, LEASE_EXPIRED, now_ms);
        }
        self.fail(position, At::Ready, now_ms)
    }

    fn fall_due(&mut self, time_ms: u64) {
        for row in self.open_mut() {
            let is_due = match row.at {
                At::Delayed => row.due_ms <= time_ms,
                At::Retrying { at_ms } => at_ms <= time_ms,
                _ => false,
            };
            if is_due {
                row.at = At::Ready;
            }
        }
    }

    fn expire(&mut self, time_ms: u64) {
        let is_expired =
            |row: &&Row| row.is_expired(time_ms) && !matches!(row.at, At::Leased { .. } | At::Done);
        let expired: Vec<u64> = self.open().filter(is_expired).map(|row| row.position).collect();
        for position in expired {
            if self.is_parked(self.row(position)) {
                self.row_mut(position).is_kept = true;
            } else {
                self.row_mut(position).at = At::Done;
                self.expired += 1;
            }
        }
    }
}
