//! What an entry of the log holds: a batch of commands, stamped with the leader's time.
//!
//! The encoding is protobuf, written by prost from the types below: fields are found by their tags, unknown
//! ones are skipped, and byte fields of a decoded batch are slices of the entry. Tags are frozen.

use bytes::{Bytes, BytesMut};

/// One entry of the log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Batch {
    /// Version of the commands' format: [`crate::FORMAT_VERSION`].
    #[prost(uint32, tag = "1")]
    pub format_version: u32,
    /// The leader's clock when it proposed the entry, in milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub time_ms: u64,
    /// Applied in this order; each one takes effect whole or not at all.
    #[prost(message, repeated, tag = "3")]
    pub commands: Vec<Command>,
}

impl From<Verb> for Command {
    fn from(verb: Verb) -> Self {
        Self { verb: Some(verb) }
    }
}

impl Batch {
    /// A batch of this version's format.
    pub fn new(time_ms: u64, commands: Vec<Command>) -> Self {
        Self { format_version: crate::FORMAT_VERSION, time_ms, commands }
    }

    /// The bytes of the entry. Done once, on the leader: network, log and apply share them.
    pub fn encode(&self) -> Bytes {
        prost::Message::encode_to_vec(self).into()
    }
}

/// One change of the state.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Command {
    /// What to do. A command without a known verb is refused.
    #[prost(oneof = "Verb", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11")]
    pub verb: Option<Verb>,
}

/// The verbs; each is carried out by the file of its name in `ops/`.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Verb {
    /// Creates a queue.
    #[prost(message, tag = "1")]
    CreateQueue(CreateQueue),
    /// Deletes a queue and what it holds.
    #[prost(message, tag = "2")]
    DeleteQueue(DeleteQueue),
    /// Opens or resumes a producer session, fencing its former holder.
    #[prost(message, tag = "3")]
    OpenProducer(OpenProducer),
    /// Ends a producer session.
    #[prost(message, tag = "4")]
    CloseProducer(CloseProducer),
    /// Appends messages to a queue.
    #[prost(message, tag = "5")]
    Publish(Publish),
    /// Opens or resumes a consumer session.
    #[prost(message, tag = "6")]
    Attach(Attach),
    /// Replaces a consumer's credit.
    #[prost(message, tag = "7")]
    Credit(Credit),
    /// Ends a consumer session and releases its leases.
    #[prost(message, tag = "8")]
    Detach(Detach),
    /// Acknowledges, returns or extends leases.
    #[prost(message, tag = "9")]
    Settle(Settle),
    /// Lets time pass: expires leases, readies retries, forgets idle sessions.
    #[prost(message, tag = "10")]
    Tick(Tick),
    /// Gives out ids for new members.
    #[prost(message, tag = "11")]
    GiveNodeIds(GiveNodeIds),
}

/// See [`Verb::CreateQueue`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateQueue {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Settings of its `default` subscription; zeros mean defaults.
    #[prost(message, required, tag = "3")]
    pub settings: Settings,
}

/// Settings of a subscription. A zero means the default.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Settings {
    /// An [`Order`].
    #[prost(enumeration = "Order", tag = "1")]
    pub order: i32,
    /// Length of a lease, in milliseconds.
    #[prost(uint64, tag = "2")]
    pub lease_ms: u64,
    /// Backoff after the first failure, in milliseconds.
    #[prost(uint64, tag = "3")]
    pub backoff_first_ms: u64,
    /// The longest backoff, in milliseconds.
    #[prost(uint64, tag = "4")]
    pub backoff_last_ms: u64,
}

/// How a subscription orders what it hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Order {
    /// The default: [`Order::None`].
    Unspecified = 0,
    /// Competing consumers; a returned message keeps its position.
    None = 1,
    /// One active consumer; nothing overtakes.
    Total = 2,
}

/// See [`Verb::DeleteQueue`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteQueue {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// See [`Verb::OpenProducer`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct OpenProducer {
    /// Namespace of the session.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the session.
    #[prost(string, tag = "2")]
    pub session: String,
    /// How long the session is remembered without use, in milliseconds.
    #[prost(uint64, tag = "3")]
    pub ttl_ms: u64,
    /// Who opens it: 16 random bytes.
    #[prost(bytes = "bytes", tag = "4")]
    pub holder: Bytes,
    /// The session that this holder had, as [`crate::reply::ProducerOpened`] named it: refused if it is over or somebody
    /// else's by now. 0 takes it over, or begins it.
    #[prost(uint64, tag = "5")]
    pub resume: u64,
}

/// See [`Verb::CloseProducer`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct CloseProducer {
    /// The session, as [`crate::reply::ProducerOpened`] named it.
    #[prost(uint64, tag = "1")]
    pub producer: u64,
    /// Refused unless it is the session's epoch.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
}

