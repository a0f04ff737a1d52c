//! The model's queues and consumers, and who gets what.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_machine::FORMAT_VERSION;
use quorate_machine::command::{Attach, Batch, CreateQueue, Order, Settings, Verb};
use quorate_machine::effect::{Effect, Lease};
use quorate_machine::reply::{Attached, Outcome, Refusal, Reply};

use crate::fields;

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// It could be leased.
    Ready,
    /// A consumer holds it.
    Leased {
        /// Which.
        consumer: u64,
        /// The lease's token.
        token: u64,
        /// When the lease ends.
        deadline_ms: u64,
    },
    /// It waits for its backoff.
    Retrying {
        /// When it is ready again.
        at_ms: u64,
    },
    /// It was acknowledged.
    Done,
}

/// A message, until its queue is deleted.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where it stands.
    pub at: At,
    /// Failures so far, plus one.
    pub attempt: u32,
    /// When it was published.
    pub published_at_ms: u64,
    /// As it was encoded by the publisher.
    pub bytes: Bytes,
}

/// A queue with its only subscription.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Queues are numbered as they are created.
    pub id: u64,
    /// Defaults filled in.
    pub settings: Settings,
    /// When it was created.
    pub created_at_ms: u64,
    /// The message at position p is at index p - 1.
    pub messages: Vec<Message>,
    /// So many messages from the front are done: nothing below asks for them one by one.
    pub done_up_to: usize,
    /// The highest position that was ever leased.
    pub leased_up_to: u64,
    /// Of the last lease.
    pub last_token: u64,
    /// The consumer that got the last lease.
    pub served_last: u64,
}

/// A consumer session.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// Its name.
    pub session: Bytes,
    /// Id of its queue.
    pub queue: u64,
    /// Counts its attaches.
    pub generation: u64,
    /// How much it may hold.
    pub credit: u32,
    /// How long it outlives its stream.
    pub session_timeout_ms: u64,
}

/// A producer session.
#[derive(Clone, Debug, Default)]
pub struct Producer {
    /// Its name.
    pub name: String,
    /// Who opened it last.
    pub holder: Bytes,
    /// Counts its openings.
    pub epoch: u64,
    /// The last sequence number.
    pub last_seq: u64,
    /// Receipts up to here are with the producer.
    pub acked_seq: u64,
    /// How long it is remembered without use.
    pub ttl_ms: u64,
    /// When it was used last.
    pub used_at_ms: u64,
    /// When a tick looks whether it is idle.
    pub look_at_ms: u64,
    /// Sequence number to queue and position, of everything it ever published.
    pub receipts: BTreeMap<u64, (u64, u64)>,
}

/// The whole state.
#[derive(Default)]
pub struct Naive {
    /// Replicated time.
    pub now_ms: u64,
    /// By name.
    pub queues: BTreeMap<String, Queue>,
    /// By id.
    pub consumers: BTreeMap<u64, Consumer>,
    /// By id.
    pub producers: BTreeMap<u64, Producer>,
    /// Of the entry under way.
    pub effects: Vec<Effect>,
    /// A deleted queue or ended producer waits for a tick.
    pub unswept: bool,
    last_queue: u64,
    last_consumer: u64,
    last_producer: u64,
    last_node: u64,
}

pub(crate) fn invalid(field: &'static str) -> Refusal {
    Refusal::Invalid { field, problem: String::new() }
}

impl Queue {
    /// Whether nothing may overtake.
    pub fn is_total(&self) -> bool {
        self.settings.order == Order::Total as i32
    }

    /// The messages that may be anything but done, with their positions.
    pub fn open(&self) -> impl Iterator<Item = (u64, &Message)> {
        (self.done_up_to as u64 + 1..).zip(&self.messages[self.done_up_to..])
    }

    /// The positions that a consumer holds.
    pub fn held(&self, consumer: u64) -> Vec<u64> {
        let is_held =
            |message: &Message| matches!(message.at, At::Leased { consumer: c, .. } if c == consumer);
        self.open().filter(|(_, message)| is_held(message)).map(|(position, _)| position).collect()
    }

