//! What the consumer's task and the application share: deliveries that wait to be taken, and tokens in use.

use std::collections::BTreeMap;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use prost::Message as _;
use quorate_proto::v1;
use quorate_simpoint::{Component, Holding};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::FailedSettle;
use super::buffer::{Hold, Returned, State, Waiting};
use super::held::Place;
use super::reckoning::{Due, Reckoning};
use crate::error::Error;

/// Failures that are kept until somebody asks for them.
const FAILURES_MAX: usize = 65_536;
/// The news of a lease that was over are waited for so long at most.
const NEWS_TIMEOUT: Duration = Duration::from_secs(10);

/// See the module. Bounded by the credit: the server sends no more than that.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) place: Place,
    state: Mutex<State>,
    waker: AtomicWaker,
    room: Notify,
}

/// The key alone; the rest of a message is passed over.
#[derive(Clone, PartialEq, prost::Message)]
struct Key {
    #[prost(bytes = "bytes", tag = "2")]
    key: Bytes,
}

/// What is handed out, and what was dropped on the way to it: positions and tokens to be given back.
pub(super) type Popped = (Option<v1::Delivery>, Dropped);
/// Positions and tokens of what was dropped.
pub(super) type Dropped = Vec<(u64, u64)>;

impl Shared {
    pub(super) fn of(place: Place) -> Self {
        Self { place, ..Self::default() }
    }

    /// The next delivery.
    pub(super) fn pop(&self) -> Popped {
        let mut state = self.state.lock();
        let popped = (state.pop().map(|waiting| waiting.delivery), std::mem::take(&mut state.dropped));
        drop(state);
        self.room.notify_one();
        popped
    }

