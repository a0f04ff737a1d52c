//! Queues.

use super::{Filter, Settings};

/// Creates a queue with its `default` subscription. Does nothing if the same queue is there already.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateQueue {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Settings of its `default` subscription.
    #[prost(message, required, tag = "3")]
    pub settings: Settings,
    /// Settings of the queue itself.
    #[prost(message, required, tag = "4")]
    pub queue: QueueSettings,
    /// What of the queue its `default` subscription takes; none: everything.
    #[prost(message, optional, tag = "5")]
    pub filter: Option<Filter>,
}

/// Settings of a queue. A zero means that there is no such rule.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct QueueSettings {
    /// How long after it was due a message expires if it does not say so itself, in milliseconds.
    #[prost(uint64, tag = "1")]
    pub ttl_ms: u64,
    /// Whether messages may have a priority. Not together with a subscription whose order is not `none`.
    #[prost(bool, tag = "2")]
    pub priorities: bool,
    /// Most messages that any subscription may have.
    #[prost(uint64, tag = "3")]
    pub max_length: u64,
    /// Most encoded bytes of messages that any subscription may have.
    #[prost(uint64, tag = "4")]
    pub max_bytes: u64,
    /// An [`OnFull`]; only with one of the limits.
    #[prost(enumeration = "OnFull", tag = "5")]
    pub on_full: i32,
}

/// What happens to a publish that a queue has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum OnFull {
    /// The default: [`OnFull::Reject`].
    Unspecified = 0,
    /// It is refused.
    Reject = 1,
    /// The oldest messages make room, whoever holds them.
    DropOldest = 2,
}

/// Replaces a queue's settings.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateQueue {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub name: String,
    /// All of them.
    #[prost(message, required, tag = "3")]
    pub queue: QueueSettings,
    /// Refused unless it is the settings' revision; 0 replaces any.
    #[prost(uint64, tag = "4")]
    pub revision: u64,
}

/// Deletes a queue and what it holds.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteQueue {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// In every subscription, whatever no consumer holds is done.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Purge {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub name: String,
}
