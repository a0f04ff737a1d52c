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
    /// Patterns of subjects: messages that are published to a subject get into the queue if one of them matches.
    #[prost(string, repeated, tag = "6")]
    pub routes: Vec<String>,
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
    /// When messages leave the disk.
    #[prost(message, required, tag = "6")]
    pub retain: Retain,
}

/// When messages leave the disk: the batches in which they were published, each as a whole. `for_ms`, `bytes`, `count` and `latest_per_key` are
/// bounds, and a batch is within them as long as each of them keeps it. No bound at all means `until_done`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Retain {
    /// Nothing leaves that some subscription is not done with. Without it, what is not within the bounds leaves, done or not.
    #[prost(bool, tag = "1")]
    pub until_done: bool,
    /// Keeps what was published less than so many milliseconds ago; 0: no such bound.
    #[prost(uint64, tag = "2")]
    pub for_ms: u64,
    /// Keeps what fewer than so many encoded bytes were published after; 0: no such bound.
    #[prost(uint64, tag = "3")]
    pub bytes: u64,
    /// Keeps what fewer than so many messages were published after; 0: no such bound.
    #[prost(uint64, tag = "4")]
    pub count: u64,
    /// Keeps the latest message of each key. Every message needs one. Fixed when the queue is created.
    #[prost(bool, tag = "5")]
    pub latest_per_key: bool,
}

impl Retain {
    /// Whether there is a bound that the oldest messages are the first to be beyond.
    pub(crate) fn has_front(&self) -> bool {
        self.for_ms != 0 || self.bytes != 0 || self.count != 0
    }

    /// Whether there is any bound.
    pub(crate) fn has_bounds(&self) -> bool {
        self.has_front() || self.latest_per_key
    }
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
    /// All of its routes.
    #[prost(string, repeated, tag = "5")]
    pub routes: Vec<String>,
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
