//! Producer sessions and what they publish.

use bytes::{Bytes, BytesMut};

/// Opens or resumes a producer session, fencing its former holder.
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

/// Ends a producer session.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CloseProducer {
    /// The session, as [`crate::reply::ProducerOpened`] named it.
    #[prost(uint64, tag = "1")]
    pub producer: u64,
    /// Refused unless it is the session's epoch.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
}

/// Appends messages to a queue.
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
    /// What there is in any of them besides the body, as [`crate::message::attributes`] of each or-ed together: whoever admits a
    /// publish looks at each message anyway, and the machine then need not.
    #[prost(uint32, tag = "9")]
    pub attributes: u32,
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
