//! The messages of one publish, but for their bytes.
//!
//! Layout: time of publishing (u64, ms), xxh3-128 of the body row, then for each message the offset (u32) in the
//! body row at which it ends. Ends instead of lengths: the size of any stretch of messages is one subtraction.

use bytes::{BufMut, Bytes, BytesMut};
use twox_hash::XxHash3_128;

use super::{Table, key};
use crate::store::{Read, StoreError};
use crate::tables::QueueId;

const HEAD_BYTES: usize = 8 + 16;
const END_BYTES: usize = 4;

/// A decoded chunk row. Keeps the row and looks up what is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// Position of the first message.
    pub(crate) first: u64,
    row: Bytes,
}

impl Chunk {
    /// The row for a publish of messages of these lengths, whose sum is the length of `body` and fits 32 bits.
    pub(crate) fn encode(published_at_ms: u64, lengths: &[u32], body: &[u8]) -> Bytes {
        let mut row = BytesMut::with_capacity(HEAD_BYTES + lengths.len() * END_BYTES);
        row.put_u64(published_at_ms);
        row.put_u128(XxHash3_128::oneshot(body));
        let mut end = 0u32;
        for length in lengths {
            end = end.saturating_add(*length);
            row.put_u32(end);
        }
        row.freeze()
    }

    pub(crate) fn decode(key: &[u8], row: Bytes) -> Result<Self, StoreError> {
        let first = key::last_u64(key)?;
        if row.len() <= HEAD_BYTES || !(row.len() - HEAD_BYTES).is_multiple_of(END_BYTES) {
            return Err(StoreError(format!("the chunk at {first} has a length of {} bytes", row.len())));
        }
        Ok(Self { first, row })
    }

    pub(crate) fn count(&self) -> u64 {
        ((self.row.len() - HEAD_BYTES) / END_BYTES) as u64
    }

    /// The position after the last message.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(self.count())
    }

    pub(crate) fn published_at_ms(&self) -> u64 {
        u64::from_be_bytes(self.row[..8].try_into().expect("the range is 8 bytes"))
    }

    pub(crate) fn content_hash(&self) -> u128 {
        u128::from_be_bytes(self.row[8..HEAD_BYTES].try_into().expect("the range is 16 bytes"))
    }

    /// Where the message at `position` begins in the body row, or where the last one before it ends.
    pub(crate) fn offset(&self, position: u64) -> usize {
        let index = position.saturating_sub(self.first).min(self.count()) as usize;
        if index == 0 {
            return 0;
        }
        let at = HEAD_BYTES + (index - 1) * END_BYTES;
        u32::from_be_bytes(self.row[at..at + END_BYTES].try_into().expect("the range is 4 bytes")) as usize
    }

    /// Encoded size of the messages `from..to`, in bytes.
    pub(crate) fn bytes(&self, from: u64, to: u64) -> u64 {
        self.offset(to).saturating_sub(self.offset(from)) as u64
    }

    /// The encoded message at `position`, a slice of the body row.
    pub(crate) fn message(&self, body: &Bytes, position: u64) -> Result<Bytes, StoreError> {
        let (from, to) = (self.offset(position), self.offset(position.saturating_add(1)));
        if from > to || to > body.len() {
            return Err(StoreError(format!("the body of the chunk at {} is too short", self.first)));
        }
        Ok(body.slice(from..to))
    }
}

/// The chunk that holds `position`, if it is still there.
pub(crate) fn at(rows: &impl Read, id: QueueId, position: u64) -> Result<Option<Chunk>, StoreError> {
    let from = key::of_queue(Table::Chunk, id);
    let Some((key, row)) = rows.last(&from, &key::chunk(id, position).next())? else { return Ok(None) };
    let chunk = Chunk::decode(&key, row)?;
    Ok((chunk.end() > position).then_some(chunk))
}

/// The first chunk that begins at `position` or later.
pub(crate) fn from(rows: &impl Read, id: QueueId, position: u64) -> Result<Option<Chunk>, StoreError> {
    let end = key::of_queue(Table::Chunk, id).end();
    let Some((key, row)) = rows.first(&key::chunk(id, position), &end)? else { return Ok(None) };
    Chunk::decode(&key, row).map(Some)
}

/// The body row of a chunk.
pub(crate) fn body(rows: &impl Read, id: QueueId, chunk: &Chunk) -> Result<Bytes, StoreError> {
    let row = rows.get(&key::body(id, chunk.first))?;
    row.ok_or_else(|| StoreError(format!("the chunk at {} has no body", chunk.first)))
}
