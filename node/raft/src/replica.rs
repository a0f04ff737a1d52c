//! One replica of one shard, without openraft's generics: what the rest of the node sees.

mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::ReadPolicy;
use openraft::ServerState;
use openraft::errors::{ClientWriteError, Fatal, InitializeError, LinearizableReadError, RaftError};
use openraft::type_config::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use quorate_machine::Versions;
use quorate_machine::limits::ENTRY_BYTES_MAX;
use quorate_machine::reply::Outcome;
use quorate_simpoint::{Bug, planted};
use quorate_storage::log::ShardLog;
use quorate_storage::state::State;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::agreement::{Checkpoints, Comparison};
use crate::ending::{End, Ending};
use crate::gate::Gate;
use crate::health::{self, Health};
use crate::log_store::LogStore;
use crate::network::{Connections, Network};
use crate::peers::{Confirmed, Me};
use crate::reports::{Heard, Reports, Shortage};
use crate::resets::Resets;
use crate::responder::{Done, WriteResult};
use crate::settings::Settings;
use crate::state_machine::StateMachine;
use crate::transport::Transport;
use crate::types::{Commands, LeaderId, Peer, Types};
use crate::under_way::UnderWay;
use crate::{Applied, Error, Raft, failover, retention};

/// Who leads the shard, as this replica knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The current term.
    pub term: u64,
    /// The leader's id, if one is known.
    pub leader: Option<u64>,
    /// Whether it is this node.
    pub mine: bool,
}

/// Why a proposal or a read was not carried out.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum NotDone {
    /// Another node leads; nothing happened here.
    #[error("another node leads")]
    NotLeader {
        /// Its id, if known.
        leader: Option<u64>,
    },
    /// This node leads but hears from no majority; nothing happened.
    #[error("no majority of the members answers")]
    NoQuorum,
    /// The entry is longer than peers could take; nothing happened.
    #[error("an entry has at most {limit} bytes, got {bytes}")]
    TooLarge {
        /// Its length, in bytes.
        bytes: usize,
        /// The longest that there may be, in bytes.
        limit: usize,
    },
    /// The outcome is unknown: leadership was lost, or the replica stopped, after the entry was taken.
    #[error("leadership was lost before the outcome was known")]
    Unknown,
}

/// What a replica is built from.
pub struct Parts {
    /// This node.
    pub me: Me,
    /// The shard.
    pub shard: u32,
    /// Times and sizes.
    pub settings: Settings,
    /// Its log.
    pub log: ShardLog,
    /// Its state.
    pub state: State,
    /// Opens connections to peers.
    pub transport: Arc<dyn Transport>,
    /// Told of every applied entry.
    pub applied: mpsc::UnboundedSender<Applied>,
    /// What this node's program reads and writes.
    pub gate: Gate,
}

/// A running replica. Clones share it.
#[derive(Clone)]
pub struct Replica(Arc<Inner>);

struct Inner {
    shard: u32,
    me: Me,
    settings: Settings,
    raft: Raft,
    log: ShardLog,
    state: State,
    leadership: watch::Receiver<Leadership>,
    gate: Gate,
    checkpoints: Checkpoints,
    network: Arc<Network>,
    health: Health,
    /// What the others say of their disks.
    reports: Arc<Reports>,
    /// Whom this node heard lead.
    heard: Arc<Heard>,
    resets: Arc<Resets>,
    /// Why new bytes are refused.
    refusal: watch::Sender<Option<Shortage>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    under_way: Arc<UnderWay>,
}

