//! What time brings about in the model: messages expire, fall due, are ready again, and leases end.
//!
//! All that is due is put in order, and carried out piece by piece. If the machine says how far it got ([`Naive::told`]), the model does as much, and notes in
//! [`Naive::wrong`] if that was not what came first.

use quorate_machine::command::Reschedule;
use quorate_machine::effect::Effect;
use quorate_machine::reply::{Outcome, Refusal, Reply};
use quorate_machine::work::{Kind, Step};

use crate::naive::{At, Naive, Queue, Row, Sub, invalid, take_first};
use crate::order::Went;

/// Why a message is parked whose last lease ended by time.
const LEASE_EXPIRED: &str = "lease expired";

/// Something that is due: in the order in which it is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    time_ms: u64,
    kind: Kind,
    queue: u64,
    sub: u32,
    /// Position of a message, id of a producer, number of a key.
    first: u64,
}

impl Naive {
    pub(crate) fn tick(&mut self) -> Outcome {
        let due = self.due();
        match self.told.is_some() {
            true => self.carry_out_told(due),
            false => {
                for one in due {
                    self.carry_out_due(one);
                }
                for queue in self.queues.values_mut() {
                    queue.retain(self.now_ms, &mut self.effects);
                }
            }
        }
        self.queues.values_mut().for_each(|queue| queue.is_unswept = false);
        self.unswept = false;
        Ok(Reply::Done)
    }

    /// Everything that is due by now.
    fn due(&self) -> Vec<Due> {
        let now_ms = self.now_ms;
        let mut due: Vec<Due> = Vec::new();
        for queue in self.queues.values() {
            for sub in queue.subs.values() {
                due.extend(sub.open().filter_map(|row| sub.due(row)));
            }
            for position in queue.batches.iter().flat_map(|batch| batch.first..batch.end) {
                let message = queue.message(position);
                if let Some(time_ms) = message.expires_ms().filter(|_| message.expiry_is_ahead) {
                    due.push(Due { time_ms, kind: Kind::Expiry, queue: queue.id, sub: 0, first: position });
                }
            }
            for batch in queue.batches.iter().filter(|batch| !batch.is_past) {
                let at = |time_ms| Due { time_ms, kind: Kind::Retain, queue: queue.id, sub: 0, first: 0 };
                due.extend(queue.too_old_ms(batch).map(at));
            }
        }
        for (id, row) in &self.producers {
            let (time_ms, kind) = (row.look_at_ms, Kind::Producer);
            due.push(Due { time_ms, kind, queue: 0, sub: 0, first: *id });
        }
        for (id, job) in &self.jobs {
            due.push(Due { time_ms: job.due_ms, kind: Kind::Job, queue: 0, sub: 0, first: *id });
        }
        for (number, kept) in (0..).zip(self.state.values()) {
            let at = |time_ms| Due { time_ms, kind: Kind::State, queue: 0, sub: 0, first: number };
            due.extend(kept.expires_ms.map(at));
        }
        due.retain(|one| one.time_ms <= now_ms);
        due.sort();
        due.dedup();
        due
    }

    /// Does what the machine says that its tick did, if that is what comes first.
    fn carry_out_told(&mut self, due: Vec<Due>) {
        if take_first(&mut self.told, |step| step.kind == Kind::Tick).is_none() {
            self.complain("a tick does not say that it began".into());
        }
        let released = self.release() && self.follow_on();
        let is_behind = self.is_behind();
        let (mut rest, mut steps) = (&due[..], 0);
        while let Some(step) =
            take_first(&mut self.told, |step| (Kind::Lease..=Kind::State).contains(&step.kind))
        {
            let given = Due {
                time_ms: step.time_ms,
                kind: step.kind,
                queue: step.queue,
                sub: step.sub,
                first: if matches!(step.kind, Kind::Retain | Kind::State) { 0 } else { step.first },
            };
            let before = rest.partition_point(|one| *one < given);
            if let Some(skipped) = rest[..before].iter().find(|one| self.is_open(**one)) {
                self.complain(format!("{step:?} came before {skipped:?}"));
            }
            rest = &rest[before..];
            rest = &rest[self.carry_out_step(step, rest)..];
            steps += 1;
        }
        if let Some(left) = rest.iter().find(|one| released && steps == 0 && self.is_open(**one)) {
            self.complain(format!("a tick did nothing, and {left:?} was due"));
        }
        // What has left is not there any more to be looked at.
        self.queues.values_mut().for_each(Queue::tidy);
        let mut looks = 0;
        while let Some(step) = take_first(&mut self.told, |step| step.kind == Kind::Seen) {
            self.look_on(step);
            looks += 1;
        }
        if is_behind && looks == 0 {
            self.complain("no subscription looked at what it had not seen".into());
        }
    }

