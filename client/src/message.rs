//! What a producer hands in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use quorate_proto::v1;

/// A message on its way in. Limits: id and subject 256 bytes, key 1 KiB, 64 headers of 64 KiB together, body 16 MiB.
///
/// ```no_run
/// # use std::time::Duration;
/// # use quorate_client::{Error, Message};
/// # async fn example() -> Result<(), Error> {
/// let reminder = Message::new("pay invoice 7")
///     .id("invoice-7") // published once while it is there
///     .key("customer-3")
///     .header("tenant", "acme")
///     .delay(Duration::from_secs(3600));
/// let plain: Message<&str> = "just this".into();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<T> {
    /// The body, before it is encoded.
    pub value: T,
    /// Everything else.
    pub meta: Meta,
}

/// What a message carries beside its body.
///
/// ```no_run
/// # use quorate_client::{Delivery, Error};
/// # async fn example(delivery: Delivery<u64>) -> Result<(), Error> {
/// let tenant = delivery.meta.header("tenant").unwrap_or_default();
/// println!("{:?} of {:?}", delivery.meta.key, tenant);
/// delivery.ack().await?;
/// # Ok(())
/// # }
/// ```
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
    /// How long after it was published the message is due; in whole milliseconds, at most 10 years.
    pub delay: Option<Duration>,
    /// When the message is due, by the cluster's clock; in whole milliseconds. Not together with `delay`.
    pub deliver_at: Option<SystemTime>,
    /// How long after it was due the message expires; in whole milliseconds, at most 10 years. `None`: when its queue says.
    pub ttl: Option<Duration>,
    /// 0 to 9; 9 goes first. Above 0 only in queues that have priorities.
    pub priority: u8,
}

impl Meta {
    /// The value of the first header of this name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..])
    }
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

    /// It is handed out so long after it was published, and not before.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.meta.delay = Some(delay);
        self
    }

    /// It is handed out at this time, and not before.
    #[must_use]
    pub fn deliver_at(mut self, time: SystemTime) -> Self {
        self.meta.deliver_at = Some(time);
        self
    }

    /// It expires so long after it was due, unless a consumer holds it then.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.meta.ttl = Some(ttl);
        self
    }

    /// 0 to 9; 9 goes first.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.meta.priority = priority;
        self
    }
}

/// Zero stands for nothing on the wire; the shortest time that was asked for is 1 ms.
fn millis(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1))
}

fn duration(ms: u64) -> Option<Duration> {
    (ms != 0).then(|| Duration::from_millis(ms))
}

impl<T> From<T> for Message<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Small messages are encoded one behind the other into pieces of memory of this size, in bytes.
const CHUNK_BYTES: usize = 16 * 1024;
/// A message that is longer gets memory of its own, in bytes.
const SMALL_BYTES_MAX: usize = 4 * 1024;

/// Messages as they travel, each encoded once however often it is sent. A small one costs no allocation of its own.
pub(crate) struct Encoder {
    /// Its content type is the same for all.
    message: v1::Message,
    chunk: BytesMut,
}

impl Encoder {
    pub(crate) fn new(content_type: &str) -> Self {
        let message = v1::Message { content_type: content_type.to_owned(), ..Default::default() };
        Self { message, chunk: BytesMut::new() }
    }

    pub(crate) fn encode(&mut self, meta: Meta, body: Bytes) -> Bytes {
        let message = &mut self.message;
        message.id = meta.id;
        message.key = meta.key;
        message.subject = meta.subject;
        message.headers.extend(meta.headers.into_iter().map(|(name, value)| v1::Header { name, value }));
        message.body = body;
        message.delay_ms = millis(meta.delay);
        // Before 1970 is long ago: at once.
        let deliver_at = meta.deliver_at.map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default());
        message.deliver_at_ms = millis(deliver_at);
        message.ttl_ms = millis(meta.ttl);
        message.priority = meta.priority.into();
        let bytes = message.encoded_len();
        let encoded = if bytes > SMALL_BYTES_MAX {
            message.encode_to_vec().into()
        } else {
            if self.chunk.capacity() < bytes {
                self.chunk = BytesMut::with_capacity(CHUNK_BYTES);
            }
            message.encode(&mut self.chunk).expect("a chunk was made long enough");
            self.chunk.split().freeze()
        };
        message.headers.clear();
        (message.key, message.body) = (Bytes::new(), Bytes::new());
        encoded
    }
}

/// Takes the body out of a message.
pub(crate) fn from_wire(encoded: Bytes) -> Result<(Meta, Bytes, String), prost::DecodeError> {
    let message = v1::Message::decode(encoded)?;
    let headers = message.headers.into_iter().map(|header| (header.name, header.value)).collect();
    let meta = Meta {
        id: message.id,
        key: message.key,
        subject: message.subject,
        headers,
        delay: duration(message.delay_ms),
        deliver_at: duration(message.deliver_at_ms).map(|since| UNIX_EPOCH + since),
        ttl: duration(message.ttl_ms),
        // The server takes nothing above 9.
        priority: u8::try_from(message.priority).unwrap_or(u8::MAX),
    };
    Ok((meta, message.body, message.content_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_any_length_are_read_back_as_they_were() {
        let mut encoder = Encoder::new("text/plain");
        let lengths = [0, 1, 100, 4000, 4090, 4096, 5000, 100, 20_000, 3000, 3000, 3000, 3000, 3000, 3000, 7];
        let given: Vec<_> = (0..)
            .zip(lengths)
            .map(|(i, length)| {
                let body = Bytes::from(vec![i as u8; length]);
                let message = Message::new(body).id(format!("m{i}")).key(vec![i as u8]);
                match i % 4 {
                    0 => message.header("h", vec![i as u8; 3]),
                    1 => message.subject("s"),
                    2 => message.delay(Duration::from_secs(3)).ttl(Duration::from_millis(9)).priority(7),
                    _ => message.deliver_at(UNIX_EPOCH + Duration::from_secs(2_000_000_000)),
                }
            })
            .collect();
        let wire: Vec<_> =
            given.iter().cloned().map(|message| encoder.encode(message.meta, message.value)).collect();
        for (given, encoded) in given.into_iter().zip(wire) {
            assert_eq!(from_wire(encoded).unwrap(), (given.meta, given.value, "text/plain".to_owned()));
        }
    }
}
