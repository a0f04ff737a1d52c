//! Transactions, and the keyed state that they write.

use bytes::Bytes;

use super::SettleRange;

/// Settles leases, publishes and writes state in one step, if all of it is possible and every requirement holds; otherwise nothing of
/// it happens.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Transact {
    /// Namespace of everything in it.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// The producer session under which it is carried out once, as [`crate::reply::ProducerOpened`] named it; 0: none.
    #[prost(uint64, tag = "2")]
    pub producer: u64,
    /// Refused unless it is the session's epoch.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    /// Number of the transaction in the session, at least 1; not used for another one. These numbers have nothing to do with those of
    /// [`super::Publish`], and may leave gaps.
    #[prost(uint64, tag = "4")]
    pub seq: u64,
    /// The producer has the receipts of its transactions up to here.
    #[prost(uint64, tag = "5")]
    pub acked_seq: u64,
    /// What has to hold before anything else is looked at.
    #[prost(message, repeated, tag = "6")]
    pub require: Vec<Require>,
    /// Leases to settle.
    #[prost(message, repeated, tag = "7")]
    pub settle: Vec<SettleLease>,
    /// Messages to publish, after that.
    #[prost(message, repeated, tag = "8")]
    pub publish: Vec<PublishTo>,
    /// State to write, at last.
    #[prost(message, repeated, tag = "9")]
    pub put: Vec<Put>,
    /// Why messages failed; the ranges of `settle` say which of them is theirs.
    #[prost(string, repeated, tag = "10")]
    pub reasons: Vec<String>,
}

/// A requirement of a transaction.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Require {
    /// Without a condition that is known, the transaction is refused.
    #[prost(oneof = "Condition", tags = "1, 2, 3, 4")]
    pub condition: Option<Condition>,
}

/// See [`Require`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Oneof)]
pub enum Condition {
    /// A key of the state has a version.
    #[prost(message, tag = "1")]
    Version(RequireVersion),
    /// A queue ends at a position.
    #[prost(message, tag = "2")]
    Tail(RequireTail),
    /// A subscription has fewer messages than so many.
    #[prost(message, tag = "3")]
    LengthBelow(RequireLengthBelow),
    /// Leases are current.
    #[prost(message, tag = "4")]
    Held(LeaseRange),
}

/// See [`Condition::Version`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct RequireVersion {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its version; 0: the key is absent.
    #[prost(uint64, tag = "2")]
    pub version: u64,
}

/// See [`Condition::Tail`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct RequireTail {
    /// The queue.
    #[prost(string, tag = "1")]
    pub queue: String,
    /// Position of the last message that was published to it; 0: none ever was.
    #[prost(uint64, tag = "2")]
    pub position: u64,
}

/// See [`Condition::LengthBelow`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct RequireLengthBelow {
    /// The queue.
    #[prost(string, tag = "1")]
    pub queue: String,
    /// Name of the subscription; empty means `default`.
    #[prost(string, tag = "2")]
    pub subscription: String,
    /// It has fewer messages that are not done.
    #[prost(uint64, tag = "3")]
    pub length: u64,
}

/// `count` messages at consecutive positions, leased to one consumer with consecutive tokens.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct LeaseRange {
    /// The queue.
    #[prost(string, tag = "1")]
    pub queue: String,
    /// Name of the subscription; empty means `default`.
    #[prost(string, tag = "2")]
    pub subscription: String,
    /// Position of the first.
    #[prost(uint64, tag = "3")]
    pub first_position: u64,
    /// How many.
    #[prost(uint32, tag = "4")]
    pub count: u32,
    /// Token of the first.
    #[prost(uint64, tag = "5")]
    pub first_token: u64,
}

/// Leases that a transaction settles, whoever holds them.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SettleLease {
    /// The queue.
    #[prost(string, tag = "1")]
    pub queue: String,
    /// Name of the subscription; empty means `default`.
    #[prost(string, tag = "2")]
    pub subscription: String,
    /// Which leases, all of one consumer, and what becomes of them.
    #[prost(message, required, tag = "3")]
    pub range: SettleRange,
}

/// Messages that a transaction publishes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PublishTo {
    /// The queue; empty: each message gets into every queue with a route that matches its subject.
    #[prost(string, tag = "1")]
    pub queue: String,
    /// As in [`super::Publish`].
    #[prost(uint32, repeated, tag = "2")]
    pub lengths: Vec<u32>,
    /// As in [`super::Publish`].
    #[prost(bytes = "bytes", tag = "3")]
    pub messages: Bytes,
    /// As in [`super::Publish`].
    #[prost(uint32, tag = "4")]
    pub attributes: u32,
}

/// Writes or deletes a key of the namespace's state.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Put {
    /// The key, 1 to 200 bytes.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value, at most 64 KiB.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// The key is absent afterwards; then there is no value.
    #[prost(bool, tag = "3")]
    pub delete: bool,
    /// The key is absent again so long after, in milliseconds; 0: never.
    #[prost(uint64, tag = "4")]
    pub ttl_ms: u64,
}
