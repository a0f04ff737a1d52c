//! The model's state.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_machine::command::{Action, Filter, Order, QueueSettings, Selector, Settings};
use quorate_machine::effect::{Effect, Lease};
use quorate_machine::message;
use quorate_machine::read::Failure;
use quorate_machine::reply::{Refusal, Transacted};
use quorate_machine::work::Step;

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
    /// It was not looked at yet; neither was what comes after it.
    Unseen,
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

/// What positions and tokens of a name go on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// The last position that there was.
    pub position: u64,
    /// The last token that there was.
    pub token: u64,
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
    /// As of its queue.
    pub before: u64,
    /// The message at position p is at index p - 1 - before.
    pub rows: Vec<Row>,
    /// So many messages from the front are done: nothing below asks for them one by one.
    pub done_up_to: usize,
    /// The keys that are parked.
    pub parked_keys: BTreeSet<Bytes>,
    /// Of the last lease.
    pub last_token: u64,
    /// The consumer that got something last in a round.
    pub served_last: u64,
    /// Consumers that have not followed since it was moved, with the leases that they have not lost yet, in order of position.
    pub following: BTreeMap<u64, Vec<Lease>>,
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
    /// The last position that there was under its name when it was created.
    pub before: u64,
    /// The last token that a subscription which is deleted gave out, here or before under the name.
    pub last_token: u64,
    /// The message at position p is at index p - 1 - before.
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

/// A redrive or discard that is not through.
#[derive(Clone, Debug)]
pub struct Job {
    /// Id of its queue.
    pub queue: u64,
    /// Number of its subscription.
    pub sub: u32,
    /// What becomes of the messages.
    pub action: Action,
    /// Which they are.
    pub selector: Selector,
    /// It concerns nothing from there on.
    pub end: u64,
    /// It has been through everything before that which was parked by itself.
    pub next: u64,
    /// When it goes on.
    pub due_ms: u64,
}

/// The whole state.
#[derive(Clone, Default)]
pub struct Naive {
    /// Replicated time.
    pub now_ms: u64,
    /// By name.
    pub queues: BTreeMap<String, Queue>,
    /// What deleted queues left, by their names, with the number of the deletion.
    pub former: BTreeMap<String, (u64, Ends)>,
    /// What names that are in neither go on from.
    pub floor: Ends,
    /// How many names were given up.
    pub(crate) deletions: u64,
    /// By id.
    pub consumers: BTreeMap<u64, Consumer>,
    /// By id.
    pub producers: BTreeMap<u64, Producer>,
    /// The keyed state.
    pub state: BTreeMap<String, Kept>,
    /// Of the last write of the state.
    pub last_version: u64,
    /// Consumers that ended and whose leases are not released yet, with their queue and the number of their subscription.
    pub leaving: BTreeMap<u64, (u64, u32)>,
    /// Consumers of deleted subscriptions that have not ended yet.
    pub ending: BTreeMap<u64, Consumer>,
    /// Subscriptions that have more to hand out, by their queue and number.
    pub unassigned: BTreeSet<(u64, u32)>,
    /// Redrives and discards that are not through, by their ids. The machine says which.
    pub jobs: BTreeMap<u64, Job>,
    /// Of the entry under way.
    pub effects: Vec<Effect>,
    /// What the machine says that it got done of what was due, and the model has not done yet; none: the model does all of it.
    pub told: Option<Vec<Step>>,
    /// What the machine got done that was not to be done yet.
    pub wrong: Option<String>,
    /// A deleted queue or ended producer waits for a tick.
    pub unswept: bool,
    pub(crate) last_queue: u64,
    pub(crate) last_consumer: u64,
    pub(crate) last_producer: u64,
    pub(crate) last_node: u64,
    /// The highest version that was asked for.
    pub(crate) raised_to: u32,
}

pub(crate) fn invalid(field: &'static str) -> Refusal {
    Refusal::Invalid { field, problem: String::new().into() }
}

/// The next that the machine says that it did, if it is of a kind.
pub(crate) fn take_first(told: &mut Option<Vec<Step>>, is_one: impl Fn(&Step) -> bool) -> Option<Step> {
    let told = told.as_mut()?;
    is_one(told.first()?).then(|| told.remove(0))
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
        self.find(position).is_some_and(
            |row| matches!(row.at, At::Leased { consumer: c, token: t, .. } if c == consumer && t == token),
        )
    }

    /// A message, if there is one.
    pub fn find(&self, position: u64) -> Option<&Row> {
        let index = position.checked_sub(1)?.checked_sub(self.before)?;
        self.rows.get(index as usize)
    }

    /// A message that was published.
    pub fn row(&self, position: u64) -> &Row {
        &self.rows[(position - 1 - self.before) as usize]
    }

    pub(crate) fn row_mut(&mut self, position: u64) -> &mut Row {
        &mut self.rows[(position - 1 - self.before) as usize]
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
        self.before + self.messages.len() as u64 + 1
    }

    /// The positions of all its messages.
    pub fn positions(&self) -> std::ops::Range<u64> {
        self.before + 1..self.next_position()
    }

    /// A message, if there is one.
    pub fn find(&self, position: u64) -> Option<&Message> {
        let index = position.checked_sub(1)?.checked_sub(self.before)?;
        self.messages.get(index as usize)
    }

    /// A message that was published.
    pub fn message(&self, position: u64) -> &Message {
        &self.messages[(position - 1 - self.before) as usize]
    }

    /// The messages from a position on.
    pub fn messages_from(&self, position: u64) -> &[Message] {
        &self.messages[(position - 1 - self.before) as usize..]
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
    pub(crate) fn tidy(&mut self) {
        for sub in self.subs.values_mut() {
            let open = sub.done_up_to;
            sub.done_up_to += sub.rows[open..].iter().take_while(|row| row.at == At::Done).count();
        }
        self.batches = self.batches.iter().filter(|batch| self.is_needed(batch)).cloned().collect();
    }

    /// Whether somebody needs a batch, or a bound keeps it.
    pub(crate) fn is_needed(&self, batch: &Together) -> bool {
        // A log does not wait for who has not looked yet.
        let waits = self.settings.retain.until_done;
        let is_left = |at: At| at != At::Done && (waits || at != At::Unseen);
        let is_open = |position: u64| self.subs.values().any(|sub| is_left(sub.row(position).at));
        (batch.first..batch.end).any(is_open) || self.is_within_bounds(batch)
    }
}
