//! Subscriptions and their settings.

use super::OnFull;
use crate::message::Header;

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
    /// By how many percent a backoff may be shorter, drawn from the entry that holds the failure.
    #[prost(uint32, optional, tag = "5")]
    pub jitter_percent: Option<u32>,
    /// A message that failed so often is exhausted; 0: none ever is.
    #[prost(uint32, tag = "6")]
    pub max_attempts: u32,
    /// An [`OnExhausted`]; only with `max_attempts`.
    #[prost(enumeration = "OnExhausted", tag = "7")]
    pub on_exhausted: i32,
    /// How many messages of one key may be leased at once; only with [`Order::Key`].
    #[prost(uint32, tag = "8")]
    pub per_key_inflight: u32,
    /// Messages are acknowledged before they are sent: at most once.
    #[prost(bool, tag = "9")]
    pub auto_ack: bool,
    /// Most messages that it may have; 0: no limit.
    #[prost(uint64, tag = "10")]
    pub max_lag: u64,
    /// An [`OnFull`]: what happens to a publish that would make it lag further; only with `max_lag`.
    #[prost(enumeration = "OnFull", tag = "11")]
    pub on_lag: i32,
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
    /// The same inside each key; keys run in parallel.
    Key = 3,
}

/// What becomes of a message that has failed too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum OnExhausted {
    /// The default: [`OnExhausted::Park`].
    Unspecified = 0,
    /// It is parked, and no longer in anybody's way.
    Park = 1,
    /// It is parked, and so is whatever follows it under its key; only with [`Order::Key`].
    ParkKey = 2,
    /// It is parked where it stands: what follows it in its order waits. Not with [`Order::None`].
    Block = 3,
    /// It is done.
    Discard = 4,
}

/// Which messages a subscription takes: those that match everything that is given.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Filter {
    /// A pattern of subjects: tokens between dots, `*` for any one token, a last `>` for one or more. Empty: any subject.
    #[prost(string, tag = "1")]
    pub subject: String,
    /// Headers that a message must have, with these values.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<Header>,
}

/// Where a subscription begins.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Start {
    /// A [`StartKind`].
    #[prost(enumeration = "StartKind", tag = "1")]
    pub kind: i32,
    /// The position, or the time in milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub at: u64,
}

/// See [`Start`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum StartKind {
    /// The default: [`StartKind::Earliest`].
    Unspecified = 0,
    /// At the first message that the queue holds.
    Earliest = 1,
    /// After the last message.
    Latest = 2,
    /// At a position.
    Position = 3,
    /// At the first message that was published at a time or later.
    Time = 4,
}

/// Adds a subscription. Does nothing if the same is there already, wherever it has got to.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateSub {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub queue: String,
    /// Name of the subscription.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Its settings.
    #[prost(message, required, tag = "4")]
    pub settings: Settings,
    /// What it takes; none: everything.
    #[prost(message, optional, tag = "5")]
    pub filter: Option<Filter>,
    /// Where it begins.
    #[prost(message, required, tag = "6")]
    pub start: Start,
}

/// Replaces a subscription's settings, but for its order, and what it takes of messages that are published from now on.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateSub {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub queue: String,
    /// Name of the subscription; empty means `default`.
    #[prost(string, tag = "3")]
    pub name: String,
    /// All of them.
    #[prost(message, required, tag = "4")]
    pub settings: Settings,
    /// What it takes from now on; none: everything.
    #[prost(message, optional, tag = "5")]
    pub filter: Option<Filter>,
    /// Refused unless it is the settings' revision; 0 replaces any.
    #[prost(uint64, tag = "6")]
    pub revision: u64,
}

/// Deletes a subscription, and ends its consumers. Not the last one of a queue.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteSub {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub queue: String,
    /// Name of the subscription.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// Pauses or resumes a subscription: while it is paused it leases nothing. Leases go on.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Pause {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub queue: String,
    /// Name of the subscription; empty means `default`.
    #[prost(string, tag = "3")]
    pub name: String,
    /// False resumes.
    #[prost(bool, tag = "4")]
    pub paused: bool,
}

/// Moves a subscription: its leases are revoked, what comes before is done, and the rest is as if never looked at.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Seek {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub queue: String,
    /// Name of the subscription; empty means `default`.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Where it goes on.
    #[prost(message, required, tag = "4")]
    pub to: Start,
}
