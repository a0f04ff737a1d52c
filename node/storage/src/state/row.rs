//! A row as it lies on disk: `0 checksum u64 LE | 8 value`, under its key. The checksum is the xxh3-64 of the value, seeded
//! with the xxh3-64 of the key, so a value that landed under another key is noticed too.

use bytes::Bytes;
use quorate_simpoint::{Bug, planted};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::error::Error;

/// Bytes before the value.
pub(crate) const HEADER_BYTES: usize = 8;

/// What stands before `value`.
pub(crate) fn header(key: &[u8], value: &[u8]) -> [u8; HEADER_BYTES] {
    xxh3_64_with_seed(value, xxh3_64(key)).to_le_bytes()
}

/// The value of the stored `row`, checked.
pub(crate) fn value<'a>(shard: u32, key: &[u8], row: &'a [u8]) -> Result<&'a [u8], Error> {
    match row.split_first_chunk::<HEADER_BYTES>() {
        Some((sum, value)) if *sum == header(key, value) || planted(Bug::ChecksumIgnored) => Ok(value),
        _ => {
            let place = format!("the row {} of the state of shard {shard}", key.escape_ascii());
            Err(Error::corrupt(place, "the checksum does not fit"))
        }
    }
}

/// [`value`], copied out of the map.
pub(crate) fn copy(shard: u32, key: &[u8], row: &[u8]) -> Result<Bytes, Error> {
    value(shard, key, row).map(Bytes::copy_from_slice)
}
