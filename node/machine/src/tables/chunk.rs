//! The messages of one publish, but for their bytes.
//!
//! Layout: what it has (1 byte: the bits of [`crate::message::attributes`], [`SAME_EXPIRY`] and [`KEY_HASHES`]), time of publishing (u64, ms), xxh3-128 of the
//! body row, encoded bytes that the queue was published before (u64); with [`SAME_EXPIRY`] the time at which all of them expire (u64, ms); for each message the offset (u32) in the body row at which it ends; and, each
//! only if the chunk has it, for each message the hash of its key (u64, 0: none), when it is due (u64, ms), when it expires (u64, ms, 0: never), its priority
//! (1 byte), the hash of its id (u128, 0: none), the xxh3-128 of its key (u128). Ends instead of lengths: the size of any stretch of messages is one subtraction.

use bytes::{BufMut, Bytes, BytesMut};
use twox_hash::{XxHash3_64, XxHash3_128};

use super::{Table, key};
use crate::message::{DELAYED, EXPIRES, IDENTIFIED, KEYED, PRIORITISED};
use crate::store::{Read, StoreError};
use crate::tables::QueueId;

const HEAD_BYTES: usize = 1 + 8 + 16 + 8;
const END_BYTES: usize = 4;
const TIME_BYTES: usize = 8;
const HASH_BYTES: usize = 16;

/// All messages expire at the same time, which stands there once.
const SAME_EXPIRY: u8 = 1 << 4;
/// The queue retains the latest message of each key, and has to tell keys apart.
const KEY_HASHES: u8 = 1 << 6;

/// What messages have besides their bytes: for each of them, or empty if none has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    pub(crate) lanes: Vec<u64>,
    pub(crate) due_ms: Vec<u64>,
    pub(crate) expires_ms: Vec<u64>,
    pub(crate) priorities: Vec<u8>,
    pub(crate) ids: Vec<u128>,
    /// If not 0, when all of them expire; then `expires_ms` is empty.
    pub(crate) all_expire_ms: u64,
    pub(crate) key_hashes: Vec<u128>,
}

/// Stands for a key: 0 only for none. Two keys of one hash share their order, which costs parallelism and breaks nothing.
pub(crate) fn lane_of(key: &[u8]) -> u64 {
    if key.is_empty() { 0 } else { XxHash3_64::oneshot(key).max(1) }
}

/// Stands for an id: 0 only for none. Two ids of one hash would be taken for one; among a billion messages the odds of that are below 2^-68.
pub(crate) fn id_of(id: &str) -> u128 {
    if id.is_empty() { 0 } else { XxHash3_128::oneshot(id.as_bytes()).max(1) }
}

/// Tells keys apart where the latest message of each is retained.
pub(crate) fn hash_of(key: &[u8]) -> u128 {
    XxHash3_128::oneshot(key)
}

/// The values that a chunk may have for each message, in their order, with their lengths.
const COLUMNS: [(u32, usize); 6] = [
    (KEYED, TIME_BYTES),
    (DELAYED, TIME_BYTES),
    (EXPIRES, TIME_BYTES),
    (PRIORITISED, 1),
    (IDENTIFIED, HASH_BYTES),
    (KEY_HASHES as u32, HASH_BYTES),
];

/// A decoded chunk row. Keeps the row and looks up what is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// Position of the first message.
    pub(crate) first: u64,
    count: usize,
    row: Bytes,
}

/// Length of what a chunk has for each message, by what it has.
fn width_of(flags: u8) -> usize {
    COLUMNS.iter().filter(|(flag, _)| flags & *flag as u8 != 0).map(|(_, width)| width).sum()
}

