//! One shard: where to propose, what to read, whom to deliver to.

use std::sync::Arc;
use std::time::Duration;

use quorate_machine::command::{Measured, Verb};
use quorate_machine::foresee;
use quorate_machine::reply::Refusal;
use quorate_raft::{Leadership, NotDone, Replica};
use quorate_simpoint::{Bug, buggify, planted};
use quorate_storage::state::{State, StateReader};
use tokio::sync::watch;

use super::delivery::Hub;
use super::error::{ShardError, Unavailable};
use super::proposal::{LeaderTime, Pending, Proposer, Room};

/// How long a request waits where no leader is known: an election takes less, and whoever asks again and again is late
/// when it is over.
const ELECTION_PATIENCE: Duration = Duration::from_millis(250);
/// Deadline of a read barrier.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A transaction that is shorter is carried out to see whether it is refused: that costs less than looking twice.
const FORESEEN_BYTES_MIN: usize = 4096;

/// Whether it is worth a look at the state before a command is proposed.
fn is_foreseen(verb: &Verb, bytes: usize) -> bool {
    !matches!(verb, Verb::Transact(_)) || bytes >= FORESEEN_BYTES_MIN
}

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
    /// Who leads it.
    pub leadership: watch::Receiver<Leadership>,
}

impl Shard {
    /// An error that names the leader, unless this node leads.
    pub fn check_leader(&self) -> Result<(), Unavailable> {
        let now = self.leadership.borrow().clone();
        if now.mine { Ok(()) } else { Err(self.not_leader(now.leader)) }
    }

    /// The same, once there is a leader or there has been none for a while.
    async fn await_leader(&self) -> Result<(), Unavailable> {
        if self.leadership.borrow().leader.is_none() {
            let mut leadership = self.leadership.clone();
            let known = leadership.wait_for(|now| now.leader.is_some());
            let _ = tokio::time::timeout(ELECTION_PATIENCE, known).await; // the check below says what came of it
        }
        self.check_leader()
    }

    /// Where the leader is, as an error.
    pub fn not_leader(&self, leader: Option<u64>) -> Unavailable {
        let Some(id) = leader else { return Unavailable::NoQuorum };
        match self.replica.members().into_iter().find(|m| m.id == id) {
            Some(member) => Unavailable::NotLeader { name: member.name, client_addr: member.client_addr },
            None => Unavailable::NoQuorum,
        }
    }

    /// Returns when this node no longer leads the shard.
    pub async fn lost_leadership(&self) -> Unavailable {
        let mut leadership = self.leadership.clone();
        let leader = leadership.wait_for(|l| !l.mine).await.map_or(None, |l| l.leader);
        self.not_leader(leader)
    }

    /// What a proposal that was not carried out means for whoever asked.
    pub fn not_done(&self, e: NotDone) -> ShardError {
        match e {
            NotDone::NotLeader { leader } => self.not_leader(leader).into(),
            NotDone::NoQuorum => Unavailable::NoQuorum.into(),
            // What was admitted is never so long.
            NotDone::TooLarge { .. } => ShardError::Internal(e.to_string()),
            NotDone::Unknown => ShardError::Unknown,
        }
    }

    /// Takes a command into the order of commands, at the leader. `room` is what its bytes are counted against.
    pub async fn take(&self, command: Measured, room: Room) -> Result<Pending, Unavailable> {
        self.await_leader().await?;
        Ok(self.proposer.submit(command, room).await)
    }

    /// Why a command would be refused after all that was acknowledged before the call, if that can be told without an entry. Asks a majority
    /// only if the state that is here would refuse it.
    pub async fn foresee(&self, command: &Measured) -> Result<Option<Refusal>, ShardError> {
        let Some(verb) = command.verb().filter(|verb| is_foreseen(verb, command.bytes())) else {
            return Ok(None);
        };
        let at_once = foresee(&self.state().read(), verb)?;
        if at_once.is_none() || planted(Bug::ForeseenWithoutBarrier) {
            return Ok(at_once);
        }
        let (found, _) = self.read(|state| foresee(state, verb)).await?;
        Ok(found?)
    }

    /// Reads the state, linearizably: what was acknowledged before the call is seen. Comes with the index of the entry
    /// whose state it was.
    pub async fn read<T>(&self, look: impl FnOnce(&StateReader<'_>) -> T) -> Result<(T, u64), ShardError> {
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
