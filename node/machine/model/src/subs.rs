//! The model's subscriptions: created, changed, moved and deleted; and how they look at messages.

use std::collections::{BTreeMap, BTreeSet};

use quorate_machine::command::{
    CreateSub, DeleteSub, Filter, Order, Pause, Seek, Settings, Start, StartKind, UpdateSub,
};
use quorate_machine::effect::{Effect, Lease};
use quorate_machine::reply::{Outcome, Refusal, Reply};
use quorate_machine::work::{Kind, Step};

use crate::naive::{At, Consumer, Message, Naive, Queue, Row, Sub, invalid, take_first};
use crate::{fields, filter};

/// Most subscriptions of a queue.
const SUBSCRIPTIONS_MAX: usize = 256;

impl Sub {
    /// A message is there, and not looked at.
    pub(crate) fn note_new(&mut self, message: &Message) {
        self.rows.push(Row {
            position: self.before + self.rows.len() as u64 + 1,
            key: message.content.key.clone(),
            priority: if self.order() == Order::None { message.content.priority } else { 0 },
            due_ms: message.due_ms,
            expires_ms: message.expires_ms(),
            at: At::Unseen,
            attempt: 1,
            failures: Vec::new(),
            is_kept: false,
        });
    }

    /// Looks at a message; those before it were looked at.
    pub(crate) fn look(&mut self, message: &Message, position: u64, is_wanted: bool, now_ms: u64) {
        let expires_ms = message.expires_ms();
        let at = if !is_wanted || !filter::takes(self.filter.as_ref(), &message.content) {
            At::Done
        } else if expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms) {
            self.expired += 1;
            At::Done
        } else if message.due_ms > now_ms {
            At::Delayed
        } else {
            At::Ready
        };
        let row = self.row_mut(position);
        (row.at, row.due_ms, row.expires_ms) = (at, message.due_ms, expires_ms);
    }
}

impl Queue {
    /// The first position that a subscription beginning there is not done with.
    fn resolve(&self, start: &Start) -> Result<u64, Refusal> {
        let (first, next) = (self.first_stored(), self.next_position());
        match StartKind::try_from(start.kind) {
            Err(_) => Err(invalid("start")),
            Ok(StartKind::Unspecified | StartKind::Earliest) => Ok(first),
            Ok(StartKind::Latest) => Ok(next),
            Ok(StartKind::Position) if (first..=next).contains(&start.at) => Ok(start.at),
            Ok(StartKind::Position) => Err(Refusal::OutOfRange { position: start.at, first, next }),
            Ok(StartKind::Time) => {
                let is_later = |position: u64| {
                    self.is_stored(position) && self.message(position).published_at_ms >= start.at
                };
                Ok((first..next).find(|position| is_later(*position)).unwrap_or(next))
            }
        }
    }

    /// Begins to look anew, at what is there from a position on; if the machine says how far it got, up to there.
    fn look_from(&self, sub: &mut Sub, start: u64, now_ms: u64, told: &mut Option<Vec<Step>>) {
        self.messages.iter().for_each(|message| sub.note_new(message));
        sub.rows.iter_mut().filter(|row| row.position < start).for_each(|row| row.at = At::Done);
        let all = told.is_none();
        let to = match take_first(told, |step| step.kind == Kind::Begun && step.queue == self.id) {
            Some(step) => step.end,
            None if all => self.next_position(),
            None => start,
        };
        self.look_up_to(sub, to, now_ms);
    }

    /// A subscription looks at what comes next, up to a position.
    pub(crate) fn look_up_to(&self, sub: &mut Sub, to: u64, now_ms: u64) {
        let is_next = |row: &&Row| row.at == At::Unseen && row.position < to;
        let positions: Vec<u64> = sub.open().filter(is_next).map(|row| row.position).collect();
        for position in positions {
            let is_there = self.is_stored(position) && !self.is_superseded(position);
            sub.look(self.message(position), position, is_there, now_ms);
        }
    }