impl Chunk {
    /// The row for a publish of messages of these lengths, whose sum is the length of `body` and fits 32 bits. `bytes_before`: encoded size of what the
    /// queue was published before.
    pub(crate) fn encode(
        published_at_ms: u64,
        bytes_before: u64,
        lengths: &[u32],
        body: &[u8],
        columns: &Columns,
    ) -> Bytes {
        let flag = |has: bool, flag: u32| if has { flag as u8 } else { 0 };
        let flags = flag(!columns.lanes.is_empty(), KEYED)
            | flag(!columns.due_ms.is_empty(), DELAYED)
            | flag(!columns.expires_ms.is_empty(), EXPIRES)
            | flag(!columns.priorities.is_empty(), PRIORITISED)
            | flag(!columns.ids.is_empty(), IDENTIFIED)
            | flag(!columns.key_hashes.is_empty(), KEY_HASHES.into())
            | flag(columns.all_expire_ms != 0, SAME_EXPIRY.into());
        let each = END_BYTES + width_of(flags);
        let mut row = BytesMut::with_capacity(HEAD_BYTES + TIME_BYTES + lengths.len() * each);
        row.put_u8(flags);
        row.put_u64(published_at_ms);
        row.put_u128(XxHash3_128::oneshot(body));
        row.put_u64(bytes_before);
        if columns.all_expire_ms != 0 {
            row.put_u64(columns.all_expire_ms);
        }
        let mut end = 0u32;
        for length in lengths {
            end = end.saturating_add(*length);
            row.put_u32(end);
        }
        for value in columns.lanes.iter().chain(&columns.due_ms).chain(&columns.expires_ms) {
            row.put_u64(*value);
        }
        row.put_slice(&columns.priorities);
        for hash in columns.ids.iter().chain(&columns.key_hashes) {
            row.put_u128(*hash);
        }
        row.freeze()
    }

    pub(crate) fn decode(key: &[u8], row: Bytes) -> Result<Self, StoreError> {
        let first = key::last_u64(key)?;
        let bad = || StoreError(format!("the chunk at {first} has a length of {} bytes", row.len()));
        let flags = *row.first().ok_or_else(bad)?;
        let head = HEAD_BYTES + if flags & SAME_EXPIRY == 0 { 0 } else { TIME_BYTES };
        let each = END_BYTES + width_of(flags);
        if row.len() <= head || !(row.len() - head).is_multiple_of(each) {
            return Err(bad());
        }
        Ok(Self { first, count: (row.len() - head) / each, row })
    }

    /// Whether any message has one of these attributes.
    pub(crate) fn has(&self, attributes: u32) -> bool {
        let same = if self.row[0] & SAME_EXPIRY == 0 { 0 } else { EXPIRES };
        (u32::from(self.row[0]) | same) & attributes != 0
    }

    pub(crate) fn count(&self) -> u64 {
        self.count as u64
    }

