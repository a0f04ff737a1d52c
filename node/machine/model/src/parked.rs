//! The model's failures: messages that are exhausted, and what is parked.

use bytes::Bytes;
use quorate_machine::command::{Action, OnExhausted, Selector, Unpark};
use quorate_machine::read::Failure;
use quorate_machine::reply::{LeftHow, Outcome, Reply};

use crate::naive::{At, Message, Naive, Row, Sub};
use crate::order::Went;
use crate::{fields, filter};

/// Failures of a message that are remembered.
const FAILURES_MAX: usize = 8;

impl Sub {
    /// Whether a message's key is parked.
    pub(crate) fn is_in_parked_key(&self, row: &Row) -> bool {
        self.parked_keys.contains(&row.key)
    }

    /// Whether a message is ready but for its key, which is parked.
    fn is_parked_with_key(&self, row: &Row) -> bool {
        row.at == At::Ready && self.is_in_parked_key(row)
    }

    /// Whether a message counts as parked.
    pub fn is_parked(&self, row: &Row) -> bool {
        matches!(row.at, At::Parked { .. }) || self.is_parked_with_key(row)
    }

    /// Remembers why a message failed, if that was said.
    pub(crate) fn note(&mut self, position: u64, reason: &str, now_ms: u64) {
        if reason.is_empty() {
            return;
        }
        let row = self.row_mut(position);
        row.failures.push(Failure { time_ms: now_ms, attempt: row.attempt, reason: reason.into() });
        if row.failures.len() > FAILURES_MAX {
            row.failures.remove(0);
        }
    }

    /// Whether this attempt is the last.
    pub(crate) fn is_exhausted(&self, position: u64) -> bool {
        self.settings.max_attempts > 0 && self.row(position).attempt >= self.settings.max_attempts
    }

    /// A message failed.
    pub(crate) fn fail(&mut self, position: u64, to: At, now_ms: u64) -> Went {
        if !self.is_exhausted(position) {
            let row = self.row_mut(position);
            row.attempt = row.attempt.saturating_add(1);
            return self.go_back(position, to, now_ms);
        }
        match self.settings.on_exhausted() {
            OnExhausted::Park | OnExhausted::Unspecified => self.park(position, false),
            OnExhausted::ParkKey => self.park(position, true),
            OnExhausted::Block => {
                let went = self.go_back(position, At::Parked { blocks: true }, now_ms);
                self.row_mut(position).is_kept = true;
                went
            }
            OnExhausted::Discard => {
                self.discard(position);
                Went::Left(LeftHow::Discarded)
            }
        }
    }

    /// A consumer asks for a message to be parked.
    pub(crate) fn park_on_demand(&mut self, position: u64) -> Went {
        self.park(position, self.settings.on_exhausted() == OnExhausted::ParkKey)
    }

    fn park(&mut self, position: u64, with_key: bool) -> Went {
        let row = self.row_mut(position);
        row.at = At::Parked { blocks: false };
        row.is_kept = true;
        let key = row.key.clone();
        if !with_key || key.is_empty() {
            return Went::Left(LeftHow::Parked);
        }
        self.parked_keys.insert(key);
        Went::LeftWithKey
    }

    fn discard(&mut self, position: u64) {
        self.row_mut(position).at = At::Done;
        self.discarded += 1;
    }

    /// The parked messages that a selector speaks of, and the parked keys.
    fn selected(&self, selector: &Selector, messages: &[Message]) -> (Vec<u64>, Vec<Bytes>) {
        let (from, to) = (selector.from_position, selector.to_position);
        let filter = selector.filter.as_ref();
        let is_of_key = |key: &Bytes| selector.key.as_ref().is_none_or(|wanted| key == wanted);
        let mut positions = Vec::new();
        for row in self.open().filter(|row| matches!(row.at, At::Parked { .. })) {
            let is_within = row.position >= from && (to == 0 || row.position <= to);
            let is_taken = filter::takes(filter, &messages[row.position as usize - 1].content);
            if is_within && is_taken && is_of_key(&row.key) {
                positions.push(row.position);
            }
        }
        let of_whole_keys = from == 0 && to == 0 && filter.is_none();
        let keys = self.parked_keys.iter().filter(|key| of_whole_keys && is_of_key(key));
        (positions, keys.cloned().collect())
    }

    /// The messages that are parked with one of these keys.
    fn parked_with(&self, keys: &[Bytes]) -> Vec<u64> {
        let is_with = |row: &&Row| self.is_parked_with_key(row) && keys.contains(&row.key);
        self.open().filter(is_with).map(|row| row.position).collect()
    }

    /// Returns how many messages are ready again: those, and those that were parked with their keys, which were never told
    /// to be anything but ready.
    fn redrive(&mut self, positions: &[u64], mut keys: Vec<Bytes>) -> usize {
        keys.extend(positions.iter().map(|position| self.row(*position).key.clone()));
        let freed = positions.len() + self.parked_with(&keys).len();
        self.parked_keys.retain(|key| !keys.contains(key));
        for position in positions {
            let row = self.row_mut(*position);
            row.at = At::Ready;
            row.attempt = 1;
        }
        freed
    }

    /// Returns how many messages are done. Only a discard of whole keys ends their parking.
    fn discard_parked(&mut self, mut positions: Vec<u64>, keys: &[Bytes]) -> usize {
        positions.extend(self.parked_with(keys));
        for position in &positions {
            self.discard(*position);
        }
        self.parked_keys.retain(|key| !keys.contains(key));
        positions.len()
    }
}

impl Naive {
    pub(crate) fn unpark(&mut self, command: &Unpark) -> Outcome {
        let queue = self.queue(&command.namespace, &command.queue)?;
        queue.sub(&command.subscription)?;
        let action = fields::action(command.action)?;
        let selector = fields::selector(&command.selector)?;
        let messages = std::mem::take(&mut queue.messages);
        let (positions, keys) = queue.sub(&command.subscription)?.selected(&selector, &messages);
        queue.messages = messages;
        let sub = queue.sub(&command.subscription)?;
        let count = match action {
            Action::Discard => sub.discard_parked(positions, &keys),
            _ => sub.redrive(&positions, keys),
        };
        Ok(Reply::Unparked { messages: count as u64, job: 0 })
    }
}