    pub(crate) fn add_sub(
        &mut self,
        name: &str,
        settings: Settings,
        filter: Option<Filter>,
        start: &Start,
        now_ms: u64,
        told: &mut Option<Vec<Step>>,
    ) -> Result<(), Refusal> {
        let start = self.resolve(start)?;
        self.last_sub += 1;
        let mut sub = Sub {
            queue: self.id,
            id: self.last_sub,
            settings,
            filter,
            revision: 1,
            is_paused: false,
            before: self.before,
            rows: Vec::new(),
            done_up_to: 0,
            parked_keys: BTreeSet::new(),
            last_token: self.last_token,
            served_last: 0,
            following: BTreeMap::new(),
            expired: 0,
            discarded: 0,
            dropped: 0,
        };
        self.look_from(&mut sub, start, now_ms, told);
        self.subs.insert(name.into(), sub);
        Ok(())
    }
}

impl Sub {
    /// Consumers follow as far as the machine says, or all of them: they lose what they held. Returns how many steps that were.
    pub(crate) fn follow(
        &mut self,
        told: &mut Option<Vec<Step>>,
        number: u32,
        effects: &mut Vec<Effect>,
    ) -> usize {
        let (queue, mut steps) = (self.queue, 0);
        let is_here = |step: &Step| (step.kind, step.queue, step.sub) == (Kind::Followed, queue, number);
        if told.is_none() {
            for (consumer, leases) in std::mem::take(&mut self.following) {
                effects.extend(leases.into_iter().map(|lease| Effect::Revoked { consumer, lease }));
            }
        }
        while let Some(step) = take_first(told, is_here) {
            steps += 1;
            let (consumer, end) = (step.first, step.end);
            let leases = self.following.remove(&consumer).unwrap_or_default();
            let (lost, left): (Vec<Lease>, Vec<Lease>) =
                leases.into_iter().partition(|lease| lease.first_position < end);
            effects.extend(lost.into_iter().map(|lease| Effect::Revoked { consumer, lease }));
            if end != u64::MAX {
                self.following.insert(consumer, left);
            }
        }
        steps
    }
}

impl Naive {
    /// The consumers of a subscription.
    pub(crate) fn consumers_of(&self, queue: u64, sub: u32) -> Vec<u64> {
        let all = self.consumers.iter();
        all.filter(|(_, row)| (row.queue, row.sub) == (queue, sub)).map(|(id, _)| *id).collect()
    }

    /// As many of the consumers of a subscription follow as the machine says, or all. Returns how many steps that were.
    pub(crate) fn follow_at_once(&mut self, queue: u64, sub: u32) -> usize {
        let (mut told, mut effects) = (self.told.take(), Vec::new());
        let steps = self.sub_of(queue, sub).follow(&mut told, sub, &mut effects);
        self.told = told;
        self.effects.extend(effects);
        steps
    }

    /// A tick goes on with those who have not followed, and with those who are to end. True if nothing of it is left.
    pub(crate) fn follow_on(&mut self) -> bool {
        let is_left = |naive: &Self| {
            let mut subs = naive.queues.values().flat_map(|queue| queue.subs.values());
            !naive.ending.is_empty() || subs.any(|sub| !sub.following.is_empty())
        };
        let (some, mut steps) = (is_left(self), self.end_told());
        // A subscription that is not there yet gets its number from a later command of the same entry.
        while let Some(Step { queue, sub, kind: Kind::Followed, .. }) =
            self.told.as_ref().and_then(|told| told.first()).copied()
            && self.queues.values().any(|row| row.id == queue && row.subs.values().any(|row| row.id == sub))
        {
            match self.follow_at_once(queue, sub) {
                0 => break,
                more => steps += more,
            }
        }
        if some && steps == 0 {
            self.complain("nobody followed, and nobody ended".into());
        }
        !is_left(self)
    }

    /// A subscription has another number: so have its consumers.
    pub(crate) fn renumber(&mut self, queue: u64, before: u32, after: u32) {
        let is_here = |row: &&mut Consumer| (row.queue, row.sub) == (queue, before);
        self.consumers.values_mut().filter(is_here).for_each(|row| row.sub = after);
        self.forget_leaving(queue, before);
    }