    /// Positions and tokens of what was not taken and whose lease is half over: it is to be extended. It is over when it was, until
    /// [`Shared::extended`] says otherwise.
    pub(super) fn renew(&self, lease: Duration) -> Vec<(u64, u64)> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.auto_ack {
            return Vec::new();
        }
        let is_due = |waiting: &&mut Waiting| {
            waiting.due.early <= now + lease / 2
                && waiting.extending.is_none_or(|since| since + lease / 4 <= now)
        };
        let due = state.ready.iter_mut().filter(is_due);
        due.map(|waiting| {
            waiting.extending = Some(now);
            (waiting.delivery.position, waiting.delivery.token)
        })
        .collect()
    }

    /// The server has extended these leases.
    pub(super) fn extended(&self, leases: &BTreeMap<u64, Due>) {
        let mut state = self.state.lock();
        for (token, due) in leases {
            state.renewed(*token, *due);
        }
        for waiting in &mut state.ready {
            if let Some(due) = leases.get(&waiting.delivery.token) {
                (waiting.due, waiting.extending) = (*due, None);
            }
        }
    }

    /// When the lease that the application holds ends; `None` if it was settled or let go.
    pub(super) fn due(&self, token: u64) -> Option<Due> {
        self.state.lock().held.get(&token).map(|lease| lease.due)
    }

    /// What is left of it: nothing if it is lost, settled or over.
    pub(super) fn left(&self, token: u64) -> Duration {
        let state = self.state.lock();
        let kept = state.held.get(&token).filter(|lease| !matches!(lease.hold, Hold::Lost));
        kept.map_or(Duration::ZERO, |lease| lease.due.early.saturating_duration_since(Instant::now()))
    }

    /// Nothing more of the lane of a message with this key is handed out: those of one lane are worked on one after the other. `None`: it has
    /// none.
    pub(super) fn occupy(&self, key: &Bytes) -> Option<Bytes> {
        let mut state = self.state.lock();
        let lane = match state.order {
            v1::Order::Total => Bytes::new(),
            v1::Order::Key if !key.is_empty() => key.clone(),
            _ => return None,
        };
        state.busy.insert(lane.clone());
        Some(lane)
    }

    /// The lane's next message may be handed out.
    pub(super) fn vacate(&self, lane: &Bytes) {
        self.state.lock().busy.remove(lane);
        self.waker.wake();
    }

    /// Returns when the application's lease is lost, or was let go.
    pub(super) async fn watch(&self, token: u64) {
        let (lost, told) = oneshot::channel();
        if let Some(lease) = self.state.lock().held.get_mut(&token) {
            match &mut lease.hold {
                Hold::Kept => lease.hold = Hold::Watched(vec![lost]),
                Hold::Watched(watchers) => watchers.push(lost),
                Hold::Lost => return,
            }
        } else {
            return;
        }
        let _ = told.await; // the sender's end is what it waits for
    }

    /// Whether the application's lease is known to be lost.
    pub(super) fn is_lost(&self, token: u64) -> bool {
        self.state.lock().held.get(&token).is_some_and(|lease| matches!(lease.hold, Hold::Lost))
    }

    /// Whether messages are acknowledged before they come.
    pub(super) fn auto_ack(&self) -> bool {
        self.state.lock().auto_ack
    }

    /// Whether more may come. What is settled is bounded by the credit; what is acknowledged already, only here.
    pub(super) fn has_room(&self, credit: u32) -> bool {
        let state = self.state.lock();
        !state.auto_ack || state.ready.len() < credit.max(1) as usize
    }

    /// Returns when something was taken.
    pub(super) async fn room(&self) {
        self.room.notified().await;
    }

    /// As [`Shared::pop`], or what else there is to tell.
    pub(super) fn poll_next(
        &self,
        cx: &mut Context<'_>,
    ) -> (Poll<Option<Result<v1::Delivery, Error>>>, Dropped) {
        self.waker.register(cx.waker());
        let mut state = self.state.lock();
        let next = state.pop();
        let dropped = std::mem::take(&mut state.dropped);
        if next.is_some() || !dropped.is_empty() {
            self.room.notify_one();
        }
        let next = match next {
            Some(waiting) => Poll::Ready(Some(Ok(waiting.delivery))),
            None => match state.error.take() {
                Some(error) => Poll::Ready(Some(Err(error))),
                None if state.ended => Poll::Ready(None),
                None => Poll::Pending,
            },
        };
        (next, dropped)
    }

    /// Takes deliveries over. One whose token is in use is a repetition and not shown.
    pub(super) fn push(&self, v1::Deliveries { deliveries, now_ms }: v1::Deliveries) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        // Without a reckoning there is no stream, and nothing comes.
        let Some(reckoning) = state.reckoning else { return };
        for delivery in deliveries {
            let due = reckoning.due(now_ms.saturating_add(delivery.lease_left_ms));
            if state.held.contains_key(&delivery.token) {
                state.again.insert(delivery.token);
                state.renewed(delivery.token, due);
            } else {
                let keyed = state.order == v1::Order::Key;
                let key = keyed.then(|| Key::decode(delivery.message.clone()).unwrap_or_default().key);
                let key = key.unwrap_or_default();
                let held = Holding::new(Component::Client, delivery.message.len());
                state.ready.push_back(Waiting { delivery, due, extending: None, key, _held: held });
            }
        }
        drop(guard);
        self.waker.wake();
    }

    /// The server said what time it was when it answered what had been asked at that moment.
    pub(super) fn synced(&self, asked: Instant, now_ms: u64) {
        let mut state = self.state.lock();
        let new = Reckoning::new(asked, now_ms);
        state.reckoning = Some(state.reckoning.filter(|old| old.is_better_than(&new)).unwrap_or(new));
    }

    /// How long ago the last answer was asked for that told the server's time.
    pub(super) fn unsynced_for(&self) -> Duration {
        self.state.lock().reckoning.map_or(Duration::ZERO, |reckoning| reckoning.age())
    }

    /// Who waits for a message looks again, if one may have become free by nothing but time.
    pub(super) fn nudge(&self) {
        if self.state.lock().is_overdue() {
            self.waker.wake();
        }
    }

    /// Removes what was revoked and not yet taken; what was taken is lost. With order `total` one revocation means all that was leased
    /// behind it, too: the server tells of that run by run, and nobody is to be handed a later run in between.
    pub(super) fn revoke(&self, revoked: &v1::Revoked) {
        let tokens = tokens(revoked);
        let mut state = self.state.lock();
        let total = state.order == v1::Order::Total;
        state.lose(tokens.clone());
        state.ready.retain(|Waiting { delivery, .. }| match total {
            true => delivery.token < tokens.start || delivery.position < revoked.first_position,
            false => !tokens.contains(&delivery.token),
        });
        drop(state);
        self.waker.wake(); // what it held up may be free
    }

    /// Removes what went back with a message of our own. New leases of the same messages may be here already.
    pub(super) fn revoke_with(&self, all: &[v1::Revoked]) {
        if !all.is_empty() {
            let gone = |delivery: &v1::Delivery| all.iter().any(|one| tokens(one).contains(&delivery.token));
            let mut state = self.state.lock();
            state.ready.retain(|waiting| !gone(&waiting.delivery));
            all.iter().for_each(|one| state.lose(tokens(one)));
        }
    }

    /// The application gives a message back.
    pub(super) fn give_back(&self, position: u64, token: u64, key: &Bytes) {
        let mut state = self.state.lock();
        match state.order {
            v1::Order::Total => drop(state.returned.insert(token, Returned::new(position, Bytes::new()))),
            v1::Order::Key if !key.is_empty() => {
                drop(state.returned.insert(token, Returned::new(position, key.clone())));
            }
            _ => {}
        }
    }

    /// A message is with the server again, which has told what went with it; or it was not given back after all.
    pub(super) fn answered(&self, token: u64) {
        let mut state = self.state.lock();
        state.resolved(token);
        let was_returned = state.returned.remove(&token).is_some();
        drop(state);
        if was_returned {
            self.waker.wake();
        }
    }

    /// The lease of what was dropped here was over at the server, too. What was leased behind it went with it, and may still be under way
    /// to us in front of the news of that.
    pub(super) fn refused(&self, token: u64) {
        let mut state = self.state.lock();
        match state.returned.get_mut(&token) {
            Some(returned) if !returned.is_revoked => {
                returned.refused_until = Some(Instant::now() + NEWS_TIMEOUT);
            }
            _ => {
                drop(state);
                self.answered(token);
            }
        }
    }

    /// A new stream, asked for at that moment: what was not taken comes again if it is still leased.
    pub(super) fn attached(&self, attached: &v1::Attached, asked: Instant) {
        let mut state = self.state.lock();
        state.forget_overdue();
        state.reckoning = Some(Reckoning::new(asked, attached.now_ms));
        if !attached.resumed {
            state.lose(0..u64::MAX);
        }
        let State { held, returned, .. } = &mut *state;
        // What is still being given back holds up what is behind it, unless the session began anew.
        returned.retain(|token, _| attached.resumed && held.contains_key(token));
        state.order = attached.order();
        state.auto_ack = attached.auto_ack;
        if !attached.auto_ack {
            state.ready.clear();
        }
        state.again.clear();
        state.connected = true;
        state.error = None;
    }

    /// The stream is lost. What was not taken is dropped: it may be another consumer's by the time it is.
    pub(super) fn lost(&self) {
        let mut state = self.state.lock();
        if !state.auto_ack {
            state.ready.clear();
        }
        state.connected = false;
    }

    pub(super) fn connected(&self) -> bool {
        self.state.lock().connected
    }

    /// Whether the token came again on this stream: its lease was current when the session was resumed.
    pub(super) fn came_again(&self, token: u64) -> bool {
        self.state.lock().again.contains(&token)
    }

    pub(super) fn let_go(&self, token: u64) {
        self.let_go_all(std::iter::once(token));
    }

    pub(super) fn let_go_all(&self, tokens: impl Iterator<Item = u64>) {
        let mut state = self.state.lock();
        for token in tokens {
            state.held.remove(&token);
            state.again.remove(&token);
        }
    }

    pub(super) fn failed(&self, position: u64, token: u64, error: Error) {
        let mut state = self.state.lock();
        if state.failures.len() < FAILURES_MAX {
            state.failures.push(FailedSettle { position, token, error });
        }
    }

    pub(super) fn settled(&self, count: u64) {
        self.state.lock().settled_count += count;
    }

    /// How many messages were dropped since their leases were over.
    pub(super) fn lost_count(&self) -> u64 {
        self.state.lock().lost_count
    }

    pub(super) fn settled_count(&self) -> u64 {
        self.state.lock().settled_count
    }

    pub(super) fn take_failures(&self) -> Vec<FailedSettle> {
        std::mem::take(&mut self.state.lock().failures)
    }

    /// Tells `next` about trouble that goes on.
    pub(super) fn trouble(&self, error: Error) {
        self.state.lock().error = Some(error);
        self.waker.wake();
    }

    /// No delivery comes any more, and no lease is kept.
    pub(super) fn end(&self, error: Option<Error>) {
        let mut state = self.state.lock();
        state.lose(0..u64::MAX);
        state.ready.clear();
        state.ended = true;
        state.connected = false;
        state.error = error;
        drop(state);
        self.waker.wake();
    }
}

fn tokens(revoked: &v1::Revoked) -> std::ops::Range<u64> {
    revoked.first_token..revoked.first_token.saturating_add(u64::from(revoked.count))
}

#[cfg(test)]
#[path = "leases_test.rs"]
mod tests;
