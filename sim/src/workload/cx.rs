//! What an actor has at hand: who it is, its client, the history, and what all actors share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use quorate_client::{Client, Error};
use tokio::time::{sleep, timeout};

use super::foretold::Foretold;
use super::outbox::Outbox;
use super::plan::{Quiet, WorkloadPlan};
use crate::history::{Answer, Call, History, OpId, What, Who};
use crate::interpose;
use crate::seed::Rng;

/// How long an actor sleeps at most before it looks whether the work is over.
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// What all actors share, and what outlives a client's process.
pub(crate) struct Shared {
    pub(crate) plan: WorkloadPlan,
    pub(crate) history: Rc<History>,
    /// One for each actor.
    pub(crate) outboxes: Vec<Rc<RefCell<Outbox>>>,
    stopping: Cell<bool>,
    drained: Cell<bool>,
    last_body: Cell<u64>,
    hung: Cell<u64>,
    /// Hosts whose actors have all ended.
    ended: RefCell<BTreeSet<usize>>,
}

impl Shared {
    pub(crate) fn new(plan: WorkloadPlan, history: &Rc<History>) -> Rc<Self> {
        let outboxes = plan.actors.iter().map(|_| Rc::default()).collect();
        Rc::new(Shared {
            plan,
            history: Rc::clone(history),
            outboxes,
            stopping: Cell::new(false),
            drained: Cell::new(false),
            last_body: Cell::new(0),
            hung: Cell::new(0),
            ended: RefCell::default(),
        })
    }

    /// Whether the actors are to come to their end.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.get()
    }

    pub(crate) fn stop(&self) {
        self.stopping.set(true);
    }

    /// Whether every queue was seen empty.
    pub(crate) fn drained(&self) -> bool {
        self.drained.get()
    }

    pub(crate) fn set_drained(&self) {
        self.drained.set(true);
    }

    /// A number that no body has had yet.
    pub(crate) fn next_body(&self) -> u64 {
        self.last_body.set(self.last_body.get() + 1);
        self.last_body.get()
    }

    /// Calls that the client did not end within its own bounds.
    pub(crate) fn hung(&self) -> u64 {
        self.hung.get()
    }

    pub(crate) fn note_hung(&self) {
        self.hung.set(self.hung.get() + 1);
    }

    pub(crate) fn set_ended(&self, host: usize, ended: bool) {
        let mut hosts = self.ended.borrow_mut();
        let _ = if ended { hosts.insert(host) } else { hosts.remove(&host) };
    }

    pub(crate) fn has_ended(&self, host: usize) -> bool {
        self.ended.borrow().contains(&host)
    }
}

/// See the module. One for each life of an actor.
#[derive(Clone)]
pub(crate) struct Cx {
    pub(crate) who: Who,
    pub(crate) shared: Rc<Shared>,
    pub(crate) client: Client,
    /// The client's.
    pub(crate) random: Foretold,
    pub(crate) quiet: Option<Quiet>,
}

impl Cx {
    pub(crate) fn stopping(&self) -> bool {
        self.shared.stopping()
    }

    /// The call begins.
    pub(crate) fn invoke(&self, call: Call) -> OpId {
        self.shared.history.invoke(self.who, call)
    }

    /// The call has ended.
    pub(crate) fn complete(&self, op: OpId, answer: Answer) {
        self.shared.history.complete(self.who, op, answer);
    }

    pub(crate) fn saw(&self, what: What) {
        self.shared.history.saw(self.who, what);
    }

    /// Makes a call from its beginning to its end. A value that came of it is returned, else the answer.
    pub(crate) async fn call<T>(
        &self,
        call: Call,
        work: impl Future<Output = Result<T, Error>>,
        answer: impl FnOnce(&T) -> Answer,
    ) -> Result<T, Answer> {
        let op = self.invoke(call);
        let result = self.bounded(work).await;
        self.complete(op, result.as_ref().map_or_else(Clone::clone, answer));
        result
    }

    /// Makes a call whose only judge is the replay of the log.
    pub(crate) async fn manage<T>(
        &self,
        queue: &str,
        verb: &'static str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<(), Answer> {
        let call = Call::Manage { queue: queue.to_owned(), verb };
        self.call(call, work, |_| Answer::Done).await.map(drop)
    }

    /// Waits for the client. It keeps its own time; one that does not must not keep the actor for ever.
    pub(crate) async fn bounded<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Answer> {
        match timeout(self.client.timeout() * 4 + Duration::from_secs(10), work).await {
            Ok(result) => result.map_err(|error| answer(&error)),
            Err(_) => {
                self.shared.history.note(format!("{:?}: a call that the client does not end", self.who));
                self.shared.note_hung();
                Err(Answer::Unknown("the client has not ended the call".into()))
            }
        }
    }

    /// Sleeps, or less if the work comes to its end.
    pub(crate) async fn pause(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() && !self.stopping() {
            let part = left.min(LOOK);
            sleep(part).await;
            left -= part;
        }
    }

    /// Sleeps for a time between two bounds in milliseconds, and through the actor's quiet times.
    pub(crate) async fn think(&self, rng: &mut Rng, bounds_ms: (u64, u64)) {
        self.pause(Duration::from_millis(rng.between(bounds_ms.0, bounds_ms.1))).await;
        while self.quiet.is_some_and(is_quiet) && !self.stopping() {
            sleep(LOOK).await;
        }
    }
}

fn is_quiet(quiet: Quiet) -> bool {
    interpose::elapsed().as_millis() as u64 % quiet.period_ms < quiet.quiet_ms
}

/// Reads an error as its documentation has it: only some say that nothing happened.
pub(crate) fn answer(error: &Error) -> Answer {
    match error {
        Error::Refused(refusal) => Answer::Refused(refusal.reason.as_str().to_owned()),
        Error::StaleLease { .. } => Answer::Refused("STALE_LEASE".to_owned()),
        Error::NoLeader { .. } | Error::Config(_) | Error::Encode(_) => Answer::NotDone(error.to_string()),
        _ => Answer::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_that_says_so_means_that_nothing_happened() {
        let closed = || Error::Closed("producer");
        let waited = Duration::from_secs(1);
        for (error, is) in [
            (Error::StaleLease { position: 1 }, "refused"),
            (Error::NoLeader { waited, answers: vec![] }, "not done"),
            (Error::OutOfTime { waited, last: String::new() }, "unknown"),
            (Error::SettleUnknown { position: 1 }, "unknown"),
            (Error::Unknown { cause: Box::new(Error::NoLeader { waited, answers: vec![] }) }, "unknown"),
            (closed(), "unknown"),
        ] {
            let sort = match answer(&error) {
                Answer::Refused(_) => "refused",
                Answer::NotDone(_) => "not done",
                Answer::Unknown(_) => "unknown",
                other => panic!("{other:?}"),
            };
            assert_eq!(sort, is, "{error}");
        }
    }
}