    pub(crate) fn create_sub(&mut self, command: &CreateSub) -> Outcome {
        let (now_ms, mut told) = (self.now_ms, self.told.clone());
        let queue = self.queue(&command.namespace, &command.queue)?;
        let settings = fields::settings(&command.settings)?;
        let filter = fields::filter(command.filter.as_ref())?;
        if let Some(known) = queue.subs.get(&command.name) {
            if known.settings != settings || known.filter != filter {
                return Err(Refusal::SubscriptionExists(command.name.clone()));
            }
            return Ok(Reply::SubCreated { settings, created: false });
        }
        if queue.settings.priorities && settings.order() != Order::None {
            return Err(invalid("order"));
        }
        if queue.subs.len() >= SUBSCRIPTIONS_MAX {
            let limit = SUBSCRIPTIONS_MAX as u64;
            return Err(Refusal::LimitReached { what: "subscriptions of a queue", limit });
        }
        let added = queue.add_sub(&command.name, settings, filter, &command.start, now_ms, &mut told);
        self.told = told;
        added.map(|()| Reply::SubCreated { settings, created: true })
    }

    pub(crate) fn update_sub(&mut self, command: &UpdateSub) -> Outcome {
        let sub = self.queue(&command.namespace, &command.queue)?.sub(&command.name)?;
        let settings = fields::settings(&command.settings)?;
        let filter = fields::filter(command.filter.as_ref())?;
        fields::revision(command.revision, sub.revision)?;
        if settings.order != sub.settings.order {
            return Err(invalid("order"));
        }
        if settings.per_key_inflight != sub.settings.per_key_inflight {
            return Err(invalid("per_key_inflight"));
        }
        if (sub.settings, &sub.filter) != (settings, &filter) {
            (sub.settings, sub.filter) = (settings, filter);
            sub.revision += 1;
        }
        Ok(Reply::Updated { revision: sub.revision })
    }

    pub(crate) fn delete_sub(&mut self, command: &DeleteSub) -> Outcome {
        let queue = self.queue(&command.namespace, &command.queue)?;
        let (queue_id, sub) = (queue.id, queue.sub(&command.name)?.id);
        if queue.subs.len() == 1 {
            return Err(Refusal::LastSubscription);
        }
        let last_token = queue.sub(&command.name)?.last_token;
        queue.last_token = queue.last_token.max(last_token);
        queue.subs.retain(|_, row| row.id != sub);
        queue.is_unswept = true;
        self.end_consumers(queue_id, Some(sub));
        Ok(Reply::Done)
    }

    pub(crate) fn pause(&mut self, command: &Pause) -> Outcome {
        self.queue(&command.namespace, &command.queue)?.sub(&command.name)?.is_paused = command.paused;
        Ok(Reply::Done)
    }

    pub(crate) fn seek(&mut self, command: &Seek) -> Outcome {
        let (now_ms, mut told) = (self.now_ms, self.told.clone());
        let old = self.queue(&command.namespace, &command.queue)?.sub(&command.name)?.clone();
        let consumers = self.consumers_of(old.queue, old.id);
        let queue = self.queue(&command.namespace, &command.queue)?;
        let position = queue.resolve(&command.to)?;
        // Who has not followed since the move before has lost nothing of what it holds now: that is nothing.
        let mut following = old.following.clone();
        for consumer in &consumers {
            let held = || old.held(*consumer).into_iter().map(|position| old.lease(position)).collect();
            following.entry(*consumer).or_insert_with(held);
        }
        // What is not begun anew: who is attached, what was said about it, and what leases were given.
        let mut sub = Sub {
            rows: Vec::new(),
            done_up_to: 0,
            parked_keys: BTreeSet::new(),
            following,
            expired: 0,
            discarded: 0,
            dropped: 0,
            ..old
        };
        let (mut steps, mut revoked) = (told.clone(), Vec::new());
        sub.follow(&mut steps, queue.last_sub + 1, &mut revoked);
        told = steps;
        queue.look_from(&mut sub, position, now_ms, &mut told);
        queue.is_unswept = true;
        queue.last_sub += 1;
        let (queue_id, before, after) = (queue.id, sub.id, queue.last_sub);
        *queue.sub(&command.name)? = Sub { id: after, ..sub };
        self.told = told;
        self.renumber(queue_id, before, after);
        self.effects.extend(revoked);
        Ok(Reply::Sought { position })
    }
}
