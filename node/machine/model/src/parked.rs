//! The model's failures: messages that are exhausted, and what is parked.

use bytes::Bytes;
use quorate_machine::command::{Action, OnExhausted, Selector, Unpark};
use quorate_machine::read::Failure;
use quorate_machine::reply::{LeftHow, Outcome, Reply};
use quorate_machine::work::{Kind, Step, number_of_key};

use crate::naive::{At, Job, Message, Naive, Row, Sub, take_first};
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
            let is_taken =
                filter::takes(filter, &messages[(row.position - 1 - self.before) as usize].content);
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
    fn discard_parked(&mut self, mut positions: Vec<u64>, keys: &[Bytes], end: u64) -> usize {
        positions.extend(self.parked_with(keys).into_iter().filter(|position| *position < end));
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
        let (id, end) = (queue.id, queue.next_position());
        let sub = queue.sub(&command.subscription)?.id;
        let action = fields::action(command.action)?;
        let selector = fields::selector(&command.selector)?;
        let mut job = Job { queue: id, sub, action, selector, end, next: 0, due_ms: 0 };
        if self.told.is_none() {
            let (positions, keys) = self.selected_by(&job);
            let count = self.carry_out_on(&job, positions, keys);
            return Ok(Reply::Unparked { messages: count as u64, job: 0 });
        }
        take_first(&mut self.told, |step| step.kind == Kind::Unpark);
        let messages = self.go_on_with(&mut job);
        let job = self.put_aside(job);
        Ok(Reply::Unparked { messages, job })
    }

    /// A tick goes on with a job.
    pub(crate) fn carry_on(&mut self, id: u64) {
        let Some(mut job) = self.jobs.remove(&id) else {
            return self.complain(format!("there is no job {id}"));
        };
        let queue = self.queues.values().find(|queue| queue.id == job.queue);
        if queue.is_some_and(|queue| queue.subs.values().any(|sub| sub.id == job.sub)) {
            self.go_on_with(&mut job);
            self.put_aside(job);
        }
    }

    /// Does what the machine says that it did. Returns of how many messages that was.
    fn go_on_with(&mut self, job: &mut Job) -> u64 {
        let mut messages = 0;
        let is_of_job =
            |step: &Step| matches!(step.kind, Kind::Unparked | Kind::DiscardedInKey | Kind::UnparkedKey);
        while let Some(step) = take_first(&mut self.told, is_of_job) {
            let (mut positions, mut keys) = self.selected_by(job);
            keys.retain(|key| number_of_key(key) == step.first);
            if step.kind == Kind::Unparked {
                if positions.iter().any(|position| *position < step.first) {
                    self.complain(format!("{step:?}, and of {positions:?} nothing was done"));
                }
                positions.retain(|position| (step.first..step.end).contains(position));
                messages += self.carry_out_on(job, positions, Vec::new()) as u64;
                job.next = step.end;
                continue;
            }
            if !positions.is_empty() || keys.is_empty() {
                self.complain(format!("{step:?} of {keys:?}, and {positions:?} come first"));
            }
            messages += match step.kind {
                Kind::DiscardedInKey => self.discard_in(job, &keys, step.end),
                _ => self.carry_out_on(job, Vec::new(), keys) as u64,
            };
        }
        messages
    }

    /// What is left of a job is left to a tick, if the machine says so. Returns its id.
    fn put_aside(&mut self, job: Job) -> u64 {
        match take_first(&mut self.told, |step| step.kind == Kind::JobLeft) {
            Some(step) => {
                self.jobs.insert(step.first, Job { due_ms: step.time_ms, ..job });
                step.first
            }
            None => {
                let left = self.selected_by(&job);
                if left != (Vec::new(), Vec::new()) {
                    self.complain(format!("a job is over, and {left:?} is left"));
                }
                0
            }
        }
    }

    /// The parked messages that a job still concerns, and the keys.
    fn selected_by(&mut self, job: &Job) -> (Vec<u64>, Vec<Bytes>) {
        let Some(queue) = self.queues.values().find(|queue| queue.id == job.queue) else {
            return (Vec::new(), Vec::new());
        };
        let sub = queue.subs.values().find(|sub| sub.id == job.sub);
        let (mut positions, keys) =
            sub.map(|sub| sub.selected(&job.selector, &queue.messages)).unwrap_or_default();
        positions.retain(|position| (job.next..job.end).contains(position));
        (positions, keys)
    }

    fn carry_out_on(&mut self, job: &Job, positions: Vec<u64>, keys: Vec<Bytes>) -> usize {
        let sub = self.sub_of(job.queue, job.sub);
        match job.action {
            Action::Discard => sub.discard_parked(positions, &keys, job.end),
            _ => sub.redrive(&positions, keys),
        }
    }

    /// Discards the lowest of what is parked with keys.
    fn discard_in(&mut self, job: &Job, keys: &[Bytes], count: u64) -> u64 {
        let sub = self.sub_of(job.queue, job.sub);
        let mut positions = sub.parked_with(keys);
        positions.retain(|position| *position < job.end);
        positions.truncate(count as usize);
        sub.discard_parked(positions, &[], job.end) as u64
    }
}
