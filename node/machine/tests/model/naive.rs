//! The model: a struct for each message, vectors and loops. It shares no code with the machine but the types of its
//! interface, and says each rule in the plainest way.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_machine::command::{Attach, CreateQueue, Order, Settings, Verb};
use quorate_machine::effect::{Effect, Lease};
use quorate_machine::reply::{Attached, Outcome, Refusal, Reply};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    Ready,
    Leased { consumer: u64, token: u64, deadline_ms: u64 },
    Retrying { at_ms: u64 },
    Done,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub at: At,
    pub attempt: u32,
    pub published_at_ms: u64,
    pub bytes: Bytes,
}

#[derive(Clone, Debug)]
pub struct Queue {
    pub id: u64,
    pub settings: Settings,
    pub created_at_ms: u64,
    /// The message at position p is at index p - 1.
    pub messages: Vec<Message>,
    /// The highest position that was ever leased.
    pub leased_up_to: u64,
    pub last_token: u64,
    pub served_last: u64,
}

#[derive(Clone, Debug)]
pub struct Consumer {
    pub session: Bytes,
    pub queue: u64,
    pub generation: u64,
    pub credit: u32,
    pub session_timeout_ms: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Producer {
    pub name: String,
    pub epoch: u64,
    pub last_seq: u64,
    pub acked_seq: u64,
    pub ttl_ms: u64,
    pub used_at_ms: u64,
    pub look_at_ms: u64,
    /// Sequence number to queue and position, of everything it ever published.
    pub receipts: BTreeMap<u64, (u64, u64)>,
}

#[derive(Default)]
pub struct Naive {
    pub now_ms: u64,
    pub queues: BTreeMap<String, Queue>,
    pub consumers: BTreeMap<u64, Consumer>,
    pub producers: BTreeMap<u64, Producer>,
    pub effects: Vec<Effect>,
    /// A deleted queue or ended producer waits for a tick.
    pub unswept: bool,
    last_queue: u64,
    last_consumer: u64,
    last_producer: u64,
}

pub fn invalid(field: &'static str) -> Refusal {
    Refusal::Invalid { field, problem: String::new() }
}

impl Queue {
    pub fn is_total(&self) -> bool {
        self.settings.order == Order::Total as i32
    }

    pub fn held(&self, consumer: u64) -> Vec<u64> {
        let is_held =
            |message: &Message| matches!(message.at, At::Leased { consumer: c, .. } if c == consumer);
        (1..)
            .zip(&self.messages)
            .filter(|(_, message)| is_held(message))
            .map(|(position, _)| position)
            .collect()
    }

    pub fn message(&mut self, position: u64) -> &mut Message {
        &mut self.messages[position as usize - 1]
    }

    pub fn lease(&self, position: u64) -> Lease {
        let message = &self.messages[position as usize - 1];
        let At::Leased { token, deadline_ms, .. } = message.at else { panic!("{position} is not leased") };
        Lease {
            namespace: 1,
            queue: self.id,
            first_position: position,
            count: 1,
            first_token: token,
            attempt: message.attempt,
            deadline_ms,
        }
    }
}

impl Naive {
    pub fn carry_out(&mut self, verb: &Verb) -> Outcome {
        match verb {
            Verb::CreateQueue(command) => self.create(command),
            Verb::DeleteQueue(command) => self.delete(&command.name),
            Verb::OpenProducer(command) => self.open(&command.session, command.ttl_ms),
            Verb::CloseProducer(command) => self.close(command.producer, command.epoch),
            Verb::Publish(command) => self.publish(command),
            Verb::Attach(command) => self.attach(command),
            Verb::Credit(command) => {
                self.holder(command.consumer, command.generation)?.credit = command.credit;
                Ok(Reply::Done)
            }
            Verb::Detach(command) => self.detach(command.consumer, command.generation),
            Verb::Settle(command) => self.settle(command),
            Verb::Tick(_) => self.tick(),
        }
    }

    pub fn queue_by_id(&mut self, id: u64) -> &mut Queue {
        self.queues.values_mut().find(|queue| queue.id == id).expect("consumers end with their queue")
    }

    fn create(&mut self, command: &CreateQueue) -> Outcome {
        let settings = command.settings;
        if let Some(queue) = self.queues.get(&command.name) {
            if queue.settings != settings {
                return Err(Refusal::QueueExists(command.name.clone()));
            }
            let created_at_ms = queue.created_at_ms;
            return Ok(Reply::QueueCreated { settings, created: false, created_at_ms });
        }
        self.last_queue += 1;
        let queue = Queue {
            id: self.last_queue,
            settings,
            created_at_ms: self.now_ms,
            messages: Vec::new(),
            leased_up_to: 0,
            last_token: 0,
            served_last: 0,
        };
        self.queues.insert(command.name.clone(), queue);
        Ok(Reply::QueueCreated { settings, created: true, created_at_ms: self.now_ms })
    }

