//! What a message of a run says in its first bytes.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};

/// Producer, sequence number, time of sending.
pub(super) const BYTES_MIN: usize = 20;

/// What bodies are filled with: something that no transport compresses to nothing. Each begins elsewhere in it, so that
/// neighbours are not alike.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()
    });
    words.take(NOISE_BYTES / 8).flatten().collect()
});
const NOISE_BYTES: usize = 64 * 1024;

/// The beginning of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    /// Counted from 0.
    pub(super) producer: u32,
    /// Counted from 0 in each producer.
    pub(super) seq: u64,
    /// Since the load began.
    pub(super) sent: Duration,
}

impl Payload {
    pub(super) fn encode(self, size: usize) -> Bytes {
        let mut body = BytesMut::with_capacity(size);
        body.put_u32_le(self.producer);
        body.put_u64_le(self.seq);
        body.put_u64_le(u64::try_from(self.sent.as_nanos()).unwrap_or(u64::MAX));
        let begin = (u64::from(self.producer) * 4099 + self.seq * 61) as usize % NOISE_BYTES;
        let (mut rest, mut left) = (&NOISE[begin..], size.saturating_sub(body.len()));
        while left > 0 {
            let part = &rest[..left.min(rest.len())];
            body.put_slice(part);
            left -= part.len();
            rest = &NOISE;
        }
        body.freeze()
    }

    /// `None` if this is no message of a run.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let (producer, rest) = body.split_first_chunk::<4>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let (nanos, _) = rest.split_first_chunk::<8>()?;
        Some(Self {
            producer: u32::from_le_bytes(*producer),
            seq: u64::from_le_bytes(*seq),
            sent: Duration::from_nanos(u64::from_le_bytes(*nanos)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_where_it_comes_from() {
        let payload = Payload { producer: 3, seq: 1 << 40, sent: Duration::from_nanos(123_456_789) };
        for size in [BYTES_MIN, 21, 100, 1024, 200_000] {
            let body = payload.encode(size);
            assert_eq!(body.len(), size);
            assert_eq!(Payload::decode(&body), Some(payload));
        }
        assert_eq!(Payload::decode(&[0; 19]), None);
    }
}
