//! The values of the tables. Protobuf, written by prost: fields in the order of their tags and defaults left out,
//! so a value has one encoding. Tags are frozen.

use bytes::Bytes;
use prost::Message;
use quorate_simpoint::{Bug, planted};

use super::key;
use crate::command::Settings;
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
}

/// See [`super::Table::Namespace`].
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Namespace {
    #[prost(uint64, tag = "1")]
    pub queues: u64,
    #[prost(uint64, tag = "2")]
    pub producers: u64,
}

/// See [`super::Table::Queue`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Queue {
    #[prost(uint64, tag = "1")]
    pub created_at_ms: u64,
    /// Of the next message that is published; starts at 1.
    #[prost(uint64, tag = "2")]
    pub next_position: u64,
    /// Encoded size of all messages ever published.
    #[prost(uint64, tag = "3")]
    pub bytes_published: u64,
    /// The subscriptions, ascending.
    #[prost(uint32, repeated, tag = "4")]
    pub subs: Vec<u32>,
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
    /// Of the next lease; starts at 1.
    #[prost(uint64, tag = "3")]
    pub next_token: u64,
    /// Messages in leased runs.
    #[prost(uint64, tag = "4")]
    pub leased: u64,
    /// Messages in ready runs: below the cursor, given back.
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
}

impl Sub {
    pub(crate) fn is_total(&self) -> bool {
        self.settings.order() == crate::command::Order::Total
    }
}

/// See [`super::Table::Run`]; decoded by `runs.rs`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Run {
    #[prost(uint64, tag = "1")]
    pub count: u64,
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    /// 1 leased, 2 ready, 3 retrying.
    #[prost(uint32, tag = "3")]
    pub state: u32,
    /// Leased: the holder.
    #[prost(uint64, tag = "4")]
    pub consumer: u64,
    /// Leased: token of the first message.
    #[prost(uint64, tag = "5")]
    pub first_token: u64,
    /// Leased: when the lease ends. Retrying: when the messages are ready again.
    #[prost(uint64, tag = "6")]
    pub time_ms: u64,
}

/// See [`super::Table::Consumer`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Consumer {
    #[prost(uint32, tag = "1")]
    pub namespace: u32,
    #[prost(uint64, tag = "2")]
    pub queue: u64,
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
}

impl Consumer {
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

/// The value of a row that holds an id.
pub(crate) fn of_u64(value: u64) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

/// Replicated time; 0 before the first entry.
pub(crate) fn now_ms(rows: &impl Read) -> Result<u64, StoreError> {
    Ok(get_u64(rows, &key::now())?.unwrap_or(0))
}