impl Replica {
    /// Recovers the replica from its log and state, and starts it.
    pub async fn start(parts: Parts) -> Result<Self, Error> {
        let Parts { me, shard, settings, log, state, transport, applied, gate } = parts;
        let active = quorate_machine::read::active_version(&state.read())
            .map_err(|e| Error::Stopped(e.to_string()))?;
        if !gate.versions().read(active) {
            return Err(Error::NewerState { active, reads_to: gate.versions().reads_to });
        }
        gate.is_active(active);
        let machine = StateMachine::new(state.clone(), applied, gate.clone());
        let checkpoints = machine.checkpoints();
        let under_way = Arc::new(UnderWay::default());
        let (reports, resets) = (Arc::<Reports>::default(), Arc::<Resets>::default());
        let network = Arc::new(Network {
            me: me.clone(),
            shard,
            transport: transport.clone(),
            confirmed: Arc::new(Confirmed::default()),
            state: state.clone(),
            log: log.clone(),
            snapshot_stall: settings.snapshot_stall,
            under_way: under_way.clone(),
            peer_message_bytes_max: settings.peer_message_bytes_max,
            reports: reports.clone(),
            resets: resets.clone(),
            stuck: (settings.silent_after(), settings.log_stall_after),
            gate: gate.clone(),
            comparison: Comparison::new(me.node_id, checkpoints.clone()),
        });
        let raft = Raft::new(
            me.node_id,
            settings.config()?,
            Connections(network.clone()),
            LogStore::new(log.clone(), gate.clone()),
            machine,
        );
        let raft = raft.await.map_err(|e| not_started(&gate, &e))?;
        let (told, leadership) = watch::channel(Leadership::default());
        let heard = Arc::<Heard>::default();
        let end = gate.end().clone();
        let watcher = watch_leadership(raft.clone(), me.node_id, heard.leader(), told, end);
        let tasks = Mutex::new(vec![tokio::spawn(watcher)]);
        let health = Health::new(log.clone(), state.clone(), settings.silent_after());
        let refusal = watch::Sender::new(None);
        let replica = Self(Arc::new(Inner {
            shard,
            me,
            settings,
            raft,
            log,
            state,
            leadership,
            gate,
            checkpoints,
            network,
            health,
            reports,
            heard,
            resets,
            refusal,
            tasks,
            under_way,
        }));
        let retention = tokio::spawn(retention::run(replica.clone()));
        let failover = tokio::spawn(failover::run(replica.clone(), transport));
        let health = tokio::spawn(health::run(replica.clone()));
        replica.0.tasks.lock().extend([retention, failover, health]);
        Ok(replica)
    }

