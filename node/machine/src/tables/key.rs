//! Building and taking apart keys. The layouts stand at [`Table`].

mod deadline;

use std::ops::Deref;

use super::Table;
use crate::limits::{KEY_BYTES_MAX, NAME_BYTES_MAX, PRODUCER_NAME_BYTES_MAX, STATE_KEY_BYTES_MAX};
use crate::names::{Name, ProducerName, SessionName, StateKey};
use crate::store::StoreError;
use crate::work::Kind;

pub(crate) use deadline::*;

// The longest keys are names under (namespace, queue).
const _: () = assert!(1 + 4 + 8 + NAME_BYTES_MAX <= KEY_BYTES_MAX);
const _: () = assert!(1 + 8 + 1 + 4 + STATE_KEY_BYTES_MAX <= KEY_BYTES_MAX);
const _: () = assert!(1 + 4 + PRODUCER_NAME_BYTES_MAX <= KEY_BYTES_MAX);

/// The namespace `default`, the only one there is yet.
pub const NAMESPACE_DEFAULT: u32 = 1;

/// Names a queue for ever: the id is not used again after the queue was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueId {
    /// Its namespace.
    pub namespace: u32,
    /// Unique in the shard.
    pub queue: u64,
}

/// Names a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubId {
    /// Its queue.
    pub queue: QueueId,
    /// Unique in the queue.
    pub sub: u32,
}

/// A key, on the stack: the hot path builds many.
#[derive(Clone)]
pub struct Key {
    len: usize,
    bytes: [u8; KEY_BYTES_MAX],
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Key {
    fn table(table: Table) -> Self {
        Self { len: 0, bytes: [0; KEY_BYTES_MAX] }.u8(table as u8)
    }

    fn u8(self, value: u8) -> Self {
        self.raw(&[value])
    }

    fn u32(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    fn raw(mut self, part: &[u8]) -> Self {
        let end = self.len + part.len();
        self.bytes[self.len..end].copy_from_slice(part);
        self.len = end;
        self
    }

    fn u128(self, value: u128) -> Self {
        self.raw(&value.to_be_bytes())
    }

    fn queue(self, id: QueueId) -> Self {
        self.u32(id.namespace).u64(id.queue)
    }

    fn sub(self, id: SubId) -> Self {
        self.queue(id.queue).u32(id.sub)
    }

    /// The key that goes on with so many bytes; none if that is longer than any key.
    pub(crate) fn then(&self, rest: &str) -> Option<Self> {
        (self.len + rest.len() < KEY_BYTES_MAX).then(|| self.clone().raw(rest.as_bytes()))
    }

    /// The least key above every key that begins with this one.
    pub(crate) fn end(&self) -> Self {
        let mut end = self.clone();
        // A table's byte is below 255, so the carry always finds a place.
        while end.len > 0 {
            if end.bytes[end.len - 1] < u8::MAX {
                end.bytes[end.len - 1] += 1;
                break;
            }
            end.len -= 1;
        }
        end
    }

    /// The least key above this one. Every key that is stepped over is far below the longest.
    pub(crate) fn next(&self) -> Self {
        self.clone().u8(0)
    }

    /// A key that was read back from the store.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        if bytes.is_empty() || bytes.len() > KEY_BYTES_MAX {
            return Err(StoreError(format!("a key of {} bytes", bytes.len())));
        }
        Ok(Self { len: 0, bytes: [0; KEY_BYTES_MAX] }.raw(bytes))
    }
}

/// Takes the fields of a key, from its end to its front.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn of(key: &'a [u8]) -> Self {
        Self(key)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, StoreError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, StoreError> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    pub(crate) fn sub(&mut self) -> Result<SubId, StoreError> {
        let sub = self.u32()?;
        Ok(SubId { queue: self.queue()?, sub })
    }

    pub(crate) fn queue(&mut self) -> Result<QueueId, StoreError> {
        let queue = self.u64()?;
        Ok(QueueId { queue, namespace: self.u32()? })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (rest, field) = self
            .0
            .split_last_chunk::<N>()
            .ok_or_else(|| StoreError("a key is too short for its table".into()))?;
        self.0 = rest;
        Ok(*field)
    }
}

/// The last field of a key that ends with a position or an id.
pub(crate) fn last_u64(key: &[u8]) -> Result<u64, StoreError> {
    Fields::of(key).u64()
}

impl Due {
    /// As whoever follows the log in other words knows it.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Due::Lease => Kind::Lease,
            Due::Retry => Kind::Retry,
            Due::IdleProducer => Kind::Producer,
            Due::Delay => Kind::Delay,
            Due::Expiry => Kind::Expiry,
            Due::Job => Kind::Job,
            Due::Retain => Kind::Retain,
            Due::State => Kind::State,
        }
    }
}

pub(crate) fn all(table: Table) -> Key {
    Key::table(table)
}

pub(crate) fn now() -> Key {
    Key::table(Table::Meta).u8(1)
}

pub(crate) fn ids() -> Key {
    Key::table(Table::Meta).u8(2)
}

