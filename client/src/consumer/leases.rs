//! What the consumer's task and the application share: deliveries that wait to be taken, and tokens in use.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use prost::Message as _;
use quorate_proto::v1;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::FailedSettle;
use super::held::Place;
use crate::error::Error;

/// Failures that are kept until somebody asks for them.
const FAILURES_MAX: usize = 65_536;

/// See the module. Bounded by the credit: the server sends no more than that.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) place: Place,
    state: Mutex<State>,
    waker: AtomicWaker,
    room: Notify,
}

/// A delivery that has arrived and was not taken.
#[derive(Debug)]
struct Waiting {
    delivery: v1::Delivery,
    /// When its lease ends, by this process's clock.
    until: Instant,
    /// In order `key`; else empty.
    key: Bytes,
}

/// The key alone; the rest of a message is passed over.
#[derive(Clone, PartialEq, prost::Message)]
struct Key {
    #[prost(bytes = "bytes", tag = "2")]
    key: Bytes,
}

/// A lease in the application's hands.
#[derive(Debug)]
enum Hold {
    Kept,
    /// With those who want to know when it is lost.
    Watched(Vec<oneshot::Sender<()>>),
    /// The server took it back, or the session that had it is over.
    Lost,
}

#[derive(Debug, Default)]
struct State {
    /// Arrived, not yet taken.
    ready: VecDeque<Waiting>,
    /// Tokens that the application holds, or that are being settled.
    held: BTreeMap<u64, Hold>,
    /// Tokens that came again on this stream while they were held.
    again: BTreeSet<u64>,
    order: v1::Order,
    /// Messages are acknowledged before they come: they stay, whatever becomes of the stream.
    auto_ack: bool,
    /// Orders `total` and `key`: positions that the application gave back, by token, with their keys, until the answer says what
    /// went with them. Nothing behind them in their order is handed out meanwhile.
    returned: BTreeMap<u64, (u64, Bytes)>,
    /// Keys (in order `total`, the empty one stands for all) whose next message waits until the work on the one before it is over.
    busy: BTreeSet<Bytes>,
    failures: Vec<FailedSettle>,
    settled_count: u64,
    /// To be told once.
    error: Option<Error>,
    ended: bool,
    connected: bool,
}

impl State {
    fn pop(&mut self) -> Option<Waiting> {
        // Of one key there may be something to wait for, and of the next not.
        let looked_at = if self.order == v1::Order::Key { self.ready.len() } else { self.ready.len().min(1) };
        let at = (0..looked_at).find(|at| !self.is_held_up(&self.ready[*at]))?;
        let waiting = self.ready.remove(at)?;
        if !self.auto_ack {
            self.held.insert(waiting.delivery.token, Hold::Kept);
        }
        Some(waiting)
    }

    /// Whether something was given back, or is being worked on, that comes before it in its order.
    fn is_held_up(&self, waiting: &Waiting) -> bool {
        let behind =
            |(position, of): &(u64, Bytes)| *position < waiting.delivery.position && *of == waiting.key;
        let alone = self.order == v1::Order::Key && waiting.key.is_empty();
        self.returned.values().any(behind) || (!alone && self.busy.contains(&waiting.key))
    }

    /// The application's leases with these tokens are lost.
    fn lose(&mut self, tokens: std::ops::Range<u64>) {
        for (_, hold) in self.held.range_mut(tokens) {
            // Who watches is told by the sender's end.
            *hold = Hold::Lost;
        }
    }
}

impl Shared {
    pub(super) fn of(place: Place) -> Self {
        Self { place, ..Self::default() }
    }

    /// The next delivery, and when its lease ends.
    pub(super) fn pop(&self) -> Option<(v1::Delivery, Instant)> {
        let waiting = self.state.lock().pop()?;
        self.room.notify_one();
        Some((waiting.delivery, waiting.until))
    }

    /// Positions and tokens of what was not taken and whose lease is half over, as if each had a new one from now on.
    pub(super) fn renew(&self, lease: Duration) -> Vec<(u64, u64)> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.auto_ack {
            return Vec::new();
        }
        let due = state.ready.iter_mut().filter(|waiting| waiting.until <= now + lease / 2);
        due.map(|waiting| {
            waiting.until = now + lease;
            (waiting.delivery.position, waiting.delivery.token)
        })
        .collect()
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
        if let Some(hold) = self.state.lock().held.get_mut(&token) {
            match hold {
                Hold::Kept => *hold = Hold::Watched(vec![lost]),
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
        matches!(self.state.lock().held.get(&token), Some(Hold::Lost))
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

    pub(super) fn poll_next(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(v1::Delivery, Instant), Error>>> {
        self.waker.register(cx.waker());
        let mut state = self.state.lock();
        if let Some(Waiting { delivery, until, .. }) = state.pop() {
            self.room.notify_one();
            return Poll::Ready(Some(Ok((delivery, until))));
        }
        match state.error.take() {
            Some(error) => Poll::Ready(Some(Err(error))),
            None if state.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// Takes deliveries over. One whose token is in use is a repetition and not shown.
    pub(super) fn push(&self, deliveries: Vec<v1::Delivery>) {
        let arrived = Instant::now();
        let mut state = self.state.lock();
        for delivery in deliveries {
            if state.held.contains_key(&delivery.token) {
                state.again.insert(delivery.token);
            } else {
                let keyed = state.order == v1::Order::Key;
                let key = keyed.then(|| Key::decode(delivery.message.clone()).unwrap_or_default().key);
                let until = arrived + Duration::from_millis(delivery.lease_left_ms);
                state.ready.push_back(Waiting { delivery, until, key: key.unwrap_or_default() });
            }
        }
        drop(state);
        self.waker.wake();
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
            v1::Order::Total => drop(state.returned.insert(token, (position, Bytes::new()))),
            v1::Order::Key if !key.is_empty() => drop(state.returned.insert(token, (position, key.clone()))),
            _ => {}
        }
    }

    /// A message is with the server again, which has told what went with it; or it was not given back after all.
    pub(super) fn answered(&self, token: u64) {
        if self.state.lock().returned.remove(&token).is_some() {
            self.waker.wake();
        }
    }

    /// A new stream: what was not taken comes again if it is still leased.
    pub(super) fn attached(&self, attached: &v1::Attached) {
        let mut state = self.state.lock();
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
