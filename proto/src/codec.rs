//! The codec of every call: protobuf, after a count of the parts of a request.
//!
//! Two bytes on the wire are an empty part, which takes a hundred when it is decoded: 17 MiB of them are a GiB, before anybody has looked at a limit. So what
//! a request may have of parts is counted in its bytes, before anything is made of them.

use std::marker::PhantomData;

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Most parts of a request: its fields, and those of its fields. A transaction at all of its limits has less than half of that.
pub const REQUEST_PARTS_MAX: usize = 16 * 1024;

/// Most parts that a message may have, by its type: [`REQUEST_PARTS_MAX`] if clients send it.
pub trait Parts {
    /// See the trait.
    const MAX: usize;
}

include!(concat!(env!("OUT_DIR"), "/parts.rs"));

/// See the module.
#[derive(Debug, Clone)]
pub struct Counting<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Counting<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Counting<T, U>
where
    T: Message + Send + 'static,
    U: Message + Parts + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Counted<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        Counted(ProstCodec::<T, U>::raw_decoder(BufferSettings::default()))
    }
}

/// Decodes what has not too many parts.
#[derive(Debug, Clone)]
pub struct Counted<U>(ProstDecoder<U>);

impl<U: Message + Parts + Default> Decoder for Counted<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if U::MAX != usize::MAX {
            check(bytes::Buf::chunk(buf), U::MAX)?;
        }
        self.0.decode(buf)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// Refuses bytes that would become more parts than that. What cannot be read is left to the decoder.
fn check(message: &[u8], most: usize) -> Result<(), Status> {
    // Each has two bytes at least.
    if message.len() <= 2 * most || count(message, 2, most) <= most {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("a request of more than {most} parts")))
}

/// Counts fields down to a depth; stops when there are more than `most`.
fn count(mut message: &[u8], depth: usize, most: usize) -> usize {
    let mut parts = 0;
    while !message.is_empty() && parts <= most {
        let Ok((tag, wire_type)) = decode_key(&mut message) else { break };
        parts += 1;
        if wire_type != WireType::LengthDelimited {
            if skip_field(wire_type, tag, &mut message, DecodeContext::default()).is_err() {
                break;
            }
            continue;
        }
        let length = decode_varint(&mut message).map(usize::try_from);
        let Some(inner) = length.ok().and_then(Result::ok).and_then(|length| message.get(..length)) else {
            break;
        };
        if depth > 1 {
            parts += count(inner, depth - 1, most.saturating_sub(parts));
        }
        message = &message[inner.len()..];
    }
    parts
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::v1;

    fn decodes<U: Message + Parts + Default>(bytes: &[u8]) -> bool {
        check(bytes, U::MAX).is_ok() && U::decode(bytes).is_ok()
    }

    /// As many of everything as the server takes.
    fn largest() -> v1::TransactRequest {
        let name = || "q".repeat(128);
        let range = v1::SettleRange {
            first_position: 1 << 40,
            count: 1,
            first_token: 1 << 40,
            outcome: 2,
            delay_ms: 1000,
            reason: "r".repeat(256),
        };
        let lease = v1::SettleLease { queue: name(), subscription: name(), range: Some(range) };
        let messages = |count| vec![Bytes::from(vec![0; 3000]); count];
        let publish = |count| v1::PublishTo { queue: name(), messages: messages(count) };
        let held = v1::RequireHeld {
            queue: name(),
            subscription: name(),
            first_position: 9,
            count: 1,
            first_token: 9,
        };
        let require = v1::Require { condition: Some(v1::require::Condition::Held(held)) };
        let put = v1::Put { key: "k".repeat(200), value: vec![0; 1000].into(), delete: false, ttl_ms: 9 };
        v1::TransactRequest {
            namespace: "default".into(),
            producer: 1 << 40,
            epoch: 1 << 40,
            seq: 1 << 40,
            acked_seq: 1 << 40,
            require: vec![require; 256],
            settle: vec![lease; 512],
            publish: [vec![publish(1); 255], vec![publish(1024 - 255)]].concat(),
            put: vec![put; 256],
        }
    }

    #[test]
    fn what_is_within_the_limits_is_read() {
        let largest = largest().encode_to_vec();
        assert!(decodes::<v1::TransactRequest>(&largest));
        assert!(count(&largest, 2, usize::MAX) * 2 < REQUEST_PARTS_MAX, "there is room for more");
        // One message of one byte after the other, which look like fields.
        let batch =
            v1::PublishBatch { messages: vec![Bytes::from_static(&[8, 0]); 4096], ..Default::default() };
        let request = v1::publish_request::Request::Batch(batch);
        let request = v1::PublishRequest { request: Some(request) };
        assert!(decodes::<v1::PublishRequest>(&request.encode_to_vec()));
        // A body is no part, whatever is in it.
        let publish = v1::PublishTo { queue: "q".into(), messages: vec![[8, 0].repeat(1 << 22).into()] };
        let request = v1::TransactRequest { publish: vec![publish], ..Default::default() };
        assert!(decodes::<v1::TransactRequest>(&request.encode_to_vec()));
    }

    #[test]
    fn empty_parts_are_refused_before_they_are_decoded() {
        let many = [0x3a, 0].repeat(4 << 20);
        assert!(!decodes::<v1::TransactRequest>(&many), "settles");
        let nested = |tag: u8, inner: &[u8]| {
            let mut bytes = vec![tag];
            prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
            bytes.extend_from_slice(inner);
            bytes
        };
        let messages = [0x12, 0].repeat(4 << 20);
        assert!(!decodes::<v1::TransactRequest>(&nested(0x42, &messages)), "messages of a batch");
        let ranges = [0x12, 0].repeat(4 << 20);
        assert!(!decodes::<v1::ReceiveRequest>(&nested(0x1a, &ranges)), "ranges of a settle");
        let batch = [0x22, 0].repeat(4 << 20);
        assert!(!decodes::<v1::PublishRequest>(&nested(0x12, &batch)), "messages of a publish");
    }

    #[test]
    fn answers_are_not_counted() {
        assert_eq!(<v1::ReceiveResponse as Parts>::MAX, usize::MAX);
        assert_eq!(<v1::ReceiveRequest as Parts>::MAX, REQUEST_PARTS_MAX);
        assert_eq!(<crate::peer::v1::AppendRequest as Parts>::MAX, usize::MAX);
    }
}
