//! One ordered view of several levels: the newest that knows a key decides, and a tombstone hides what is below.

use std::cell::OnceCell;
use std::iter::Peekable;
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;

use bytes::Bytes;

use super::overlay::Overlay;
use super::row::{self, Stored, Value};
use super::{Core, Levels};
use crate::error::Error;
use crate::map::{HeldView, Map};

/// Overlays over the disk: the running entry's, the active one, the one that is being flushed.
const LEVELS_MAX: usize = 3;

/// A row as the machine reads it.
pub(crate) type Found = Option<(Bytes, Bytes)>;

/// What a search found, and how many removed rows it stepped over.
pub(crate) struct Search {
    pub found: Found,
    pub dead: usize,
}

impl Search {
    const NOTHING: Self = Self { found: None, dead: 0 };
}

/// The lowest level. Its transaction is opened by the first read that gets there.
pub(crate) struct Disk<'a> {
    core: &'a Core,
    // Dropped in this order: the transaction ends before the environment may be closed.
    view: OnceCell<HeldView>,
    map: Arc<Map>,
    /// Nothing is on disk, so no read has to go there.
    empty: bool,
}

impl<'a> Disk<'a> {
    /// The caller holds `levels` as long as it has this, so what is on disk under them cannot be told from what was when it
    /// took them.
    pub fn new(core: &'a Core, levels: &Levels) -> Disk<'a> {
        Disk { core, view: OnceCell::new(), map: Arc::clone(&levels.map), empty: levels.disk_rows == 0 }
    }

    fn view(&self) -> Result<&HeldView, Error> {
        match self.view.get() {
            Some(view) => Ok(view),
            None => {
                let view = self.map.held_view()?;
                Ok(self.view.get_or_init(|| view))
            }
        }
    }

    fn value(&self, key: &[u8], stored: &[u8]) -> Result<Bytes, Error> {
        let stored = row::read(self.core.shard, key, stored).map_err(|error| self.core.met(error))?;
        match stored {
            Stored::Inline(bytes) => Ok(Bytes::copy_from_slice(bytes)),
            Stored::InLog(place) => self.core.body(place),
        }
    }

    fn of(&self, value: &Value) -> Result<Bytes, Error> {
        match value {
            Value::Inline(bytes) => Ok(bytes.clone()),
            Value::InLog(place) => self.core.body(*place),
        }
    }

    fn failed(&self, error: &heed::Error) -> Error {
        Error::lmdb("reading", self.map.path(), error)
    }
}

/// The value at `key`. `overlays` from new to old.
pub(crate) fn get(overlays: &[&Overlay], disk: &Disk, key: &[u8]) -> Result<Option<Bytes>, Error> {
    for overlay in overlays {
        if let Some(value) = overlay.get(key) {
            return value.as_ref().map(|value| disk.of(value)).transpose();
        }
    }
    if disk.empty || key.is_empty() {
        return Ok(None);
    }
    let stored = disk.map.rows.get(disk.view()?.txn(), key).map_err(|e| disk.failed(&e))?;
    stored.map(|stored| disk.value(key, stored)).transpose()
}

/// Whether the disk has `key`.
pub(crate) fn on_disk(disk: &Disk, key: &[u8]) -> Result<bool, Error> {
    if disk.empty || key.is_empty() {
        return Ok(false);
    }
    let stored = disk.map.rows.get(disk.view()?.txn(), key).map_err(|e| disk.failed(&e))?;
    Ok(stored.is_some())
}

/// The first row with `from <= key < to`.
pub(crate) fn first(overlays: &[&Overlay], disk: &Disk, from: &[u8], to: &[u8]) -> Result<Search, Error> {
    if from >= to {
        return Ok(Search::NOTHING);
    }
    let levels = levels(overlays, |overlay| overlay.from(from).take_while(|(key, _)| key[..] < *to));
    if disk.empty {
        return merge(levels, std::iter::empty(), disk, |a, b| a < b);
    }
    let bounds = (Included(from), Excluded(to));
    let rows = disk.map.rows.range(disk.view()?.txn(), &bounds).map_err(|e| disk.failed(&e))?;
    merge(levels, rows, disk, |a, b| a < b)
}

/// The last row with `from <= key < to`.
pub(crate) fn last(overlays: &[&Overlay], disk: &Disk, from: &[u8], to: &[u8]) -> Result<Search, Error> {
    if from >= to {
        return Ok(Search::NOTHING);
    }
    let levels = levels(overlays, |overlay| overlay.below(to).take_while(|(key, _)| key[..] >= *from));
    if disk.empty {
        return merge(levels, std::iter::empty(), disk, |a, b| a > b);
    }
    let bounds = (Included(from), Excluded(to));
    let rows = disk.map.rows.rev_range(disk.view()?.txn(), &bounds).map_err(|e| disk.failed(&e))?;
    merge(levels, rows, disk, |a, b| a > b)
}

/// Opens each overlay, at most [`LEVELS_MAX`] of them.
fn levels<'a, L: Iterator>(
    overlays: &[&'a Overlay],
    open: impl Fn(&'a Overlay) -> L,
) -> [Option<Peekable<L>>; LEVELS_MAX] {
    std::array::from_fn(|level| overlays.get(level).map(|overlay| open(overlay).peekable()))
}

/// The first row that is not removed, where `before` says which of two keys comes first.
fn merge<'a, 'd, L, D>(
    mut levels: [Option<Peekable<L>>; LEVELS_MAX],
    mut rows: D,
    disk: &Disk,
    before: impl Fn(&[u8], &[u8]) -> bool,
) -> Result<Search, Error>
where
    L: Iterator<Item = (&'a Bytes, &'a Option<Value>)>,
    D: Iterator<Item = Result<(&'d [u8], &'d [u8]), heed::Error>>,
{
    let mut stored = rows.next().transpose().map_err(|e| disk.failed(&e))?;
    let mut dead = 0;
    loop {
        let mut best: Option<&Bytes> = None;
        for level in levels.iter_mut().flatten() {
            if let Some((key, _)) = level.peek()
                && best.is_none_or(|best| before(key, best))
            {
                best = Some(key);
            }
        }
        let (key, on_disk) = match (best, stored) {
            (None, None) => return Ok(Search { found: None, dead }),
            (Some(key), Some((below, _))) if before(key, below) => (key, false),
            (Some(key), None) => (key, false),
            (Some(key), Some((below, _))) if key.as_ref() == below => (key, true),
            (_, Some((key, stored))) => {
                let value = disk.value(key, stored)?;
                return Ok(Search { found: Some((Bytes::copy_from_slice(key), value)), dead });
            }
        };
        let key = key.clone();
        let mut decided: Option<&Option<Value>> = None;
        for level in levels.iter_mut().flatten() {
            if let Some((_, value)) = level.next_if(|(k, _)| **k == key) {
                decided = decided.or(Some(value));
            }
        }
        if let Some(Some(value)) = decided {
            return Ok(Search { found: Some((key, disk.of(value)?)), dead });
        }
        dead += 1;
        if on_disk {
            stored = rows.next().transpose().map_err(|e| disk.failed(&e))?;
        }
    }
}
