//! What one transaction does to the logs.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;

use heed::RwTxn;

use super::boot::head_key;
use super::head::Head;
use super::record::{self, Link, damaged};
use super::shard::{Shard, restart};
use super::writer::Job;
use super::{LogId, Record, ShardId};
use crate::error::Error;
use crate::map::{Fault, Map};

/// Purged records removed by one transaction, per shard: a long purge must not hold up appends.
pub(crate) const SWEEP_RECORDS: usize = 1024;

/// A shard that the transaction changes.
pub(crate) struct Touched {
    pub shard: Arc<Shard>,
    pub head: Head,
    /// Whether purged records remain on disk.
    pub unswept: bool,
}

pub(crate) type Heads = BTreeMap<ShardId, Touched>;

/// Does `jobs` and removes purged records of `unswept`; `heads` receives what the disk holds after the commit. It can be
/// run again from the start.
pub(crate) fn fill(
    map: &Map,
    txn: &mut RwTxn,
    jobs: &[Job],
    unswept: &BTreeMap<ShardId, Arc<Shard>>,
    heads: &mut Heads,
) -> Result<(), Fault> {
    heads.clear();
    for shard in unswept.values() {
        touch(heads, shard).unswept = true;
    }
    for job in jobs {
        match job {
            Job::Append { shard, records, .. } => append(map, txn, shard.id, touch(heads, shard), records)?,
            Job::Vote { shard, vote, .. } => touch(heads, shard).head.vote = Some(*vote),
            Job::Truncate { shard, last, .. } => truncate(map, txn, shard.id, touch(heads, shard), *last)?,
            Job::Purge { shard, upto } => {
                let touched = touch(heads, shard);
                purge(map, txn, shard.id, &mut touched.head, *upto)?;
                touched.unswept = true;
            }
            Job::Close => {}
        }
    }
    for touched in heads.values_mut() {
        finish(map, txn, touched)?;
    }
    Ok(())
}

fn touch<'a>(heads: &'a mut Heads, shard: &Arc<Shard>) -> &'a mut Touched {
    heads.entry(shard.id).or_insert_with(|| Touched {
        shard: Arc::clone(shard),
        head: *shard.head.lock(),
        unswept: false,
    })
}

fn append(
    map: &Map,
    txn: &mut RwTxn,
    shard: ShardId,
    touched: &mut Touched,
    records: &[Record],
) -> Result<(), Fault> {
    let head = &mut touched.head;
    for record in records {
        let index = record.id.index;
        if head.next().is_some_and(|next| next != index) {
            return Err(damaged(shard, index, format!("it was to be written after {:?}", head.last)).into());
        }
        if !head.has_records() {
            head.start = index;
        }
        let (header, link) = record::header(shard, record, head.last_link);
        let bytes = header.len() + record.payload.len();
        map.rows.put_reserved(txn, &record::key(shard, index), bytes, |space| {
            use std::io::Write;
            space.write_all(&header)?;
            space.write_all(&record.payload)
        })?;
        head.last = Some(record.id);
        head.last_link = link;
    }
    Ok(())
}

fn stored(map: &Map, txn: &RwTxn, shard: ShardId, id: LogId) -> Result<Link, Fault> {
    let missing = || Fault::Other(damaged(shard, id.index, "it is in the log and not on disk"));
    let value = map.rows.get(txn, &record::key(shard, id.index))?.ok_or_else(missing)?;
    let header = record::parse(shard, id.index, value)?;
    if header.id != id {
        return Err(
            Error::misuse(shard, format!("{id:?} was named where the log has {:?}", header.id)).into()
        );
    }
    Ok(header.link)
}

fn truncate(
    map: &Map,
    txn: &mut RwTxn,
    shard: ShardId,
    touched: &mut Touched,
    last: Option<LogId>,
) -> Result<(), Fault> {
    let head = &mut touched.head;
    head.last_link = match last {
        None => Link::default(),
        Some(id) if head.purged == Some(id) => head.purged_link,
        Some(id) => stored(map, txn, shard, id)?,
    };
    head.last = last;
    let low = record::key(shard, last.map_or(0, |id| id.index + 1));
    let high = record::key(shard, u64::MAX);
    map.rows.delete_range(txn, &(Included(&low[..]), Included(&high[..])))?;
    Ok(())
}

fn purge(map: &Map, txn: &RwTxn, shard: ShardId, head: &mut Head, upto: LogId) -> Result<(), Fault> {
    if head.purged.is_some_and(|purged| purged.index >= upto.index) {
        return Ok(());
    }
    let inside =
        head.has_records() && head.start <= upto.index && head.last.is_some_and(|l| upto.index <= l.index);
    head.purged_link = if inside { stored(map, txn, shard, upto)? } else { restart(head.last_link.offset) };
    head.purged = Some(upto);
    head.start = upto.index + 1;
    if head.last.is_none_or(|last| last.index <= upto.index) {
        head.last = Some(upto);
        head.last_link = head.purged_link;
    }
    Ok(())
}

fn finish(map: &Map, txn: &mut RwTxn, touched: &mut Touched) -> Result<(), Fault> {
    let (shard, head) = (touched.shard.id, &mut touched.head);
    // Only as far as the disk goes: after a crash, what is committed must be there to be applied.
    let committed = touched.shard.memory.read().committed;
    let within = |c: &LogId| Some(c.index) <= head.last.map(|l| l.index);
    head.committed = committed.filter(within).or_else(|| head.committed.filter(within));
    if let (true, Some(purged)) = (touched.unswept, head.purged) {
        let (low, high) = (record::key(shard, 0), record::key(shard, purged.index));
        let mut keys = Vec::new();
        let upto = if purged.index == u64::MAX { Excluded(&high[..]) } else { Included(&high[..]) };
        for row in map.rows.range(txn, &(Included(&low[..]), upto))?.take(SWEEP_RECORDS) {
            let (key, _) = row?;
            keys.push(<[u8; record::KEY_BYTES]>::try_from(key).map_err(|_| {
                Error::corrupt(map.path().display().to_string(), "a key of the log has the wrong length")
            })?);
        }
        touched.unswept = keys.len() == SWEEP_RECORDS;
        for key in keys {
            map.rows.delete(txn, &key)?;
        }
    }
    map.meta.put(txn, &head_key(shard), &head.encode(shard))?;
    Ok(())
}
