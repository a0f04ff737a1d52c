//! One replica of one shard, without openraft's generics: what the rest of the node sees.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::ReadPolicy;
use openraft::ServerState;
use openraft::errors::{ClientWriteError, Fatal, InitializeError, LinearizableReadError, RaftError};
use openraft::type_config::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use quorate_machine::reply::Outcome;
use quorate_proto::peer::v1 as wire;
use quorate_simpoint::{Bug, planted};
use quorate_storage::log::ShardLog;
use quorate_storage::state::State;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::log_store::LogStore;
use crate::network::{Connections, Network};
use crate::peers::{Confirmed, Me};
use crate::responder::Done;
use crate::settings::Settings;
use crate::state_machine::{StateMachine, spread};
use crate::transport::Transport;
use crate::types::{Commands, Peer, Types, log_id_to_wire, peer_to_wire};
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
    /// The outcome is unknown: leadership was lost, or the replica stopped, after the entry was taken.
    #[error("leadership was lost before the outcome was known")]
    Unknown,
}

/// Why a replica has stopped, or has to.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Ending {
    /// It met damage or a failed disk.
    #[error("{0}")]
    Failed(String),
    /// The node is no member any more.
    #[error("{name} (id {id}) was removed from the cluster")]
    Removed {
        /// Its name.
        name: String,
        /// The id that it had, which nobody gets again.
        id: u64,
    },
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
    /// Why this replica must not go on.
    ending: watch::Sender<Option<Ending>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Replica {
    /// Recovers the replica from its log and state, and starts it.
    pub async fn start(parts: Parts) -> Result<Self, Error> {
        let Parts { me, shard, settings, log, state, transport, applied } = parts;
        let network = Network {
            me: me.clone(),
            shard,
            transport: transport.clone(),
            confirmed: Arc::new(Confirmed::default()),
            state: state.clone(),
            log: log.clone(),
            snapshot_timeout: settings.snapshot_timeout,
        };
        let raft = Raft::new(
            me.node_id,
            settings.config()?,
            Connections(Arc::new(network)),
            LogStore::new(log.clone()),
            StateMachine::new(state.clone(), applied),
        );
        let raft = raft.await.map_err(|e| Error::Stopped(e.to_string()))?;
        let (told, leadership) = watch::channel(Leadership::default());
        let ending = watch::Sender::new(None);
        let watcher = tokio::spawn(watch_leadership(raft.clone(), me.node_id, told, ending.clone()));
        let tasks = Mutex::new(vec![watcher]);
        let replica =
            Self(Arc::new(Inner { shard, me, settings, raft, log, state, leadership, ending, tasks }));
        let retention = tokio::spawn(retention::run(replica.clone()));
        let failover = tokio::spawn(failover::run(replica.clone(), transport));
        replica.0.tasks.lock().extend([retention, failover]);
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

    /// Proposes an entry of so many commands. Calls keep their order. `done` is called exactly once, from
    /// inside openraft: it must not block.
    pub async fn propose(
        &self,
        entry: Bytes,
        commands: usize,
        done: impl FnOnce(Result<Vec<Outcome>, NotDone>) + Send + 'static,
    ) {
        let responder = Done::new(move |result: Option<crate::responder::WriteResult>| {
            done(match result {
                Some(Ok(answer)) => Ok(spread(answer.data.0, commands)),
                Some(Err(ClientWriteError::ForwardToLeader(to))) => {
                    Err(NotDone::NotLeader { leader: to.leader_id })
                }
                Some(Err(_)) | None => Err(NotDone::Unknown),
            });
        });
        // A stopped core drops the responder, which answers «unknown».
        let _ = self.0.raft.client_write_ff(Commands(entry), Some(responder)).await;
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
        let mut ending = self.0.ending.subscribe();
        loop {
            if let Some(why) = ending.borrow_and_update().clone() {
                return why;
            }
            // The sender lives as long as this replica.
            let _ = ending.changed().await;
        }
    }

    /// A majority has decided that this node is no member any more.
    pub fn end_as_removed(&self) {
        let Me { name, node_id, .. } = &self.0.me;
        self.0.ending.send_replace(Some(Ending::Removed { name: name.clone(), id: *node_id }));
    }

    /// The members, as this replica knows them.
    pub fn members(&self) -> Vec<wire::Member> {
        let metrics = self.0.raft.metrics().borrow_watched().membership_config.clone();
        metrics.membership().nodes().map(|(id, peer)| peer_to_wire(*id, peer)).collect()
    }

    /// This replica's account of itself.
    pub fn status(&self) -> Result<wire::PeerReplica, Error> {
        let metrics = self.0.raft.metrics().borrow_watched().clone();
        let (digest_index, digest) = {
            let reader = self.0.state.read();
            let digest = quorate_machine::read::digest(&reader).map_err(|e| Error::Stopped(e.to_string()))?;
            (reader.applied().last.map_or(0, |id| id.index), digest)
        };
        let role = match metrics.state {
            ServerState::Leader => "leader",
            ServerState::Follower => "follower",
            ServerState::Candidate => "candidate",
            ServerState::Learner | ServerState::Shutdown => "learner",
        };
        let index = |id: &Option<crate::types::LogId>| id.as_ref().map_or(0, |id| id.index);
        Ok(wire::PeerReplica {
            shard: self.0.shard,
            role: role.into(),
            term: metrics.current_term,
            last: metrics.last_log_index.unwrap_or(0),
            committed: index(&metrics.local_committed),
            applied: index(&metrics.last_applied),
            flushed: self.0.state.flushed().map_or(0, |id| id.index),
            purged: index(&metrics.purged),
            digest_index,
            digest: Bytes::copy_from_slice(&digest),
            disk_free: self.0.log.disk_free_bytes(),
        })
    }

    /// Hands leadership to another voter, if this node leads and there is one. Returns once another node
    /// leads or the deadline has passed; then the elections decide.
    pub async fn hand_over(&self, deadline: Duration) {
        let mut leadership = self.leadership();
        if !leadership.borrow().mine {
            return;
        }
        let me = self.0.me.node_id;
        let best = {
            let metrics = self.0.raft.metrics();
            let metrics = metrics.borrow_watched();
            let voters: Vec<u64> = metrics.membership_config.voter_ids().filter(|id| *id != me).collect();
            let matched = metrics.replication.iter().flatten().filter(|(id, _)| voters.contains(id));
            matched.max_by_key(|(_, last)| *last).map(|(id, _)| *id)
        };
        let Some(best) = best else { return };
        if self.0.raft.trigger().transfer_leader(best).await.is_ok() {
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

    /// Where a member serves its peers.
    pub(crate) fn peer_addr_of(&self, id: Option<u64>) -> Option<String> {
        let membership = self.0.raft.metrics().borrow_watched().membership_config.clone();
        membership.membership().get_node(&id?).map(|peer| peer.peer_addr.clone())
    }

    /// This node's place among the voters without the leader, in the order of ids; none if it has no vote.
    pub(crate) fn rank_among_followers(&self, leader: Option<u64>) -> Option<u32> {
        let membership = self.0.raft.metrics().borrow_watched().membership_config.clone();
        let mut voters: Vec<u64> = membership.voter_ids().filter(|id| Some(*id) != leader).collect();
        voters.sort_unstable();
        let rank = voters.iter().position(|id| *id == self.0.me.node_id)?;
        u32::try_from(rank).ok()
    }

    /// Incarnation of a member, if it is one.
    pub(crate) fn incarnation_of(&self, id: u64) -> Option<[u8; 16]> {
        let membership = self.0.raft.metrics().borrow_watched().membership_config.clone();
        membership.membership().get_node(&id).map(|peer| peer.incarnation)
    }

    /// The last entry that is on this node's disk.
    pub(crate) fn durable_tail(&self) -> Option<wire::LogId> {
        let durable = self.0.log.durable().or_else(|| self.0.log.purged());
        durable.map(|id| log_id_to_wire(&crate::types::log_id_from_store(id)))
    }
}

async fn watch_leadership(
    raft: Raft,
    me: u64,
    told: watch::Sender<Leadership>,
    ending: watch::Sender<Option<Ending>>,
) {
    let mut metrics = raft.server_metrics();
    loop {
        let now = {
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
        told.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
        if metrics.changed().await.is_err() {
            told.send_replace(Leadership::default());
            if let Err(why) = &raft.metrics().borrow_watched().running_state {
                ending.send_replace(Some(Ending::Failed(why.to_string())));
            }
            return;
        }
    }
}

impl From<Fatal<Types>> for Error {
    fn from(e: Fatal<Types>) -> Self {
        Error::Stopped(e.to_string())
    }
}