    /// Whether a consumer holds a position under this token.
    pub(crate) fn is_held(&self, consumer: u64, position: u64, token: u64) -> bool {
        let message = position.checked_sub(1).and_then(|at| self.messages.get(at as usize));
        message.is_some_and(
            |row| matches!(row.at, At::Leased { consumer: c, token: t, .. } if c == consumer && t == token),
        )
    }

    pub(crate) fn message(&mut self, position: u64) -> &mut Message {
        &mut self.messages[position as usize - 1]
    }

    pub(crate) fn lease(&self, position: u64) -> Lease {
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
    /// Applies an entry of the log. Returns an answer for each of its commands; the effects are in [`Naive::effects`].
    pub fn apply(&mut self, entry: &Batch) -> Vec<Outcome> {
        self.effects.clear();
        if entry.format_version != FORMAT_VERSION {
            return vec![Err(Refusal::Malformed(String::new()))];
        }
        self.now_ms = self.now_ms.max(entry.time_ms);
        let mut answers = Vec::new();
        for command in &entry.commands {
            answers.push(match &command.verb {
                Some(verb) => self.carry_out(verb),
                None => Err(Refusal::Malformed(String::new())),
            });
        }
        self.assign_all();
        answers
    }

    /// Carries out one command. After the last one of an entry comes [`Naive::assign_all`].
    pub fn carry_out(&mut self, verb: &Verb) -> Outcome {
        match verb {
            Verb::CreateQueue(command) => self.create(command),
            Verb::DeleteQueue(command) => self.delete(&command.name),
            Verb::OpenProducer(command) => self.open(command),
            Verb::CloseProducer(command) => self.close(command.producer, command.epoch),
            Verb::Publish(command) => self.publish(command),
            Verb::Attach(command) => self.attach(command),
            Verb::Credit(command) => {
                fields::credit(command.credit)?;
                self.holder(command.consumer, command.generation)?.credit = command.credit;
                Ok(Reply::Done)
            }
            Verb::Detach(command) => self.detach(command.consumer, command.generation),
            Verb::Settle(command) => self.settle(command),
            Verb::Tick(_) => self.tick(),
            Verb::GiveNodeIds(command) => self.give_node_ids(command.above, command.count),
        }
    }

    pub(crate) fn queue_by_id(&mut self, id: u64) -> &mut Queue {
        self.queues.values_mut().find(|queue| queue.id == id).expect("consumers end with their queue")
    }

    fn create(&mut self, command: &CreateQueue) -> Outcome {
        fields::name(&command.name)?;
        let settings = fields::settings(&command.settings)?;
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
            done_up_to: 0,
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

    fn give_node_ids(&mut self, above: u64, count: u64) -> Outcome {
        let limit = 4_294_967_295;
        let last = u128::from(self.last_node.max(above)) + u128::from(count);
        if last > limit.into() {
            return Err(Refusal::LimitReached { what: "ids of nodes", limit });
        }
        self.last_node = last as u64;
        Ok(Reply::NodeIdsGiven(self.last_node))
    }

    pub(crate) fn next_producer(&mut self) -> u64 {
        self.last_producer += 1;
        self.last_producer
    }

    fn attach(&mut self, command: &Attach) -> Outcome {
        let session_timeout_ms = fields::attach(command)?;
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
        row.session_timeout_ms = session_timeout_ms;
        let generation = row.generation;
        self.effects.push(Effect::Attached { consumer, generation, session_timeout_ms });
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
        for queue in self.queues.values_mut() {
            let from = queue.done_up_to;
            queue.done_up_to += queue.messages[from..].iter().take_while(|row| row.at == At::Done).count();
        }
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
            let waits = |message: &Message| !matches!(message.at, At::Done | At::Leased { .. });
            let Some((position, message)) = queue.open().find(|(_, message)| waits(message)) else { return };
            if message.at != At::Ready || self.free(queue, active) == 0 {
                return;
            }
            self.lease(name, position, active);
        }
    }

    /// Deals the ready messages once round the consumers with credit left.
    fn assign_round(&mut self, name: &str) -> bool {
        let queue = &self.queues[name];
        let mut ready: Vec<u64> = queue
            .open()
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
