//! What the consumer's task and the application share: deliveries that wait to be taken, and tokens in use.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use quorate_proto::v1;
use tokio::sync::Notify;

use super::{FailedSettle, Place};
use crate::error::Error;
use crate::message::from_wire;

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

#[derive(Debug, Default)]
struct State {
    /// Arrived, not yet taken.
    ready: VecDeque<v1::Delivery>,
    /// Tokens that the application holds, or that are being settled.
    held: BTreeSet<u64>,
    /// Tokens that came again on this stream while they were held.
    again: BTreeSet<u64>,
    order: v1::Order,
    /// Messages are acknowledged before they come: they stay, whatever becomes of the stream.
    auto_ack: bool,
    /// Orders `total` and `key`: positions that the application gave back, by token, with their keys, until the answer says what
    /// went with them. Nothing behind them in their order is handed out meanwhile.
    returned: BTreeMap<u64, (u64, Bytes)>,
    failures: Vec<FailedSettle>,
    settled_count: u64,
    /// To be told once.
    error: Option<Error>,
    ended: bool,
    connected: bool,
}

impl State {
    fn pop(&mut self) -> Option<v1::Delivery> {
        // Of one key there may be something to wait for, and of the next not.
        let looked_at = if self.order == v1::Order::Key { self.ready.len() } else { self.ready.len().min(1) };
        let at = (0..looked_at).find(|at| !self.is_held_up(&self.ready[*at]))?;
        let delivery = self.ready.remove(at)?;
        if !self.auto_ack {
            self.held.insert(delivery.token);
        }
        Some(delivery)
    }

    /// Whether something was given back that comes before it in its order.
    fn is_held_up(&self, delivery: &v1::Delivery) -> bool {
        if self.returned.is_empty() {
            return false;
        }
        let of_key = || from_wire(delivery.message.clone()).map(|(meta, ..)| meta.key).unwrap_or_default();
        let key = if self.order == v1::Order::Key { of_key() } else { Bytes::new() };
        self.returned.values().any(|(position, of)| *position < delivery.position && *of == key)
    }
}

impl Shared {
    pub(super) fn of(place: Place) -> Self {
        Self { place, ..Self::default() }
    }

