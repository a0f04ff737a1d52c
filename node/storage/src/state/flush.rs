//! The flush actor: the only writer of a shard's environment.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_simpoint::{Bug, buggify, planted};
use tokio::sync::{mpsc, oneshot};

use super::install::{self, Spool};
use super::overlay::Overlay;
use super::{Applied, Core, Levels, applied, row};
use crate::disk::DiskRunner;
use crate::error::Error;
use crate::log::LogId;
use crate::map::{Failure, Fault};

/// How long a flush waits when a simulation wants it late.
const LATE: Duration = Duration::from_millis(30);

/// What the actor is asked to do.
pub(crate) enum Job {
    Flush(Option<oneshot::Sender<Result<Option<LogId>, Error>>>),
    Install { spool: Spool, applied: Applied, done: oneshot::Sender<Result<(), Error>> },
    Close,
}

struct Flusher {
    core: Arc<Core>,
    runner: Arc<dyn DiskRunner>,
}

/// Runs until the state is closed, nobody holds it any more, or it failed.
pub(crate) async fn run(
    core: Arc<Core>,
    mut queue: mpsc::UnboundedReceiver<Job>,
    runner: Arc<dyn DiskRunner>,
) {
    let flusher = Flusher { core, runner };
    while let Some(job) = queue.recv().await {
        let failed = match job {
            Job::Flush(done) => {
                let result = flusher.flush().await;
                let failed = result.as_ref().err().cloned();
                if let Some(done) = done {
                    let _ = done.send(result); // whoever asked may have gone meanwhile
                }
                failed
            }
            Job::Install { spool, applied, done } => {
                let result = flusher.install(&spool.path, &applied).await;
                let failed = result.as_ref().err().cloned();
                drop(spool); // the file is gone when the caller hears of the end
                let _ = done.send(result);
                failed
            }
            Job::Close => break,
        };
        if failed.is_some() {
            break;
        }
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
        let mut disk_rows = 0;
        let mut fill = |map: &crate::map::Map, txn: &mut heed::RwTxn| {
            put_rows(map, txn, overlay.iter())?;
            applied::save(map, txn, stands_for)?;
            disk_rows = map.rows.len(txn)?;
            Ok(())
        };
        // Without the quota: the server stopped admitting long before, and a flush also brings what frees pages.
        self.core.map.write(None, &mut fill, || ())?;
        let mut levels = self.core.levels.write();
        levels.frozen = None;
        levels.flushed = stands_for.last;
        levels.disk_rows = disk_rows;
        Ok(())
    }

    /// [`Bug::AppliedAheadOfRows`] and [`Bug::HalfAFlush`]: something of a flush, ahead of the rest.
    fn transact_in_part(&self, overlay: &Overlay, stands_for: &Applied) {
        let half = overlay.iter().count() / 2;
        let mut fill = |map: &crate::map::Map, txn: &mut heed::RwTxn| match planted(Bug::HalfAFlush) {
            true => put_rows(map, txn, overlay.iter().take(half)),
            false => Ok(applied::save(map, txn, stands_for)?),
        };
        let _ = self.core.map.write(None, &mut fill, || ()); // the whole flush meets the same error
    }

    async fn install(&self, spool: &std::path::Path, stands_for: &Applied) -> Result<(), Error> {
        while let Err(failure) = self.transact_install(spool, stands_for) {
            self.recover(failure).await?;
        }
        self.core.flushes.send_modify(|n| *n += 1);
        Ok(())
    }

    fn transact_install(&self, spool: &std::path::Path, stands_for: &Applied) -> Result<(), Failure> {
        let mut disk_rows = 0;
        let shard = self.core.shard;
        // The levels are taken before the commit, so that no reader sees the new rows under the old overlays.
        let mut levels = self.core.map.write(
            None,
            &mut |map, txn| {
                disk_rows = install::load(shard, map, txn, spool)?;
                Ok(applied::save(map, txn, stands_for)?)
            },
            || self.core.levels.write(),
        )?;
        *levels =
            Levels { applied: stands_for.clone(), flushed: stands_for.last, disk_rows, ..Levels::default() };
        Ok(())
    }

    async fn recover(&self, failure: Failure) -> Result<(), Error> {
        let Err(error) = self.core.map.recover(failure, &*self.runner).await else { return Ok(()) };
        let poisoned = Error::Poisoned(error.to_string());
        self.core.stop(poisoned.clone());
        (self.core.options.on_fatal)(&error);
        Err(poisoned)
    }
}

fn put_rows<'a>(
    map: &crate::map::Map,
    txn: &mut heed::RwTxn,
    rows: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>,
) -> Result<(), Fault> {
    for (key, value) in rows {
        let Some(value) = value else {
            map.rows.delete(txn, key)?;
            continue;
        };
        let header = row::header(key, value);
        map.rows.put_reserved(txn, key, header.len() + value.len(), |space| {
            use std::io::Write;
            space.write_all(&header)?;
            space.write_all(value)
        })?;
    }
    Ok(())
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
