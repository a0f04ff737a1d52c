//! The model's queues: created, changed, emptied and deleted.

use std::collections::BTreeMap;

use quorate_machine::command::{CreateQueue, DeleteQueue, Order, Purge, Start, StartKind, UpdateQueue};
use quorate_machine::effect::Effect;
use quorate_machine::reply::{Outcome, Refusal, Reply};

use crate::fields;
use crate::naive::{At, Naive, Queue, Sub, invalid};

impl Naive {
    pub(crate) fn create(&mut self, command: &CreateQueue) -> Outcome {
        fields::namespace(&command.namespace)?;
        fields::name(&command.name)?;
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
        let mut row = Queue {
            id: self.last_queue,
            settings: queue,
            routes: command.routes.clone(),
            revision: 1,
            created_at_ms: now_ms,
            messages: Vec::new(),
            batches: Vec::new(),
            subs: BTreeMap::new(),
            last_sub: 0,
            past_to: 0,
            is_unswept: false,
        };
        let start = Start { kind: StartKind::Latest.into(), at: 0 };
        row.add_sub("default", settings, filter, &start, now_ms)?;
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
        let id = self.queue(&command.namespace, &command.name)?.id;
        self.queues.remove(&command.name);
        self.end_consumers(id, None);
        self.unswept = true;
        Ok(Reply::Done)
    }

    /// Ends the consumers of a queue, or of one of its subscriptions.
    pub(crate) fn end_consumers(&mut self, queue: u64, sub: Option<u32>) {
        let ended: Vec<u64> = self
            .consumers
            .iter()
            .filter(|(_, row)| row.queue == queue && sub.is_none_or(|sub| row.sub == sub))
            .map(|(id, _)| *id)
            .collect();
        for consumer in ended {
            self.consumers.remove(&consumer);
            self.effects.push(Effect::Ended { consumer });
        }
    }

    pub(crate) fn purge(&mut self, command: &Purge) -> Outcome {
        let queue = self.queue(&command.namespace, &command.name)?;
        for sub in queue.subs.values_mut() {
            for row in sub.open_mut() {
                if !matches!(row.at, At::Leased { .. }) {
                    row.at = At::Done;
                }
            }
            sub.parked_keys.clear();
        }
        queue.is_unswept = true;
        Ok(Reply::Done)
    }
}
