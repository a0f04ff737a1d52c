//! The model's queues: created, changed, emptied and deleted.

use std::collections::{BTreeMap, BTreeSet};

use quorate_machine::command::{CreateQueue, DeleteQueue, Order, Purge, Start, StartKind, UpdateQueue};
use quorate_machine::effect::Effect;
use quorate_machine::reply::{Outcome, Refusal, Reply};
use quorate_machine::work::Kind;

use crate::fields;
use crate::naive::{At, Consumer, Ends, Naive, Queue, Sub, invalid, take_first};

/// Names of deleted queues that are remembered one by one.
const FORMER_NAMES_MAX: usize = 100_000;

impl Naive {
    pub(crate) fn create(&mut self, command: &CreateQueue) -> Outcome {
        fields::namespace(&command.namespace)?;
        let settings = fields::settings(&command.settings)?;
        let queue = fields::queue_settings(&command.queue)?;
        let filter = fields::filter(command.filter.as_ref())?;
        if queue.priorities && settings.order() != Order::None {
            return Err(invalid("priorities"));
        }
        fields::routes(&command.routes)?;
        let now_ms = self.now_ms;
        if let Some(known) = self.queues.get(&command.name) {
            let is_same = |sub: &Sub| sub.settings == settings && sub.filter == filter;
            let is_as_asked = known.settings == queue && known.routes == command.routes;
            if !known.subs.get("default").is_some_and(is_same) || !is_as_asked {
                return Err(Refusal::QueueExists(command.name.clone()));
            }
            let created_at_ms = known.created_at_ms;
            return Ok(Reply::QueueCreated { settings, created: false, created_at_ms, queue });
        }
        self.last_queue += 1;
        let begin = self.former.remove(&command.name).map_or(self.floor, |(_, ends)| ends);
        let mut row = Queue {
            id: self.last_queue,
            settings: queue,
            routes: command.routes.clone(),
            revision: 1,
            created_at_ms: now_ms,
            before: begin.position,
            last_token: begin.token,
            messages: Vec::new(),
            batches: Vec::new(),
            subs: BTreeMap::new(),
            last_sub: 0,
            past_to: 0,
            is_unswept: false,
        };
        let start = Start { kind: StartKind::Latest.into(), at: 0 };
        row.add_sub("default", settings, filter, &start, now_ms, &mut None)?;
        self.queues.insert(command.name.clone(), row);
        Ok(Reply::QueueCreated { settings, created: true, created_at_ms: now_ms, queue })
    }

    pub(crate) fn update(&mut self, command: &UpdateQueue) -> Outcome {
        let (now_ms, mut effects) = (self.now_ms, Vec::new());
        let queue = self.queue(&command.namespace, &command.name)?;
        let settings = fields::queue_settings(&command.queue)?;
        fields::revision(command.revision, queue.revision)?;
        let has_order = queue.subs.values().any(|sub| sub.order() != Order::None);
        if settings.priorities && has_order {
            return Err(invalid("priorities"));
        }
        if settings.retain.latest_per_key != queue.settings.retain.latest_per_key {
            return Err(invalid("retain"));
        }
        fields::routes(&command.routes)?;
        let is_new = queue.settings != settings || queue.routes != command.routes;
        let bounds_are_new = queue.settings.retain != settings.retain;
        queue.settings = settings;
        queue.routes.clone_from(&command.routes);
        queue.revision += u64::from(is_new);
        if bounds_are_new {
            queue.apply_bounds_anew(now_ms, &mut effects);
        }
        let revision = queue.revision;
        self.effects.extend(effects);
        Ok(Reply::Updated { revision })
    }

    pub(crate) fn delete(&mut self, command: &DeleteQueue) -> Outcome {
        let queue = self.queue(&command.namespace, &command.name)?;
        let (id, position) = (queue.id, queue.next_position() - 1);
        let tokens = queue.subs.values().map(|sub| sub.last_token);
        let token = tokens.fold(queue.last_token, u64::max);
        self.queues.remove(&command.name);
        self.remember(&command.name, Ends { position, token });
        self.end_consumers(id, None);
        self.unswept = true;
        Ok(Reply::Done)
    }

    /// A name is given up. If that is one too many, the oldest raises the floor.
    fn remember(&mut self, name: &str, ends: Ends) {
        if ends.position <= self.floor.position && ends.token <= self.floor.token {
            return;
        }
        self.deletions += 1;
        self.former.insert(name.into(), (self.deletions, ends));
        if self.former.len() <= FORMER_NAMES_MAX {
            return;
        }
        let oldest = self.former.iter().min_by_key(|(_, (number, _))| *number).map(|(name, _)| name.clone());
        if let Some((_, ends)) = oldest.and_then(|oldest| self.former.remove(&oldest)) {
            self.floor.position = self.floor.position.max(ends.position);
            self.floor.token = self.floor.token.max(ends.token);
        }
    }

    /// Ends the consumers of a queue, or of one of its subscriptions: as many as the machine says, and ticks go on.
    pub(crate) fn end_consumers(&mut self, queue: u64, sub: Option<u32>) {
        self.leaving.retain(|_, place| place.0 != queue || sub.is_some_and(|sub| sub != place.1));
        let is_over = |row: &Consumer| row.queue == queue && sub.is_none_or(|sub| row.sub == sub);
        let ids: Vec<u64> = self.consumers.keys().copied().collect();
        for id in ids {
            if let Some(row) = self.consumers.remove(&id) {
                if is_over(&row) { &mut self.ending } else { &mut self.consumers }.insert(id, row);
            }
        }
        if self.told.is_some() {
            self.end_told();
        } else {
            let ended: Vec<u64> = std::mem::take(&mut self.ending).into_keys().collect();
            self.effects.extend(ended.into_iter().map(|consumer| Effect::Ended { consumer }));
        }
    }

    /// Ends the consumers of deleted subscriptions that the machine says, those that are to end: the next may be of another
    /// command in the same entry. Returns how many.
    pub(crate) fn end_told(&mut self) -> usize {
        let mut steps = 0;
        let Self { told, ending, effects, .. } = self;
        while let Some(step) =
            take_first(told, |step| step.kind == Kind::Ended && ending.contains_key(&step.first))
        {
            steps += 1;
            ending.remove(&step.first);
            effects.push(Effect::Ended { consumer: step.first });
        }
        steps
    }

    pub(crate) fn purge(&mut self, command: &Purge) -> Outcome {
        let live: BTreeSet<u64> = self.consumers.keys().copied().collect();
        let queue = self.queue(&command.namespace, &command.name)?;
        let id = queue.id;
        let subs: Vec<(String, u32)> = queue.subs.iter().map(|(name, sub)| (name.clone(), sub.id)).collect();
        for sub in queue.subs.values_mut() {
            for row in sub.open_mut() {
                // What a consumer holds that has ended is as good as ready.
                if !matches!(row.at, At::Leased { consumer, .. } if live.contains(&consumer)) {
                    row.at = At::Done;
                }
            }
            sub.parked_keys.clear();
        }
        queue.is_unswept = true;
        for (name, before) in subs {
            // Who holds something goes along with it, and the others follow.
            let consumers = self.consumers_of(id, before);
            let Some(queue) = self.queues.get_mut(&command.name) else { continue };
            queue.last_sub += 1;
            let after = queue.last_sub;
            let sub = queue.sub(&name)?;
            sub.id = after;
            for consumer in consumers {
                if sub.held(consumer).is_empty() {
                    sub.following.entry(consumer).or_default();
                }
            }
            self.renumber(id, before, after);
            self.follow_at_once(id, after);
        }
        Ok(Reply::Done)
    }
}
