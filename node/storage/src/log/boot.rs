//! What is checked when a shard's log is opened. Transactions are atomic, so no crash explains a mismatch: it is damage,
//! and nothing is cut off to make it fit.

use std::ops::Bound::Included;

use quorate_simpoint::{Bug, planted};

use super::ShardId;
use super::head::Head;
use super::record::{self, damaged};
use crate::error::Error;
use crate::map::Map;

/// The key of a shard's head in the `meta` table.
pub(crate) fn head_key(shard: ShardId) -> [u8; 4] {
    shard.to_be_bytes()
}

/// The head of a shard, and whether purged records still lie about.
pub(crate) fn check(map: &Map, shard: ShardId) -> Result<(Head, bool), Error> {
    let view = map.view()?;
    let failed = |e: heed::Error| Error::lmdb("reading", map.path(), &e);
    let (low, high) = (record::key(shard, 0), record::key(shard, u64::MAX));
    let whole = (Included(&low[..]), Included(&high[..]));
    let mut ends = map.rows.range(view.txn(), &whole).map_err(failed)?;
    let lowest = ends.next().transpose().map_err(failed)?.and_then(|(key, _)| record::index_of(key));
    let mut ends = map.rows.rev_range(view.txn(), &whole).map_err(failed)?;
    let highest = ends.next().transpose().map_err(failed)?.and_then(|(key, _)| record::index_of(key));
    let Some(row) = map.meta.get(view.txn(), &head_key(shard)).map_err(failed)? else {
        return match highest {
            None => Ok((Head::default(), false)),
            Some(index) => Err(damaged(shard, index, "there are records and no head")),
        };
    };
    let head = Head::decode(shard, row)?;
    let purged = head.purged.map(|id| id.index);
    let unswept = lowest.is_some() && lowest <= purged;
    if !head.has_records() {
        return match highest {
            Some(index) if Some(index) > purged => {
                Err(damaged(shard, index, "the head says the log is empty"))
            }
            _ => Ok((head, unswept)),
        };
    }
    let last = head.last.expect("a log with records has a last one");
    if planted(Bug::CutAtDamage) {
        return Ok((cut_at_damage(map, shard, head)?, unswept));
    }
    if highest != Some(last.index) {
        let what = format!("the head says this is the last record, the disk ends at {highest:?}");
        return Err(damaged(shard, last.index, what));
    }
    let get = |index: u64| {
        let value = map.rows.get(view.txn(), &record::key(shard, index)).map_err(failed)?;
        record::parse(shard, index, value.ok_or_else(|| damaged(shard, index, "it is missing"))?)
    };
    let stored = get(last.index)?;
    if stored.id != last || stored.link != head.last_link {
        return Err(damaged(shard, last.index, "it is not the record that the head names as the last"));
    }
    if purged.is_some_and(|purged| head.start != purged + 1) || head.start > last.index {
        return Err(damaged(shard, head.start, "the head names an impossible first record"));
    }
    if get(head.start)?.prev != head.purged_link.checksum {
        return Err(damaged(shard, head.start, "it does not follow what was purged"));
    }
    Ok((head, unswept))
}

/// [`Bug::CutAtDamage`]: the log up to the record before the first that is damaged, if there is one.
fn cut_at_damage(map: &Map, shard: ShardId, head: Head) -> Result<Head, Error> {
    let view = map.view()?;
    let mut cut = Head { last: head.purged, last_link: head.purged_link, ..head };
    for index in head.start..=head.last.map_or(0, |last| last.index) {
        let row = map.rows.get(view.txn(), &record::key(shard, index));
        let row = row.map_err(|e| Error::lmdb("reading", map.path(), &e))?.unwrap_or_default();
        let Ok((record, link)) = record::decode(shard, index, row, cut.last_link) else { break };
        cut.last = Some(record.id);
        cut.last_link = link;
    }
    Ok(cut)
}
