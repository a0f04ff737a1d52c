//! Bounds on a request before it is complete: on its bytes and on its time.
//!
//! The server gathers a message of a request until its last byte is there. Each message that is not complete yet holds its
//! whole length, which stands in its first bytes, against a budget of the node; where the budget is spent it is not read
//! on, and after a while refused, or at once if another one of its connection waits already. A message that was begun has a deadline, and so has the first one of a request. So what
//! half-sent requests take is bounded, whoever sends them, and no message waits for another that never ends. Short
//! messages have a budget of their own: settles and reads go on beside large publishes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::PollSemaphore;
use tonic::Status;
use tonic::body::Body;

use super::slots::{Call, Slot, Wait};
use crate::edge::grpc::status::Failure;

/// The first message of a request has to begin within this.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// A message that was begun has to be complete within this, and a second more for each [`BYTES_PER_SECOND_MIN`].
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// See [`MESSAGE_TIMEOUT`].
const BYTES_PER_SECOND_MIN: usize = 256 * 1024;
/// A message waits this long for the budget.
const BUDGET_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages up to this length are short.
const SHORT_BYTES_MAX: usize = 64 * 1024;
/// What half-sent short messages hold together, in bytes.
const SHORT_BUDGET_BYTES: usize = 32 * 1024 * 1024;
/// Budgets are counted in units of so many bytes.
const UNIT_BYTES: usize = 1024;
/// Of a message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;

/// The budgets of a node. Clones share them.
#[derive(Clone)]
pub struct HalfRead(Arc<Budgets>);

struct Budgets {
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
    message_bytes_max: usize,
}

impl HalfRead {
    /// Half-sent messages hold at most `bytes_max`; one of more than `message_bytes_max` is refused by its service and holds nothing.
    pub fn new(bytes_max: usize, message_bytes_max: usize) -> Self {
        let semaphore = |bytes: usize| Arc::new(Semaphore::new(units(bytes) as usize));
        // One message must always fit, or it would wait for ever.
        let long = semaphore(bytes_max.max(message_bytes_max));
        Self(Arc::new(Budgets { short: semaphore(SHORT_BUDGET_BYTES), long, message_bytes_max }))
    }

    /// The budget that a message of this length is held against.
    fn of(&self, bytes: usize) -> Option<&Arc<Semaphore>> {
        match bytes {
            0..=SHORT_BYTES_MAX => Some(&self.0.short),
            bytes if bytes <= self.0.message_bytes_max => Some(&self.0.long),
            _ => None,
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

impl<S> tower::Layer<S> for HalfRead {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { inner, budgets: self.clone() }
    }
}

/// A service whose requests are bounded, and whose connections are in use while it answers.
#[derive(Clone)]
pub struct Bounded<S> {
    inner: S,
    budgets: HalfRead,
}

impl<S> tower::Service<Request<Body>> for Bounded<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let slot = request.extensions().get::<Arc<Slot>>().cloned();
        let call = slot.as_ref().map(Slot::call);
        let budgets = self.budgets.clone();
        let answer = self.inner.call(request.map(|body| Body::new(Gathered::new(body, budgets, slot))));
        Box::pin(async move { Ok(answer.await?.map(|body| Body::new(InUse { body, _call: call }))) })
    }
}

/// The body of an answer. While it is not over, its connection is in use.
struct InUse {
    body: Body,
    _call: Option<Call>,
}

impl http_body::Body for InUse {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request.
struct Gathered {
    body: Body,
    budgets: HalfRead,
    slot: Option<Arc<Slot>>,
    message: Message,
    /// What the message that is being gathered holds.
    held: Option<OwnedSemaphorePermit>,
    /// Data that is not handed on before its message has its budget.
    waiting: Option<Waiting>,
    deadline: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

/// See [`Gathered::waiting`].
struct Waiting {
    data: Bytes,
    budget: PollSemaphore,
    units: u32,
    /// That it may wait; of a connection that has no slot any number may.
    _wait: Option<Wait>,
}

/// Where in a message the data handed on so far ends.
#[derive(Default)]
struct Message {
    /// Counts the messages that have begun, this one included.
    number: u64,
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    /// Once the header is whole.
    length: usize,
    missing: usize,
}

impl Message {
    /// Goes over data. If it ends in the middle of a message whose length became known in it: where that message begins, at the
    /// front if it began before.
    fn go_over(&mut self, data: &[u8]) -> Option<usize> {
        let (whole, mut data, mut begins, mut is_new) = (data.len(), data, 0, false);
        while !data.is_empty() {
            if self.header_bytes == 0 {
                begins = whole - data.len();
                self.number += 1;
            }
            if self.header_bytes < HEADER_BYTES {
                let take = (HEADER_BYTES - self.header_bytes).min(data.len());
                data.copy_to_slice(&mut self.header[self.header_bytes..self.header_bytes + take]);
                self.header_bytes += take;
                if self.header_bytes == HEADER_BYTES {
                    let [_, length @ ..] = self.header;
                    self.length = u32::from_be_bytes(length) as usize;
                    self.missing = self.length;
                    is_new = true;
                }
            }
            let take = self.missing.min(data.len());
            data.advance(take);
            self.missing -= take;
            if self.header_bytes == HEADER_BYTES && self.missing == 0 {
                self.header_bytes = 0;
                is_new = false;
            }
        }
        is_new.then_some(begins)
    }

