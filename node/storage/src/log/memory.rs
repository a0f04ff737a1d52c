//! What a shard's log looks like to its readers: ahead of the disk, with the recent records in memory.

use std::collections::VecDeque;

use super::head::Head;
use super::record::{Link, encoded_bytes};
use super::{LogId, Record, Vote};

/// A recent record and the offset of its end.
pub(crate) struct Recent {
    pub record: Record,
    pub offset: u64,
}

/// The readers' side of a shard's log.
pub(crate) struct Memory {
    pub last: Option<LogId>,
    pub purged: Option<LogId>,
    /// The index of the first record, if there are records.
    pub start: u64,
    pub committed: Option<LogId>,
    pub vote: Option<Vote>,
    /// The last record on disk.
    pub flushed: Option<LogId>,
    /// What the first record on disk continues: known once the writer has purged up to that index.
    pub base: (Option<u64>, Link),
    pub base_offset: u64,
    pub end_offset: u64,
    /// Recent records without a gap, up to `last`.
    pub tail: VecDeque<Recent>,
    tail_bytes: u64,
    /// Counts truncations: a read that saw one starts again.
    pub truncations: u64,
}

impl Memory {
    pub fn new(head: &Head) -> Memory {
        Memory {
            last: head.last,
            purged: head.purged,
            start: head.start,
            committed: head.committed,
            vote: head.vote,
            flushed: head.last,
            base: (head.purged.map(|id| id.index), head.purged_link),
            base_offset: head.purged_link.offset,
            end_offset: head.last_link.offset,
            tail: VecDeque::new(),
            tail_bytes: 0,
            truncations: 0,
        }
    }

    /// Whether there is a record above what was purged.
    pub fn has_records(&self) -> bool {
        self.last.is_some() && self.last.map(|id| id.index) != self.purged.map(|id| id.index)
    }

    pub fn push(&mut self, record: Record) {
        if !self.has_records() {
            self.start = record.id.index;
        }
        self.end_offset += encoded_bytes(&record);
        self.tail_bytes += record.payload.len() as u64;
        self.last = Some(record.id);
        self.tail.push_back(Recent { record, offset: self.end_offset });
    }

    /// The recent record at `index`.
    pub fn recent(&self, index: u64) -> Option<&Recent> {
        let first = self.tail.front()?.record.id.index;
        self.tail.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    /// Forgets everything after `last`, whose end is at `offset`.
    pub fn cut(&mut self, last: Option<LogId>, offset: u64) {
        let keep = last.map_or(0, |id| id.index + 1);
        while let Some(recent) = self.tail.pop_back_if(|r| r.record.id.index >= keep) {
            self.tail_bytes -= recent.record.payload.len() as u64;
        }
        self.last = last;
        self.end_offset = offset;
        self.truncations += 1;
    }

    /// Forgets everything up to `upto`, whose end is at `offset`.
    pub fn purge(&mut self, upto: LogId, offset: u64) {
        while let Some(recent) = self.tail.pop_front_if(|r| r.record.id.index <= upto.index) {
            self.tail_bytes -= recent.record.payload.len() as u64;
        }
        self.purged = Some(upto);
        self.start = upto.index + 1;
        self.base_offset = offset;
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(upto);
            self.end_offset = offset;
        }
    }

    /// Takes note of what is on disk, and forgets recent records that are there if there are too many.
    pub fn flushed(&mut self, head: &Head, tail_bytes_max: u64) {
        self.flushed = head.last;
        self.base = (head.purged.map(|id| id.index), head.purged_link);
        self.vote = head.vote;
        let durable = head.last.map_or(0, |id| id.index);
        while self.tail_bytes > tail_bytes_max
            && let Some(recent) =
                self.tail.pop_front_if(|r| r.record.id.index <= durable && head.last.is_some())
        {
            self.tail_bytes -= recent.record.payload.len() as u64;
        }
    }
}