    /// Whether a subscription has not looked at everything.
    fn is_behind(&self) -> bool {
        let mut subs = self.queues.values().flat_map(|queue| queue.subs.values());
        subs.any(|sub| sub.rows.last().is_some_and(|row| row.at == At::Unseen))
    }

    /// Does what is due within a step. Returns how much of it is over.
    fn carry_out_step(&mut self, step: Step, due: &[Due]) -> usize {
        let is_in = |one: &&Due| {
            (one.time_ms, one.kind, one.queue, one.sub) == (step.time_ms, step.kind, step.queue, step.sub)
        };
        let some = match step.kind {
            Kind::Retain => {
                self.let_go(step);
                return 0; // there may be more of it
            }
            Kind::Job => {
                self.carry_on(step.first);
                return due.iter().take(1).take_while(is_in).count();
            }
            Kind::State => due.iter().take(1).take_while(is_in).count(),
            _ => due.iter().take_while(is_in).take_while(|one| one.first < step.end).count(),
        };
        due[..some].iter().for_each(|one| self.carry_out_due(*one));
        some
    }

    /// Batches that got too old leave, as far as the machine got.
    fn let_go(&mut self, step: Step) {
        let Some(queue) = self.queues.values_mut().find(|queue| queue.id == step.queue) else {
            return;
        };
        let wrong = queue.let_go(step.time_ms, step.first, step.end, &mut self.effects).err();
        wrong.into_iter().for_each(|wrong| self.complain(format!("{step:?}: {wrong}")));
    }

    /// A subscription that was behind looks at what comes next.
    fn look_on(&mut self, step: Step) {
        let now_ms = self.now_ms;
        let Some(queue) = self.queues.values_mut().find(|queue| queue.id == step.queue) else { return };
        let Some(name) = queue.subs.iter().find(|(_, sub)| sub.id == step.sub).map(|(name, _)| name.clone())
        else {
            return;
        };
        let Some(mut sub) = queue.subs.remove(&name) else { return };
        let next = sub.open().find(|row| row.at == At::Unseen).map(|row| row.position);
        queue.look_up_to(&mut sub, step.end, now_ms);
        queue.subs.insert(name, sub);
        if next.is_some_and(|next| next != step.first) {
            self.complain(format!("{step:?}, and {next:?} is the first that it has not looked at"));
        }
    }

    /// Whether it makes a difference that this is still to be done.
    fn is_open(&self, due: Due) -> bool {
        let queue = self.queues.values().find(|queue| queue.id == due.queue);
        match due.kind {
            Kind::Producer => self.producers.get(&due.first).is_some_and(|row| row.look_at_ms == due.time_ms),
            Kind::State => true, // nothing else takes keys away in a tick
            Kind::Job => self.jobs.get(&due.first).is_some_and(|job| job.due_ms == due.time_ms),
            Kind::Expiry => queue.is_some_and(|queue| {
                let is_left = |sub: &Sub| !matches!(sub.row(due.first).at, At::Done | At::Unseen);
                queue.message(due.first).expiry_is_ahead && queue.subs.values().any(is_left)
            }),
            Kind::Retain => queue.is_some_and(|queue| {
                // What came before it in the tick may have been the last that needed a batch.
                let mut within =
                    queue.batches.iter().filter(|batch| !batch.is_past && queue.is_needed(batch));
                within.any(|batch| queue.too_old_ms(batch) == Some(due.time_ms))
            }),
            _ => {
                let sub = queue.and_then(|queue| queue.subs.values().find(|sub| sub.id == due.sub));
                sub.is_some_and(|sub| sub.due(sub.row(due.first)) == Some(due))
            }
        }
    }

