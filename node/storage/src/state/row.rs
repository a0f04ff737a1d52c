//! A row as it lies on disk, under its key: `0 checksum u64 LE | 8 kind | 9 value`. Kind 0 is the value itself, kind 1 says where
//! in the log it is: `index u64 LE, offset u32 LE, length u32 LE`. The checksum is the xxh3-64 of what follows the kind,
//! seeded with the kind and the xxh3-64 of the key, so a value that landed under another key is noticed too.

use bytes::Bytes;
use quorate_simpoint::{Bug, planted};
use twox_hash::XxHash3_64;

use super::in_log::Place;
use crate::error::Error;

/// Bytes before the value.
pub(crate) const HEADER_BYTES: usize = 9;
const INLINE: u8 = 0;
const IN_LOG: u8 = 1;

/// What a row says, in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Inline(Bytes),
    InLog(Place),
}

/// What a row on disk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored<'a> {
    Inline(&'a [u8]),
    InLog(Place),
}

/// What stands before a value that is in its row.
pub(crate) fn inline_header(key: &[u8], value: &[u8]) -> [u8; HEADER_BYTES] {
    header(key, INLINE, value)
}

/// What stands before an encoded place.
pub(crate) fn place_header(key: &[u8], place: &[u8]) -> [u8; HEADER_BYTES] {
    header(key, IN_LOG, place)
}

fn header(key: &[u8], kind: u8, value: &[u8]) -> [u8; HEADER_BYTES] {
    let sum = XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(key).wrapping_add(u64::from(kind)), value);
    let mut header = [kind; HEADER_BYTES];
    header[..8].copy_from_slice(&sum.to_le_bytes());
    header
}

/// What the stored `row` says, checked.
pub(crate) fn read<'a>(shard: u32, key: &[u8], row: &'a [u8]) -> Result<Stored<'a>, Error> {
    let bad = |what: &str| {
        let place = format!("the row {} of the state of shard {shard}", key.escape_ascii());
        Error::corrupt(place, what)
    };
    let (found, value) = row.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| bad("it is too short"))?;
    let kind = found[HEADER_BYTES - 1];
    if *found != header(key, kind, value) && !planted(Bug::ChecksumIgnored) {
        return Err(bad("the checksum does not fit"));
    }
    match kind {
        INLINE => Ok(Stored::Inline(value)),
        IN_LOG => Place::decode(value).map(Stored::InLog).ok_or_else(|| bad("it says no place")),
        _ => Err(bad("its kind is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pinned: it is on disks.
    #[test]
    fn the_bytes_of_a_row() {
        assert_eq!(inline_header(b"key", b"value"), INLINE_HEADER);
        let place = Place { index: 0x0102_0304, offset: 5, len: 0x0607 };
        let encoded = place.encode();
        assert_eq!(encoded, [4, 3, 2, 1, 0, 0, 0, 0, 5, 0, 0, 0, 7, 6, 0, 0]);
        assert_eq!(place_header(b"key", &encoded), PLACE_HEADER);
        let row = [&INLINE_HEADER[..], b"value"].concat();
        assert_eq!(read(0, b"key", &row).expect("it is whole"), Stored::Inline(b"value"));
        let row = [&PLACE_HEADER[..], &encoded].concat();
        assert_eq!(read(0, b"key", &row).expect("it is whole"), Stored::InLog(place));
        assert!(read(0, b"kez", &row).is_err());
    }

    const INLINE_HEADER: [u8; 9] = [142, 17, 17, 46, 121, 207, 159, 177, 0];
    const PLACE_HEADER: [u8; 9] = [253, 35, 188, 213, 37, 223, 116, 154, 1];
}
