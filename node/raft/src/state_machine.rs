//! openraft's state machine over [`State`] and the pure machine.
//!
//! A snapshot costs a flush and nothing else: its rows are read from the state when they are sent. So what a
//! follower installs may be newer than what openraft asked for; it is a committed prefix all the same, and the
//! head of the transfer says which one.

use std::io;
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, SnapshotMeta};
use quorate_machine::ApplyError;
use quorate_simpoint::{Bug, buggify, planted};
use quorate_storage::state::{Installer, State};
use tokio::sync::mpsc;

use crate::Applied;
use crate::agreement::Checkpoints;
use crate::gate::Gate;
use crate::types::{
    Answers, LogId, Members, Types, log_id_from_store, log_id_to_store, members_from_bytes, members_to_bytes,
};

/// How long an entry waits when a simulation wants to see commit and apply apart.
const SLOW: Duration = Duration::from_millis(20);

/// What openraft passes around as a snapshot.
pub enum SnapshotData {
    /// This node's own state, read when it is sent.
    Local(State),
    /// Rows received from the leader, checked and on disk, ready to become the state.
    Received(Box<Received>),
}

/// A received snapshot.
pub struct Received {
    /// Holds the rows.
    pub installer: Installer,
    /// How many there must be.
    pub rows: u64,
}

/// The state of one shard, for openraft.
#[derive(Clone)]
pub struct StateMachine {
    state: State,
    applied: mpsc::UnboundedSender<Applied>,
    gate: Gate,
    checkpoints: Checkpoints,
}

impl StateMachine {
    /// Wraps the state of a shard. Every applied entry is told to `applied`; its reader only hands it on, so
    /// what waits there is bounded by the entries in flight. What cannot be read is said at the gate.
    pub fn new(state: State, applied: mpsc::UnboundedSender<Applied>, gate: Gate) -> Self {
        Self { state, applied, gate, checkpoints: Checkpoints::default() }
    }

    /// The digests of the state at its last checkpoints.
    pub(crate) fn checkpoints(&self) -> Checkpoints {
        self.checkpoints.clone()
    }

    /// The rows.
    pub fn state(&self) -> &State {
        &self.state
    }

    fn apply_commands(
        &self,
        id: &LogId,
        entry: &bytes::Bytes,
    ) -> io::Result<Vec<quorate_machine::reply::Outcome>> {
        quorate_simpoint::touched(0, entry.len());
        let mut writer = self.state.write_entry(id.index, entry);
        let outcome = quorate_machine::apply_as(self.gate.versions(), &mut writer, entry).map_err(|e| {
            if let ApplyError::Unreadable(why) = &e {
                self.gate.cannot_read(format!("the entry at index {}", id.index), why);
            }
            io::Error::other(e)
        })?;
        self.gate.stored(writer.commit(log_id_to_store(id), None))?;
        if let Some(version) = outcome.version {
            self.gate.is_active(version);
        }
        self.show(id, Some(entry));
        // The receiver lives in the shell; while the node shuts down nobody needs the effects.
        let _ = self.applied.send(Applied {
            index: id.index,
            effects: outcome.effects,
            next_deadline_ms: outcome.next_deadline_ms,
        });
        Ok(outcome.replies)
    }

    fn apply_other(&self, id: &LogId, membership: Option<bytes::Bytes>) -> io::Result<()> {
        let writer = self.state.write();
        self.gate.stored(writer.commit(log_id_to_store(id), membership))?;
        self.show(id, None);
        Ok(())
    }

    /// Notes the digest of a checkpoint, and lets a simulation see what was applied.
    fn show(&self, id: &LogId, entry: Option<&bytes::Bytes>) {
        self.checkpoints.applied(id.index, || quorate_machine::read::digest(&self.state.read()).ok());
        quorate_simpoint::applied(quorate_simpoint::Applied {
            data_dir: self.state.data_dir(),
            shard: self.state.shard(),
            term: id.leader_id.term,
            index: id.index,
            rows: quorate_simpoint::rows_touched(),
            entry: entry.map(|bytes| &bytes[..]),
            digest: &|| quorate_machine::read::digest(&self.state.read()).ok(),
        });
    }

    /// What a snapshot of the flushed state would hold.
    async fn current(&self) -> io::Result<SnapshotOf<Types, SnapshotData>> {
        let snapshot = self.gate.stored(self.state.snapshot().await)?;
        let last_membership = members_from_bytes(&snapshot.membership())?;
        let last =
            if planted(Bug::PurgeAboveFlushed) { self.state.applied().last } else { snapshot.applied() };
        let meta = SnapshotMeta { last_log_id: last.map(log_id_from_store), last_membership };
        Ok(Snapshot { meta, snapshot: SnapshotData::Local(self.state.clone()) })
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Members)> {
        let applied = self.state.applied();
        Ok((applied.last.map(log_id_from_store), members_from_bytes(&applied.membership)?))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            self.state.ready().await;
            if buggify("raft/state_machine/slow") {
                tokio::time::sleep(SLOW).await;
            }
            let answers = match &entry.payload {
                EntryPayload::Normal(commands) => self.apply_commands(&entry.log_id, &commands.0)?,
                EntryPayload::Blank => {
                    self.apply_other(&entry.log_id, None)?;
                    Vec::new()
                }
                EntryPayload::Membership(membership) => {
                    let members = Members::new(Some(entry.log_id), membership.clone());
                    self.apply_other(&entry.log_id, Some(members_to_bytes(&members)))?;
                    Vec::new()
                }
            };
            let spent = quorate_simpoint::spend();
            if !spent.is_zero() {
                tokio::time::sleep(spent).await;
            }
            if buggify("raft/state_machine/flush_each_entry") {
                let _ = self.state.flush().await; // the next entry meets the same error
            }
            if let Some(responder) = responder {
                responder.send(Answers(answers));
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, data: SnapshotData) -> io::Result<()> {
        let SnapshotData::Received(received) = data else { return Ok(()) }; // our own state is already here
        let last =
            meta.last_log_id.as_ref().ok_or_else(|| io::Error::other("a snapshot without a log id"))?;
        let membership = members_to_bytes(&meta.last_membership);
        let installed = received.installer.finish(received.rows, log_id_to_store(last), membership);
        self.gate.stored(installed.await)?;
        let (active, next_deadline_ms) = {
            let state = self.state.read();
            let active = quorate_machine::read::active_version(&state).map_err(io::Error::other)?;
            (active, quorate_machine::read::next_deadline(&state).map_err(io::Error::other)?)
        };
        // Its head said so, too, or lied.
        self.gate.check(active, "the snapshot").map_err(io::Error::other)?;
        self.gate.is_active(active);
        let _ = self.applied.send(Applied { index: last.index, effects: Vec::new(), next_deadline_ms });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, SnapshotData>>> {
        Ok(Some(self.current().await?).filter(|snapshot| snapshot.meta.last_log_id.is_some()))
    }
}

impl RaftSnapshotBuilder<Types> for StateMachine {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, SnapshotData>> {
        self.current().await
    }
}
