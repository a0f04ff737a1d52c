//! The values of the tables. Protobuf, written by prost: fields in the order of their tags and defaults left out,
//! so a value has one encoding. Tags are frozen.

use bytes::Bytes;
use prost::Message;
use quorate_simpoint::{Bug, planted};

use super::key;
use crate::command::{Order, QueueSettings, Selector, Settings};
use crate::store::{Read, StoreError};
use crate::tables::{Key, QueueId, SubId};

/// See [`super::Table::Meta`]: the next id of each kind. Zero means that none was given out yet.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Ids {
    #[prost(uint64, tag = "1")]
    pub last_queue: u64,
    #[prost(uint64, tag = "2")]
    pub last_producer: u64,
    #[prost(uint64, tag = "3")]
    pub last_consumer: u64,
    #[prost(uint64, tag = "4")]
    pub last_node: u64,
    #[prost(uint64, tag = "5")]
    pub last_job: u64,
}

/// See [`super::Table::Namespace`].
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Namespace {
    #[prost(uint64, tag = "1")]
    pub queues: u64,
    #[prost(uint64, tag = "2")]
    pub producers: u64,
    /// Keys of the state.
    #[prost(uint64, tag = "3")]
    pub state_keys: u64,
    /// Length of keys and values of the state.
    #[prost(uint64, tag = "4")]
    pub state_bytes: u64,
    /// Of the last write of the state.
    #[prost(uint64, tag = "5")]
    pub last_version: u64,
    /// Rows in [`super::Table::Former`].
    #[prost(uint64, tag = "6")]
    pub formers: u64,
    /// The number of the name that was given up last.
    #[prost(uint64, tag = "7")]
    pub last_former: u64,
    /// Names without a row in [`super::Table::Former`] begin with this position; 0 means 1.
    #[prost(uint64, tag = "8")]
    pub floor_position: u64,
    /// The same for tokens.
    #[prost(uint64, tag = "9")]
    pub floor_token: u64,
}

/// See [`super::Table::Former`].
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Former {
    /// Above every position that there was under the name.
    #[prost(uint64, tag = "1")]
    pub next_position: u64,
    /// Above every token that there was under the name, whatever the subscription.
    #[prost(uint64, tag = "2")]
    pub next_token: u64,
    /// Its row in [`super::Table::FormerOrder`].
    #[prost(uint64, tag = "3")]
    pub number: u64,
}

/// See [`super::Table::State`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Value {
    #[prost(uint64, tag = "1")]
    pub version: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// 0: never.
    #[prost(uint64, tag = "3")]
    pub expires_ms: u64,
}

/// See [`super::Table::Queue`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Queue {
    #[prost(uint64, tag = "1")]
    pub created_at_ms: u64,
    /// Of the next message that is published; starts above every position that there was under the name.
    #[prost(uint64, tag = "2")]
    pub next_position: u64,
    /// Encoded size of all messages ever published.
    #[prost(uint64, tag = "3")]
    pub bytes_published: u64,
    /// The subscriptions, ascending.
    #[prost(uint32, repeated, tag = "4")]
    pub subs: Vec<u32>,
    /// The highest number that a subscription ever had.
    #[prost(uint32, tag = "5")]
    pub last_sub: u32,
    #[prost(message, required, tag = "6")]
    pub settings: QueueSettings,
    /// Of the settings; starts at 1.
    #[prost(uint64, tag = "7")]
    pub revision: u64,
    /// The first position that may be within the bounds of age, size and number that are set; what is stored before it is needed by somebody. Grows
    /// as long as the bounds stay.
    #[prost(uint64, tag = "8")]
    pub kept_from: u64,
    /// The time of its row in [`super::Table::Deadline`], at or before the oldest batch within the bounds is too old; 0: it has none.
    #[prost(uint64, tag = "9")]
    pub retain_due_ms: u64,
    /// The highest that `kept_from` ever was.
    #[prost(uint64, tag = "10")]
    pub passed_to: u64,
    /// Where the tokens of a new subscription begin: above all that deleted ones gave out, here and before under the name.
    #[prost(uint64, tag = "11")]
    pub first_token: u64,
    /// The seats of the subscriptions, in the order of `subs`.
    #[prost(uint32, repeated, tag = "12")]
    pub seats: Vec<u32>,
}

