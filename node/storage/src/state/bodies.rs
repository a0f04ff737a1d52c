//! Reads values out of the log: from its recent records in memory, or from the disk by way of a small cache, since whoever
//! works off a backlog asks for the messages of one record one after the other.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;

use super::in_log::Place;
use crate::error::Error;
use crate::log::ShardLog;

/// Bytes of records that are kept; one may be larger.
const CACHE_BYTES: usize = 8 << 20;

/// See the module.
pub(crate) struct Bodies {
    log: ShardLog,
    cache: Mutex<Cache>,
}

/// Records that were read from disk, the last used at the end. They were applied, so nothing else ever has their index.
#[derive(Default)]
struct Cache {
    records: VecDeque<(u64, Bytes)>,
    bytes: usize,
}

impl Bodies {
    pub fn new(log: ShardLog) -> Bodies {
        Bodies { log, cache: Mutex::default() }
    }

    /// The value.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Disk`]; [`Error::Purged`] if the log does not have the record any more.
    pub fn get(&self, place: Place) -> Result<Bytes, Error> {
        let payload = match self.log.recent(place.index) {
            Some(payload) => payload,
            None => self.cached(place.index)?,
        };
        place.of(&payload).ok_or_else(|| {
            let what = format!("record {} of the log has no {place:?}", place.index);
            Error::corrupt(format!("the state of shard {}", self.log.id()), what)
        })
    }

    fn cached(&self, index: u64) -> Result<Bytes, Error> {
        if let Some(payload) = self.cache.lock().get(index) {
            return Ok(payload);
        }
        let record = self.log.read(index, index + 1, u64::MAX)?.pop();
        let payload = record.map(|record| record.payload).ok_or_else(|| {
            let place = format!("the state of shard {}", self.log.id());
            Error::corrupt(place, format!("it needs record {index}, which is not in the log"))
        })?;
        self.cache.lock().keep(index, payload.clone());
        Ok(payload)
    }
}

impl Cache {
    fn get(&mut self, index: u64) -> Option<Bytes> {
        let at = self.records.iter().rposition(|(i, _)| *i == index)?;
        let found = self.records.remove(at)?;
        let payload = found.1.clone();
        self.records.push_back(found);
        Some(payload)
    }

    fn keep(&mut self, index: u64, payload: Bytes) {
        self.bytes += payload.len();
        self.records.push_back((index, payload));
        while self.bytes > CACHE_BYTES
            && self.records.len() > 1
            && let Some((_, oldest)) = self.records.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }
}
