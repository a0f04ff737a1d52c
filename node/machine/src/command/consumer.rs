//! Consumer sessions and settling.

use bytes::Bytes;

/// Opens or resumes a consumer session.
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

/// Replaces a consumer's credit.
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

/// Ends a consumer session and releases its leases.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Detach {
    /// The consumer session.
    #[prost(uint64, tag = "1")]
    pub consumer: u64,
    /// Refused unless it is the session's generation: a session that was resumed meanwhile lives on.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
}

/// Acknowledges, returns, parks or extends leases.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Settle {
    /// The consumer session.
    #[prost(uint64, tag = "1")]
    pub consumer: u64,
    /// What becomes of which leases; each message is judged on its own.
    #[prost(message, repeated, tag = "2")]
    pub ranges: Vec<SettleRange>,
    /// Why messages failed; the ranges say which of them is theirs.
    #[prost(string, repeated, tag = "3")]
    pub reasons: Vec<String>,
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
    /// For [`Outcome::Retry`] and [`Outcome::Park`]: number of the reason in [`Settle::reasons`], counted from 1; 0: none.
    #[prost(uint32, tag = "6")]
    pub reason: u32,
}

impl SettleRange {
    /// In place of the number of a reason that was too long to be taken along: the range is refused, and others are not.
    pub const REASON_TOO_LONG: u32 = u32::MAX;
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
    /// Set aside until somebody redrives or discards it. In a subscription that parks whole keys, with whatever follows it.
    Park = 5,
}
