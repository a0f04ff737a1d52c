//! The members, and changing them: one change after the other, in one task, on the leader.
//!
//! What is to be done next follows from the membership alone, so whoever leads goes on where a dead leader stopped: a
//! change of voters that was left half done is finished, a new member that has caught up gets its vote (`promote`), another program
//! of a member is noted (`versions`). New members (`join`), removals (`remove`) and raises of the active version come in between, one at a time. A node that does not lead asks the others now and
//! then whether it is still a member (`ask`).

mod ask;
mod join;
mod promote;
mod remove;
mod versions;

pub use remove::{Removal, RemoveError};
pub use versions::{Raise, RaiseError};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate_raft::peers::Me;
use quorate_raft::service::Join;
use quorate_raft::transport::Transport;
use quorate_raft::{Membership, NotChanged, NotDone, Replica};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::shards::proposal::{LeaderTime, Proposer};

/// Changes that wait for their turn; more are told to come back.
const WAITING_MAX: usize = 16;
/// How often the leader looks what is to be done.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Where changes of the members are asked for. Clones share the task.
#[derive(Clone)]
pub struct Members {
    removals: mpsc::Sender<Removal>,
    raises: mpsc::Sender<Raise>,
}

/// What arrives at the task.
pub struct Inbox {
    joins: mpsc::Receiver<Join>,
    removals: mpsc::Receiver<Removal>,
    raises: mpsc::Receiver<Raise>,
}

/// Where new members ask, where removals are asked for, and where both arrive.
pub fn channel() -> (mpsc::Sender<Join>, Members, Inbox) {
    let (join, joins) = mpsc::channel(WAITING_MAX);
    let (remove, removals) = mpsc::channel(WAITING_MAX);
    let (raise, raises) = mpsc::channel(WAITING_MAX);
    (join, Members { removals: remove, raises: raise }, Inbox { joins, removals, raises })
}

/// What the task works with.
pub struct Parts {
    /// Who this node is.
    pub me: Me,
    /// The shard whose members are the cluster's.
    pub replica: Replica,
    /// Gives out ids.
    pub proposer: Proposer,
    /// What time it is there.
    pub time: Arc<LeaderTime>,
    /// Peer addresses that the node was started with.
    pub seeds: Vec<String>,
    /// Opens connections to new members.
    pub transport: Arc<dyn Transport>,
    /// Ends the task.
    pub stop: CancellationToken,
}

/// Starts the task.
pub fn start(parts: Parts, inbox: Inbox) -> JoinHandle<()> {
    let stop = parts.stop.clone();
    let task = Task { parts, rounds: promote::Rounds::default(), ask: ask::Ask::default() };
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = task.run(inbox) => {}
        }
    })
}

struct Task {
    parts: Parts,
    rounds: promote::Rounds,
    ask: ask::Ask,
}

impl Task {
    async fn run(mut self, mut inbox: Inbox) {
        let mut interval = tokio::time::interval(LOOK_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(Join { new, answer }) = inbox.joins.recv() => {
                    let _ = answer.send(self.join(new).await); // who asked may have given up
                }
                Some(removal) = inbox.removals.recv() => {
                    let done = self.remove(&removal.name).await;
                    let _ = removal.answer.send(done);
                }
                Some(raise) = inbox.raises.recv() => {
                    let _ = raise.answer.send(self.raise(raise.to).await);
                }
                _ = interval.tick() => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        if self.leads() {
            if !self.describe(&self.parts.replica.membership()).await {
                self.promote().await;
            }
        } else {
            self.rounds.clear();
            self.ask().await;
        }
    }

    fn leads(&self) -> bool {
        self.parts.replica.leadership().borrow().mine
    }

    fn leader(&self) -> Option<u64> {
        self.parts.replica.leadership().borrow().leader
    }

    /// The membership to change, once nothing is left of the change before: a new leader finishes that first.
    async fn settled(&self) -> Result<Membership, NotChanged> {
        let membership = self.parts.replica.membership();
        if !membership.committed {
            return Err(NotChanged::Busy("the change before this one is not done".into()));
        }
        if !membership.is_joint() {
            return Ok(membership);
        }
        self.parts.replica.change_voters(membership.target(), BTreeSet::new(), &membership).await?;
        Ok(self.parts.replica.membership())
    }
}

/// Says of a proposal what a change of members says.
fn not_changed(e: NotDone) -> NotChanged {
    match e {
        NotDone::NotLeader { leader } => NotChanged::NotLeader { leader },
        NotDone::NoQuorum | NotDone::TooLarge { .. } | NotDone::Unknown => NotChanged::Unknown,
    }
}