    /// Does one thing that is due, if it still is: what came before it may have seen to it.
    fn carry_out_due(&mut self, due: Due) {
        let (now_ms, is_open) = (self.now_ms, self.is_open(due));
        match due.kind {
            Kind::Producer => {
                if let Some(row) = self.producers.get_mut(&due.first) {
                    row.look_at_ms = row.used_at_ms + row.ttl_ms;
                }
                self.producers.retain(|id, row| *id != due.first || row.look_at_ms > now_ms);
            }
            Kind::State => self.expire_key(due.time_ms),
            _ => {}
        }
        let Some(queue) = self.queues.values_mut().find(|queue| queue.id == due.queue) else { return };
        if due.kind == Kind::Expiry {
            queue.messages[(due.first - 1 - queue.before) as usize].expiry_is_ahead = false;
            queue.subs.values_mut().for_each(|sub| sub.expire(due.first, due.time_ms));
        }
        if due.kind == Kind::Retain {
            let next = queue.next_position();
            // They are looked for by what they are: what is too old by then is.
            let _ = queue.let_go(due.time_ms, 0, next, &mut self.effects);
        }
        let Some(sub) = queue.subs.values_mut().find(|sub| sub.id == due.sub && is_open) else { return };
        match due.kind {
            Kind::Lease => sub.lease_over(due.first, now_ms, &mut self.effects),
            Kind::Retry | Kind::Delay => sub.row_mut(due.first).at = At::Ready,
            _ => {}
        }
    }

    pub(crate) fn complain(&mut self, wrong: String) {
        self.wrong.get_or_insert(wrong);
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
        let has = |sub: &&mut Sub| sub.find(position).is_some_and(|row| row.at != At::Done);
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
        let message = &mut queue.messages[(position - 1 - queue.before) as usize];
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

impl Queue {
    /// Of the batches that begin within `from..to` and are beyond the bounds at a time, the messages up to `to` leave. It is wrong if others are there.
    fn let_go(&mut self, time_ms: u64, from: u64, to: u64, effects: &mut Vec<Effect>) -> Result<(), String> {
        let waits = self.settings.retain.until_done;
        let mut wrong = Ok(());
        for at in 0..self.batches.len() {
            let (first, end) = (self.batches[at].first, self.batches[at].end);
            if end <= from || first >= to {
                continue;
            }
            if !self.is_beyond(&self.batches[at], time_ms) {
                wrong = Err(format!("the batch at {first} is within the bounds"));
                continue;
            }
            for sub in self.subs.values_mut().filter(|_| !waits) {
                (first..end.min(to)).for_each(|position| sub.drop_one(position, effects));
            }
            if end <= to {
                self.batches[at].is_past = true;
                self.past_to = self.past_to.max(end);
            }
        }
        wrong
    }
}

impl Sub {
    /// When something becomes of a message by time, but for its expiry.
    fn due(&self, row: &Row) -> Option<Due> {
        let (time_ms, kind) = match row.at {
            At::Leased { deadline_ms, .. } => (deadline_ms, Kind::Lease),
            At::Retrying { at_ms } => (at_ms, Kind::Retry),
            At::Delayed => (row.due_ms, Kind::Delay),
            At::Ready | At::Parked { .. } | At::Done | At::Unseen => return None,
        };
        Some(Due { time_ms, kind, queue: self.queue, sub: self.id, first: row.position })
    }

    /// A lease ends; of those behind it in its domain, whatever is over by now ends with it, and the others are revoked.
    fn lease_over(&mut self, position: u64, now_ms: u64, effects: &mut Vec<Effect>) {
        if !self.end_lease(position, now_ms, effects).revokes() {
            return;
        }
        let is_over = |row: &&Row| matches!(row.at, At::Leased { deadline_ms, .. } if deadline_ms <= now_ms);
        let behind = |row: &&Row| self.is_behind_any(row, &[position]);
        let over: Vec<u64> = self.open().filter(is_over).filter(behind).map(|row| row.position).collect();
        for position in over {
            self.end_lease(position, now_ms, effects);
        }
        self.revoke_behind(&[position], now_ms, effects);
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

    /// The time of a message has come.
    fn expire(&mut self, position: u64, time_ms: u64) {
        let row = self.row(position);
        if !row.is_expired(time_ms) || matches!(row.at, At::Leased { .. } | At::Done | At::Unseen) {
            return;
        }
        if self.is_parked(row) {
            self.row_mut(position).is_kept = true;
        } else {
            self.row_mut(position).at = At::Done;
            self.expired += 1;
        }
    }
}
