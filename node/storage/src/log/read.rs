//! Reading records: the recent ones from memory, the rest from disk, each checked.

use super::memory::Memory;
use super::record::{self, HEADER_BYTES, Link};
use super::shard::Shard;
use super::{LogId, Record, ShardId};
use crate::error::Error;
use crate::map::{Map, View};

/// How often a read starts again because the log was cut or purged under it. Each time needs another such call.
const ATTEMPTS: usize = 64;

enum Run {
    /// The range is exhausted or the budget spent.
    End,
    /// What follows may be read from memory.
    More(u64),
    /// The log was cut or purged meanwhile.
    Again,
}

/// The records of `[from, to)`; see [`ShardLog::read`](super::ShardLog::read).
pub(crate) fn records(
    map: &Map,
    shard: &Shard,
    from: u64,
    to: u64,
    max_bytes: u64,
) -> Result<Vec<Record>, Error> {
    for _ in 0..ATTEMPTS {
        if let Some(records) = attempt(map, shard, from, to, max_bytes)? {
            return Ok(records);
        }
    }
    Err(record::damaged(shard.id, from, "it is in the log and cannot be found on disk"))
}

fn attempt(
    map: &Map,
    shard: &Shard,
    from: u64,
    to: u64,
    max_bytes: u64,
) -> Result<Option<Vec<Record>>, Error> {
    let mut out = Out { records: Vec::new(), left: max_bytes };
    let mut at = from;
    let truncations = shard.memory.read().truncations;
    loop {
        let plan = {
            let memory = shard.memory.read();
            if memory.truncations != truncations {
                return Ok(None);
            }
            match plan(&memory, shard.id, at, to, &mut out) {
                Ok(plan) => plan,
                // Purged after the first records were read from disk: those are still what was asked for.
                Err(Error::Purged { .. }) if !out.records.is_empty() => return Ok(Some(out.records)),
                Err(error) => return Err(error),
            }
        };
        let Some((end, base)) = plan else { return Ok(Some(out.records)) };
        match from_disk(map, shard.id, at, end, base, &mut out)? {
            Run::End => return Ok(Some(out.records)),
            Run::More(next) => at = next,
            Run::Again => return Ok(None),
        }
    }
}

struct Out {
    records: Vec<Record>,
    left: u64,
}

impl Out {
    /// Whether the record of that many bytes still fits.
    fn takes(&mut self, bytes: usize) -> bool {
        let fits = self.records.is_empty() || bytes as u64 <= self.left;
        self.left = self.left.saturating_sub(bytes as u64);
        fits
    }
}

type DiskRun = (u64, Option<Link>);

/// Takes what is in memory; returns up to where the disk must be read first, and what the first record continues.
fn plan(memory: &Memory, shard: ShardId, at: u64, to: u64, out: &mut Out) -> Result<Option<DiskRun>, Error> {
    if let Some(purged) = memory.purged.filter(|purged| at <= purged.index && at < to) {
        return Err(Error::Purged { shard, index: at, purged: purged.index });
    }
    let end = to.min(memory.last.map_or(0, |id| id.index + 1));
    if at >= end || at < memory.start {
        return Ok(None);
    }
    let first = memory.tail.front().map_or(end, |recent| recent.record.id.index);
    if at < first {
        // The writer may not have purged yet what readers no longer see.
        let (purged, link) = memory.base;
        let known = at == memory.start && purged == memory.purged.map(|id| id.index);
        let base = known.then_some(link);
        return Ok(Some((end.min(first), base)));
    }
    for recent in memory.tail.range((at - first) as usize..(end - first) as usize) {
        if !out.takes(recent.record.payload.len()) {
            break;
        }
        out.records.push(recent.record.clone());
    }
    Ok(None)
}

fn from_disk(
    map: &Map,
    shard: ShardId,
    at: u64,
    end: u64,
    base: Option<Link>,
    out: &mut Out,
) -> Result<Run, Error> {
    let view = map.view()?;
    let failed = |e: heed::Error| Error::lmdb("reading", map.path(), &e);
    let mut before = match (base, at.checked_sub(1)) {
        (None, Some(previous)) => stored_link(map, &view, shard, previous)?,
        (base, _) => base,
    };
    let range = (
        std::ops::Bound::Included(&record::key(shard, at)[..]),
        std::ops::Bound::Excluded(&record::key(shard, end)[..]),
    );
    let mut next = at;
    for row in map.rows.range(view.txn(), &range).map_err(failed)? {
        let (key, value) = row.map_err(failed)?;
        if record::index_of(key) != Some(next) {
            return Ok(Run::Again);
        }
        if !out.takes(value.len().saturating_sub(HEADER_BYTES)) {
            return Ok(Run::End);
        }
        let link = match before {
            Some(link) => link,
            // What it continues was purged a moment ago; the record still has to be itself.
            None => {
                let header = record::parse(shard, next, value)?;
                Link { offset: header.link.offset.wrapping_sub(value.len() as u64), checksum: header.prev }
            }
        };
        let (record, link) = record::decode(shard, next, value, link)?;
        out.records.push(record);
        before = Some(link);
        next += 1;
    }
    Ok(if next == end { Run::More(end) } else { Run::Again })
}

fn stored<'a>(map: &Map, view: &'a View<'_>, shard: ShardId, index: u64) -> Result<Option<&'a [u8]>, Error> {
    map.rows.get(view.txn(), &record::key(shard, index)).map_err(|e| Error::lmdb("reading", map.path(), &e))
}

fn stored_link(map: &Map, view: &View<'_>, shard: ShardId, index: u64) -> Result<Option<Link>, Error> {
    match stored(map, view, shard, index)? {
        Some(value) => Ok(Some(record::parse(shard, index, value)?.link)),
        None => Ok(None),
    }
}

/// The id and the end offset of the record at `index`, which is in the log.
pub(crate) fn place(map: &Map, shard: ShardId, memory: &Memory, index: u64) -> Result<(LogId, u64), Error> {
    if let Some(recent) = memory.recent(index) {
        return Ok((recent.record.id, recent.offset));
    }
    let view = map.view()?;
    let value = stored(map, &view, shard, index)?
        .ok_or_else(|| record::damaged(shard, index, "it is in the log and not on disk"))?;
    let header = record::parse(shard, index, value)?;
    Ok((header.id, header.link.offset))
}