impl Queue {
    /// The subscription that has a seat.
    pub(crate) fn seated(&self, seat: u32) -> Option<u32> {
        let at = self.seats.iter().position(|one| *one == seat)?;
        self.subs.get(at).copied()
    }

    /// A subscription's number is not used any more.
    pub(crate) fn forget(&mut self, sub: u32) {
        if let Some(at) = self.subs.iter().position(|one| *one == sub) {
            self.subs.remove(at);
            self.seats.remove(at);
        }
    }

    /// A batch that ends here is beyond the bounds of age, size and number, and so is everything before it.
    pub(crate) fn pass(&mut self, end: u64) {
        self.kept_from = self.kept_from.max(end);
        self.passed_to = self.passed_to.max(end);
    }
}

/// See [`super::Table::Routes`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Routes {
    #[prost(string, repeated, tag = "1")]
    pub patterns: Vec<String>,
}

/// See [`super::Table::Route`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Routed {
    /// Of the queue.
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, repeated, tag = "2")]
    pub patterns: Vec<String>,
}

/// See [`super::Table::Sub`].
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Sub {
    /// Defaults filled in.
    #[prost(message, required, tag = "1")]
    pub settings: Settings,
    /// The first position that was never leased.
    #[prost(uint64, tag = "2")]
    pub cursor: u64,
    /// Of the next lease; starts at the queue's `first_token`.
    #[prost(uint64, tag = "3")]
    pub next_token: u64,
    /// Messages in leased runs.
    #[prost(uint64, tag = "4")]
    pub leased: u64,
    /// Messages in ready runs: below the cursor, and free to be leased.
    #[prost(uint64, tag = "5")]
    pub returned: u64,
    /// Messages in retrying runs.
    #[prost(uint64, tag = "6")]
    pub retrying: u64,
    /// Encoded size of all messages that are done.
    #[prost(uint64, tag = "7")]
    pub bytes_done: u64,
    /// Attached consumers.
    #[prost(uint32, tag = "8")]
    pub consumers: u32,
    /// Those of them that have credit left.
    #[prost(uint32, tag = "9")]
    pub waiting: u32,
    /// The consumer that was served last: the next one is served first.
    #[prost(uint64, tag = "10")]
    pub last_served: u64,
    /// Of settings and filter; starts at 1.
    #[prost(uint64, tag = "11")]
    pub revision: u64,
    #[prost(bool, tag = "12")]
    pub paused: bool,
    /// It has a row in [`super::Table::Filter`].
    #[prost(bool, tag = "13")]
    pub filtered: bool,
    /// The first position that it has not looked at; 0: it has seen everything.
    #[prost(uint64, tag = "14")]
    pub unseen_from: u64,
    /// Messages in delayed runs.
    #[prost(uint64, tag = "15")]
    pub delayed: u64,
    /// Messages in parked runs, blocked ones included.
    #[prost(uint64, tag = "16")]
    pub parked: u64,
    /// Messages in waiting runs: behind others of their key.
    #[prost(uint64, tag = "17")]
    pub queued: u64,
    /// Those of them whose key is parked.
    #[prost(uint64, tag = "18")]
    pub queued_parked: u64,
    /// Messages that expired.
    #[prost(uint64, tag = "19")]
    pub expired: u64,
    /// Messages that were discarded.
    #[prost(uint64, tag = "20")]
    pub discarded: u64,
    /// Messages that were dropped because the queue was full, or retained them no longer.
    #[prost(uint64, tag = "21")]
    pub dropped: u64,
    /// The number that it had first. Its consumers are listed under it, so that they stay where they are when it gets another.
    #[prost(uint32, tag = "22")]
    pub seat: u32,
}

impl Sub {
    pub(crate) fn is_total(&self) -> bool {
        self.settings.order() == Order::Total
    }

    pub(crate) fn is_keyed(&self) -> bool {
        self.settings.order() == Order::Key
    }

    /// Messages that are not done, if the queue ends before `tail`; those that it has not looked at yet included.
    pub(crate) fn length(&self, tail: u64) -> u64 {
        let in_runs = self.leased + self.returned + self.retrying + self.delayed + self.parked + self.queued;
        in_runs + tail.saturating_sub(self.cursor)
    }

