use proptest::prelude::*;

use super::super::head::Head;
use super::super::{Kind, LogId, Record, Vote};
use super::*;

fn stored(shard: ShardId, record: &Record, before: Link) -> (Vec<u8>, Link) {
    let (header, link) = header(shard, record, before);
    ([&header[..], &record.payload].concat(), link)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn example() -> Record {
    let id = LogId { term: 3, node: 5, index: 7 };
    Record { id, kind: Kind::Commands, payload: Bytes::from_static(b"quorate") }
}

/// A change here is a new version of the format.
#[test]
fn the_bytes_of_a_record() {
    let (value, link) = stored(2, &example(), Link { offset: 1000, checksum: 0x0102_0304_0506_0708 });
    let expected = concat!(
        "51524543",
        "0100",
        "01",
        "00",
        "02000000",
        "07000000",
        "0700000000000000",
        "0300000000000000",
        "0500000000000000",
        "2f04000000000000",
        "0807060504030201",
        "cfc2a94f3a1d85e8",
        "71756f72617465"
    );
    assert_eq!(hex(&value), expected);
    assert_eq!(link.offset, 1071);
    assert_eq!(hex(&key(2, 7)), "000000020000000000000007");
}

/// A change here is a new version of the format.
#[test]
fn the_bytes_of_a_head() {
    let head = Head {
        last: Some(LogId { term: 3, node: 5, index: 7 }),
        last_link: Link { offset: 1071, checksum: 17 },
        purged: Some(LogId { term: 2, node: 4, index: 6 }),
        purged_link: Link { offset: 1000, checksum: 18 },
        committed: None,
        vote: Some(Vote { term: 9, node: 5, committed: true }),
        start: 7,
    };
    let row = head.encode(2);
    let expected = concat!(
        "51484544",
        "0100",
        "1b00",
        "02000000",
        "00000000",
        "0300000000000000",
        "0500000000000000",
        "0700000000000000",
        "2f04000000000000",
        "1100000000000000",
        "0200000000000000",
        "0400000000000000",
        "0600000000000000",
        "e803000000000000",
        "1200000000000000",
        "0000000000000000",
        "0000000000000000",
        "0000000000000000",
        "0900000000000000",
        "0500000000000000",
        "0700000000000000",
        "adcc33a66434b2be"
    );
    assert_eq!(hex(&row), expected);
    assert_eq!(Head::decode(2, &row).unwrap(), head);
    assert!(Head::decode(3, &row).is_err());
    for bit in 0..row.len() * 8 {
        let mut bad = row;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Head::decode(2, &bad).is_err(), "bit {bit}");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    for length in [0, 1, 7, 100, 300] {
        let record = Record { payload: Bytes::from(vec![0xa5; length]), ..example() };
        let before = Link { offset: 9, checksum: 11 };
        let (value, _) = stored(2, &record, before);
        assert_eq!(decode(2, 7, &value, before).unwrap().0, record);
        for bit in 0..value.len() * 8 {
            let mut bad = value.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(decode(2, 7, &bad, before), Err(Error::Corrupt { .. })),
                "bit {bit} of {length}"
            );
        }
        for cut in 0..value.len() {
            assert!(
                matches!(decode(2, 7, &value[..cut], before), Err(Error::Corrupt { .. })),
                "cut at {cut}"
            );
        }
    }
}

#[test]
fn a_record_in_the_wrong_place_is_noticed() {
    let before = Link { offset: 9, checksum: 11 };
    let (value, _) = stored(2, &example(), before);
    assert!(matches!(decode(3, 7, &value, before), Err(Error::Corrupt { .. })));
    assert!(matches!(decode(2, 8, &value, before), Err(Error::Corrupt { .. })));
    assert!(matches!(decode(2, 7, &value, Link { checksum: 12, ..before }), Err(Error::Corrupt { .. })));
    assert!(matches!(decode(2, 7, &value, Link { offset: 10, ..before }), Err(Error::Corrupt { .. })));
}

#[test]
fn a_newer_record_is_not_called_damaged() {
    let with = |place: usize, byte: u8| {
        let (mut value, _) = stored(2, &example(), Link::default());
        value[place] = byte;
        let head: [u8; HEADER_BYTES] = value[..HEADER_BYTES].try_into().unwrap();
        let checksum = sum(&head, &value[HEADER_BYTES..]);
        value[56..64].copy_from_slice(&checksum.to_le_bytes());
        parse(2, 7, &value)
    };
    assert!(matches!(with(4, 2), Err(Error::NewerFormat { found: 2, supported: 1, .. })), "its version");
    assert!(matches!(with(6, 3), Err(Error::NewerFormat { found: 3, supported: 2, .. })), "its kind");
}

proptest! {
    #[test]
    fn round_trip(
        shard: u32, term: u64, node: u64, index: u64, kind in 0u8..3, payload: Vec<u8>,
        offset in 0..u64::MAX / 2, checksum: u64,
    ) {
        let id = LogId { term, node, index };
        let record = Record { id, kind: Kind::from_byte(kind).unwrap(), payload: payload.into() };
        let before = Link { offset, checksum };
        let (value, link) = stored(shard, &record, before);
        prop_assert_eq!(value.len() as u64, encoded_bytes(&record));
        prop_assert_eq!(decode(shard, index, &value, before).unwrap(), (record, link));
    }
}