    /// Gives a new cluster its first members; does nothing if the shard has members already.
    pub async fn initialize(&self, members: BTreeMap<u64, Peer>) -> Result<(), Error> {
        match self.0.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(e) => Err(Error::Stopped(e.to_string())),
        }
    }

    /// Whether the shard has members.
    pub async fn is_initialized(&self) -> Result<bool, Error> {
        self.0.raft.is_initialized().await.map_err(|e| Error::Stopped(e.to_string()))
    }

    /// Proposes an entry of so many commands, once this node's log keeps up with what it was given. Calls keep their order.
    /// `done` is called exactly once, from inside openraft: it must not block.
    pub async fn propose(
        &self,
        entry: Bytes,
        commands: usize,
        done: impl FnOnce(Result<Vec<Outcome>, NotDone>) + Send + 'static,
    ) {
        let bytes = entry.len();
        if bytes > ENTRY_BYTES_MAX && !planted(Bug::EntryCapIgnored) {
            return done(Err(NotDone::TooLarge { bytes, limit: ENTRY_BYTES_MAX }));
        }
        // A leader whose disk hangs has its majority elsewhere: only this keeps it from taking more and more. And one that was
        // replaced while its disk hung does not know it.
        let mut leadership = self.leadership();
        tokio::select! {
            biased;
            leads = leadership.wait_for(|l| !l.mine) => {
                let leader = leads.map_or(None, |l| l.leader);
                return done(Err(NotDone::NotLeader { leader }));
            }
            () = self.0.log.ready() => {}
        }
        let responder = Done::new(move |result| done(answers(result, commands)));
        // A stopped core drops the responder, which answers «unknown».
        let _ = self.0.raft.client_write_ff(Commands(entry), Some(responder)).await;
    }

    /// Like [`propose`](Replica::propose) for one command, and only if this node leads the term still, without a break. So what was
    /// known of the members then is true when the entry is written: only their leader changes them.
    pub async fn propose_in(&self, term: u64, entry: Bytes) -> Result<Outcome, NotDone> {
        let (send, receive) = oneshot::channel();
        let responder = Done::new(move |result| drop(send.send(answers(result, 1))));
        let leader = LeaderId { term, node_id: self.0.me.node_id };
        let written = self.0.raft.write(Commands(entry)).with_leader(leader).responder(responder).await;
        written.map_err(|_| NotDone::Unknown)?;
        let mut outcomes = receive.await.unwrap_or(Err(NotDone::Unknown))?;
        outcomes.pop().ok_or(NotDone::Unknown)
    }

    /// Returns once this replica's state is at least as new as every write that was acknowledged before the
    /// call: a read of the state is then linearizable. Only the leader can tell; by ReadIndex.
    pub async fn read_barrier(&self, timeout: Duration) -> Result<(), NotDone> {
        let deadline = tokio::time::Instant::now() + timeout;
        let policy = if planted(Bug::LeaseRead) { ReadPolicy::LeaseRead } else { ReadPolicy::ReadIndex };
        let linearizer = self.0.raft.get_read_linearizer(policy);
        let linearizer =
            tokio::time::timeout_at(deadline, linearizer).await.map_err(|_| NotDone::NoQuorum)?;
        let linearizer = linearizer.map_err(|e| match e {
            RaftError::APIError(LinearizableReadError::ForwardToLeader(to)) if to.leader_id.is_some() => {
                NotDone::NotLeader { leader: to.leader_id }
            }
            RaftError::APIError(_) => NotDone::NoQuorum,
            RaftError::Fatal(_) => NotDone::Unknown,
        })?;
        if planted(Bug::StaleRead) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        match linearizer.try_await_ready(&self.0.raft, Some(left)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(NotDone::NoQuorum),
            Err(_) => Err(NotDone::Unknown),
        }
    }

    pub(crate) fn node_id(&self) -> u64 {
        self.0.me.node_id
    }

    /// Who leads; the receiver sees every change.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.clone()
    }

    /// Returns why the process must end rather than stay without the replica, if it ever must.
    pub async fn ended(&self) -> Ending {
        self.0.gate.end().reached().await
    }

    /// A majority has decided that this node is no member any more.
    pub fn end_as_removed(&self) {
        let Me { name, node_id, .. } = &self.0.me;
        self.0.gate.end().because(Ending::Removed { name: name.clone(), id: *node_id });
    }

    /// The version that is active in what was applied here.
    pub fn active_version(&self) -> u32 {
        self.0.gate.active()
    }

    /// The version in which this node writes entries now.
    pub fn written_version(&self) -> u32 {
        self.0.gate.versions().write(self.0.gate.active())
    }

    /// Which versions another member said that it reads and writes, when this node began to replicate to it.
    pub fn declared_versions(&self, id: u64) -> Option<Versions> {
        self.0.network.confirmed.declared(id)
    }

    /// Up to which checkpoint the digests of the other replicas were found to be this one's, while it led.
    pub fn agreed(&self) -> BTreeMap<u64, u64> {
        self.0.network.comparison.agreed()
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(crate) fn checkpoints(&self) -> &Checkpoints {
        &self.0.checkpoints
    }

    pub(crate) fn health(&self) -> &Health {
        &self.0.health
    }

    pub(crate) fn reports(&self) -> &Reports {
        &self.0.reports
    }

    pub(crate) fn heard(&self) -> &Heard {
        &self.0.heard
    }

    pub(crate) fn resets(&self) -> &Resets {
        &self.0.resets
    }

    /// Hands leadership to another voter, if this node leads and there is one. Returns once another node
    /// leads or the deadline has passed; then the elections decide.
    pub async fn hand_over(&self, deadline: Duration) {
        let me = self.0.me.node_id;
        // Who is full or stalled comes last.
        let reports = self.0.reports.within(self.0.settings.silent_after());
        let stall_after = self.0.settings.log_stall_after;
        let is_well = |id: &u64| reports.get(id).is_none_or(|report| !report.is_in_need(stall_after));
        let best = {
            let metrics = self.0.raft.metrics();
            let metrics = metrics.borrow_watched();
            let voters: Vec<u64> = metrics.membership_config.voter_ids().filter(|id| *id != me).collect();
            let matched = metrics.replication.iter().flatten().filter(|(id, _)| voters.contains(id));
            matched.max_by_key(|(id, last)| (is_well(id), *last)).map(|(id, _)| *id)
        };
        if let Some(best) = best {
            self.hand_over_to(best, deadline).await;
        }
    }

    /// Hands leadership to that voter, if this node leads. Returns once another node leads or the deadline has passed.
    pub(crate) async fn hand_over_to(&self, to: u64, deadline: Duration) {
        let mut leadership = self.leadership();
        if leadership.borrow().mine && self.0.raft.trigger().transfer_leader(to).await.is_ok() {
            let moved = leadership.wait_for(|l| !l.mine && l.leader.is_some());
            let _ = tokio::time::timeout(deadline, moved).await;
        }
    }

    /// Stops the replica and its tasks; what was taken and not answered is answered «unknown».
    pub async fn shutdown(&self) {
        if let Err(e) = self.0.raft.shutdown().await {
            tracing::error!("a task of the replica had failed: {e}");
        }
        let tasks = std::mem::take(&mut *self.0.tasks.lock());
        for task in tasks {
            task.abort();
            let _ = task.await; // aborted on purpose
        }
    }

    /// The shard's state.
    pub fn state(&self) -> &State {
        &self.0.state
    }

    /// The shard's log.
    pub fn log(&self) -> &ShardLog {
        &self.0.log
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.0.raft
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Index of the last entry of the oldest snapshot that this node is sending: whoever gets it needs what follows.
    pub(crate) fn snapshots_under_way(&self) -> Option<u64> {
        self.0.under_way.oldest()
    }
}

async fn watch_leadership(
    raft: Raft,
    me: u64,
    mut heard: watch::Receiver<Option<(u64, u64)>>,
    told: watch::Sender<Leadership>,
    end: End,
) {
    let mut metrics = raft.server_metrics();
    loop {
        let mut now = {
            let seen = metrics.borrow_watched();
            let mine = seen.state == ServerState::Leader && seen.current_leader == Some(me);
            // The vote is the one on disk, the leader that of the vote in memory: told together only if they belong together.
            let vote = &seen.vote.leader_id;
            Leadership {
                term: vote.term,
                leader: seen.current_leader.filter(|leader| *leader == vote.node_id),
                mine,
            }
        };
        // A node whose disk hangs cannot put its vote for the next leader there: it takes itself for the leader until it can, or knows of
        // none, when another has long been heard. Once that was told, nothing older is.
        let known = (now.term, now.leader.unwrap_or(if now.mine { me } else { 0 }));
        let before = (told.borrow().term, told.borrow().leader.unwrap_or(0));
        if let Some(spoke) = *heard.borrow_and_update()
            && spoke > known
            && spoke >= before
        {
            now = Leadership { term: spoke.0, leader: Some(spoke.1), mine: false };
        }
        told.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
        let stopped = tokio::select! {
            biased;
            changed = metrics.changed() => changed.is_err(),
            _ = heard.changed() => false, // its sender lives as long as the replica, and whoever drops that ends this task
        };
        if stopped {
            told.send_replace(Leadership::default());
            if let Err(why) = &raft.metrics().borrow_watched().running_state {
                end.because(Ending::Failed(why.to_string()));
            }
            return;
        }
    }
}

/// Why a replica does not start: damage that was met on the way says more than openraft does.
fn not_started(gate: &Gate, e: &Fatal<Types>) -> Error {
    match gate.end().why() {
        Some(Ending::Damaged(e)) => Error::Damaged(e),
        _ => Error::Stopped(e.to_string()),
    }
}

/// What openraft's answer to an entry of so many commands means.
fn answers(result: Option<WriteResult>, commands: usize) -> Result<Vec<Outcome>, NotDone> {
    match result {
        Some(Ok(answer)) if answer.data.0.len() == commands => Ok(answer.data.0),
        Some(Err(ClientWriteError::ForwardToLeader(to))) => Err(NotDone::NotLeader { leader: to.leader_id }),
        Some(_) | None => Err(NotDone::Unknown),
    }
}

impl From<Fatal<Types>> for Error {
    fn from(e: Fatal<Types>) -> Self {
        Error::Stopped(e.to_string())
    }
}
