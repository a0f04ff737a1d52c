//! A message as the state keeps it. The encoding is frozen like the commands'.

use bytes::Bytes;
use prost::Message as _;

use crate::limits::{
    BODY_BYTES_MAX, CONTENT_TYPE_BYTES_MAX, DELAY_MS_MAX, HEADER_BYTES_MAX, HEADERS_MAX,
    MESSAGE_ID_BYTES_MAX, MESSAGE_KEY_BYTES_MAX, PRIORITY_MAX, SUBJECT_BYTES_MAX, TTL_MS_MAX,
};
use crate::reply::Refusal;

/// One message, as its producer handed it in.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    /// Name chosen by the producer, unique in the queue while some subscription is not done with the message; may be empty.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Messages of one key belong together; may be empty.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    /// Such as `orders.eu.created`; may be empty.
    #[prost(string, tag = "3")]
    pub subject: String,
    /// Names and values, in the producer's order.
    #[prost(message, repeated, tag = "4")]
    pub headers: Vec<Header>,
    /// The payload.
    #[prost(bytes = "bytes", tag = "5")]
    pub body: Bytes,
    /// MIME type of the body; may be empty.
    #[prost(string, tag = "6")]
    pub content_type: String,
    /// It is due so long after it was published, in milliseconds; 0: at once.
    #[prost(uint64, tag = "7")]
    pub delay_ms: u64,
    /// It is due at this time, in milliseconds since 1970; 0: at once.
    #[prost(uint64, tag = "8")]
    pub deliver_at_ms: u64,
    /// It expires so long after it was due, in milliseconds; 0: when the queue says.
    #[prost(uint64, tag = "9")]
    pub ttl_ms: u64,
    /// 0 to 9; 9 goes first.
    #[prost(uint32, tag = "10")]
    pub priority: u32,
}

/// One header of a message.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Header {
    /// Not unique.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Any bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// It has a key.
pub const KEYED: u32 = 1;
/// It may be due later.
pub const DELAYED: u32 = 2;
/// It has a time to live of its own.
pub const EXPIRES: u32 = 4;
/// Its priority is not 0.
pub const PRIORITISED: u32 = 8;
/// It has an id.
pub const IDENTIFIED: u32 = 32;

/// What there is in a message that a queue has to look at: for [`crate::command::Publish::attributes`].
pub fn attributes(message: &Message) -> u32 {
    let flag = |is: bool, flag: u32| if is { flag } else { 0 };
    flag(!message.key.is_empty(), KEYED)
        | flag(message.delay_ms != 0 || message.deliver_at_ms != 0, DELAYED)
        | flag(message.ttl_ms != 0, EXPIRES)
        | flag(message.priority != 0, PRIORITISED)
        | flag(!message.id.is_empty(), IDENTIFIED)
}

/// Takes in a message as it was encoded by its producer: whether it can be read, and keeps to the limits. Returns its attributes. Asked
/// once, when a publish is admitted: the machine takes encoded messages as they are.
///
/// # Errors
/// A refusal that names the field and its limit.
pub fn admit(encoded: &Bytes) -> Result<u32, Refusal> {
    let unreadable = |e: prost::DecodeError| Refusal::Invalid {
        field: "messages",
        problem: format!("one cannot be read: {e}").into(),
    };
    if encoded.len() > UNCOUNTED_BYTES_MAX {
        let fields = count_fields(encoded).map_err(unreadable)?;
        Refusal::unless_at_most("headers", fields, HEADERS_MAX + FIELDS_MAX, "headers and other fields")?;
    }
    let message = Message::decode(encoded.clone()).map_err(unreadable)?;
    check(&message)?;
    Ok(attributes(&message))
}

/// A message that is not longer has so few fields that taking it apart costs little, whatever they are.
const UNCOUNTED_BYTES_MAX: usize = 4096;
/// Fields of a message besides its headers.
const FIELDS_MAX: usize = 16;

/// Counts the fields of an encoded message without taking it apart: two bytes are an empty header, which takes thirty times as much when it is decoded.
fn count_fields(mut encoded: &[u8]) -> Result<usize, prost::DecodeError> {
    let mut fields = 0;
    while !encoded.is_empty() {
        let (tag, wire_type) = prost::encoding::decode_key(&mut encoded)?;
        prost::encoding::skip_field(wire_type, tag, &mut encoded, prost::encoding::DecodeContext::default())?;
        fields += 1;
    }
    Ok(fields)
}

/// Whether a message keeps to the limits; the refusal names the field and its limit.
pub fn check(message: &Message) -> Result<(), Refusal> {
    Refusal::unless_at_most("id", message.id.len(), MESSAGE_ID_BYTES_MAX, "bytes")?;
    Refusal::unless_at_most("key", message.key.len(), MESSAGE_KEY_BYTES_MAX, "bytes")?;
    Refusal::unless_at_most("subject", message.subject.len(), SUBJECT_BYTES_MAX, "bytes")?;
    Refusal::unless_at_most("content_type", message.content_type.len(), CONTENT_TYPE_BYTES_MAX, "bytes")?;
    Refusal::unless_at_most("headers", message.headers.len(), HEADERS_MAX, "headers")?;
    let header_bytes = message.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
    Refusal::unless_at_most("headers", header_bytes, HEADER_BYTES_MAX, "bytes, names included")?;
    Refusal::unless_at_most("body", message.body.len(), BODY_BYTES_MAX, "bytes")?;
    Refusal::unless_at_most("delay_ms", message.delay_ms, DELAY_MS_MAX, "ms")?;
    Refusal::unless_at_most("ttl_ms", message.ttl_ms, TTL_MS_MAX, "ms")?;
    Refusal::unless_at_most("priority", message.priority, PRIORITY_MAX, "")?;
    if message.delay_ms != 0 && message.deliver_at_ms != 0 {
        let problem = "one of delay_ms and deliver_at_ms can be given, not both";
        return Err(Refusal::Invalid { field: "deliver_at_ms", problem: problem.into() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Problem;

    #[test]
    fn headers_are_counted_before_they_are_taken_apart() {
        let header = |at: usize| Header { name: format!("h{at}"), value: Bytes::new() };
        let of = |headers: usize| {
            let headers = (0..headers).map(header).collect();
            let body = Bytes::from(vec![0; UNCOUNTED_BYTES_MAX]);
            let message = Message { headers, body, priority: 3, ..Message::default() };
            Bytes::from(message.encode_to_vec())
        };
        assert_eq!(admit(&of(HEADERS_MAX)), Ok(PRIORITISED));
        let refused = |encoded: &Bytes| admit(encoded).expect_err("too many");
        let over = |refusal: Refusal| match refusal {
            Refusal::Invalid { problem: Problem::Over { found, limit, .. }, .. } => (found, limit),
            other => panic!("{other:?}"),
        };
        let most = HEADERS_MAX as u64;
        assert_eq!(over(refused(&of(HEADERS_MAX + 1))), (most + 1, most));
        // Eight million empty headers are 16 MiB, and would be half a GiB.
        let many = Bytes::from([0x22, 0].repeat(8 << 20));
        assert_eq!(over(refused(&many)).0, 8 << 20);
        let torn = many.slice(..many.len() - 1);
        assert!(refused(&torn).to_string().contains("cannot be read"));
    }
}
