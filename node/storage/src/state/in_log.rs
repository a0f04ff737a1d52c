//! Bodies stay where they are already: in the log. A row says where, so that a body is written once, and a message that is
//! acknowledged before its part of the log goes is never written again.
//!
//! The table `in_log` of the environment tells which records are still needed: its keys are `index u64 BE | key of the row`, its
//! values `length u32 LE | xxh3-64 of key and length`. It is kept in the transactions that change the rows. What must
//! leave the log all the same is brought in: the row then holds the body itself.

use bytes::Bytes;
use heed::{RoTxn, RwTxn};
use quorate_machine::tables::Table;
use quorate_simpoint::buggify;
use twox_hash::XxHash3_64;

use crate::error::Error;
use crate::log::ShardLog;
use crate::map::{Fault, Map};

/// Shorter bodies are kept in their rows: saying where they are would take as long as they are.
const BYTES_MIN: usize = 256;

/// Where in the log a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Of the record.
    pub index: u64,
    /// In its payload.
    pub offset: u32,
    pub len: u32,
}

/// Length of an encoded place.
pub(crate) const PLACE_BYTES: usize = 16;

impl Place {
    pub fn encode(self) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        bytes[..8].copy_from_slice(&self.index.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.offset.to_le_bytes());
        bytes[12..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Place> {
        let (index, rest) = bytes.split_first_chunk()?;
        let (offset, len) = rest.split_first_chunk()?;
        let len = u32::from_le_bytes(len.try_into().ok()?);
        Some(Place { index: u64::from_le_bytes(*index), offset: u32::from_le_bytes(*offset), len })
    }

    /// The value in its record's payload.
    pub fn of(self, payload: &Bytes) -> Option<Bytes> {
        let (from, len) = (self.offset as usize, self.len as usize);
        (from + len <= payload.len()).then(|| payload.slice(from..from + len))
    }
}

/// The entry that is being applied.
pub(crate) struct Entry {
    pub index: u64,
    pub payload: Bytes,
}

impl Entry {
    /// Where `value` is in this entry, if it is a part of it and a body: the rows that are written once.
    pub fn place(&self, key: &[u8], value: &Bytes) -> Option<Place> {
        let offset = (value.as_ptr() as usize).checked_sub(self.payload.as_ptr() as usize)?;
        let inside = offset + value.len() <= self.payload.len();
        let (offset, len) = (u32::try_from(offset).ok()?, u32::try_from(value.len()).ok()?);
        let stays =
            inside && is_body(key) && (value.len() >= BYTES_MIN || buggify("storage/in_log/short_too"));
        stays.then_some(Place { index: self.index, offset, len })
    }
}

/// Whether the row may say where its value is.
pub(crate) fn is_body(key: &[u8]) -> bool {
    key.first() == Some(&(Table::Body as u8))
}

/// What the rows on disk need of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Needed {
    /// The first record.
    pub from: Option<u64>,
    /// Length of all values there.
    pub bytes: u64,
}

/// Reads, and checks, what the rows on disk need, which must be in the log.
pub(crate) fn load(map: &Map, txn: &RoTxn, log: &ShardLog) -> Result<Needed, Error> {
    let (mut needed, mut last) = (Needed::default(), None);
    for row in map.in_log.iter(txn).map_err(|e| failed(map, &e))? {
        let (key, value) = row.map_err(|e| failed(map, &e))?;
        let (index, _, len) = parse(map, key, value)?;
        needed.from.get_or_insert(index);
        needed.bytes += u64::from(len);
        last = Some(index);
    }
    let (first, end) = (log.first(), log.last().map_or(0, |id| id.index + 1));
    if needed.from.is_some_and(|from| from < first) || last.is_some_and(|last| last >= end) {
        let what =
            format!("it needs the records {:?} to {last:?}, and the log has {first} to {end}", needed.from);
        return Err(Error::corrupt(map.path().display().to_string(), what));
    }
    Ok(needed)
}

/// The first record that is needed.
pub(crate) fn first(map: &Map, txn: &RoTxn) -> Result<Option<u64>, Error> {
    let row = map.in_log.first(txn).map_err(|e| failed(map, &e))?;
    row.map(|(key, value)| parse(map, key, value).map(|(index, ..)| index)).transpose()
}

/// The first rows whose values are in records up to `upto`, as many as have `max_bytes` together but at least one.
pub(crate) fn oldest(
    map: &Map,
    txn: &RoTxn,
    upto: u64,
    max_bytes: u64,
) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for row in map.in_log.iter(txn).map_err(|e| failed(map, &e))? {
        let (key, value) = row.map_err(|e| failed(map, &e))?;
        let (index, key, len) = parse(map, key, value)?;
        if index > upto || bytes >= max_bytes {
            break;
        }
        bytes += u64::from(len);
        rows.push((index, key.to_vec()));
    }
    Ok(rows)
}

/// Notes that the row at `key` needs the record.
pub(crate) fn note(map: &Map, txn: &mut RwTxn, key: &[u8], place: Place) -> Result<(), heed::Error> {
    let key = row_key(place.index, key);
    map.in_log.put(txn, &key, &value(&key, place.len))
}

/// Notes that it needs it no more.
pub(crate) fn forget(map: &Map, txn: &mut RwTxn, key: &[u8], index: u64) -> Result<(), Fault> {
    if map.in_log.delete(txn, &row_key(index, key))? {
        return Ok(());
    }
    let what = format!("the row {} is in record {index}, which nobody noted", key.escape_ascii());
    Err(Error::corrupt(map.path().display().to_string(), what).into())
}

fn row_key(index: u64, key: &[u8]) -> Vec<u8> {
    [&index.to_be_bytes(), key].concat()
}

fn value(key: &[u8], len: u32) -> [u8; 12] {
    let mut value = [0; 12];
    value[..4].copy_from_slice(&len.to_le_bytes());
    value[4..].copy_from_slice(
        &XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(&len.to_le_bytes()), key).to_le_bytes(),
    );
    value
}

fn parse<'a>(map: &Map, key: &'a [u8], stored: &[u8]) -> Result<(u64, &'a [u8], u32), Error> {
    let parts = key.split_first_chunk().zip(stored.first_chunk());
    match parts {
        Some(((index, row), len)) if stored == value(key, u32::from_le_bytes(*len)) => {
            Ok((u64::from_be_bytes(*index), row, u32::from_le_bytes(*len)))
        }
        _ => {
            let place = format!("the note {} of {}", key.escape_ascii(), map.path().display());
            Err(Error::corrupt(place, "the checksum does not fit"))
        }
    }
}

fn failed(map: &Map, error: &heed::Error) -> Error {
    Error::lmdb("reading", map.path(), error)
}
