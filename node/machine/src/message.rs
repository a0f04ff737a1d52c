//! A message as the state keeps it. The encoding is frozen like the commands'.

use bytes::Bytes;

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
