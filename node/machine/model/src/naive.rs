//! The model's state, and which command is carried out where.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_machine::FORMAT_VERSION;
use quorate_machine::command::{Batch, Filter, Order, QueueSettings, Settings, Verb};
use quorate_machine::effect::{Effect, Lease};
use quorate_machine::message;
use quorate_machine::read::Failure;
use quorate_machine::reply::{Outcome, Refusal, Reply, Transacted};

use crate::fields;

/// Where a message stands in a subscription.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// It is not due yet.
    Delayed,
    /// It could be leased, unless its key is parked.
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
    /// It was parked itself, not with its key.
    Parked {
        /// It keeps its place, and what is behind it in its domain waits.
        blocks: bool,
    },
    /// It is gone.
    Done,
}

/// A message, until its queue is deleted.
#[derive(Clone, Debug)]
pub struct Message {
    /// When it was published.
    pub published_at_ms: u64,
    /// As it was encoded by the publisher.
    pub bytes: Bytes,
    /// What the bytes say.
    pub content: message::Message,
    /// When it is due.
    pub due_ms: u64,
    /// How long after that it expires: its own word, or the queue's when it was published. 0: never.
    pub ttl_ms: u64,
    /// No tick has passed over its expiry yet.
    pub expiry_is_ahead: bool,
}

/// Messages that were published together, and are stored together.
#[derive(Clone, Debug)]
pub struct Together {
    /// Position of the first.
    pub first: u64,
    /// Position after the last.
    pub end: u64,
    /// When they were published.
    pub published_at_ms: u64,
    /// They were found to be beyond the queue's bounds of age, size or number.
    pub is_past: bool,
}

/// A message in a subscription.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its position.
    pub position: u64,
    /// Its key; may be empty.
    pub key: Bytes,
    /// 9 goes first.
    pub priority: u32,
    /// When it is due.
    pub due_ms: u64,
    /// When it expires.
    pub expires_ms: Option<u64>,
    /// Where it stands.
    pub at: At,
    /// Failures so far, plus one.
    pub attempt: u32,
    /// Its last failures that left a reason.
    pub failures: Vec<Failure>,
    /// It was parked itself, or its time came while its key was parked: it does not expire any more.
    pub is_kept: bool,
}

/// A subscription.
#[derive(Clone, Debug)]
pub struct Sub {
    /// Id of its queue.
    pub queue: u64,
    /// Subscriptions of a queue are numbered as they are created.
    pub id: u32,
    /// Defaults filled in.
    pub settings: Settings,
    /// What it takes; none: everything.
    pub filter: Option<Filter>,
    /// Of settings and filter.
    pub revision: u64,
    /// Whether it leases nothing.
    pub is_paused: bool,
    /// The message at position p is at index p - 1.
    pub rows: Vec<Row>,
    /// So many messages from the front are done: nothing below asks for them one by one.
    pub done_up_to: usize,
    /// The keys that are parked.
    pub parked_keys: BTreeSet<Bytes>,
    /// Of the last lease.
    pub last_token: u64,
    /// The consumer that got something last in a round.
    pub served_last: u64,
    /// Messages that expired.
    pub expired: u64,
    /// Messages that were discarded.
    pub discarded: u64,
    /// Messages that were dropped because the queue was full, or retained them no longer.
    pub dropped: u64,
}

/// A queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Queues are numbered as they are created.
    pub id: u64,
    /// Its own settings.
    pub settings: QueueSettings,
    /// Patterns of the subjects that are routed to it.
    pub routes: Vec<String>,
    /// Of the settings.
    pub revision: u64,
    /// When it was created.
    pub created_at_ms: u64,
    /// The message at position p is at index p - 1.
    pub messages: Vec<Message>,
    /// Those that are stored.
    pub batches: Vec<Together>,
    /// By name.
    pub subs: BTreeMap<String, Sub>,
    /// The highest number that a subscription ever had.
    pub last_sub: u32,
    /// Position after the last batch that was found to be beyond the bounds of age, size or number.
    pub past_to: u64,
    /// The machine may still store what is not needed any more, until a tick: until then nothing should ask where storage begins.
    pub is_unswept: bool,
}

/// A consumer session.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// Its name.
    pub session: Bytes,
    /// Id of its queue.
    pub queue: u64,
    /// Number of its subscription.
    pub sub: u32,
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
    /// Receipts of transactions up to here are with the producer.
    pub transactions_acked: u64,
    /// By their numbers, all that it ever carried out.
    pub transactions: BTreeMap<u64, Transacted>,
}

/// What is kept under a key of the state.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Of the write.
    pub version: u64,
    /// What was written.
    pub value: Bytes,
    /// When it is gone.
    pub expires_ms: Option<u64>,
}

/// The whole state.
#[derive(Clone, Default)]
pub struct Naive {
    /// Replicated time.
    pub now_ms: u64,
    /// By name.
    pub queues: BTreeMap<String, Queue>,
    /// By id.
    pub consumers: BTreeMap<u64, Consumer>,
    /// By id.
    pub producers: BTreeMap<u64, Producer>,
    /// The keyed state.
    pub state: BTreeMap<String, Kept>,
    /// Of the last write of the state.
    pub last_version: u64,
    /// Of the entry under way.
    pub effects: Vec<Effect>,
    /// A deleted queue or ended producer waits for a tick.
    pub unswept: bool,
    pub(crate) last_queue: u64,
    pub(crate) last_consumer: u64,
    pub(crate) last_producer: u64,
    last_node: u64,
}

pub(crate) fn invalid(field: &'static str) -> Refusal {
    Refusal::Invalid { field, problem: String::new() }
}