    /// The position after the last that it has looked at, if the queue ends before `tail`.
    pub(crate) fn seen_end(&self, tail: u64) -> u64 {
        if self.unseen_from == 0 { tail } else { self.unseen_from }
    }
}

/// See [`super::Table::Run`]; decoded by `runs.rs`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Run {
    #[prost(uint64, tag = "1")]
    pub count: u64,
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    /// 1 leased, 2 ready, 3 retrying, 4 delayed, 5 parked, 6 blocked, 7 waiting.
    #[prost(uint32, tag = "3")]
    pub state: u32,
    /// Leased: the holder.
    #[prost(uint64, tag = "4")]
    pub consumer: u64,
    /// Leased: token of the first message.
    #[prost(uint64, tag = "5")]
    pub first_token: u64,
    /// Leased: when the lease ends. Retrying: when the messages are ready again. Delayed: when they are due.
    #[prost(uint64, tag = "6")]
    pub time_ms: u64,
    #[prost(uint32, tag = "7")]
    pub priority: u32,
    /// They were parked, by themselves or with their key when their time came: they expire no more.
    #[prost(bool, tag = "8")]
    pub kept: bool,
    /// Some of them may have a row in [`super::Table::Failures`].
    #[prost(bool, tag = "9")]
    pub noted: bool,
}

/// See [`super::Table::Lane`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Lane {
    /// Who holds messages of the key, while somebody does.
    #[prost(uint64, tag = "1")]
    pub holder: u64,
    /// Positions of those messages, ascending.
    #[prost(uint64, repeated, tag = "2")]
    pub leased: Vec<u64>,
    /// Position of the message on offer; 0: none.
    #[prost(uint64, tag = "3")]
    pub offered: u64,
    /// Rows in [`super::Table::Queued`].
    #[prost(uint64, tag = "4")]
    pub queued: u64,
    /// Those of them in waiting runs; the others retry or are blocked.
    #[prost(uint64, tag = "5")]
    pub waiting: u64,
    /// Parked.
    #[prost(bool, tag = "6")]
    pub parked: bool,
    /// Position of its row in [`super::Table::Next`]; 0: none.
    #[prost(uint64, tag = "7")]
    pub next: u64,
}

/// See [`super::Table::Failures`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Failures {
    /// The last ones, oldest first.
    #[prost(message, repeated, tag = "1")]
    pub failures: Vec<crate::read::Failure>,
}

/// See [`super::Table::Job`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Job {
    #[prost(uint32, tag = "1")]
    pub namespace: u32,
    #[prost(uint64, tag = "2")]
    pub queue: u64,
    #[prost(uint32, tag = "3")]
    pub sub: u32,
    #[prost(enumeration = "crate::command::Action", tag = "4")]
    pub action: i32,
    #[prost(message, required, tag = "5")]
    pub selector: Selector,
    #[prost(uint32, tag = "6")]
    pub per_second: u32,
    #[prost(uint64, tag = "7")]
    pub started_at_ms: u64,
    /// Messages that it has redriven or discarded.
    #[prost(uint64, tag = "8")]
    pub done: u64,
    /// Where it goes on among the parked runs.
    #[prost(uint64, tag = "9")]
    pub next_position: u64,
    /// The queue's next position when it was asked for.
    #[prost(uint64, tag = "10")]
    pub end: u64,
    /// The time of its row in [`super::Table::Deadline`].
    #[prost(uint64, tag = "11")]
    pub due_ms: u64,
    /// It has been through the parked runs, and is at this key now.
    #[prost(uint64, optional, tag = "12")]
    pub lane: Option<u64>,
}

