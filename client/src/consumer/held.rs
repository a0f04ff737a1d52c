//! The lease of a message that the application holds.

use std::future::Future as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::actor::Command;
use super::outcome::How;
use super::{Item, Shared};
use crate::error::Error;

/// An extension that failed for want of a leader is tried again after this share of what is left of the lease.
const AGAIN_SHARE: u32 = 8;
/// No sooner than this, so that a lease that is about to end is not asked for without a pause.
const AGAIN_MIN: Duration = Duration::from_millis(5);

/// The queue and the subscription that deliveries come from.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) queue: String,
    pub(crate) subscription: String,
}

/// What a consumer's deliveries have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    /// How long a settle may take.
    pub(super) timeout: Duration,
    /// Length of a lease.
    pub(super) lease: Duration,
}

/// Stands for a lease while the application holds it; the consumer shows it to nobody else meanwhile.
#[derive(Debug)]
pub(super) struct Held {
    position: u64,
    token: u64,
    key: Bytes,
    common: Arc<Common>,
    /// A settle is under way, whose answer ends the hold; or there is nothing to settle.
    settling: AtomicBool,
    /// That it is dropped without a settle is meant.
    excused: AtomicBool,
}

impl Held {
    pub(super) fn new(position: u64, token: u64, key: Bytes, common: Arc<Common>) -> Self {
        let settling = AtomicBool::new(common.shared.auto_ack());
        Self { position, token, key, common, settling, excused: AtomicBool::new(false) }
    }

    pub(super) fn place(&self) -> &Place {
        &self.common.shared.place
    }

    pub(super) fn excuse(&self) {
        self.excused.store(true, Ordering::Relaxed);
    }

    pub(super) fn leave(self) {
        self.excuse();
    }

    /// What was acknowledged before it was sent has an answer already.
    fn foregone(&self, outcome: v1::Outcome) -> Option<Result<(), Error>> {
        let result = match outcome {
            v1::Outcome::Ack => Ok(()),
            _ => Err(Error::StaleLease { position: self.position }),
        };
        self.common.shared.auto_ack().then_some(result)
    }

    pub(super) async fn settle(&self, how: How) -> Result<(), Error> {
        let answer = self.ask(how);
        self.settling.store(true, Ordering::Relaxed);
        answer.await.unwrap_or(Err(Error::SettleUnknown { position: self.position }))
    }

    pub(super) fn settle_later(&self, how: How) {
        self.settling.store(true, Ordering::Relaxed);
        let shared = &self.common.shared;
        if let Some(result) = self.foregone(how.outcome) {
            if let Err(error) = result {
                shared.failed(self.position, self.token, error);
            }
            return;
        }
        self.announce(how.outcome);
        let item = self.item(how, None);
        if self.common.commands.send(Command::Settle(item)).is_err() {
            shared.failed(self.position, self.token, Error::Closed("consumer"));
        }
    }

    pub(super) fn ask(&self, how: How) -> oneshot::Receiver<Result<(), Error>> {
        let (reply, answer) = oneshot::channel();
        if let Some(result) = self.foregone(how.outcome) {
            let _ = reply.send(result); // the receiver is in our hands
            return answer;
        }
        self.announce(how.outcome);
        let sent = self.common.commands.send(Command::Settle(self.item(how, Some(reply))));
        if let Err(mpsc::error::SendError(Command::Settle(item))) = sent
            && let Some(reply) = item.reply
        {
            let _ = reply.send(Err(Error::Closed("consumer")));
        }
        answer
    }

    /// From now on, not only from the server's answer, nothing behind a message that was not acknowledged is handed out.
    fn announce(&self, outcome: v1::Outcome) {
        // A park may park the whole key, or block what is behind it.
        if matches!(outcome, v1::Outcome::Retry | v1::Outcome::Release | v1::Outcome::Park) {
            self.common.shared.give_back(self.position, self.token, &self.key);
        }
    }

    fn item(&self, how: How, reply: Option<oneshot::Sender<Result<(), Error>>>) -> Item {
        Item::new((self.position, self.token), how, self.common.timeout, reply)
    }

    /// Asks for the lease to end this long after now, or a lease of the subscription as it was when the session was attached.
    pub(super) fn extend(&self, by: Option<Duration>) -> oneshot::Receiver<Result<(), Error>> {
        self.ask(How::extend(Some(by.unwrap_or(self.common.lease))))
    }

    /// What is left of the lease.
    pub(super) fn left(&self) -> Duration {
        match self.common.shared.auto_ack() {
            true => Duration::MAX, // it is done, and stays
            false => self.common.shared.left(self.token),
        }
    }

    /// Returns when the lease is known to be lost, or has run out; never if there is nothing to lose.
    pub(super) async fn lost(&self) {
        if self.common.shared.auto_ack() {
            return std::future::pending().await;
        }
        tokio::select! {
            biased;
            () = self.run_out() => {}
            () = self.common.shared.watch(self.token) => {}
        }
    }

    /// Returns when the lease is over by this process's clock; never if it was settled or let go. Whoever polls it learns at once of a time
    /// that went by while nobody polled: a timer is told of that only when the runtime comes round to it.
    pub(super) async fn run_out(&self) {
        let shared = &self.common.shared;
        let sleep = tokio::time::sleep_until(Instant::now());
        tokio::pin!(sleep);
        std::future::poll_fn(|cx| {
            if shared.auto_ack() {
                return Poll::Pending;
            }
            loop {
                let Some(due) = shared.due(self.token) else { return Poll::Pending };
                if due.is_over(Instant::now()) {
                    return Poll::Ready(());
                }
                if sleep.deadline() != due.early {
                    sleep.as_mut().reset(due.early);
                }
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }

    /// Extends the lease for as long as it is polled. Returns when it is lost.
    pub(super) async fn keep(&self) {
        if self.common.shared.auto_ack() {
            return std::future::pending().await;
        }
        tokio::select! {
            biased;
            () = self.lost() => {}
            () = self.extend_on() => {}
        }
    }

    /// Returns when the lease has run out, or cannot be extended any more.
    async fn extend_on(&self) {
        let lease = self.common.lease;
        let until = || self.common.shared.due(self.token).map_or_else(Instant::now, |due| due.early);
        let mut next = until().checked_sub(lease / 2).unwrap_or_else(Instant::now);
        loop {
            tokio::time::sleep_until(next).await;
            let asked_at = Instant::now();
            let answer = tokio::time::timeout_at(until(), self.extend(None)).await;
            match answer {
                Ok(Ok(Ok(()))) => next = asked_at + lease / 2,
                // Without a leader nobody else is given the message either: there is time until the lease ends.
                Ok(Ok(Err(error))) if error.is_no_leader() || error.is_out_of_time() => {
                    let left = until().saturating_duration_since(Instant::now());
                    next = Instant::now() + (left / AGAIN_SHARE).max(AGAIN_MIN);
                }
                Ok(Ok(Err(Error::SettleUnknown { .. }))) => {
                    next = Instant::now() + AGAIN_MIN;
                }
                Ok(_) | Err(_) => return,
            }
            if next >= until() {
                return tokio::time::sleep_until(until()).await;
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if *self.settling.get_mut() {
            return;
        }
        self.common.shared.let_go(self.token);
        if !*self.excused.get_mut() && !self.common.commands.is_closed() {
            let (queue, position) = (self.place().queue.as_str(), self.position);
            tracing::warn!(queue, position, "dropped without being settled: leased until the lease expires");
        }
    }
}
