//! Single messages of a queue, and those that are parked.

use bytes::Bytes;

use super::Filter;

/// Cancels a message that is not due yet, or delays it until another time, in every subscription.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Reschedule {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub queue: String,
    /// Position of the message; 0 if it is named by its id.
    #[prost(uint64, tag = "3")]
    pub position: u64,
    /// When it is due, in milliseconds since 1970; 0 cancels it.
    #[prost(uint64, tag = "4")]
    pub deliver_at_ms: u64,
    /// Id of the message; empty if it is named by its position.
    #[prost(string, tag = "5")]
    pub id: String,
}

/// Which parked messages: those that match everything that is given.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Selector {
    /// From this position on; 0: from the first.
    #[prost(uint64, tag = "1")]
    pub from_position: u64,
    /// Up to this position; 0: to the last.
    #[prost(uint64, tag = "2")]
    pub to_position: u64,
    /// Of this key.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub key: Option<Bytes>,
    /// Matching this.
    #[prost(message, optional, tag = "4")]
    pub filter: Option<Filter>,
}

/// What becomes of parked messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Action {
    /// Refused.
    Unspecified = 0,
    /// They are back where they were in their order, as if they had never failed.
    Redrive = 1,
    /// They are done.
    Discard = 2,
}

/// Redrives or discards messages that are parked when it is applied.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Unpark {
    /// Namespace of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the queue.
    #[prost(string, tag = "2")]
    pub queue: String,
    /// Name of the subscription; empty means `default`.
    #[prost(string, tag = "3")]
    pub subscription: String,
    /// An [`Action`].
    #[prost(enumeration = "Action", tag = "4")]
    pub action: i32,
    /// Which ones.
    #[prost(message, required, tag = "5")]
    pub selector: Selector,
    /// At most so many a second; 0: at once.
    #[prost(uint32, tag = "6")]
    pub per_second: u32,
}
