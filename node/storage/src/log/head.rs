//! The head of a shard's log: one row, written in the transaction of whatever changed it. Little-endian:
//!
//! ```text
//!   0 magic "QHED" | 4 version u16 | 6 flags u16 (last, purged, committed, vote, vote committed) | 8 shard u32 | 12 zero
//!  16 last: term, node, index | 40 its offset | 48 its checksum
//!  56 purged: term, node, index | 80 its offset | 88 its checksum
//!  96 committed: term, node, index | 120 vote: term, node
//! 136 start u64: the index of the first record | 144 xxh3-64 of bytes 0..144
//! ```

use twox_hash::XxHash3_64;

use super::record::Link;
use super::{LogId, ShardId, Vote};
use crate::error::Error;

/// The head version that is written, and the newest that is read.
pub const VERSION: u16 = 1;
const MAGIC: &[u8; 4] = b"QHED";
pub(crate) const BYTES: usize = 152;

/// What the disk says about a shard's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Head {
    /// The last record, or what it was purged up to.
    pub last: Option<LogId>,
    /// The link of `last`.
    pub last_link: Link,
    pub purged: Option<LogId>,
    /// The link of `purged`, which the first record continues.
    pub purged_link: Link,
    pub committed: Option<LogId>,
    pub vote: Option<Vote>,
    /// The index of the first record, if there are records.
    pub start: u64,
}

impl Head {
    /// The index that the next record must have; `None` if any will do.
    pub fn next(&self) -> Option<u64> {
        self.last.map(|id| id.index + 1)
    }

    /// Whether there is a record above what was purged.
    pub fn has_records(&self) -> bool {
        self.last.is_some() && self.last.map(|id| id.index) != self.purged.map(|id| id.index)
    }

    pub fn encode(&self, shard: ShardId) -> [u8; BYTES] {
        let mut row = [0; BYTES];
        row[..4].copy_from_slice(MAGIC);
        row[4..6].copy_from_slice(&VERSION.to_le_bytes());
        let vote = self.vote.unwrap_or_default();
        let flags = u16::from(self.last.is_some())
            | u16::from(self.purged.is_some()) << 1
            | u16::from(self.committed.is_some()) << 2
            | u16::from(self.vote.is_some()) << 3
            | u16::from(vote.committed) << 4;
        row[6..8].copy_from_slice(&flags.to_le_bytes());
        row[8..12].copy_from_slice(&shard.to_le_bytes());
        let words = id_words(self.last)
            .into_iter()
            .chain([self.last_link.offset, self.last_link.checksum])
            .chain(id_words(self.purged))
            .chain([self.purged_link.offset, self.purged_link.checksum])
            .chain(id_words(self.committed))
            .chain([vote.term, vote.node, self.start]);
        for (place, word) in row[16..144].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let sum = XxHash3_64::oneshot(&row[..144]);
        row[144..].copy_from_slice(&sum.to_le_bytes());
        row
    }

    pub fn decode(shard: ShardId, row: &[u8]) -> Result<Head, Error> {
        let place = || format!("the head of the log of shard {shard}");
        let bad = |what: &str| Error::corrupt(place(), what);
        let Some((row, sum)) = row.split_last_chunk::<8>() else { return Err(bad("it is too short")) };
        if row.len() < 12 || &row[..4] != MAGIC || XxHash3_64::oneshot(row).to_le_bytes() != *sum {
            return Err(bad("the checksum does not fit"));
        }
        let version = u16::from_le_bytes([row[4], row[5]]);
        if version > VERSION {
            return Err(Error::NewerFormat { what: place(), found: version, supported: VERSION });
        }
        if row.len() + 8 != BYTES || row[8..12] != shard.to_le_bytes() {
            return Err(bad("it is the head of another shard"));
        }
        let flags = u16::from_le_bytes([row[6], row[7]]);
        let word =
            |i: usize| row[16 + i * 8..24 + i * 8].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let id = |i: usize| LogId { term: word(i), node: word(i + 1), index: word(i + 2) };
        let has = |bit: u16| flags & 1 << bit != 0;
        Ok(Head {
            last: has(0).then(|| id(0)),
            last_link: Link { offset: word(3), checksum: word(4) },
            purged: has(1).then(|| id(5)),
            purged_link: Link { offset: word(8), checksum: word(9) },
            committed: has(2).then(|| id(10)),
            vote: has(3).then(|| Vote { term: word(13), node: word(14), committed: has(4) }),
            start: word(15),
        })
    }
}

fn id_words(id: Option<LogId>) -> [u64; 3] {
    id.map_or([0; 3], |id| [id.term, id.node, id.index])
}
