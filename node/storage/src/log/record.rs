//! A record as it lies on disk, byte by byte. All numbers little-endian, except in the key.
//!
//! ```text
//! key    0 shard u32 BE | 4 index u64 BE
//! value  0 magic "QREC" | 4 version u16 | 6 kind u8 | 7 zero
//!        8 shard u32    | 12 payload length u32
//!       16 index u64    | 24 term u64 | 32 node u64
//!       40 offset u64: encoded bytes of the shard's log up to and with this record, ever
//!       48 prev u64: the checksum of the record before, 0 for the first
//!       56 checksum u64: xxh3-64 of the payload, seeded with the xxh3-64 of bytes 0..56
//!       64 payload
//! ```
//!
//! LMDB tells nothing about a flipped bit or a page that landed in the wrong place, so a record says itself which one it
//! is. `offset` lets a purge be reckoned in bytes without reading the log.

use bytes::Bytes;
use quorate_simpoint::{Bug, planted};
use twox_hash::XxHash3_64;

use super::{Kind, LogId, Record, ShardId};
use crate::error::Error;

/// The record version that is written, and the newest that is read.
pub const VERSION: u16 = 1;
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 64;
/// Length of a key.
pub const KEY_BYTES: usize = 12;
const MAGIC: &[u8; 4] = b"QREC";

/// Where a record stands in its shard's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Link {
    pub offset: u64,
    pub checksum: u64,
}

/// A record's header, its place and payload checked by [`parse`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub id: LogId,
    pub kind: Kind,
    pub prev: u64,
    pub link: Link,
}

/// Where a record lies.
pub(crate) fn key(shard: ShardId, index: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..4].copy_from_slice(&shard.to_be_bytes());
    key[4..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The index in a key.
pub(crate) fn index_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(4..KEY_BYTES)?.try_into().ok()?))
}

/// How many bytes a record takes.
pub(crate) fn encoded_bytes(record: &Record) -> u64 {
    (HEADER_BYTES + record.payload.len()) as u64
}

/// The header of `record` after a record with the link `before`, and its own link.
pub(crate) fn header(shard: ShardId, record: &Record, before: Link) -> ([u8; HEADER_BYTES], Link) {
    let offset = before.offset + encoded_bytes(record);
    let mut h = [0; HEADER_BYTES];
    h[..4].copy_from_slice(MAGIC);
    h[4..6].copy_from_slice(&VERSION.to_le_bytes());
    h[6] = record.kind as u8;
    h[8..12].copy_from_slice(&shard.to_le_bytes());
    h[12..16].copy_from_slice(&(record.payload.len() as u32).to_le_bytes());
    h[16..24].copy_from_slice(&record.id.index.to_le_bytes());
    h[24..32].copy_from_slice(&record.id.term.to_le_bytes());
    h[32..40].copy_from_slice(&record.id.node.to_le_bytes());
    h[40..48].copy_from_slice(&offset.to_le_bytes());
    h[48..56].copy_from_slice(&before.checksum.to_le_bytes());
    let checksum = sum(&h, &record.payload);
    h[56..].copy_from_slice(&checksum.to_le_bytes());
    (h, Link { offset, checksum })
}

fn sum(header: &[u8; HEADER_BYTES], payload: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(&header[..56]), payload)
}

pub(crate) fn damaged(shard: ShardId, index: u64, what: impl Into<String>) -> Error {
    Error::corrupt(format!("the log of shard {shard} at index {index}"), what)
}

/// Checks everything about the stored `value` of `(shard, index)` that it can say alone.
pub(crate) fn parse(shard: ShardId, index: u64, value: &[u8]) -> Result<Header, Error> {
    let bad = |what: &str| damaged(shard, index, what);
    let Some((h, payload)) = value.split_first_chunk::<HEADER_BYTES>() else {
        return Err(bad("the record is shorter than its header"));
    };
    let u32_at = |i: usize| u32::from_le_bytes([h[i], h[i + 1], h[i + 2], h[i + 3]]);
    let u64_at = |i: usize| u64::from(u32_at(i)) | u64::from(u32_at(i + 4)) << 32;
    if &h[..4] != MAGIC {
        return Err(bad("no record begins here"));
    }
    // The checksum of every version covers the version in the same way, so rot is not mistaken for progress.
    if sum(h, payload) != u64_at(56) && !planted(Bug::ChecksumIgnored) {
        return Err(bad("the checksum does not fit"));
    }
    let version = u16::from_le_bytes([h[4], h[5]]);
    if version > VERSION {
        return Err(Error::NewerFormat {
            what: format!("the record of shard {shard} at index {index}"),
            found: version,
            supported: VERSION,
        });
    }
    if u32_at(8) != shard || u64_at(16) != index {
        return Err(bad(&format!("it is the record of shard {} index {}", u32_at(8), u64_at(16))));
    }
    if u32_at(12) as usize != payload.len() {
        return Err(bad("the length does not fit"));
    }
    // The checksum fits, so it is what was written: by a program that knows more kinds.
    let kind = Kind::from_byte(h[6]).ok_or_else(|| Error::NewerFormat {
        what: format!("the kind of the record of shard {shard} at index {index}"),
        found: u16::from(h[6]),
        supported: Kind::Membership as u16,
    })?;
    Ok(Header {
        id: LogId { term: u64_at(24), node: u64_at(32), index },
        kind,
        prev: u64_at(48),
        link: Link { offset: u64_at(40), checksum: u64_at(56) },
    })
}

/// [`parse`], and that the record follows one with the link `before`.
pub(crate) fn decode(
    shard: ShardId,
    index: u64,
    value: &[u8],
    before: Link,
) -> Result<(Record, Link), Error> {
    let header = parse(shard, index, value)?;
    if header.prev != before.checksum || header.link.offset != before.offset + value.len() as u64 {
        return Err(damaged(shard, index, "it does not follow the record before it"));
    }
    let payload = Bytes::copy_from_slice(&value[HEADER_BYTES..]);
    Ok((Record { id: header.id, kind: header.kind, payload }, header.link))
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
