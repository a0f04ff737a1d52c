//! The schema: every table, with the layout of its keys and values.
//!
//! A key is the table's byte, then the fields of the key in order: integers big-endian (namespaces and
//! subscriptions 4 bytes, queues, positions, times and sessions 8), names as their bare bytes at the end. So the
//! order of keys is the order of what they name, and everything of one queue in a table is one range. The
//! bytes of the tables and the tags of the values are frozen: they are on disks and in snapshots.

pub(crate) mod chunk;
pub mod key;
pub(crate) mod row;

pub(crate) use key::{Key, QueueId, SubId};

/// The tables. The number is the first byte of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Single rows. Key: 1 = replicated time (u64, ms); 2 = counters for ids (`row::Ids`); 3 = the digest (u128).
    Meta = 1,
    /// Key: namespace. Value: `row::Namespace`, its counters. Absent while all are zero.
    Namespace = 2,
    /// Key: namespace, name. Value: queue (u64).
    QueueName = 3,
    /// Key: namespace, queue. Value: `row::Queue`.
    Queue = 4,
    /// Key: namespace, queue, name. Value: subscription (u32).
    SubName = 5,
    /// Key: namespace, queue, subscription. Value: `row::Sub`.
    Sub = 6,
    /// Key: namespace, queue, first position. Value: `chunk::Chunk`: the messages of one publish, but for their bytes.
    Chunk = 7,
    /// Key: as in [`Table::Chunk`]. Value: the encoded messages, back to back, as they stood in the entry.
    Body = 8,
    /// Key: namespace, queue, subscription, first position. Value: `row::Run`. The runs of a subscription are disjoint and
    /// cover exactly the positions below its cursor that are not done.
    Run = 9,
    /// The runs that are ready, by the key of [`Table::Run`]. No value.
    ReadyRun = 10,
    /// The runs that a consumer holds. Key: consumer, first position. No value.
    Held = 11,
    /// What falls due. Key: time (ms), kind (1 byte), then for a lease (1) or a retry (2) the key of the run, for an
    /// idle producer (3) its id. No value.
    Deadline = 12,
    /// Key: consumer. Value: `row::Consumer`.
    Consumer = 13,
    /// Key: namespace, session name (16 bytes). Value: consumer (u64).
    ConsumerName = 14,
    /// Who is attached. Key: namespace, queue, subscription, consumer: in the order of attaching, since ids grow. No value.
    SubConsumer = 15,
    /// The attached consumers that have credit left, by the key of [`Table::SubConsumer`]. No value.
    Waiting = 16,
    /// Key: namespace, name. Value: producer (u64).
    ProducerName = 17,
    /// Key: producer. Value: `row::Producer`.
    Producer = 18,
    /// Receipts that may still be asked for. Key: producer, first sequence number. Value: `row::ProducerRun`.
    ProducerRun = 19,
    /// What ticks still have to sweep. Key: kind (1 byte), then for a deleted queue (1) namespace and queue, for an
    /// ended producer (2) its id. Value: the key from which the sweep goes on, empty before it has begun.
    Garbage = 20,
}