    pub(super) fn pop(&self) -> Option<v1::Delivery> {
        let delivery = self.state.lock().pop();
        self.room.notify_one();
        delivery
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

    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<v1::Delivery, Error>>> {
        self.waker.register(cx.waker());
        let mut state = self.state.lock();
        if let Some(delivery) = state.pop() {
            self.room.notify_one();
            return Poll::Ready(Some(Ok(delivery)));
        }
        match state.error.take() {
            Some(error) => Poll::Ready(Some(Err(error))),
            None if state.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// Takes deliveries over. One whose token is in use is a repetition and not shown.
    pub(super) fn push(&self, deliveries: Vec<v1::Delivery>) {
        let mut state = self.state.lock();
        for delivery in deliveries {
            if state.held.contains(&delivery.token) {
                state.again.insert(delivery.token);
            } else {
                state.ready.push_back(delivery);
            }
        }
        drop(state);
        self.waker.wake();
    }

    /// Removes what was revoked and not yet taken. With order `total` one revocation means all that was leased
    /// behind it, too: the server tells of that run by run, and nobody is to be handed a later run in between.
    pub(super) fn revoke(&self, revoked: &v1::Revoked) {
        let tokens = tokens(revoked);
        let mut state = self.state.lock();
        let total = state.order == v1::Order::Total;
        state.ready.retain(|delivery| match total {
            true => delivery.token < tokens.start || delivery.position < revoked.first_position,
            false => !tokens.contains(&delivery.token),
        });
    }

    /// Removes what went back with a message of our own. New leases of the same messages may be here already.
    pub(super) fn revoke_with(&self, all: &[v1::Revoked]) {
        if !all.is_empty() {
            let gone = |delivery: &v1::Delivery| all.iter().any(|one| tokens(one).contains(&delivery.token));
            self.state.lock().ready.retain(|delivery| !gone(delivery));
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
        let State { held, returned, .. } = &mut *state;
        // What is still being given back holds up what is behind it, unless the session began anew.
        returned.retain(|token, _| attached.resumed && held.contains(token));
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

    /// No delivery comes any more.
    pub(super) fn end(&self, error: Option<Error>) {
        let mut state = self.state.lock();
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
mod tests {
    use super::*;

    fn delivery(position: u64, token: u64) -> v1::Delivery {
        v1::Delivery { position, token, ..Default::default() }
    }

    #[test]
    fn a_held_token_is_not_shown_twice_and_a_dropped_one_is() {
        let shared = Shared::default();
        shared.push(vec![delivery(1, 10), delivery(2, 11), delivery(3, 12)]);
        assert_eq!(shared.pop().map(|d| d.token), Some(10));
        assert_eq!(shared.pop().map(|d| d.token), Some(11));
        shared.let_go(11);
        shared.lost();
        assert!(shared.pop().is_none(), "what was not taken is not handed out without a stream");
        shared.attached(&v1::Attached { resumed: true, ..Default::default() });
        shared.push(vec![delivery(1, 10), delivery(2, 11), delivery(3, 12)]);
        assert!(shared.came_again(10));
        assert_eq!(shared.pop().map(|d| d.token), Some(11));
        assert_eq!(shared.pop().map(|d| d.token), Some(12));
        assert!(shared.pop().is_none());
    }

    #[test]
    fn what_is_revoked_is_not_handed_out() {
        let shared = Shared::default();
        shared.push(vec![delivery(1, 10), delivery(2, 11), delivery(3, 12)]);
        shared.revoke(&v1::Revoked { first_position: 2, count: 2, first_token: 11 });
        assert_eq!(shared.pop().map(|d| d.token), Some(10));
        assert!(shared.pop().is_none());
    }
    fn total() -> Shared {
        let shared = Shared::default();
        shared.attached(&attached(false));
        shared.push(vec![delivery(1, 10), delivery(2, 11), delivery(3, 12), delivery(4, 13)]);
        shared
    }

    fn attached(resumed: bool) -> v1::Attached {
        v1::Attached { resumed, order: v1::Order::Total.into(), ..Default::default() }
    }

    fn popped(shared: &Shared) -> Vec<u64> {
        std::iter::from_fn(|| shared.pop()).map(|delivery| delivery.token).collect()
    }

    #[test]
    fn in_order_total_a_revocation_takes_what_is_behind_it() {
        let shared = total();
        shared.revoke(&v1::Revoked { first_position: 2, count: 1, first_token: 11 });
        assert_eq!(popped(&shared), [10]);
        shared.push(vec![delivery(2, 14), delivery(3, 15)]);
        assert_eq!(popped(&shared), [14, 15]);
    }

    #[test]
    fn in_order_total_a_message_that_joined_late_stays_when_later_ones_are_revoked() {
        let shared = Shared::default();
        shared.attached(&attached(false));
        shared.push(vec![delivery(7, 10), delivery(8, 11), delivery(5, 12)]);
        shared.pop();
        shared.revoke(&v1::Revoked { first_position: 8, count: 1, first_token: 11 });
        assert_eq!(popped(&shared), [12]);
    }

    #[test]
    fn in_order_total_nothing_behind_a_returned_message_is_handed_out_until_the_answer_comes() {
        let shared = total();
        shared.pop();
        shared.pop();
        shared.give_back(2, 11, &Bytes::new());
        assert!(popped(&shared).is_empty(), "3 and 4 are buffered");
        shared.let_go(11);
        shared.push(vec![delivery(5, 14)]); // was under way
        assert!(popped(&shared).is_empty());
        shared.push(vec![delivery(2, 15), delivery(3, 16)]);
        let gone = |first_position, count, first_token| v1::Revoked { first_position, count, first_token };
        shared.revoke_with(&[gone(3, 2, 12), gone(5, 1, 14)]);
        shared.answered(11);
        assert_eq!(popped(&shared), [15, 16]);
    }

    #[test]
    fn in_order_key_only_what_follows_under_the_same_key_waits() {
        let shared = Shared::default();
        shared.attached(&v1::Attached { order: v1::Order::Key.into(), ..Default::default() });
        let of_key = |position: u64, key: &str| {
            let meta = crate::Message::new(()).key(key.to_owned()).meta;
            let message = crate::message::Encoder::new("").encode(meta, Bytes::new());
            v1::Delivery { message, ..delivery(position, position + 9) }
        };
        shared.push(vec![of_key(1, "a"), of_key(2, "a"), of_key(3, "b")]);
        shared.pop();
        shared.give_back(1, 10, &Bytes::from("a"));
        assert_eq!(popped(&shared), [12], "the one of key b");
        shared.answered(10);
        assert_eq!(popped(&shared), [11]);
    }

    #[test]
    fn what_is_acknowledged_before_it_comes_survives_its_stream_and_is_bounded_here() {
        let shared = Shared::default();
        let attached = v1::Attached { resumed: true, auto_ack: true, ..Default::default() };
        shared.attached(&attached);
        shared.push(vec![delivery(1, 10), delivery(2, 11)]);
        assert!(!shared.has_room(2) && shared.has_room(3));
        shared.lost();
        shared.attached(&attached);
        assert_eq!(popped(&shared), [10, 11]);
        assert!(shared.has_room(2));
    }

    #[test]
    fn what_was_answered_holds_up_nothing() {
        let shared = total();
        shared.pop();
        shared.give_back(1, 10, &Bytes::new());
        assert!(popped(&shared).is_empty());
        shared.answered(10);
        assert_eq!(popped(&shared), [11, 12, 13]);
    }

    #[test]
    fn a_return_under_way_holds_up_what_is_behind_it_on_the_next_stream_of_the_session() {
        for (resumed, settling, handed_out) in [(true, true, 0), (true, false, 2), (false, true, 2)] {
            let shared = total();
            shared.pop();
            shared.give_back(1, 10, &Bytes::new());
            if !settling {
                shared.let_go(10);
            }
            shared.attached(&attached(resumed));
            shared.push(vec![delivery(2, 11), delivery(3, 12)]);
            assert_eq!(popped(&shared).len(), handed_out, "resumed {resumed}, settling {settling}");
        }
    }
}