pub(crate) fn digest() -> Key {
    Key::table(Table::Meta).u8(3)
}

pub(crate) fn version() -> Key {
    Key::table(Table::Meta).u8(4)
}

pub(crate) fn namespace(namespace: u32) -> Key {
    Key::table(Table::Namespace).u32(namespace)
}

/// The name must have been checked: see `names.rs`.
/// The names of a namespace's queues.
pub(crate) fn queue_names(namespace: u32) -> Key {
    Key::table(Table::QueueName).u32(namespace)
}

pub(crate) fn queue_name(namespace: u32, name: Name<'_>) -> Key {
    queue_names(namespace).raw(name.as_str().as_bytes())
}

pub(crate) fn former(namespace: u32, name: Name<'_>) -> Key {
    formers(namespace).raw(name.as_str().as_bytes())
}

/// Every [`former`] of a namespace.
pub(crate) fn formers(namespace: u32) -> Key {
    Key::table(Table::Former).u32(namespace)
}

pub(crate) fn former_order(namespace: u32, number: u64) -> Key {
    Key::table(Table::FormerOrder).u32(namespace).u64(number)
}

/// Every [`former_order`] of a namespace.
pub(crate) fn former_orders(namespace: u32) -> Key {
    Key::table(Table::FormerOrder).u32(namespace)
}

pub(crate) fn queue(id: QueueId) -> Key {
    Key::table(Table::Queue).queue(id)
}

pub(crate) fn sub_name(id: QueueId, name: Name<'_>) -> Key {
    Key::table(Table::SubName).queue(id).raw(name.as_str().as_bytes())
}

pub(crate) fn sub(id: SubId) -> Key {
    Key::table(Table::Sub).sub(id)
}

/// Everything of a queue in one of the tables whose keys begin with it.
pub(crate) fn of_queue(table: Table, id: QueueId) -> Key {
    Key::table(table).queue(id)
}

/// Everything of a subscription in one of the tables whose keys begin with it.
pub(crate) fn of_sub(table: Table, id: SubId) -> Key {
    Key::table(table).sub(id)
}

pub(crate) fn chunk(id: QueueId, first_position: u64) -> Key {
    Key::table(Table::Chunk).queue(id).u64(first_position)
}

pub(crate) fn body(id: QueueId, first_position: u64) -> Key {
    Key::table(Table::Body).queue(id).u64(first_position)
}

pub(crate) fn message_id(id: QueueId, message_id: u128) -> Key {
    Key::table(Table::MessageId).queue(id).raw(&message_id.to_be_bytes())
}

pub(crate) fn run(id: SubId, first_position: u64) -> Key {
    Key::table(Table::Run).sub(id).u64(first_position)
}

pub(crate) fn ready_run(id: SubId, priority: u8, first_position: u64) -> Key {
    Key::table(Table::ReadyRun).sub(id).u8(u8::MAX - priority).u64(first_position)
}

pub(crate) fn parked_run(id: SubId, first_position: u64) -> Key {
    Key::table(Table::ParkedRun).sub(id).u64(first_position)
}

pub(crate) fn filter(id: SubId) -> Key {
    Key::table(Table::Filter).sub(id)
}

pub(crate) fn lane(id: SubId, lane: u64) -> Key {
    Key::table(Table::Lane).sub(id).u64(lane)
}

pub(crate) fn queued(id: SubId, lane: u64, position: u64) -> Key {
    Key::table(Table::Queued).sub(id).u64(lane).u64(position)
}

pub(crate) fn queued_in(id: SubId, lane: u64) -> Key {
    Key::table(Table::Queued).sub(id).u64(lane)
}

pub(crate) fn next(id: SubId, consumer: u64, position: u64) -> Key {
    Key::table(Table::Next).sub(id).u64(consumer).u64(position)
}

pub(crate) fn next_of(id: SubId, consumer: u64) -> Key {
    Key::table(Table::Next).sub(id).u64(consumer)
}

pub(crate) fn parked_lane(id: SubId, lane: u64) -> Key {
    Key::table(Table::ParkedLane).sub(id).u64(lane)
}

pub(crate) fn failures(id: SubId, position: u64) -> Key {
    Key::table(Table::Failures).sub(id).u64(position)
}

pub(crate) fn looking(id: SubId) -> Key {
    Key::table(Table::Garbage).u8(0).sub(id)
}

/// Every [`looking`].
pub(crate) fn all_looking() -> Key {
    Key::table(Table::Garbage).u8(0)
}

pub(crate) fn job(job: u64) -> Key {
    Key::table(Table::Job).u64(job)
}

/// `hash`: of the message's key.
pub(crate) fn latest(id: QueueId, hash: u128) -> Key {
    Key::table(Table::Latest).queue(id).u128(hash)
}

pub(crate) fn latest_in(id: QueueId, first_position: u64) -> Key {
    Key::table(Table::LatestIn).queue(id).u64(first_position)
}

pub(crate) fn held(id: SubId, consumer: u64, first_position: u64) -> Key {
    held_by(id, consumer).u64(first_position)
}

pub(crate) fn held_by(id: SubId, consumer: u64) -> Key {
    Key::table(Table::Held).sub(id).u64(consumer)
}