    fn delete(&mut self, name: &str) -> Outcome {
        let queue = self.queues.remove(name).ok_or_else(|| Refusal::UnknownQueue(name.into()))?;
        let ended: Vec<u64> =
            self.consumers.iter().filter(|(_, row)| row.queue == queue.id).map(|(id, _)| *id).collect();
        for consumer in ended {
            self.consumers.remove(&consumer);
            self.effects.push(Effect::Ended { consumer });
        }
        self.unswept = true;
        Ok(Reply::Done)
    }

    pub fn next_producer(&mut self) -> u64 {
        self.last_producer += 1;
        self.last_producer
    }

    fn attach(&mut self, command: &Attach) -> Outcome {
        let queue =
            self.queues.get(&command.queue).ok_or_else(|| Refusal::UnknownQueue(command.queue.clone()))?;
        let (queue_id, settings) = (queue.id, queue.settings);
        let known = self.consumers.iter().find(|(_, row)| row.session == command.session).map(|(id, _)| *id);
        if known.is_some_and(|id| self.consumers[&id].queue != queue_id) {
            return Err(invalid("session"));
        }
        let consumer = known.unwrap_or_else(|| {
            self.last_consumer += 1;
            self.last_consumer
        });
        let row = self.consumers.entry(consumer).or_insert(Consumer {
            session: command.session.clone(),
            queue: queue_id,
            generation: 0,
            credit: 0,
            session_timeout_ms: 0,
        });
        row.generation += 1;
        row.credit = command.credit;
        row.session_timeout_ms = command.session_timeout_ms;
        let generation = row.generation;
        let queue = &self.queues[&command.queue];
        let leases = queue.held(consumer).into_iter().map(|position| queue.lease(position)).collect();
        Ok(Reply::Attached(Attached { consumer, generation, resumed: known.is_some(), settings, leases }))
    }

    fn holder(&mut self, consumer: u64, generation: u64) -> Result<&mut Consumer, Refusal> {
        let row = self.consumers.get_mut(&consumer).ok_or(Refusal::UnknownConsumer)?;
        if row.generation != generation {
            return Err(Refusal::ConsumerFenced { given: generation, current: row.generation });
        }
        Ok(row)
    }

    fn detach(&mut self, consumer: u64, generation: u64) -> Outcome {
        let queue = self.holder(consumer, generation)?.queue;
        let queue = self.queue_by_id(queue);
        for position in queue.held(consumer) {
            queue.message(position).at = At::Ready;
        }
        self.consumers.remove(&consumer);
        self.effects.push(Effect::Ended { consumer });
        Ok(Reply::Done)
    }

    /// Hands out what can be handed out, in every queue.
    pub fn assign_all(&mut self) {
        let names: Vec<String> = self.queues.keys().cloned().collect();
        for name in names {
            if self.queues[&name].is_total() {
                self.assign_total(&name);
            } else {
                while self.assign_round(&name) {}
            }
        }
    }

    fn free(&self, queue: &Queue, consumer: u64) -> usize {
        (self.consumers[&consumer].credit as usize).saturating_sub(queue.held(consumer).len())
    }

    fn lease(&mut self, name: &str, position: u64, consumer: u64) {
        let now_ms = self.now_ms;
        let queue = self.queues.get_mut(name).expect("it was listed");
        queue.last_token += 1;
        queue.leased_up_to = queue.leased_up_to.max(position);
        let (token, deadline_ms) = (queue.last_token, now_ms + queue.settings.lease_ms);
        queue.message(position).at = At::Leased { consumer, token, deadline_ms };
        let lease = queue.lease(position);
        self.effects.push(Effect::Assigned { consumer, lease });
    }

    fn assign_total(&mut self, name: &str) {
        loop {
            let queue = &self.queues[name];
            let Some(active) =
                self.consumers.iter().find(|(_, row)| row.queue == queue.id).map(|(id, _)| *id)
            else {
                return;
            };
            let open = |message: &Message| !matches!(message.at, At::Done | At::Leased { .. });
            let Some(index) = queue.messages.iter().position(open) else { return };
            if queue.messages[index].at != At::Ready || self.free(queue, active) == 0 {
                return;
            }
            self.lease(name, index as u64 + 1, active);
        }
    }

    /// Deals the ready messages once round the consumers with credit left.
    fn assign_round(&mut self, name: &str) -> bool {
        let queue = &self.queues[name];
        let mut ready: Vec<u64> = (1u64..)
            .zip(&queue.messages)
            .filter(|(_, message)| message.at == At::Ready)
            .map(|(position, _)| position)
            .collect();
        let mut waiting: Vec<u64> = self
            .consumers
            .iter()
            .filter(|(id, row)| row.queue == queue.id && self.free(queue, **id) > 0)
            .map(|(id, _)| *id)
            .collect();
        if ready.is_empty() || waiting.is_empty() {
            return false;
        }
        let served = waiting.iter().filter(|id| **id <= queue.served_last).count();
        waiting.rotate_left(served);
        let share = ready.len().div_ceil(waiting.len());
        for consumer in waiting {
            let take = self.free(&self.queues[name], consumer).min(share).min(ready.len());
            for position in ready.drain(..take) {
                self.lease(name, position, consumer);
                self.queues.get_mut(name).expect("it was listed").served_last = consumer;
            }
        }
        true
    }
}
