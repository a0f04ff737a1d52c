//! openraft's own storage suite, on the real log and the real state.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, RaftLogReader, StorageError};
use quorate_machine::Versions;
use quorate_raft::types::{LogId, Members, Types, log_id_to_store};
use quorate_raft::{Gate, LogStore, Received, SnapshotData, StateMachine};
use quorate_storage::DataDir;
use quorate_storage::disk::{DiskRunner, Threads};
use quorate_storage::identity::{FORMAT, Identity};
use quorate_storage::log::{Kind, Log, LogId as LogIdInStore, LogOptions, Record, ShardLog};
use quorate_storage::state::{State, StateOptions};
use tempfile::TempDir;
use tokio::sync::mpsc;

struct OnDisk;

/// What has to outlive the stores of one test; the directory is removed last.
struct Guard {
    _log: Log,
    _dir: TempDir,
}

/// The suite applies entries that it never appended, while the state on disk waits for the log on disk. So the
/// state gets a shard of its own to wait for, and this appends there what is applied.
struct Witnessed {
    machine: StateMachine,
    log: ShardLog,
}

impl StoreBuilder<Types, LogStore, Witnessed, Guard> for OnDisk {
    async fn build(&self) -> Result<(Guard, LogStore, Witnessed), StorageError<Types>> {
        let dir = TempDir::new().expect("a temporary directory");
        let data = DataDir::open(dir.path()).expect("a new data directory");
        let identity = Identity {
            format_version: FORMAT,
            cluster_id: [1; 16],
            node_id: 1,
            name: "n1".into(),
            incarnation: [2; 16],
            joined_at: 0,
            voted: false,
        };
        data.create(identity).expect("an identity");
        let runner: Arc<dyn DiskRunner> = Arc::new(Threads);
        let log = Log::open(&data, LogOptions::default(), &runner).expect("a log");
        let (shard, witness) = (log.shard(0).expect("a shard"), log.shard(1).expect("a second shard"));
        let state = State::open(&data, &witness, StateOptions::default(), &runner).expect("a state");
        let (applied, _) = mpsc::unbounded_channel();
        let gate = Gate::new(Versions::OWN);
        let guard = Guard { _log: log, _dir: dir };
        let machine = Witnessed { machine: StateMachine::new(state, applied, gate.clone()), log: witness };
        Ok((guard, LogStore::new(shard, gate), machine))
    }
}

impl RaftStateMachine<Types> for Witnessed {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = StateMachine;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Members)> {
        self.machine.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let log = self.log.clone();
        let witnessed = entries.inspect(move |item| {
            let Ok((entry, _)) = item else { return };
            let id = log_id_to_store(&entry.log_id);
            let gap = log.last().map_or(id.index..id.index, |last| last.index + 1..id.index);
            let filled = gap.map(|index| LogIdInStore { index, ..id }).chain([id]);
            let records = filled.map(|id| Record { id, kind: Kind::Blank, payload: Default::default() });
            log.append(records.collect(), Box::new(|_| {})).expect("the witness takes it");
        });
        self.machine.apply(witnessed).await
    }

    async fn get_snapshot_builder(&mut self) -> StateMachine {
        self.machine.get_snapshot_builder().await
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, data: SnapshotData) -> io::Result<()> {
        // What the network does on the way: rows out of one state, into another.
        let SnapshotData::Local(from) = data else { return self.machine.install_snapshot(meta, data).await };
        let mut snapshot = from.snapshot().await.map_err(io::Error::other)?;
        let mut installer = self.machine.state().install(0).await.map_err(io::Error::other)?;
        let mut rows = 0;
        while let Some(chunk) = snapshot.next_chunk().map_err(io::Error::other)? {
            rows += chunk.rows;
            installer.chunk(chunk.bytes).await.map_err(io::Error::other)?;
        }
        let received = SnapshotData::Received(Box::new(Received { installer, rows }));
        self.machine.install_snapshot(meta, received).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, SnapshotData>>> {
        self.machine.get_current_snapshot().await
    }
}

#[test]
fn openraft_accepts_the_storage() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(Suite::test_all(OnDisk)).expect("openraft's suite");
}

/// The task that sends to a follower may still be at an order that is older than the last purge. Nothing to read is what
/// openraft copes with; an error would end the leader.
#[tokio::test]
async fn what_was_purged_is_nothing_to_replicate() {
    let (_guard, mut store, _) = OnDisk.build().await.expect("a store");
    let id = |index| LogIdInStore { term: 1, node: 1, index };
    let record = |index| Record { id: id(index), kind: Kind::Blank, payload: Default::default() };
    let (done, durable) = tokio::sync::oneshot::channel();
    let log = store.shard_log().clone();
    log.append((0..10).map(record).collect(), Box::new(|result| drop(done.send(result))))
        .expect("it is taken");
    durable.await.expect("an answer").expect("it is durable");
    log.purge(id(5)).expect("it is purged");
    for (start, found) in [(0, 0), (5, 0), (6, 4)] {
        let entries = store.limited_get_log_entries(start, 10).await.expect("no error");
        assert_eq!(entries.len(), found, "from {start}");
    }
}
