//! One entry's changes: seen by its own reads, published together or not at all.

use std::cell::RefCell;

use bytes::Bytes;
use parking_lot::{RwLockUpgradableReadGuard, RwLockWriteGuard};
use quorate_machine::limits::KEY_BYTES_MAX;
use quorate_machine::store::{Read, Store, StoreError};
use quorate_simpoint::{buggify, touched};

use super::flush::Job;
use super::gaps::{Gaps, next_to};
use super::in_log::Entry;
use super::merge::{self, Disk};
use super::overlay::Overlay;
use super::row::Value;
use super::{Levels, State};
use crate::error::Error;
use crate::log::LogId;

/// The changes of the entry that is being applied. Dropped without [`commit`](StateWriter::commit), it leaves nothing.
pub struct StateWriter<'a> {
    state: &'a State,
    entry: Option<Entry>,
    mine: Overlay,
    /// Of what is committed and the entry's changes; if it leaves nothing, they are forgotten with it.
    gaps: RefCell<Gaps>,
    // Dropped in this order: a read transaction never outlives the hold on the levels.
    disk: Disk<'a>,
    levels: RwLockUpgradableReadGuard<'a, Levels>,
}

impl<'a> StateWriter<'a> {
    pub(crate) fn new(state: &'a State, entry: Option<Entry>) -> StateWriter<'a> {
        let levels = state.core.levels.upgradable_read();
        let disk = Disk::new(&state.core, &levels);
        let gaps = RefCell::new(std::mem::take(&mut *state.core.gaps.lock()));
        StateWriter { state, entry, mine: Overlay::default(), gaps, disk, levels }
    }

    /// Publishes the changes together with the entry's id, and with the membership if the entry set one.
    ///
    /// # Errors
    /// Why the state stopped, or [`Error::Misuse`] for an entry that is not newer than the last; nothing was published.
    pub fn commit(self, applied: LogId, membership: Option<Bytes>) -> Result<(), Error> {
        let StateWriter { state, mut mine, gaps, disk, levels, .. } = self;
        state.core.check()?;
        if levels.applied.last.is_some_and(|last| applied.index <= last.index) {
            let what = format!("{applied:?} was applied after {:?}", levels.applied.last);
            return Err(Error::misuse(state.core.shard, what));
        }
        let hides_nothing =
            needless(&mine, levels.frozen.as_ref().map(|(frozen, _)| frozen.as_ref()), &disk)?;
        // The transaction ends first: whoever waits for it may hold what the upgrade waits for.
        drop(disk);
        let mut levels = RwLockUpgradableReadGuard::upgrade(levels);
        let now: &mut Levels = &mut levels;
        for key in hides_nothing {
            mine.forget(&key);
            now.active.forget(&key);
        }
        now.active.absorb(mine);
        *state.core.gaps.lock() = gaps.into_inner();
        now.applied.last = Some(applied);
        if let Some(membership) = membership {
            now.applied.membership = Bytes::copy_from_slice(&membership);
        }
        state.core.note_owed(now);
        let over = now.active.cost() > state.core.options.flush_bytes || buggify("storage/writer/flush_now");
        let full = over && !now.flush_asked;
        now.flush_asked |= full;
        RwLockWriteGuard::unlock_fair(levels);
        if full { state.send(Job::Flush(None)) } else { Ok(()) }
    }

    fn with<T>(&self, read: impl FnOnce(&[&Overlay]) -> T) -> T {
        match &self.levels.frozen {
            Some((frozen, _)) => read(&[&self.mine, &self.levels.active, frozen]),
            None => read(&[&self.mine, &self.levels.active]),
        }
    }
}

/// The removed keys that no level below the active one has. A tombstone for them would hide nothing, and a queue's
/// rows come and go so fast that scans would wade through them.
fn needless(mine: &Overlay, frozen: Option<&Overlay>, disk: &Disk) -> Result<Vec<Bytes>, Error> {
    let mut keys = Vec::new();
    for (key, value) in mine.iter() {
        if value.is_some() {
            continue;
        }
        let below = match frozen.and_then(|frozen| frozen.get(key)) {
            Some(value) => value.is_some(),
            None => merge::on_disk(disk, key)?,
        };
        if !below {
            keys.push(key.clone());
        }
    }
    Ok(keys)
}

impl Read for StateWriter<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        touched(1, key.len());
        Ok(self.with(|overlays| merge::get(overlays, &self.disk, key))?)
    }

    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        touched(1, from.len());
        let behind = self.gaps.borrow().after(from);
        let from = behind.as_deref().unwrap_or(from);
        let search = self.with(|overlays| merge::first(overlays, &self.disk, from, to))?;
        if search.dead > 0 {
            let end = search.found.as_ref().map_or(to, |(key, _)| key);
            self.gaps.borrow_mut().note(search.dead, from, end);
        }
        Ok(search.found)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        touched(1, to.len());
        let before = self.gaps.borrow().before(to);
        let to = before.as_deref().unwrap_or(to);
        let search = self.with(|overlays| merge::last(overlays, &self.disk, from, to))?;
        if search.dead > 0 {
            let begin = search.found.as_ref().map(|(key, _)| next_to(key));
            self.gaps.borrow_mut().note(search.dead, begin.as_deref().unwrap_or(from), to);
        }
        Ok(search.found)
    }
}