/// See [`Verb::Publish`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Publish {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub queue: String,
    /// The producer session, as [`crate::reply::ProducerOpened`] named it.
    #[prost(uint64, tag = "3")]
    pub producer: u64,
    /// Refused unless it is the session's epoch.
    #[prost(uint64, tag = "4")]
    pub epoch: u64,
    /// Sequence number of the first message.
    #[prost(uint64, tag = "5")]
    pub first_seq: u64,
    /// The producer has the receipts up to here.
    #[prost(uint64, tag = "6")]
    pub acked_seq: u64,
    /// Encoded length of each message in `messages`.
    #[prost(uint32, repeated, tag = "7")]
    pub lengths: Vec<u32>,
    /// The messages, each an encoded [`crate::message::Message`], back to back.
    #[prost(bytes = "bytes", tag = "8")]
    pub messages: Bytes,
}

impl Publish {
    /// Packs encoded messages for [`Publish::lengths`] and [`Publish::messages`]. They should have passed
    /// [`crate::message::check`]: a length above 32 bits, which that refuses, would be cut off at its largest value.
    pub fn pack(messages: &[impl AsRef<[u8]>]) -> (Vec<u32>, Bytes) {
        let mut packed = BytesMut::with_capacity(messages.iter().map(|m| m.as_ref().len()).sum());
        let mut lengths = Vec::with_capacity(messages.len());
        for message in messages.iter().map(AsRef::as_ref) {
            lengths.push(u32::try_from(message.len()).unwrap_or(u32::MAX));
            packed.extend_from_slice(message);
        }
        (lengths, packed.freeze())
    }
}

/// See [`Verb::Attach`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Attach {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub queue: String,
    /// Name of the subscription; empty means `default`.
    #[prost(string, tag = "3")]
    pub subscription: String,
    /// Name of the session: 16 bytes chosen by the client.
    #[prost(bytes = "bytes", tag = "4")]
    pub session: Bytes,
    /// How many unsettled messages the consumer may hold.
    #[prost(uint32, tag = "5")]
    pub credit: u32,
    /// How long the session outlives its stream, in milliseconds.
    #[prost(uint64, tag = "6")]
    pub session_timeout_ms: u64,
    /// For people.
    #[prost(string, tag = "7")]
    pub name: String,
}

/// See [`Verb::Credit`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Credit {
    /// The consumer session, as [`crate::reply::Attached`] named it.
    #[prost(uint64, tag = "1")]
    pub consumer: u64,
    /// Refused unless it is the session's generation.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    /// How many unsettled messages the consumer may hold from now on.
    #[prost(uint32, tag = "3")]
    pub credit: u32,
}

/// See [`Verb::Detach`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Detach {
    /// The consumer session.
    #[prost(uint64, tag = "1")]
    pub consumer: u64,
    /// Refused unless it is the session's generation: a session that was resumed meanwhile lives on.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
}

/// See [`Verb::Settle`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Settle {
    /// The consumer session.
    #[prost(uint64, tag = "1")]
    pub consumer: u64,
    /// What becomes of which leases; each message is judged on its own.
    #[prost(message, repeated, tag = "2")]
    pub ranges: Vec<SettleRange>,
}

/// `count` messages at consecutive positions, leased with consecutive tokens.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SettleRange {
    /// Position of the first.
    #[prost(uint64, tag = "1")]
    pub first_position: u64,
    /// How many.
    #[prost(uint32, tag = "2")]
    pub count: u32,
    /// Token of the first.
    #[prost(uint64, tag = "3")]
    pub first_token: u64,
    /// An [`Outcome`].
    #[prost(enumeration = "Outcome", tag = "4")]
    pub outcome: i32,
    /// See the outcomes.
    #[prost(uint64, tag = "5")]
    pub delay_ms: u64,
}

/// What becomes of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Outcome {
    /// Refused.
    Unspecified = 0,
    /// Done.
    Ack = 1,
    /// Failed: counts an attempt; ready again after `delay_ms`, or the subscription's backoff if that is 0.
    Retry = 2,
    /// Given back: counts no attempt, ready again at once.
    Release = 3,
    /// Still at work: the lease ends `delay_ms` from now, or after the subscription's lease if that is 0.
    Extend = 4,
}

/// See [`Verb::Tick`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Tick {}

/// See [`Verb::GiveNodeIds`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct GiveNodeIds {
    /// The highest id among the members: the first ones got theirs before there was a log.
    #[prost(uint64, tag = "1")]
    pub above: u64,
    /// How many; with 0 only `above` is noted.
    #[prost(uint64, tag = "2")]
    pub count: u64,
}
