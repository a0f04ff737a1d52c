//! From commands to log entries: what arrives while earlier entries are under way shares the next entry.
//!
//! There is no linger: an idle proposer sends one command at once, a busy one packs what has gathered. So
//! latency is lowest when it is quiet and batches form by themselves under load.

mod entry;
mod time;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use quorate_machine::command::Verb;
use quorate_machine::reply::Outcome;
use quorate_raft::{NotDone, Replica};
use quorate_simpoint::{Bug, buggify, planted};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use time::{LeaderTime, STAMP_AGE_MS_MAX};

/// Bounds of the proposer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Commands that wait for an entry; more are not taken until there is room.
    pub waiting_commands_max: usize,
    /// Size at which an entry is full, in bytes; a single command may be larger.
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

/// A command on its way into an entry.
struct Waiting {
    verb: Verb,
    bytes: usize,
    answer: oneshot::Sender<Answer>,
}

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
            limits,
            waiting,
            held: None,
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
    pub async fn submit(&self, verb: Verb) -> Pending {
        let bytes = entry::size_hint(&verb);
        let (answer, receiver) = oneshot::channel();
        // If the proposer has stopped, the sender is dropped here and the pending answer says so.
        let _ = self.queue.send(Waiting { verb, bytes, answer }).await;
        Pending { receiver, deadline: tokio::time::Instant::now() + self.answer_timeout }
    }

    /// Submits a command and waits for its answer.
    pub async fn propose(&self, verb: Verb) -> Answer {
        self.submit(verb).await.answer().await
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
    limits: Limits,
    waiting: mpsc::Receiver<Waiting>,
    /// Did not fit into the last entry.
    held: Option<Waiting>,
    in_flight: Arc<Semaphore>,
}

impl Packer {
    async fn run(mut self) {
        while let Ok(permit) = self.in_flight.clone().acquire_owned().await {
            let Some((verbs, answers)) = self.next_batch().await else { return };
            if buggify("node/proposal/wait") {
                tokio::time::sleep(WAIT).await;
            }
            let entry = entry::encode(self.time.now_ms(), verbs);
            let commands = answers.len();
            self.replica
                .propose(entry, commands, move |result| {
                    answer_all(answers, result);
                    drop(permit);
                })
                .await;
            if buggify("node/proposal/hand_over") {
                self.replica.hand_over(Duration::ZERO).await;
            }
        }
    }

    /// Waits for a command, then takes what else is there, up to a full entry.
    async fn next_batch(&mut self) -> Option<(Vec<Verb>, VecDeque<oneshot::Sender<Answer>>)> {
        let first = match self.held.take() {
            Some(held) => held,
            None => {
                let first = self.waiting.recv().await?;
                // The runtime runs whom a command wakes next of all. Those who are ready to hand in theirs come first.
                tokio::task::yield_now().await;
                first
            }
        };
        let mut bytes = first.bytes;
        let (mut verbs, mut answers) = (vec![first.verb], VecDeque::from([first.answer]));
        while bytes < self.limits.entry_bytes && verbs.len() < self.limits.entry_commands_max {
            if buggify("node/proposal/close_entry") {
                break;
            }
            let Ok(next) = self.waiting.try_recv() else { break };
            if bytes + next.bytes > self.limits.entry_bytes {
                self.held = Some(next);
                break;
            }
            bytes += next.bytes;
            verbs.push(next.verb);
            answers.push_back(next.answer);
        }
        Some((verbs, answers))
    }
}

/// Runs inside openraft's tasks: it only hands on.
fn answer_all(answers: VecDeque<oneshot::Sender<Answer>>, result: Result<Vec<Outcome>, NotDone>) {
    match result {
        Ok(mut outcomes) => {
            if planted(Bug::AnswersMixedUp) {
                outcomes.reverse();
            }
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                let _ = answer.send(Ok(outcome)); // the asker may be gone
            }
        }
        Err(e) => {
            for answer in answers {
                let _ = answer.send(Err(e.clone()));
            }
        }
    }
}