impl Store for StateWriter<'_> {
    fn put(&mut self, key: &[u8], value: Bytes) -> Result<(), StoreError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(StoreError(format!(
                "a key of {} bytes; 1 to {KEY_BYTES_MAX} are possible",
                key.len()
            )));
        }
        touched(1, key.len() + value.len());
        self.gaps.borrow_mut().end_at(key);
        let place = self.entry.as_ref().and_then(|entry| entry.place(key, &value));
        self.mine.set(key, Some(place.map_or(Value::Inline(value), Value::InLog)));
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), StoreError> {
        touched(1, key.len());
        if !key.is_empty() && key.len() <= KEY_BYTES_MAX {
            self.mine.set(key, None);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::open;
    use super::*;
    use crate::testing::{id, member, open_log, runtime};

    /// A queue's rows, of which the first goes each time: each look begins where the one before found something.
    #[test]
    fn what_was_stepped_over_is_not_stepped_over_again() {
        runtime().block_on(async {
            let tmp = tempfile::tempdir().unwrap();
            let dir = member(tmp.path());
            let shard = open_log(&dir, false).shard(3).unwrap();
            let state = open(&dir, &shard, false, 1 << 25);
            let key = |number: u8| [7, number];
            let mut writer = state.write();
            (0..100).for_each(|number| writer.put(&key(number), Bytes::from_static(b"row")).unwrap());
            for number in 0..50 {
                assert_eq!(writer.first(&[7], &[8]).unwrap().unwrap().0, key(number)[..]);
                writer.delete(&key(number)).unwrap();
                assert_eq!(writer.last(&[7], &[8]).unwrap().unwrap().0, key(99 - number)[..]);
                writer.delete(&key(99 - number)).unwrap();
            }
            assert_eq!(writer.first(&[7], &[8]).unwrap(), None);
            assert_eq!(
                writer.gaps.borrow().after(&[7]).as_deref(),
                Some(&[8][..]),
                "nothing is left to step over"
            );
            writer.put(&key(50), Bytes::from_static(b"again")).unwrap();
            assert_eq!(writer.gaps.borrow().after(&key(50)), None);
            assert_eq!(writer.last(&[7], &[8]).unwrap().unwrap().0, key(50)[..]);
            writer.commit(id(1, 0), None).unwrap();
            // The next entry knows of it, and one that leaves nothing leaves none.
            assert_eq!(state.write().gaps.borrow().after(&[7]).as_deref(), Some(&key(50)[..]));
            assert_eq!(state.write().gaps.borrow().after(&[7]), None);
        });
    }
}
