//! One shard as the server sees it: where to propose, what to read, whom to deliver to.

use std::sync::Arc;
use std::time::Duration;

use quorate_machine::command::{Measured, Verb};
use quorate_machine::reply::{Refusal, Reply};
use quorate_machine::store::StoreError;
use quorate_machine::{foresee, lawful};
use quorate_raft::{Leadership, NotDone, Replica};
use quorate_simpoint::{Bug, buggify, planted};
use quorate_storage::state::{State, StateReader};
use tokio::sync::watch;

use crate::delivery::Hub;
use crate::members::Members;
use crate::proposal::{LeaderTime, Pending, Proposer, Room};
use crate::server::admission::Admission;
use crate::server::error::Failure;

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

/// What a command without messages takes until it is answered, in bytes: encoded, and taken apart.
fn cost(command: &Measured) -> usize {
    const PART_BYTES: usize = 128;
    let parts = match command.verb() {
        Some(Verb::Settle(settle)) => settle.ranges.len() + settle.reasons.len(),
        _ => 1,
    };
    command.bytes() + parts * PART_BYTES
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
    /// Where changes of its members are asked for.
    pub members: Members,
    /// What keeps the server within its bounds.
    pub admission: Admission,
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
            // What was admitted is never so long.
            NotDone::TooLarge { .. } => Failure::internal(e.to_string()),
            NotDone::Unknown => Failure::unknown(),
        }
    }

    /// Looks at a command that a client sent, before anything is done for it: what is unlawful or too long costs no entry.
    pub fn admit(verb: Verb) -> Result<Measured, Failure> {
        if !planted(Bug::CheckSkipped) {
            lawful(&verb)?;
        }
        Ok(Measured::of(verb)?)
    }

    /// Takes a command into the order of commands, at the leader. `room` is what its bytes are counted against.
    pub async fn take(&self, command: Measured, room: Room) -> Result<Pending, Failure> {
        self.await_leader().await?;
        Ok(self.proposer.submit(command, room).await)
    }

    /// The same of a command without messages.
    pub async fn submit(&self, verb: Verb) -> Result<Pending, Failure> {
        let command = Self::admit(verb)?;
        let room = self.admission.command_room(cost(&command)).await?;
        self.take(command, room).await
    }

    /// Proposes a command and waits for its answer.
    pub async fn propose(&self, verb: Verb) -> Result<Result<Reply, Refusal>, Failure> {
        let command = Self::admit(verb)?;
        let room = self.admission.command_room(cost(&command)).await?;
        self.propose_with(command, room).await
    }

    /// The same of a command that was admitted.
    pub async fn propose_with(
        &self,
        command: Measured,
        room: Room,
    ) -> Result<Result<Reply, Refusal>, Failure> {
        if let Some(refusal) = self.foresee(&command).await? {
            return Ok(Err(refusal));
        }
        self.take(command, room).await?.answer().await.map_err(|e| self.not_done(e))
    }

    /// Why a command would be refused after all that was acknowledged before the call, if that can be told without an entry. Asks a majority
    /// only if the state that is here would refuse it.
    pub async fn foresee(&self, command: &Measured) -> Result<Option<Refusal>, Failure> {
        let Some(verb) = command.verb().filter(|verb| is_foreseen(verb, command.bytes())) else {
            return Ok(None);
        };
        let failed = |e: StoreError| Failure::internal(e.to_string());
        let at_once = foresee(&self.state().read(), verb).map_err(failed)?;
        if at_once.is_none() || planted(Bug::ForeseenWithoutBarrier) {
            return Ok(at_once);
        }
        let (found, _) = self.read(|state| foresee(state, verb)).await?;
        found.map_err(failed)
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
