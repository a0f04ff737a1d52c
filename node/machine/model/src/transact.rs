//! The model's transactions: everything is tried on the state itself, and if something is refused, the state is what it was before.

use bytes::Bytes;
use prost::Message as _;
use quorate_machine::command::{
    Condition, LeaseRange, Outcome as To, Put, Require, SettleLease, SettleRange, Transact,
};
use quorate_machine::effect::{Effect, key_hash};
use quorate_machine::message::{Message, attributes};
use quorate_machine::reply::{Found, Outcome, Part, Placed, PositionRun, Refusal, Reply, Transacted};

use crate::fields;
use crate::filter::is_route;
use crate::naive::{At, Kept, Naive, Queue, Sub, invalid};
use crate::publish::cut;

impl Naive {
    pub(crate) fn transact(&mut self, command: &Transact) -> Outcome {
        fields::namespace(&command.namespace)?;
        let has_session = command.producer > 0 || command.epoch > 0 || command.seq > 0;
        let mut acked = 0;
        if has_session {
            let row = self.producers.get(&command.producer).ok_or(Refusal::UnknownProducer)?;
            if row.epoch != command.epoch {
                return Err(Refusal::ProducerFenced { given: command.epoch, current: row.epoch });
            }
            acked = row.transactions_acked.max(command.acked_seq);
            fields::seq(command.seq, acked)?;
            if let Some(known) = row.transactions.get(&command.seq) {
                return Ok(Reply::Transacted(Transacted { duplicate: true, ..known.clone() }));
            }
        }
        fields::transaction(command)?;
        let before = self.clone();
        match self.carry_out_all(command) {
            Ok(done) => {
                if has_session && let Some(row) = self.producers.get_mut(&command.producer) {
                    row.transactions.insert(command.seq, done.clone());
                    row.transactions_acked = acked;
                    row.used_at_ms = self.now_ms;
                }
                Ok(Reply::Transacted(done))
            }
            Err(refusal) => {
                *self = before;
                Err(refusal)
            }
        }
    }

    fn carry_out_all(&mut self, command: &Transact) -> Result<Transacted, Refusal> {
        for (nth, require) in (0..).zip(&command.require) {
            if let Some(found) = self.unmet(command, require)? {
                return Err(Refusal::PreconditionFailed { part: Part::Require, nth, found });
            }
        }
        for lease in &command.settle {
            let queue = self.queue(&command.namespace, &lease.queue)?;
            queue.sub(&lease.subscription)?;
            fields::range(&lease.range, &command.reasons)?;
        }
        for later in [false, true] {
            for (nth, lease) in (0..).zip(&command.settle) {
                let is_later = matches!(lease.range.outcome(), To::Retry | To::Release | To::Park);
                if is_later == later {
                    self.settle_lease(command, nth, lease)?;
                }
            }
        }
        let mut done = Transacted::default();
        for (nth, publish) in (0..).zip(&command.publish) {
            fields::messages(&publish.lengths, &publish.messages)?;
            let messages = cut(&publish.lengths, &publish.messages);
            if publish.queue.is_empty() {
                done.published.extend(self.route(nth, &messages)?);
                continue;
            }
            let positions = self.publish_to(&publish.queue, &messages, publish.attributes)?;
            done.published.push(Placed { queue: publish.queue.clone(), positions, nth });
        }
        for put in &command.put {
            done.versions.push(self.put(put)?);
        }
        Ok(done)
    }

    /// What is the case instead of a requirement.
    fn unmet(&mut self, command: &Transact, require: &Require) -> Result<Option<Found>, Refusal> {
        let namespace = &command.namespace;
        Ok(match require.condition.as_ref().ok_or_else(|| invalid("require"))? {
            Condition::Version(wanted) => {
                fields::key(&wanted.key)?;
                let version = self.state.get(&wanted.key).map_or(0, |kept| kept.version);
                (version != wanted.version).then_some(Found::Version(version))
            }
            Condition::Tail(wanted) => {
                let last = self.queue(namespace, &wanted.queue)?.next_position() - 1;
                (last != wanted.position).then_some(Found::Tail(last))
            }
            Condition::LengthBelow(wanted) => {
                let sub = self.queue(namespace, &wanted.queue)?.sub(&wanted.subscription)?;
                let length = sub.open().filter(|row| row.at != At::Done).count() as u64;
                (length >= wanted.length).then_some(Found::Length(length))
            }
            Condition::Held(LeaseRange { queue, subscription, first_position, count, first_token }) => {
                let (first_position, count, first_token) = (*first_position, *count, *first_token);
                let outcome = To::Extend.into();
                let range =
                    SettleRange { first_position, count, first_token, outcome, ..SettleRange::default() };
                fields::range(&range, &[])?;
                let leaving: Vec<u64> = self.leaving.keys().copied().collect();
                let sub = self.queue(namespace, queue)?.sub(subscription)?;
                sub.held_as_named(&range, &leaving).err().map(Found::NotHeld)
            }
        })
    }

