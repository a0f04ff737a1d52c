//! A message as the state keeps it. The encoding is frozen like the commands'.

use bytes::Bytes;

use crate::limits::{
    BODY_BYTES_MAX, CONTENT_TYPE_BYTES_MAX, HEADER_BYTES_MAX, HEADERS_MAX, MESSAGE_ID_BYTES_MAX,
    MESSAGE_KEY_BYTES_MAX, SUBJECT_BYTES_MAX,
};
use crate::reply::Refusal;

/// One message, as its producer handed it in.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    /// Name chosen by the producer; may be empty.
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
}

/// One header of a message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Header {
    /// Not unique.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Any bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// Whether a message keeps to the limits; the refusal names the field and its limit. Asked when a publish is
/// admitted: the machine takes encoded messages as they are.
pub fn check(message: &Message) -> Result<(), Refusal> {
    at_most("id", message.id.len(), MESSAGE_ID_BYTES_MAX, "bytes")?;
    at_most("key", message.key.len(), MESSAGE_KEY_BYTES_MAX, "bytes")?;
    at_most("subject", message.subject.len(), SUBJECT_BYTES_MAX, "bytes")?;
    at_most("content_type", message.content_type.len(), CONTENT_TYPE_BYTES_MAX, "bytes")?;
    at_most("headers", message.headers.len(), HEADERS_MAX, "headers")?;
    let header_bytes = message.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
    at_most("headers", header_bytes, HEADER_BYTES_MAX, "bytes, names included")?;
    at_most("body", message.body.len(), BODY_BYTES_MAX, "bytes")
}

fn at_most(field: &'static str, given: usize, max: usize, unit: &str) -> Result<(), Refusal> {
    if given <= max {
        return Ok(());
    }
    Err(Refusal::Invalid { field, problem: format!("{given} {unit}, and {max} is the most") })
}
