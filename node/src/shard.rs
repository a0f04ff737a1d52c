//! One shard as the server sees it: where to propose, what to read, whom to deliver to.

use std::sync::Arc;
use std::time::Duration;

use quorate_machine::command::Verb;
use quorate_machine::reply::{Refusal, Reply};
use quorate_raft::{Leadership, NotDone, Replica};
use quorate_simpoint::{Bug, buggify, planted};
use quorate_storage::state::{State, StateReader};
use tokio::sync::watch;

use crate::delivery::Hub;
use crate::members::Members;
use crate::proposal::{LeaderTime, Pending, Proposer};
use crate::server::error::Failure;

/// How long a request waits where no leader is known: an election takes less, and whoever asks again and again is late
/// when it is over.
const ELECTION_PATIENCE: Duration = Duration::from_millis(250);
/// Deadline of a read barrier.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A shard that is served here.
#[derive(Clone)]
pub struct Shard {
    /// Its replica.
    pub replica: Replica,
    /// Where commands go in.
    pub proposer: Proposer,
    /// What time it is there.
    pub time: Arc<LeaderTime>,
    /// Where deliveries come out.
    pub hub: Arc<Hub>,
    /// Where changes of its members are asked for.
    pub members: Members,
    /// Who leads it.
    pub leadership: watch::Receiver<Leadership>,
}

impl Shard {
    /// An error that names the leader, unless this node leads.
    pub fn check_leader(&self) -> Result<(), Failure> {
        let now = self.leadership.borrow().clone();
        if now.mine { Ok(()) } else { Err(self.not_leader(now.leader)) }
    }

    /// The same, once there is a leader or there has been none for a while.
    async fn await_leader(&self) -> Result<(), Failure> {
        if self.leadership.borrow().leader.is_none() {
            let mut leadership = self.leadership.clone();
            let known = leadership.wait_for(|now| now.leader.is_some());
            let _ = tokio::time::timeout(ELECTION_PATIENCE, known).await; // the check below says what came of it
        }
        self.check_leader()
    }

    /// Where the leader is, as an error.
    pub fn not_leader(&self, leader: Option<u64>) -> Failure {
        let Some(id) = leader else { return Failure::no_quorum() };
        match self.replica.members().into_iter().find(|m| m.id == id) {
            Some(member) => Failure::not_leader(member.name, member.client_addr),
            None => Failure::no_quorum(),
        }
    }

    /// What a proposal that was not carried out means for the client.
    pub fn not_done(&self, e: NotDone) -> Failure {
        match e {
            NotDone::NotLeader { leader } => self.not_leader(leader),
            NotDone::NoQuorum => Failure::no_quorum(),
            NotDone::Unknown => Failure::unknown(),
        }
    }

    /// Takes a command into the order of commands, at the leader.
    pub async fn submit(&self, verb: Verb) -> Result<Pending, Failure> {
        self.await_leader().await?;
        Ok(self.proposer.submit(verb).await)
    }

    /// Proposes a command and waits for its answer.
    pub async fn propose(&self, verb: Verb) -> Result<Result<Reply, Refusal>, Failure> {
        self.submit(verb).await?.answer().await.map_err(|e| self.not_done(e))
    }

    /// Reads the state, linearizably: what was acknowledged before the call is seen. Comes with the index of the entry
    /// whose state it was.
    pub async fn read<T>(&self, look: impl FnOnce(&StateReader<'_>) -> T) -> Result<(T, u64), Failure> {
        self.await_leader().await?;
        let barriers = if planted(Bug::BarrierSkipped) { 0 } else { 1 };
        for _ in 0..barriers + u32::from(buggify("node/shard/another_barrier")) {
            self.replica.read_barrier(READ_TIMEOUT).await.map_err(|e| self.not_done(e))?;
        }
        let state = self.state().read(); // holds the next entry back until both are read
        let applied_index = self.state().applied().last.map_or(0, |id| id.index);
        Ok((look(&state), applied_index))
    }

    /// The shard's state.
    pub fn state(&self) -> &State {
        self.replica.state()
    }
}
