//! The part of the actor that a snapshot needs which arrives.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_simpoint::{Bug, planted};

use super::flush::Flusher;
use super::fresh::Fresh;
use super::install::Last;
use super::{Applied, Levels};
use crate::error::Error;
use crate::map::{Failure, Map};

/// How late [`Bug::SwitchBeforeRows`] writes the last rows.
const LATER: Duration = Duration::from_secs(2);

impl Flusher {
    /// Makes the environment that it goes to. There is one at a time: whoever sends a second one has given up the first.
    pub(super) fn begin(&mut self, number: u64, bytes: u64) -> Result<(), Error> {
        if let Some(before) = self.fresh.take() {
            before.discard();
        }
        self.fresh = Some(Fresh::begin(&self.core, number, bytes)?);
        Ok(())
    }

    /// Writes the next chunks of it.
    pub(super) async fn rows(&mut self, number: u64, group: &[Bytes]) -> Result<(), Error> {
        let mut fresh = self.take(number)?;
        let shard = self.core.shard;
        match self.write(&mut fresh, false, |fresh| fresh.put(shard, group)).await {
            Ok(()) => {
                self.fresh = Some(fresh);
                Ok(())
            }
            Err(error) => {
                fresh.discard();
                Err(error)
            }
        }
    }

    /// Nobody goes on with it, unless it was installed.
    pub(super) fn give_up(&mut self, number: u64) {
        if let Ok(fresh) = self.take(number) {
            fresh.discard();
        }
    }

    /// Puts it in the place of the state. Until it has its name the state is as it was.
    pub(super) async fn install(&mut self, number: u64, last: Last) -> Result<(), Error> {
        let mut fresh = self.take(number)?;
        let (shard, early) = (self.core.shard, planted(Bug::SwitchBeforeRows));
        // Raft's own task waits for this, and an error would be its end.
        let written = async {
            if !early {
                self.write(&mut fresh, true, |fresh| fresh.put(shard, &last.group)).await?;
            }
            self.write(&mut fresh, true, |fresh| fresh.complete(shard, &last, early)).await
        };
        if let Err(error) = written.await {
            fresh.discard();
            return Err(error);
        }
        // From here on nobody knows which of the two the disk has, should something fail.
        let (map, mut rows) = fresh.settle(&self.core).map_err(|error| self.fail(error))?;
        if early {
            self.runner.pause(LATER).await;
            rows += Fresh::late(&map, self.core.shard, &last.group);
        }
        self.switch(map, rows, last.applied);
        let generation = self.core.dir.state_generation(self.core.shard);
        let removed = generation.and_then(|now| self.core.dir.remove_other_states(self.core.shard, now));
        if let Err(error) = removed {
            tracing::warn!(%error, "the state before the snapshot stays until the next start");
        }
        self.core.flushes.send_modify(|n| *n += 1);
        Ok(())
    }

    /// The switch in memory. Whoever reads now is done before it; a snapshot that is being sent keeps the environment that it reads.
    fn switch(&self, map: Map, disk_rows: u64, applied: Applied) {
        let flushed = applied.last;
        let mut levels = self.core.levels.write();
        self.core.gaps.lock().forget();
        *levels = Levels { applied, flushed, disk_rows, ..Levels::new(Arc::new(map)) };
        self.core.note_owed(&levels);
    }

    fn take(&mut self, number: u64) -> Result<Fresh, Error> {
        let replaced = Error::SnapshotReplaced { shard: self.core.shard };
        self.fresh.take_if(|fresh| fresh.number == number).ok_or(replaced)
    }

    /// Writes to it until that is done. If there is no room it waits for some, `at_the_end` of the snapshot, or gives it up.
    async fn write(
        &self,
        fresh: &mut Fresh,
        at_the_end: bool,
        write: impl Fn(&mut Fresh) -> Result<(), Failure>,
    ) -> Result<(), Error> {
        while let Err(failure) = write(fresh) {
            match failure {
                Failure::Full if fresh.map().can_grow() => {
                    let grown = fresh.map().recover(failure, &*self.runner, || ()).await;
                    grown.map_err(|error| self.fail(error))?;
                }
                // By the map in use, which says that it waits, and for whose sake the wait ends when the node is to end.
                Failure::Full | Failure::DiskFull if at_the_end => {
                    self.core.map().recover(Failure::DiskFull, &*self.runner, || ()).await?;
                }
                failure => return Err(self.no_room(fresh, failure)),
            }
        }
        Ok(())
    }

    /// A snapshot that finds no room is given up, since it can be sent again. A disk that fails ends the state.
    fn no_room(&self, fresh: &Fresh, failure: Failure) -> Error {
        match failure {
            Failure::Fatal(error @ Error::BadChunk { .. }) => error,
            Failure::Fatal(error) => self.fail(error),
            Failure::Full | Failure::DiskFull => fresh.no_room(self.core.shard),
        }
    }
}