impl Message {
    /// When it expires.
    pub fn expires_ms(&self) -> Option<u64> {
        (self.ttl_ms > 0).then(|| self.due_ms.saturating_add(self.ttl_ms))
    }
}

impl Row {
    /// Whether its time has come.
    pub(crate) fn is_expired(&self, now_ms: u64) -> bool {
        !self.is_kept && self.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
    }
}

impl Sub {
    /// How it orders what it hands out.
    pub fn order(&self) -> Order {
        Order::try_from(self.settings.order).unwrap_or(Order::None)
    }

    /// The messages that may be anything but done.
    pub fn open(&self) -> impl Iterator<Item = &Row> {
        self.rows[self.done_up_to..].iter()
    }

    pub(crate) fn open_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.rows[self.done_up_to..].iter_mut()
    }

    /// The positions that a consumer holds.
    pub fn held(&self, consumer: u64) -> Vec<u64> {
        let is_held = |row: &&Row| matches!(row.at, At::Leased { consumer: c, .. } if c == consumer);
        self.open().filter(is_held).map(|row| row.position).collect()
    }

    /// Whether a consumer holds a position under this token.
    pub(crate) fn is_held(&self, consumer: u64, position: u64, token: u64) -> bool {
        let row = position.checked_sub(1).and_then(|at| self.rows.get(at as usize));
        row.is_some_and(
            |row| matches!(row.at, At::Leased { consumer: c, token: t, .. } if c == consumer && t == token),
        )
    }

    /// A message that was published.
    pub fn row(&self, position: u64) -> &Row {
        &self.rows[position as usize - 1]
    }

    pub(crate) fn row_mut(&mut self, position: u64) -> &mut Row {
        &mut self.rows[position as usize - 1]
    }

    /// The lease of a message that is leased.
    pub(crate) fn lease(&self, position: u64) -> Lease {
        let row = self.row(position);
        let At::Leased { token, deadline_ms, .. } = row.at else { panic!("{position} is not leased") };
        Lease {
            namespace: 1,
            queue: self.queue,
            first_position: position,
            count: 1,
            first_token: token,
            attempt: row.attempt,
            deadline_ms,
        }
    }
}

impl Queue {
    /// The position of the next message.
    pub fn next_position(&self) -> u64 {
        self.messages.len() as u64 + 1
    }

    /// Whether the message at a position is stored.
    pub fn is_stored(&self, position: u64) -> bool {
        self.batches.iter().any(|batch| (batch.first..batch.end).contains(&position))
    }

    /// The first position that is stored, or else the next one.
    pub fn first_stored(&self) -> u64 {
        self.batches.first().map_or_else(|| self.next_position(), |batch| batch.first)
    }

    /// A subscription by name, where empty means `default`.
    pub(crate) fn sub(&mut self, name: &str) -> Result<&mut Sub, Refusal> {
        let name = if name.is_empty() { "default" } else { name };
        self.subs.get_mut(name).ok_or_else(|| Refusal::UnknownSubscription(name.into()))
    }

    /// What follows from a command: batches go that nobody needs and no bound keeps.
    fn tidy(&mut self) {
        for sub in self.subs.values_mut() {
            let open = sub.done_up_to;
            sub.done_up_to += sub.rows[open..].iter().take_while(|row| row.at == At::Done).count();
        }
        let is_open = |position: u64| self.subs.values().any(|sub| sub.row(position).at != At::Done);
        let stays = |batch: &&Together| (batch.first..batch.end).any(is_open) || self.is_within_bounds(batch);
        self.batches = self.batches.iter().filter(stays).cloned().collect();
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
        let answer = match verb {
            Verb::CreateQueue(command) => self.create(command),
            Verb::UpdateQueue(command) => self.update(command),
            Verb::DeleteQueue(command) => self.delete(command),
            Verb::Purge(command) => self.purge(command),
            Verb::CreateSub(command) => self.create_sub(command),
            Verb::UpdateSub(command) => self.update_sub(command),
            Verb::DeleteSub(command) => self.delete_sub(command),
            Verb::Pause(command) => self.pause(command),
            Verb::Seek(command) => self.seek(command),
            Verb::OpenProducer(command) => self.open(command),
            Verb::CloseProducer(command) => self.close(command.producer, command.epoch),
            Verb::Publish(command) => self.publish(command),
            Verb::Attach(command) => self.attach(command),
            Verb::Credit(command) => self.credit(command),
            Verb::Detach(command) => self.detach(command.consumer, command.generation),
            Verb::Settle(command) => self.settle(command),
            Verb::Unpark(command) => self.unpark(command),
            Verb::Transact(command) => self.transact(command),
            Verb::Reschedule(command) => self.reschedule(command),
            Verb::Tick(_) => self.tick(),
            Verb::GiveNodeIds(command) => self.give_node_ids(command.above, command.count),
        };
        self.queues.values_mut().for_each(Queue::tidy);
        answer
    }

    /// A queue by name.
    pub(crate) fn queue(&mut self, namespace: &str, name: &str) -> Result<&mut Queue, Refusal> {
        fields::namespace(namespace)?;
        self.queues.get_mut(name).ok_or_else(|| Refusal::UnknownQueue(name.into()))
    }

    /// The subscription of a consumer.
    pub(crate) fn sub_of(&mut self, queue: u64, sub: u32) -> &mut Sub {
        let queue = self.queues.values_mut().find(|row| row.id == queue);
        let sub = queue.and_then(|queue| queue.subs.values_mut().find(|row| row.id == sub));
        sub.expect("consumers end with their subscription")
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
}
