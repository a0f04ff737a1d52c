//! Messages that a consumer can check: a number that no other message has, the length, and a filler made of both.

use bytes::{Bytes, BytesMut};
use quorate_client::{Message, Meta};

use crate::history::{is_keyed, key};
use crate::seed::mix;

/// The shortest body: the number, the length, and room for four bytes of filler.
pub(crate) const BYTES_MIN: usize = 16;

const HEAD_BYTES: usize = 12;

/// The message of that number for a queue, with a body of that many bytes.
pub(crate) fn message(queue: &str, number: u64, bytes: usize) -> Message<Bytes> {
    Message { value: body(number, bytes), meta: meta(queue, number) }
}

/// The number in a body, and its length; 0 if a publisher of this run made no such message for that queue.
pub(crate) fn check(queue: &str, body: &Bytes, meta: &Meta) -> (u64, usize) {
    let Some((number, rest)) = body.split_first_chunk::<8>() else { return (0, 0) };
    let number = u64::from_le_bytes(*number);
    let stated = rest.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes) as usize);
    let right = stated == Some(body.len())
        && self::body(number, body.len()) == body
        && *meta == self::meta(queue, number);
    (number, if right { body.len() } else { 0 })
}

fn body(number: u64, bytes: usize) -> Bytes {
    let bytes = bytes.max(BYTES_MIN);
    let mut body = BytesMut::with_capacity(bytes + 8);
    body.extend_from_slice(&number.to_le_bytes());
    body.extend_from_slice(&(bytes as u32).to_le_bytes());
    debug_assert_eq!(body.len(), HEAD_BYTES);
    let mut word = mix(number ^ (bytes as u64).rotate_left(32));
    while body.len() < bytes {
        word = mix(word.wrapping_add(0x9E37_79B9_7F4A_7C15));
        body.extend_from_slice(&word.to_le_bytes());
    }
    body.truncate(bytes);
    body.freeze()
}

/// Some messages have more than a body.
fn meta(queue: &str, number: u64) -> Meta {
    let mut message = Message::new(());
    if is_keyed(queue) {
        message = message.key(format!("key-{}", key(number)));
    } else if number.is_multiple_of(3) {
        message = message.key(number.to_be_bytes().to_vec());
    }
    if number.is_multiple_of(5) {
        message = message.id(format!("m{number}")).subject("work.done");
    }
    if number.is_multiple_of(7) {
        message = message.header("number", number.to_string().into_bytes()).header("empty", Bytes::new());
    }
    message.meta
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_again() {
        for (number, bytes) in [(1, 16), (2, 17), (105, 40), (9, 65_536), (10, 3)] {
            let made = message("q", number, bytes);
            assert_eq!(check("q", &made.value, &made.meta), (number, bytes.max(BYTES_MIN)));
        }
    }

    #[test]
    fn a_damaged_message_is_not() {
        let made = message("q", 15, 100);
        assert_eq!(check("q", &made.value.slice(..99), &made.meta), (15, 0), "cut off");
        assert_eq!(check("q", &made.value, &Meta::default()), (15, 0), "without its key");
        for at in [8, 20, 99] {
            let mut bytes = made.value.to_vec();
            bytes[at] ^= 1;
            assert_eq!(check("q", &bytes.into(), &made.meta), (15, 0), "a flipped bit");
        }
        let other = message("q", 16, 100);
        assert_eq!(check("q", &other.value, &made.meta), (16, 0), "another's key");
        assert_eq!(check("keyed-1", &made.value, &made.meta), (15, 0), "of another queue");
        assert_eq!(check("q", &Bytes::from_static(b"short"), &Meta::default()), (0, 0));
    }
}
