//! The row that says what the rows on disk stand for. Little-endian:
//!
//! ```text
//! 0 magic "QAPP" | 4 version u16 | 6 flags u16 (bit 0: there is a last entry) | 8 term | 16 node | 24 index
//! 32 membership length u32 | 36 membership | xxh3-64 of all before
//! ```

use bytes::Bytes;
use heed::{RoTxn, RwTxn};
use twox_hash::XxHash3_64;

use super::Applied;
use crate::error::Error;
use crate::log::LogId;
use crate::map::Map;

const KEY: &[u8] = b"applied";
const MAGIC: &[u8; 4] = b"QAPP";
const VERSION: u16 = 1;
const FIXED: usize = 36;

/// What is on disk; nothing if nothing was ever flushed.
pub(crate) fn load(map: &Map, txn: &RoTxn) -> Result<Applied, Error> {
    match map.meta.get(txn, KEY).map_err(|e| Error::lmdb("reading", map.path(), &e))? {
        None => Ok(Applied::default()),
        Some(row) => decode(row, &map.path().display().to_string()),
    }
}

/// Writes it beside the rows that it stands for.
pub(crate) fn save(map: &Map, txn: &mut RwTxn, applied: &Applied) -> Result<(), heed::Error> {
    map.meta.put(txn, KEY, &encode(applied))
}

pub(crate) fn encode(applied: &Applied) -> Vec<u8> {
    let id = applied.last.unwrap_or_default();
    let mut row = Vec::with_capacity(FIXED + applied.membership.len() + 8);
    row.extend_from_slice(MAGIC);
    row.extend_from_slice(&VERSION.to_le_bytes());
    row.extend_from_slice(&u16::from(applied.last.is_some()).to_le_bytes());
    for word in [id.term, id.node, id.index] {
        row.extend_from_slice(&word.to_le_bytes());
    }
    row.extend_from_slice(&(applied.membership.len() as u32).to_le_bytes());
    row.extend_from_slice(&applied.membership);
    let sum = XxHash3_64::oneshot(&row);
    row.extend_from_slice(&sum.to_le_bytes());
    row
}

pub(crate) fn decode(row: &[u8], path: &str) -> Result<Applied, Error> {
    let place = || format!("the applied row of {path}");
    let bad = |what: &str| Error::corrupt(place(), what);
    let Some((row, sum)) = row.split_last_chunk::<8>() else { return Err(bad("it is too short")) };
    if row.len() < 6 || &row[..4] != MAGIC || XxHash3_64::oneshot(row).to_le_bytes() != *sum {
        return Err(bad("the checksum does not fit"));
    }
    let version = u16::from_le_bytes([row[4], row[5]]);
    if version > VERSION {
        return Err(Error::NewerFormat { what: place(), found: version, supported: VERSION });
    }
    if row.len() < FIXED || row[32..36] != ((row.len() - FIXED) as u32).to_le_bytes() {
        return Err(bad("the length does not fit"));
    }
    let word = |i: usize| row[i..i + 8].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let last = (row[6] & 1 == 1).then(|| LogId { term: word(8), node: word(16), index: word(24) });
    Ok(Applied { last, membership: Bytes::copy_from_slice(&row[FIXED..]) })
}