    fn settle_lease(&mut self, command: &Transact, nth: u32, lease: &SettleLease) -> Result<(), Refusal> {
        let now_ms = self.now_ms;
        let mut effects = Vec::new();
        let leaving: Vec<u64> = self.leaving.keys().copied().collect();
        let sub = self.queue(&command.namespace, &lease.queue)?.sub(&lease.subscription)?;
        let held = sub.held_as_named(&lease.range, &leaving).map_err(|position| {
            Refusal::PreconditionFailed { part: Part::Settle, nth, found: Found::NotHeld(position) }
        })?;
        let reason = (lease.range.reason as usize).checked_sub(1).and_then(|at| command.reasons.get(at));
        sub.carry_out(&lease.range, &held, reason.map_or("", String::as_str), now_ms, &mut effects);
        self.effects.extend(effects);
        Ok(())
    }

    fn publish_to(
        &mut self,
        name: &str,
        messages: &[Bytes],
        attributes: u32,
    ) -> Result<Vec<PositionRun>, Refusal> {
        let (now_ms, mut effects, mut told) = (self.now_ms, Vec::new(), self.told.take());
        let queue = self.queue("", name);
        let positions = queue.and_then(|queue| {
            queue.check_messages(messages, attributes)?;
            queue.take_in(messages, now_ms, &mut told, &mut effects)
        });
        self.told = told;
        self.effects.extend(effects);
        positions
    }

    /// Each message gets into every queue that has a route for its subject.
    fn route(&mut self, nth: u32, messages: &[Bytes]) -> Result<Vec<Placed>, Refusal> {
        let content = |bytes: &Bytes| Message::decode(bytes.clone()).unwrap_or_default();
        let takes = |queue: &Queue, subject: &str| queue.routes.iter().any(|route| is_route(route, subject));
        for message in messages {
            let subject = content(message).subject;
            if !self.queues.values().any(|queue| takes(queue, &subject)) {
                return Err(Refusal::Unroutable(subject));
            }
        }
        let mut placed = Vec::new();
        for queue in self.queues.keys().cloned().collect::<Vec<String>>() {
            let row = &self.queues[&queue];
            let wanted = |bytes: &&Bytes| takes(row, &content(bytes).subject);
            let some: Vec<Bytes> = messages.iter().filter(wanted).cloned().collect();
            if !some.is_empty() {
                let attributes = some.iter().fold(0, |all, bytes| all | attributes(&content(bytes)));
                let positions = self.publish_to(&queue, &some, attributes)?;
                placed.push(Placed { queue, positions, nth });
            }
        }
        Ok(placed)
    }

    fn put(&mut self, put: &Put) -> Result<u64, Refusal> {
        fields::put(put)?;
        self.last_version += 1;
        let expires_ms = (put.ttl_ms > 0).then(|| self.now_ms + put.ttl_ms);
        if put.delete {
            self.state.remove(&put.key);
        } else {
            let kept = Kept { version: self.last_version, value: put.value.clone(), expires_ms };
            self.state.insert(put.key.clone(), kept);
        }
        self.effects.push(Effect::StateChanged { namespace: 1, key: key_hash(&put.key) });
        Ok(self.last_version)
    }

    /// The first key whose time is this one is absent.
    pub(crate) fn expire_key(&mut self, time_ms: u64) {
        let is_over = |kept: &Kept| kept.expires_ms == Some(time_ms);
        let over = self.state.iter().find(|(_, kept)| is_over(kept)).map(|(key, _)| key.clone());
        if let Some(key) = over {
            self.state.remove(&key);
            self.effects.push(Effect::StateChanged { namespace: 1, key: key_hash(&key) });
        }
    }
}

impl Sub {
    /// The positions of a range, if whoever holds the first holds all of them under the tokens that it names; otherwise the first that
    /// is not held like that.
    fn held_as_named(&self, range: &SettleRange, leaving: &[u64]) -> Result<Vec<u64>, u64> {
        let holder = |position: u64| match self.find(position)?.at {
            At::Leased { consumer, .. } if !leaving.contains(&consumer) => Some(consumer),
            _ => None,
        };
        let first = holder(range.first_position).ok_or(range.first_position)?;
        let mut held = Vec::new();
        for (position, token) in (range.first_position..).zip(range.first_token..).take(range.count as usize)
        {
            if !self.is_held(first, position, token) {
                return Err(position);
            }
            held.push(position);
        }
        Ok(held)
    }
}