    /// The position after the last message.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(self.count())
    }

    pub(crate) fn published_at_ms(&self) -> u64 {
        self.u64_at(1)
    }

    pub(crate) fn content_hash(&self) -> u128 {
        u128::from_be_bytes(self.row[9..25].try_into().expect("the range is 16 bytes"))
    }

    /// Encoded size of what the queue was published before, in bytes.
    pub(crate) fn bytes_before(&self) -> u64 {
        self.u64_at(25)
    }

    fn u64_at(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.row[at..at + TIME_BYTES].try_into().expect("the range is 8 bytes"))
    }

    fn ends_at(&self) -> usize {
        HEAD_BYTES + if self.row[0] & SAME_EXPIRY == 0 { 0 } else { TIME_BYTES }
    }

    /// Where in the row the value of a message is, if the chunk has such values.
    fn column(&self, wanted: u32, position: u64) -> Option<usize> {
        let index =
            usize::try_from(position.checked_sub(self.first)?).ok().filter(|index| *index < self.count)?;
        let mut at = self.ends_at() + self.count * END_BYTES;
        for (flag, width) in COLUMNS {
            let has = self.row[0] & flag as u8 != 0;
            if flag == wanted {
                return has.then_some(at + index * width);
            }
            at += if has { self.count * width } else { 0 };
        }
        None
    }

    /// What stands for the key of a message; 0: it has none.
    pub(crate) fn lane(&self, position: u64) -> u64 {
        self.column(KEYED, position).map_or(0, |at| self.u64_at(at))
    }

    /// When a message is due.
    pub(crate) fn due_ms(&self, position: u64) -> u64 {
        self.column(DELAYED, position).map_or_else(|| self.published_at_ms(), |at| self.u64_at(at))
    }

    /// When a message expires; 0: never.
    pub(crate) fn expires_ms(&self, position: u64) -> u64 {
        if self.row[0] & SAME_EXPIRY != 0 {
            return self.u64_at(HEAD_BYTES);
        }
        self.column(EXPIRES, position).map_or(0, |at| self.u64_at(at))
    }

    pub(crate) fn priority(&self, position: u64) -> u8 {
        self.column(PRIORITISED, position).map_or(0, |at| self.row[at])
    }

    /// What stands for the ids of the messages that have one, with their positions.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (u64, u128)> {
        let positions = if self.has(IDENTIFIED) { self.first..self.end() } else { 0..0 };
        positions.filter_map(|position| {
            let id = self.hash_at(self.column(IDENTIFIED, position)?);
            (id != 0).then_some((position, id))
        })
    }

    fn hash_at(&self, at: usize) -> u128 {
        u128::from_be_bytes(self.row[at..at + HASH_BYTES].try_into().expect("the range is 16 bytes"))
    }

    /// What stands for the key of a message where the latest of each key is retained.
    pub(crate) fn key_hash(&self, position: u64) -> Option<u128> {
        self.column(KEY_HASHES.into(), position).map(|at| self.hash_at(at))
    }

    /// Whether the messages have one each.
    pub(crate) fn has_key_hashes(&self) -> bool {
        self.row[0] & KEY_HASHES != 0
    }

    /// The row with other times for one message, which has such times of its own.
    pub(crate) fn with_times(&self, position: u64, due_ms: u64, expires_ms: u64) -> Bytes {
        let mut row = BytesMut::from(&self.row[..]);
        for (flag, time) in [(DELAYED, due_ms), (EXPIRES, expires_ms)] {
            if let Some(at) = self.column(flag, position) {
                row[at..at + TIME_BYTES].copy_from_slice(&time.to_be_bytes());
            }
        }
        row.freeze()
    }

    /// Where the message at `position` begins in the body row, or where the last one before it ends.
    pub(crate) fn offset(&self, position: u64) -> usize {
        let index = position.saturating_sub(self.first).min(self.count()) as usize;
        if index == 0 {
            return 0;
        }
        let at = self.ends_at() + (index - 1) * END_BYTES;
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
    let to = key::chunk(id, position).next();
    if let Some((key, row)) = rows.recall(&to) {
        return Chunk::decode(&key, row).map(Some);
    }
    let Some((key, row)) = rows.last(&key::of_queue(Table::Chunk, id), &to)? else { return Ok(None) };
    let chunk = Chunk::decode(&key, row.clone())?;
    // No other chunk begins within this one.
    rows.remember(&key, &row, &key::chunk(id, chunk.end()));
    Ok((chunk.end() > position).then_some(chunk))
}

/// The first chunk that begins at `position` or later.
pub(crate) fn from(rows: &impl Read, id: QueueId, position: u64) -> Result<Option<Chunk>, StoreError> {
    let end = key::of_queue(Table::Chunk, id).end();
    let Some((key, row)) = rows.first(&key::chunk(id, position), &end)? else { return Ok(None) };
    Chunk::decode(&key, row).map(Some)
}

/// The chunk that holds a position, or else the next one.
pub(crate) fn at_or_after(rows: &impl Read, id: QueueId, position: u64) -> Result<Option<Chunk>, StoreError> {
    match at(rows, id, position)? {
        None => from(rows, id, position),
        found => Ok(found),
    }
}

/// The body row of a chunk.
pub(crate) fn body(rows: &impl Read, id: QueueId, chunk: &Chunk) -> Result<Bytes, StoreError> {
    let row = rows.get(&key::body(id, chunk.first))?;
    row.ok_or_else(|| StoreError(format!("the chunk at {} has no body", chunk.first)))
}
