//! What a message says in its first bytes, and what fills the rest.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};

/// Producer, sequence number, time of sending.
pub const BYTES_MIN: usize = 20;
/// How far the filling of two messages may be apart.
const SHIFT: usize = 4096;

/// The beginning of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Counted from 0.
    pub producer: u32,
    /// Counted from 0 in each producer.
    pub seq: u64,
    /// Since the load began.
    pub sent: Duration,
}

impl Payload {
    /// The producer, number and time of a body; `None` if it is none of ours.
    pub fn decode(body: &[u8]) -> Option<Self> {
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

/// Makes bodies of one length. Filled with bytes that do not compress, and differently from one message to the next;
/// copied, since drawing them anew would cost the machine more than some brokers do.
pub struct Bodies {
    size: usize,
    filling: Vec<u8>,
}

impl Bodies {
    /// Bodies of this length, which is at least [`BYTES_MIN`].
    pub fn new(size: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        Self { size, filling: std::iter::repeat_with(draw).take(size + SHIFT).collect() }
    }

    /// The body of a message.
    pub fn make(&self, payload: Payload) -> Bytes {
        let mut body = BytesMut::with_capacity(self.size);
        body.put_u32_le(payload.producer);
        body.put_u64_le(payload.seq);
        body.put_u64_le(u64::try_from(payload.sent.as_nanos()).unwrap_or(u64::MAX));
        let shift = (payload.seq.wrapping_mul(61) % SHIFT as u64) as usize;
        body.put_slice(&self.filling[shift..shift + self.size - BYTES_MIN]);
        body.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_where_it_comes_from() {
        let payload = Payload { producer: 3, seq: 1 << 40, sent: Duration::from_nanos(123_456_789) };
        for size in [BYTES_MIN, 21, 100, 1024] {
            let body = Bodies::new(size).make(payload);
            assert_eq!(body.len(), size);
            assert_eq!(Payload::decode(&body), Some(payload));
        }
        assert_eq!(Payload::decode(&[0; BYTES_MIN - 1]), None);
    }
}
