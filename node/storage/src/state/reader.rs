//! A consistent view of the committed state.

use bytes::Bytes;
use parking_lot::RwLockReadGuard;
use quorate_machine::store::{Read, StoreError};

use super::merge::{self, Disk};
use super::overlay::Overlay;
use super::{Applied, Core, Levels};

/// The rows after one entry. Holds flushes and commits back while it lives.
pub struct StateReader<'a> {
    // Dropped in this order: a read transaction never outlives the hold on the levels.
    disk: Disk<'a>,
    levels: RwLockReadGuard<'a, Levels>,
}

impl<'a> StateReader<'a> {
    pub(crate) fn new(core: &'a Core) -> StateReader<'a> {
        // Recursive, so that a reader beside a writer of the same thread does not wait for the flush behind both.
        let levels = core.levels.read_recursive();
        StateReader { disk: Disk::new(core, &levels), levels }
    }

    /// What the rows stand for.
    pub fn applied(&self) -> &Applied {
        &self.levels.applied
    }

    fn with<T>(&self, read: impl FnOnce(&[&Overlay]) -> T) -> T {
        match &self.levels.frozen {
            Some((frozen, _)) => read(&[&self.levels.active, frozen]),
            None => read(&[&self.levels.active]),
        }
    }
}

impl Read for StateReader<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.with(|overlays| merge::get(overlays, &self.disk, key))?)
    }

    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        Ok(self.with(|overlays| merge::first(overlays, &self.disk, from, to))?.found)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        Ok(self.with(|overlays| merge::last(overlays, &self.disk, from, to))?.found)
    }
}
