//! From commands to log entries: what arrives while earlier entries are under way shares the next entry.
//!
//! There is no linger: an idle proposer sends one command at once, a busy one packs what has gathered. So
//! latency is lowest when it is quiet and batches form by themselves under load.

mod gather;
mod time;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use quorate_machine::command::{Batch, Measured, Verb};
use quorate_machine::reply::Outcome;
use quorate_raft::{NotDone, Replica};
use quorate_simpoint::{Bug, Component, Holding, buggify, planted, spend, touched};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use gather::{Asker, Gathering, Waiting};

pub use gather::{Hold, Room};
pub use time::{LeaderTime, STAMP_AGE_MS_MAX};

/// Bounds of the proposer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Commands that wait for an entry; more are not taken until there is room.
    pub waiting_commands_max: usize,
    /// An entry is closed before it is longer than this, in bytes; one with a single command may be.
    pub entry_bytes: usize,
    /// Commands in one entry.
    pub entry_commands_max: usize,
    /// Entries under way at once.
    pub entries_in_flight_max: usize,
    /// An entry without an answer for this long counts as unknown.
    pub answer_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting_commands_max: 1024,
            entry_bytes: 512 * 1024,
            entry_commands_max: 1024,
            entries_in_flight_max: 8,
            answer_timeout: Duration::from_secs(10),
        }
    }
}

/// How long a proposal waits when a simulation wants it to.
const WAIT: Duration = Duration::from_millis(20);

/// The answer to a command.
pub type Answer = Result<Outcome, NotDone>;

/// Takes commands; clones share the proposer.
#[derive(Clone)]
pub struct Proposer {
    queue: mpsc::Sender<Waiting>,
    answer_timeout: Duration,
}

impl Proposer {
    /// Starts the proposer of a shard. It ends when `stop` is cancelled; what waits then is answered
    /// [`NotDone::NotLeader`], since it went nowhere.
    pub fn start(
        replica: Replica,
        time: Arc<LeaderTime>,
        limits: Limits,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (queue, waiting) = mpsc::channel(limits.waiting_commands_max);
        let packer = Packer {
            replica,
            time,
            gathering: Gathering::new(limits, waiting),
            in_flight: Arc::new(Semaphore::new(limits.entries_in_flight_max)),
        };
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = packer.run() => {}
            }
        });
        (Self { queue, answer_timeout: limits.answer_timeout }, task)
    }

    /// Hands a command in and returns once it has its place in the order of commands; waits for room. The
    /// answer comes later, through the returned future.
    pub async fn submit(&self, command: Measured, room: Room) -> Pending {
        let (answer, receiver) = oneshot::channel();
        // If the proposer has stopped, the sender is dropped here and the pending answer says so.
        let held = Holding::new(Component::Waiting, command.bytes());
        let _ = self.queue.send(Waiting { command, asker: Asker { answer, _room: room }, _held: held }).await;
        Pending { receiver, deadline: tokio::time::Instant::now() + self.answer_timeout }
    }

    /// Submits a command of the node itself and waits for its answer.
    pub async fn propose(&self, verb: Verb) -> Answer {
        match Measured::of(verb) {
            Ok(command) => self.submit(command, None).await.answer().await,
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}

/// A command whose answer is to come.
pub struct Pending {
    receiver: oneshot::Receiver<Answer>,
    deadline: tokio::time::Instant,
}

impl Pending {
    /// The answer; [`NotDone::Unknown`] if it does not come in time, since the entry may still be committed.
    pub async fn answer(self) -> Answer {
        match tokio::time::timeout_at(self.deadline, self.receiver).await {
            Ok(Ok(_)) if buggify("node/proposal/lose_answer") => Err(NotDone::Unknown),
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(NotDone::NotLeader { leader: None }), // dropped before it was proposed
            Err(_) => Err(NotDone::Unknown),
        }
    }
}

/// Packs waiting commands into entries.
struct Packer {
    replica: Replica,
    time: Arc<LeaderTime>,
    gathering: Gathering,
    in_flight: Arc<Semaphore>,
}

impl Packer {
    async fn run(mut self) {
        while let Ok(permit) = self.in_flight.clone().acquire_owned().await {
            let Some((commands, askers)) = self.gathering.next_batch().await else { return };
            if buggify("node/proposal/wait") {
                tokio::time::sleep(WAIT).await;
            }
            let entry = Batch::pack(self.replica.written_version(), self.time.now_ms(), &commands);
            drop(commands);
            let count = askers.len();
            touched(0, entry.len());
            let spent = spend();
            if !spent.is_zero() {
                tokio::time::sleep(spent).await;
            }
            let held = Holding::new(Component::Proposed, entry.len());
            self.replica
                .propose(entry, count, move |result| {
                    answer_all(askers, result);
                    drop((permit, held));
                })
                .await;
            if buggify("node/proposal/hand_over") {
                self.replica.hand_over(Duration::ZERO).await;
            }
        }
    }
}

/// Runs inside openraft's tasks: it only hands on.
fn answer_all(askers: VecDeque<Asker>, result: Result<Vec<Outcome>, NotDone>) {
    match result {
        Ok(mut outcomes) => {
            if planted(Bug::AnswersMixedUp) {
                outcomes.reverse();
            }
            for (asker, outcome) in askers.into_iter().zip(outcomes) {
                let _ = asker.answer.send(Ok(outcome)); // the asker may be gone
            }
        }
        Err(e) => {
            for asker in askers {
                let _ = asker.answer.send(Err(e.clone()));
            }
        }
    }
}
