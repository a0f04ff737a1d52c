//! What the consumer's task and the application share: deliveries that wait to be taken, and tokens in use.

use std::collections::{BTreeSet, VecDeque};
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
    failures: Vec<FailedSettle>,
    settled_count: u64,
    /// To be told once.
    error: Option<Error>,
    ended: bool,
    connected: bool,
}

impl Shared {
    pub(super) fn pop(&self) -> Option<v1::Delivery> {
        let mut state = self.state.lock();
        let delivery = state.ready.pop_front()?;
        state.held.insert(delivery.token);
        Some(delivery)
    }

    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<v1::Delivery, Error>>> {
        self.waker.register(cx.waker());
        let mut state = self.state.lock();
        if let Some(delivery) = state.ready.pop_front() {
            state.held.insert(delivery.token);
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

    /// Removes what was revoked and not yet taken.
    pub(super) fn revoke(&self, revoked: &v1::Revoked) {
        let tokens = revoked.first_token..revoked.first_token.saturating_add(u64::from(revoked.count));
        self.state.lock().ready.retain(|delivery| !tokens.contains(&delivery.token));
    }

    /// A new stream: what was not taken comes again if it is still leased.
    pub(super) fn attached(&self) {
        let mut state = self.state.lock();
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
        shared.attached();
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
}