    fn is_complete(&self) -> bool {
        self.header_bytes == 0
    }

    fn has_length(&self) -> bool {
        self.header_bytes == HEADER_BYTES
    }
}

impl Gathered {
    fn new(body: Body, budgets: HalfRead, slot: Option<Arc<Slot>>) -> Self {
        Self {
            body,
            budgets,
            slot,
            message: Message::default(),
            held: None,
            waiting: None,
            deadline: Instant::now() + FIRST_MESSAGE_TIMEOUT,
            timer: None,
        }
    }

    /// Data has come. Returns it, but for what waits until its message has its budget.
    fn take_in(&mut self, mut data: Bytes) -> Option<Bytes> {
        let before = self.message.number;
        let begins = self.message.go_over(&data);
        let is_another = self.message.number != before;
        if is_another || self.message.is_complete() {
            self.held = None;
        }
        if is_another && !self.message.is_complete() {
            self.deadline = Instant::now() + MESSAGE_TIMEOUT;
        }
        let Some(begins) = begins else { return Some(data) };
        let length = self.message.length;
        self.deadline += Duration::from_secs((length / BYTES_PER_SECOND_MIN) as u64);
        let Some(budget) = self.budgets.of(length) else { return Some(data) };
        match Arc::clone(budget).try_acquire_many_owned(units(length)) {
            Ok(held) => {
                self.held = Some(held);
                Some(data)
            }
            Err(_) => {
                let wait = self.slot.as_ref().map(Slot::wait);
                let is_refused = matches!(wait, Some(None));
                self.waiting = Some(Waiting {
                    data: data.split_off(begins),
                    budget: PollSemaphore::new(Arc::clone(budget)),
                    units: units(length),
                    _wait: wait.flatten(),
                });
                self.deadline = Instant::now() + if is_refused { Duration::ZERO } else { BUDGET_TIMEOUT };
                (!data.is_empty()).then_some(data) // what is complete waits for nobody
            }
        }
    }

    /// Data that waits for its budget.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(Waiting { budget, units, .. }) = &mut self.waiting else { return Poll::Ready(None) };
        let Poll::Ready(held) = budget.poll_acquire_many(cx, *units) else { return Poll::Pending };
        self.held = held;
        let seconds = (self.message.length / BYTES_PER_SECOND_MIN) as u64;
        self.deadline = Instant::now() + MESSAGE_TIMEOUT + Duration::from_secs(seconds);
        Poll::Ready(self.waiting.take().map(|waiting| waiting.data))
    }

    /// Nothing comes now: is it too late for what was to come?
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        if self.message.number > 0 && self.message.is_complete() && self.waiting.is_none() {
            return Poll::Pending; // between two messages of a stream there is all the time in the world
        }
        let deadline = self.deadline;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        std::task::ready!(timer.as_mut().poll(cx));
        Poll::Ready(match (self.waiting.is_some(), self.message.has_length()) {
            (true, _) => Failure::too_much_half_sent(),
            (false, true) => {
                Failure::too_slow(self.message.length - self.message.missing, self.message.length)
            }
            (false, false) => Failure::says_nothing(FIRST_MESSAGE_TIMEOUT),
        })
    }
}

impl http_body::Body for Gathered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            match this.poll_waiting(cx) {
                Poll::Ready(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Poll::Ready(None) => {}
                Poll::Pending => return this.poll_late(cx).map(|failure| Some(Err(failure.into()))),
            }
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        if let Some(data) = this.take_in(data) {
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Ready(end) => return Poll::Ready(end),
                Poll::Pending => return this.poll_late(cx).map(|failure| Some(Err(failure.into()))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.waiting {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

#[cfg(test)]
#[path = "request_test.rs"]
mod tests;
