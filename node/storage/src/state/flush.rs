//! The flush actor: the only writer of a shard's environments, that in use and that of a snapshot which arrives (`arrive.rs`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_simpoint::{Bug, buggify, planted};
use tokio::sync::{mpsc, oneshot};

use super::fresh::Fresh;
use super::in_log::{self, Needed};
use super::install::Last;
use super::overlay::Overlay;
use super::row::{self, Stored, Value};
use super::{Applied, Core, Levels, applied};
use crate::disk::DiskRunner;
use crate::error::Error;
use crate::log::{LogId, ShardId};
use crate::map::{Failure, Fault, Map};

/// How long a flush waits when a simulation wants it late.
pub(super) const LATE: Duration = Duration::from_millis(30);

/// Bytes that one transaction takes out of the log, at most one body more.
const BRING_IN_BYTES: u64 = 16 << 20;

/// What the actor is asked to do.
pub(crate) enum Job {
    Flush(Option<oneshot::Sender<Result<Option<LogId>, Error>>>),
    /// Answers whether there is more.
    BringIn {
        upto: u64,
        done: oneshot::Sender<Result<bool, Error>>,
    },
    /// A snapshot begins to arrive.
    Begin {
        number: u64,
        bytes: u64,
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// The next chunks of it.
    Rows {
        number: u64,
        group: Vec<Bytes>,
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// All of it is there.
    Install {
        number: u64,
        last: Last,
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// Nobody goes on with it.
    GiveUp {
        number: u64,
    },
    Close,
}

pub(super) struct Flusher {
    pub(super) core: Arc<Core>,
    pub(super) runner: Arc<dyn DiskRunner>,
    /// The snapshot that arrives.
    pub(super) fresh: Option<Fresh>,
}

/// Runs until the state is closed, nobody holds it any more, or it failed.
pub(crate) async fn run(
    core: Arc<Core>,
    mut queue: mpsc::UnboundedReceiver<Job>,
    runner: Arc<dyn DiskRunner>,
) {
    let mut flusher = Flusher { core, runner, fresh: None };
    while let Some(job) = queue.recv().await {
        match job {
            Job::Flush(done) => {
                let result = flusher.flush().await;
                if let Some(done) = done {
                    let _ = done.send(result); // whoever asked may have gone meanwhile
                }
            }
            Job::BringIn { upto, done } => drop(done.send(flusher.bring_in(upto).await)),
            Job::Begin { number, bytes, done } => drop(done.send(flusher.begin(number, bytes))),
            Job::Rows { number, group, done } => drop(done.send(flusher.rows(number, &group).await)),
            Job::Install { number, last, done } => drop(done.send(flusher.install(number, last).await)),
            Job::GiveUp { number } => flusher.give_up(number),
            Job::Close => break,
        }
        if flusher.core.stopped.get().is_some() {
            break;
        }
    }
    if let Some(fresh) = flusher.fresh.take() {
        fresh.discard();
    }
    flusher.core.stop(Error::Closed);
}

impl Flusher {
    async fn flush(&self) -> Result<Option<LogId>, Error> {
        let Some((overlay, stands_for)) = self.core.levels.write().freeze() else {
            return Ok(self.core.levels.read_recursive().flushed);
        };
        if let Some(last) = stands_for.last
            && !planted(Bug::FlushAheadOfLog)
        {
            // The log has said why by itself; the overlay stays frozen, so reads go on.
            self.core.log.wait_durable(last.index).await.inspect_err(|e| self.core.stop(e.clone()))?;
        }
        if buggify("storage/flush/late") {
            self.runner.pause(LATE).await;
        }
        if planted(Bug::AppliedAheadOfRows) || planted(Bug::HalfAFlush) {
            self.transact_in_part(&overlay, &stands_for);
            self.runner.pause(LATE).await;
        }
        while let Err(failure) = self.transact(&overlay, &stands_for) {
            self.recover(failure).await?;
        }
        self.core.flushes.send_modify(|n| *n += 1);
        Ok(stands_for.last)
    }

    fn transact(&self, overlay: &Overlay, stands_for: &Applied) -> Result<(), Failure> {
        let shard = self.core.shard;
        let (mut disk_rows, mut needed) = (0, Needed::default());
        let before = self.core.levels.read_recursive().needed.bytes;
        self.core.map().foresee(overlay.cost())?;
        let mut fill = |map: &Map, txn: &mut heed::RwTxn| {
            needed.bytes = put_rows(shard, map, txn, overlay.iter(), before)?;
            applied::save(map, txn, stands_for)?;
            disk_rows = map.rows.len(txn)?;
            needed.from = in_log::first(map, txn)?;
            Ok(())
        };
        // Without the quota: the server stopped admitting long before, and a flush also brings what frees pages.
        self.core.map().write(None, &mut fill, || ())?;
        let mut levels = self.core.levels.write();
        levels.frozen = None;
        levels.flushed = stands_for.last;
        levels.needed = needed;
        levels.disk_rows = disk_rows;
        self.core.note_owed(&levels);
        Ok(())
    }

    /// Takes some bodies out of the log; whether there are more. Without room it gives up, since it is the flush behind it
    /// that may free some.
    async fn bring_in(&self, upto: u64) -> Result<bool, Error> {
        match self.transact_bring_in(upto) {
            Ok(more) => Ok(more),
            Err(Failure::Full | Failure::DiskFull) => {
                tracing::warn!(path = %self.core.map().path().display(), "no room for bodies out of the log");
                Ok(false)
            }
            Err(failure) => self.recover(failure).await.map(|()| false),
        }
    }

    fn transact_bring_in(&self, upto: u64) -> Result<bool, Failure> {
        let core = &*self.core;
        let mut needed = Needed::default();
        let before = core.levels.read_recursive().needed.bytes;
        // A transaction needs its pages besides those that it frees, so in a small map it is a small one.
        let bytes_max = BRING_IN_BYTES.min(core.map().quota(0).limit_bytes / 32);
        let mut fill = |map: &Map, txn: &mut heed::RwTxn| {
            needed.bytes = before;
            for (index, key) in in_log::oldest(map, txn, upto, bytes_max)? {
                let stored =
                    map.rows.get(txn, &key)?.map(|row| row::read(core.shard, &key, row)).transpose()?;
                let place = match stored {
                    Some(Stored::InLog(place)) if place.index == index => place,
                    _ => {
                        let what = format!("it notes that {} is in record {index}", key.escape_ascii());
                        return Err(Error::corrupt(map.path().display().to_string(), what).into());
                    }
                };
                put_row(map, txn, &key, &Value::Inline(core.body(place)?))?;
                in_log::forget(map, txn, &key, index)?;
                needed.bytes -= u64::from(place.len);
            }
            needed.from = in_log::first(map, txn)?;
            Ok(())
        };
        core.map().write(None, &mut fill, || ())?;
        // Readers that still see where the bodies were are gone when this is had, and only then the log may lose them.
        let mut levels = core.levels.write();
        levels.needed = needed;
        core.note_owed(&levels);
        Ok(needed.from.is_some_and(|from| from <= upto))
    }

    /// [`Bug::AppliedAheadOfRows`] and [`Bug::HalfAFlush`]: something of a flush, ahead of the rest.
    fn transact_in_part(&self, overlay: &Overlay, stands_for: &Applied) {
        let (shard, half) = (self.core.shard, overlay.iter().count() / 2);
        let mut fill = |map: &Map, txn: &mut heed::RwTxn| match planted(Bug::HalfAFlush) {
            true => put_rows(shard, map, txn, overlay.iter().take(half), 0).map(drop),
            false => Ok(applied::save(map, txn, stands_for)?),
        };
        let _ = self.core.map().write(None, &mut fill, || ()); // the whole flush meets the same error
    }

    pub(super) async fn recover(&self, failure: Failure) -> Result<(), Error> {
        let alone = || self.core.levels.write();
        let Err(error) = self.core.map().recover(failure, &*self.runner, alone).await else { return Ok(()) };
        if error == Error::Closed {
            self.core.stop(Error::Closed); // it was to wait for room, and is closed: nothing has failed
            return Err(error);
        }
        Err(self.fail(error))
    }

    /// Stops the state for good.
    pub(super) fn fail(&self, error: Error) -> Error {
        let error = self.core.met(error);
        let poisoned = Error::Poisoned(error.to_string());
        self.core.stop(poisoned.clone());
        (self.core.options.on_fatal)(&error);
        poisoned
    }
}

/// Writes rows; returns how many bytes the rows have in the log then, if it was `in_log` before.
fn put_rows<'a>(
    shard: ShardId,
    map: &Map,
    txn: &mut heed::RwTxn,
    rows: impl Iterator<Item = (&'a Bytes, &'a Option<Value>)>,
    mut in_log: u64,
) -> Result<u64, Fault> {
    for (key, value) in rows {
        if in_log::is_body(key)
            && let Some(old) = map.rows.get(txn, key)?
            && let Stored::InLog(place) = row::read(shard, key, old)?
        {
            in_log::forget(map, txn, key, place.index)?;
            in_log -= u64::from(place.len);
        }
        let Some(value) = value else {
            map.rows.delete(txn, key)?;
            continue;
        };
        put_row(map, txn, key, value)?;
        if let Value::InLog(place) = value {
            in_log::note(map, txn, key, *place)?;
            in_log += u64::from(place.len);
        }
    }
    Ok(in_log)
}

fn put_row(map: &Map, txn: &mut heed::RwTxn, key: &[u8], value: &Value) -> Result<(), heed::Error> {
    use std::io::Write;
    match value {
        Value::Inline(value) => {
            let header = row::inline_header(key, value);
            map.rows.put_reserved(txn, key, header.len() + value.len(), |space| {
                space.write_all(&header)?;
                space.write_all(value)
            })
        }
        Value::InLog(place) => {
            let place = place.encode();
            map.rows.put(txn, key, &[&row::place_header(key, &place)[..], &place].concat())
        }
    }
}

impl Levels {
    /// Moves what is active under what will be, to be flushed. `None` if the disk has it all.
    fn freeze(&mut self) -> Option<(Arc<Overlay>, Applied)> {
        self.flush_asked = false;
        if self.flushed == self.applied.last {
            return None;
        }
        let frozen = (Arc::new(std::mem::take(&mut self.active)), self.applied.clone());
        self.frozen = Some(frozen.clone());
        Some(frozen)
    }
}
