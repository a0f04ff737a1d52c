//! What a producer hands in.

use bytes::Bytes;
use prost::Message as _;
use quorate_proto::v1;

/// A message on its way in. Limits: id and subject 256 bytes, key 1 KiB, 64 headers of 64 KiB together, body 16 MiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<T> {
    /// The body, before it is encoded.
    pub value: T,
    /// Everything else.
    pub meta: Meta,
}

/// What a message carries beside its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Name of the message, chosen by the producer; empty means none.
    pub id: String,
    /// Messages of one key belong together; empty means none.
    pub key: Bytes,
    /// Such as "orders.eu.created"; empty means none.
    pub subject: String,
    /// Names and values, in order.
    pub headers: Vec<(String, Bytes)>,
}

impl<T> Message<T> {
    /// A message with this body and nothing else.
    pub fn new(value: T) -> Self {
        Self { value, meta: Meta::default() }
    }

    /// Names the message.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.meta.id = id.into();
        self
    }

    /// Sets its key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.meta.key = key.into();
        self
    }

    /// Sets its subject.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.meta.subject = subject.into();
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.meta.headers.push((name.into(), value.into()));
        self
    }
}

impl<T> From<T> for Message<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// A message as it travels, encoded once however often it is sent.
pub(crate) fn to_wire(meta: Meta, body: Bytes, content_type: &str) -> Bytes {
    let message = v1::Message {
        id: meta.id,
        key: meta.key,
        subject: meta.subject,
        headers: meta.headers.into_iter().map(|(name, value)| v1::Header { name, value }).collect(),
        body,
        content_type: content_type.to_owned(),
    };
    message.encode_to_vec().into()
}

/// Takes the body out of a message.
pub(crate) fn from_wire(encoded: Bytes) -> Result<(Meta, Bytes, String), prost::DecodeError> {
    let message = v1::Message::decode(encoded)?;
    let headers = message.headers.into_iter().map(|header| (header.name, header.value)).collect();
    let meta = Meta { id: message.id, key: message.key, subject: message.subject, headers };
    Ok((meta, message.body, message.content_type))
}