pub(crate) fn consumer(consumer: u64) -> Key {
    Key::table(Table::Consumer).u64(consumer)
}

pub(crate) fn consumer_name(namespace: u32, session: SessionName<'_>) -> Key {
    Key::table(Table::ConsumerName).u32(namespace).raw(session.bytes())
}

pub(crate) fn sub_consumer(seat: SubId, consumer: u64) -> Key {
    Key::table(Table::SubConsumer).sub(seat).u64(consumer)
}

pub(crate) fn waiting(id: SubId, consumer: u64) -> Key {
    Key::table(Table::Waiting).sub(id).u64(consumer)
}

/// The names of a namespace's producer sessions.
pub(crate) fn producer_names(namespace: u32) -> Key {
    Key::table(Table::ProducerName).u32(namespace)
}

pub(crate) fn producer_name(namespace: u32, name: ProducerName<'_>) -> Key {
    producer_names(namespace).raw(name.as_str().as_bytes())
}

pub(crate) fn producer(producer: u64) -> Key {
    Key::table(Table::Producer).u64(producer)
}

pub(crate) fn producer_run(producer: u64, first_seq: u64) -> Key {
    Key::table(Table::ProducerRun).u64(producer).u64(first_seq)
}

pub(crate) fn producer_runs(producer: u64) -> Key {
    Key::table(Table::ProducerRun).u64(producer)
}

/// The state of a namespace.
pub(crate) fn states(namespace: u32) -> Key {
    Key::table(Table::State).u32(namespace)
}

pub(crate) fn state(namespace: u32, key: StateKey<'_>) -> Key {
    states(namespace).raw(key.as_str().as_bytes())
}

pub(crate) fn routes(id: QueueId) -> Key {
    Key::table(Table::Routes).queue(id)
}

pub(crate) fn route(namespace: u32, token: u64, queue: u64) -> Key {
    Key::table(Table::Route).u32(namespace).u64(token).u64(queue)
}

pub(crate) fn routes_of_token(namespace: u32, token: u64) -> Key {
    Key::table(Table::Route).u32(namespace).u64(token)
}

pub(crate) fn receipt(producer: u64, seq: u64) -> Key {
    Key::table(Table::Receipt).u64(producer).u64(seq)
}

pub(crate) fn receipts(producer: u64) -> Key {
    Key::table(Table::Receipt).u64(producer)
}

pub(crate) fn garbage_queue(id: QueueId) -> Key {
    Key::table(Table::Garbage).u8(1).queue(id)
}

/// Everything that a subscription had under a number that it has no more.
pub(crate) fn garbage_sub(id: SubId) -> Key {
    Key::table(Table::Garbage).u8(3).sub(id)
}

/// Chunks that nobody may need any more.
pub(crate) fn garbage_chunks(id: QueueId) -> Key {
    Key::table(Table::Garbage).u8(4).queue(id)
}

/// Chunks that may be beyond the bounds of what is retained.
pub(crate) fn garbage_retain(id: QueueId) -> Key {
    Key::table(Table::Garbage).u8(5).queue(id)
}

/// A chunk that nobody may need any more.
pub(crate) fn garbage_chunk(id: QueueId, first_position: u64) -> Key {
    Key::table(Table::Garbage).u8(6).queue(id).u64(first_position)
}

/// Every [`garbage_chunk`] of a queue.
pub(crate) fn garbage_chunks_singly(id: QueueId) -> Key {
    Key::table(Table::Garbage).u8(6).queue(id)
}

/// A consumer whose session is over, and whose leases are not released yet.
pub(crate) fn leaving(id: SubId, consumer: u64) -> Key {
    Key::table(Table::Garbage).u8(7).sub(id).u64(consumer)
}

/// Every [`leaving`].
pub(crate) fn all_leaving() -> Key {
    Key::table(Table::Garbage).u8(7)
}

/// A subscription that has something to hand out, and consumers that could have it; `reached`: it had its turn, and comes after those that had none.
pub(crate) fn unassigned(reached: bool, id: SubId) -> Key {
    Key::table(Table::Garbage).u8(8).u8(reached.into()).sub(id)
}

/// Every [`unassigned`].
pub(crate) fn all_unassigned() -> Key {
    Key::table(Table::Garbage).u8(8)
}

/// A subscription that got another number, and whose consumers have not all followed it.
pub(crate) fn following(seat: SubId) -> Key {
    Key::table(Table::Garbage).u8(9).sub(seat)
}

/// Every [`following`].
pub(crate) fn all_following() -> Key {
    Key::table(Table::Garbage).u8(9)
}

/// A deleted subscription whose consumers have not all ended.
pub(crate) fn ending(seat: SubId) -> Key {
    Key::table(Table::Garbage).u8(10).sub(seat)
}

/// Every [`ending`].
pub(crate) fn all_ending() -> Key {
    Key::table(Table::Garbage).u8(10)
}

pub(crate) fn garbage_producer(producer: u64) -> Key {
    Key::table(Table::Garbage).u8(2).u64(producer)
}