/// See [`super::Table::Consumer`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Consumer {
    #[prost(uint32, tag = "1")]
    pub namespace: u32,
    #[prost(uint64, tag = "2")]
    pub queue: u64,
    /// The number of the subscription under which it holds leases. If the subscription has another by now, the consumer has not followed it yet.
    #[prost(uint32, tag = "3")]
    pub sub: u32,
    #[prost(bytes = "bytes", tag = "4")]
    pub session: Bytes,
    #[prost(uint64, tag = "5")]
    pub generation: u64,
    #[prost(uint32, tag = "6")]
    pub credit: u32,
    /// Messages it holds. Above the credit if that was lowered.
    #[prost(uint64, tag = "7")]
    pub outstanding: u64,
    #[prost(uint64, tag = "8")]
    pub session_timeout_ms: u64,
    #[prost(string, tag = "9")]
    pub label: String,
    /// Of its subscription.
    #[prost(uint32, tag = "10")]
    pub seat: u32,
}

impl Consumer {
    /// Its subscription by the seat.
    pub(crate) fn seat_id(&self) -> SubId {
        SubId { sub: self.seat, ..self.sub_id() }
    }

    pub(crate) fn sub_id(&self) -> SubId {
        SubId { queue: QueueId { namespace: self.namespace, queue: self.queue }, sub: self.sub }
    }

    /// How many more messages it may be given.
    pub(crate) fn free(&self) -> u64 {
        let held = if planted(Bug::CreditIgnored) { 0 } else { self.outstanding };
        u64::from(self.credit).saturating_sub(held)
    }
}

/// See [`super::Table::Producer`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Producer {
    #[prost(uint32, tag = "1")]
    pub namespace: u32,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    #[prost(uint64, tag = "4")]
    pub last_seq: u64,
    #[prost(uint64, tag = "5")]
    pub acked_seq: u64,
    #[prost(uint64, tag = "6")]
    pub ttl_ms: u64,
    #[prost(uint64, tag = "7")]
    pub used_at_ms: u64,
    /// Time of its row in [`super::Table::Deadline`]: at or before `used_at_ms + ttl_ms`, since a publish leaves it.
    #[prost(uint64, tag = "8")]
    pub idle_check_ms: u64,
    /// Who opened it last. It alone may resume.
    #[prost(bytes = "bytes", tag = "9")]
    pub holder: Bytes,
    /// It has the receipts of its transactions up to here.
    #[prost(uint64, tag = "10")]
    pub transactions_acked: u64,
}

/// See [`super::Table::ProducerRun`].
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct ProducerRun {
    #[prost(uint64, tag = "1")]
    pub queue: u64,
    #[prost(uint64, tag = "2")]
    pub first_position: u64,
    #[prost(uint64, tag = "3")]
    pub count: u64,
}

/// Decodes the value of a row.
pub(crate) fn decode<T: Message + Default>(key: &[u8], value: Bytes) -> Result<T, StoreError> {
    T::decode(value).map_err(|error| StoreError(format!("the row at {key:02x?} cannot be read: {error}")))
}

/// Reads and decodes a row.
pub(crate) fn get<T: Message + Default>(rows: &impl Read, key: &Key) -> Result<Option<T>, StoreError> {
    rows.get(key)?.map(|value| decode(key, value)).transpose()
}

/// Reads a row that holds an id.
pub(crate) fn get_u64(rows: &impl Read, key: &Key) -> Result<Option<u64>, StoreError> {
    let decode = |value: Bytes| {
        let bytes: [u8; 8] =
            value[..].try_into().map_err(|_| StoreError("an id row is not 8 bytes".into()))?;
        Ok(u64::from_be_bytes(bytes))
    };
    rows.get(key)?.map(decode).transpose()
}

/// Reads a row that holds a subscription's id.
pub(crate) fn get_u32(rows: &impl Read, key: &Key) -> Result<Option<u32>, StoreError> {
    let decode = |value: Bytes| {
        let bytes: [u8; 4] =
            value[..].try_into().map_err(|_| StoreError("an id row is not 4 bytes".into()))?;
        Ok(u32::from_be_bytes(bytes))
    };
    rows.get(key)?.map(decode).transpose()
}

/// The value of a row that holds a subscription's id, or a number.
pub(crate) fn of_u32(value: u32) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

/// The value of a row that holds an id.
pub(crate) fn of_u64(value: u64) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

/// Replicated time; 0 before the first entry.
pub(crate) fn now_ms(rows: &impl Read) -> Result<u64, StoreError> {
    Ok(get_u64(rows, &key::now())?.unwrap_or(0))
}
