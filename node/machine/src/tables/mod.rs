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
    /// Single rows. Key: 1 = replicated time (u64, ms); 2 = counters for ids (`row::Ids`); 3 = the digest (u128);
    /// 4 = the active version (u32), absent while it is the first.
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
    /// The runs that are ready. Key: namespace, queue, subscription, 255 less the priority (1 byte), first position. No value.
    ReadyRun = 10,
    /// The runs that a consumer holds. Key: namespace, queue, subscription, consumer, first position. No value.
    Held = 11,
    /// What falls due. Key: time (ms), kind (1 byte), then for a lease (1), a retry (2) or a delay (4) the key of the run, for an
    /// idle producer (3) or a job (6) its id, for an expiry (5) namespace, queue and first position, for the oldest batch that is retained for a
    /// time (7) namespace and queue, for a key of the state (8) namespace and key. No value, but for an expiry: how many messages (u32), and of how many
    /// that was carried out already, if of some (u32).
    Deadline = 12,
    /// Key: consumer. Value: `row::Consumer`.
    Consumer = 13,
    /// Key: namespace, session name (16 bytes). Value: consumer (u64).
    ConsumerName = 14,
    /// Who is attached. Key: namespace, queue, seat of the subscription (`row::Sub`), consumer: in the order of attaching, since ids grow. No value.
    SubConsumer = 15,
    /// The attached consumers that have credit left. Key: namespace, queue, subscription, consumer. No value.
    Waiting = 16,
    /// Key: namespace, name. Value: producer (u64).
    ProducerName = 17,
    /// Key: producer. Value: `row::Producer`.
    Producer = 18,
    /// Receipts that may still be asked for. Key: producer, first sequence number. Value: `row::ProducerRun`.
    ProducerRun = 19,
    /// What ticks still have to do. Key: kind (1 byte), then for a subscription that has not looked at every message yet (0) namespace,
    /// queue and number; and what is to be swept: for a deleted queue (1) namespace and queue, for an
    /// ended producer (2) its id, for a subscription's former number (3) namespace, queue and number, for chunks that may not be needed any
    /// more (4) namespace and queue; for chunks that may be beyond the bounds of what is retained (5) namespace and queue; for a chunk that may not be needed any more (6) namespace, queue
    /// and first position; for a consumer that ended and whose leases are not released yet (7) namespace, queue, number and consumer; for a subscription that has
    /// something to hand out (8) whether it had a turn (1 byte), namespace, queue and number; for a subscription that got another number and whose consumers have not all followed (9) and for a deleted
    /// one whose consumers have not all ended (10) namespace, queue and seat. Value: the key from which the sweep goes on, empty before it has begun; of (9) the consumer (u64).
    Garbage = 20,
    /// Key: namespace, queue, subscription. Value: `command::Filter`. Absent if it takes everything.
    Filter = 21,
    /// The keys of a subscription that orders by them and has messages of them. Key: namespace, queue, subscription, hash of
    /// the key (u64). Value: `row::Lane`.
    Lane = 22,
    /// The messages of a key that are neither leased nor on offer. Key: as in [`Table::Lane`], position. No value.
    Queued = 23,
    /// The messages that only the holder of their key may get, and may get now. Key: namespace, queue, subscription, consumer,
    /// position. Value: hash of the key (u64).
    Next = 24,
    /// The runs that are parked, by the key of [`Table::Run`]. No value.
    ParkedRun = 25,
    /// The keys that are parked, by the key of [`Table::Lane`]. No value.
    ParkedLane = 26,
    /// Why a message failed. Key: namespace, queue, subscription, position. Value: `row::Failures`.
    Failures = 27,
    /// Redrives and discards under way. Key: id. Value: `row::Job`.
    Job = 28,
    /// The last message with an id. Key: namespace, queue, xxh3-128 of the id. Value: position (u64).
    MessageId = 29,
    /// Where the latest message of a key is, in a queue that retains it, while it is stored. Key: namespace, queue, xxh3-128 of the message's key. Value: its
    /// position (u64).
    Latest = 30,
    /// How many messages of a chunk are the latest of their keys, if any. Key: as in [`Table::Chunk`]. Value: their number (u32).
    LatestIn = 31,
    /// The state of namespaces. Key: namespace, key. Value: `row::Value`.
    State = 32,
    /// Receipts of transactions that may still be asked for. Key: producer, number. Value: `reply::Transacted`.
    Receipt = 33,
    /// Key: namespace, queue. Value: `row::Routes`. Absent if the queue has none.
    Routes = 34,
    /// The routes of a queue that begin with the same token. Key: namespace, hash of the token (u64), queue. Value: `row::Routed`.
    Route = 35,
    /// Names that no queue has any more, and where the next one of that name goes on. Key: namespace, name. Value: `row::Former`. Absent if nothing was
    /// published or leased under it beyond the floors in `row::Namespace`.
    Former = 36,
    /// The same names in the order in which they were given up. Key: namespace, number (u64). Value: the name.
    FormerOrder = 37,
}
