//! What the consumer's task and the application share: deliveries that wait to be taken, and tokens in use.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use quorate_proto::v1;

use super::FailedSettle;
use crate::error::Error;

/// Failures that are kept until somebody asks for them.
const FAILURES_MAX: usize = 65_536;

/// See the module. Bounded by the credit: the server sends no more than that.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    /// Arrived, not yet taken.
    ready: VecDeque<v1::Delivery>,
    /// Tokens that the application holds, or that are being settled.
    held: BTreeSet<u64>,
    /// Tokens that came again on this stream while they were held.
    again: BTreeSet<u64>,
    /// The subscription's order is `total`.
    total: bool,
    /// Order `total`: positions that the application gave back and that have not come again, by token. Nothing
    /// behind them is handed out, since it goes with them as soon as the server hears of it.
    returned: BTreeMap<u64, u64>,
    failures: Vec<FailedSettle>,
    settled_count: u64,
    /// To be told once.
    error: Option<Error>,
    ended: bool,
    connected: bool,
}

impl State {
    fn pop(&mut self) -> Option<v1::Delivery> {
        let position = self.ready.front()?.position;
        if self.returned.values().any(|returned| *returned < position) {
            return None;
        }
        let delivery = self.ready.pop_front()?;
        self.held.insert(delivery.token);
        Some(delivery)
    }
}

impl Shared {
    pub(super) fn pop(&self) -> Option<v1::Delivery> {
        self.state.lock().pop()
    }

    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<v1::Delivery, Error>>> {
        self.waker.register(cx.waker());
        let mut state = self.state.lock();
        if let Some(delivery) = state.pop() {
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
                let (position, token) = (delivery.position, delivery.token);
                state.returned.retain(|given_back, at| token < *given_back || position > *at);
                state.ready.push_back(delivery);
            }
        }
        drop(state);
        self.waker.wake();
    }

    /// Removes what was revoked and not yet taken. With order `total` one revocation means all that was leased
    /// behind it, too: the server tells of that run by run, and nobody is to be handed a later run in between.
    pub(super) fn revoke(&self, revoked: &v1::Revoked) {
        let tokens = revoked.first_token..revoked.first_token.saturating_add(u64::from(revoked.count));
        let mut state = self.state.lock();
        let total = state.total;
        state.ready.retain(|delivery| match total {
            true => delivery.token < tokens.start,
            false => !tokens.contains(&delivery.token),
        });
    }

    /// The application gives a message back.
    pub(super) fn give_back(&self, position: u64, token: u64) {
        let mut state = self.state.lock();
        if state.total {
            state.returned.insert(token, position);
        }
    }

    /// A message was not given back after all, as far as one knows: what is behind it stays leased.
    pub(super) fn not_given_back(&self, token: u64) {
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
        state.total = attached.order == i32::from(v1::Order::Total);
        state.ready.clear();
        state.again.clear();
        state.connected = true;
        state.error = None;
    }

    /// The stream is lost. What was not taken is dropped: it may be another consumer's by the time it is.
    pub(super) fn lost(&self) {
        let mut state = self.state.lock();
        state.ready.clear();
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
    fn in_order_total_nothing_behind_a_returned_message_is_handed_out_until_it_comes_again() {
        let shared = total();
        shared.pop();
        shared.pop();
        shared.give_back(2, 11);
        assert!(popped(&shared).is_empty(), "3 and 4 are buffered");
        shared.let_go(11);
        shared.push(vec![delivery(5, 14)]); // was under way
        assert!(popped(&shared).is_empty());
        shared.revoke(&v1::Revoked { first_position: 3, count: 2, first_token: 12 });
        shared.push(vec![delivery(2, 15), delivery(3, 16)]);
        assert_eq!(popped(&shared), [15, 16]);
    }

    #[test]
    fn what_was_not_given_back_holds_up_nothing() {
        let shared = total();
        shared.pop();
        shared.give_back(1, 10);
        assert!(popped(&shared).is_empty());
        shared.not_given_back(10);
        assert_eq!(popped(&shared), [11, 12, 13]);
    }

    #[test]
    fn a_return_under_way_holds_up_what_is_behind_it_on_the_next_stream_of_the_session() {
        for (resumed, settling, handed_out) in [(true, true, 0), (true, false, 2), (false, true, 2)] {
            let shared = total();
            shared.pop();
            shared.give_back(1, 10);
            if !settling {
                shared.let_go(10);
            }
            shared.attached(&attached(resumed));
            shared.push(vec![delivery(2, 11), delivery(3, 12)]);
            assert_eq!(popped(&shared).len(), handed_out, "resumed {resumed}, settling {settling}");
        }
    }
}
