//! The task that owns a consumer session.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Fuse, FusedFuture as _, FutureExt as _};
use quorate_proto::v1;
use quorate_proto::v1::receive_request::Request;
use quorate_proto::v1::receive_response::Response;
use quorate_simpoint::{Bug, buggify, planted};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Status;

use super::leases::Shared;
use super::settle::{Item, Settles};
use super::stream::{Opener, Stream};
use crate::backoff::Backoff;
use crate::error::{Error, Reason};
use crate::silence::{SILENCE, Silence};
use crate::status::{Verdict, judge};

/// Deadlines and silence are looked at this often.
const TICK: Duration = Duration::from_millis(100);
/// After so long without a word on a stream where nothing is due, the leader is asked whether it is there.
const IDLE: Duration = Duration::from_secs(2);
/// Commands taken over at once.
const COMMANDS_AT_ONCE: usize = 1024;

/// The server's time is asked for no less often, however long a lease is.
const ASK_MAX: Duration = Duration::from_secs(10);

/// How old the reckoning of the server's time may grow: see [`super::reckoning`].
fn ask_interval(attached: &v1::Attached) -> Duration {
    Duration::from_millis(attached.lease_ms).clamp(TICK, ASK_MAX)
}

/// What the consumer's handle and its deliveries ask for.
#[derive(Debug)]
pub(super) enum Command {
    Settle(Item),
    Credit(u32),
    /// Answered when no settle is left that came before it.
    Settled(oneshot::Sender<()>),
    Detach {
        reply: oneshot::Sender<Result<(), Error>>,
        deadline: Instant,
    },
}

/// Why a stream was left.
enum End {
    Again {
        pause: bool,
    },
    Fatal(Error),
    /// The session was ended as asked, or nobody is left who could ask.
    Over,
}

struct Detaching {
    reply: oneshot::Sender<Result<(), Error>>,
    deadline: Instant,
    /// It was sent on some stream and may have been carried out.
    sent: bool,
}

impl Detaching {
    fn fail(self, error: &Error) {
        let error = if self.sent { error.clone().unknown() } else { error.clone() };
        let _ = self.reply.send(Err(error)); // who stopped waiting needs no answer
    }
}

/// See the module.
pub(super) struct Actor {
    opener: Opener,
    inbox: mpsc::UnboundedReceiver<Command>,
    taken: Vec<Command>,
    shared: Arc<Shared>,
    timeout: Duration,
    todo: Todo,
    backoff: Backoff,
}

/// What is to be sent, and who waits for it.
#[derive(Default)]
struct Todo {
    settles: Settles,
    waiters: Vec<oneshot::Sender<()>>,
    credit: Option<u32>,
    detaching: Option<Detaching>,
    /// On this stream.
    detach_sent: bool,
}

impl Actor {
    pub(super) fn new(
        opener: Opener,
        inbox: mpsc::UnboundedReceiver<Command>,
        shared: Arc<Shared>,
        timeout: Duration,
    ) -> Self {
        let taken = Vec::with_capacity(COMMANDS_AT_ONCE);
        Self { opener, inbox, taken, shared, timeout, todo: Todo::default(), backoff: Backoff::new() }
    }

    /// Runs until the session is detached or fails; dropping the handle aborts it.
    pub(super) async fn run(mut self, mut stream: Stream) {
        loop {
            self.shared.attached(&stream.attached, stream.asked);
            self.todo.settles.rewind();
            self.todo.detach_sent = false;
            let end = self.drive(stream).await;
            self.shared.lost();
            if planted(Bug::StopAfterLeaderLoss) && matches!(end, End::Again { .. }) {
                return std::future::pending().await;
            }
            match end {
                End::Again { pause: false } => {}
                End::Again { pause: true } => {
                    tokio::time::sleep(self.backoff.wait(self.opener.router.random())).await;
                }
                End::Fatal(error) => return self.end(&error, true),
                End::Over => return self.end(&Error::Closed("consumer"), false),
            }
            stream = match self.attach_again().await {
                Ok(stream) => stream,
                Err(error) => return self.end(&error, true),
            };
        }
    }

    async fn drive(&mut self, mut stream: Stream) -> End {
        let (mut heard, mut silence) = (Instant::now(), Silence::new());
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut probe: Fuse<BoxFuture<'static, bool>> = Fuse::terminated();
        let idle = tokio::time::sleep(IDLE);
        let ask = ask_interval(&stream.attached);
        let sync = tokio::time::sleep(ask);
        tokio::pin!(idle, sync);
        loop {
            self.todo.wake();
            let send = self.todo.has_next();
            let room = self.shared.has_room(self.opener.attach.credit);
            tokio::select! {
                biased;
                response = stream.responses.message(), if room => {
                    heard = Instant::now();
                    silence.broken();
                    if let Err(end) = self.take(&stream, response) {
                        return end;
                    }
                }
                count = self.inbox.recv_many(&mut self.taken, COMMANDS_AT_ONCE) => {
                    if count == 0 {
                        return End::Over;
                    }
                    if !self.todo.settles.has_sent() {
                        silence.broken(); // it counts from the first question
                    }
                    self.todo.absorb(&mut self.taken, &mut self.opener.attach);
                }
                permit = stream.requests.reserve(), if send => {
                    let Ok(permit) = permit else {
                        // The transport dropped its half; the other half says why.
                        let last = tokio::time::timeout(SILENCE, stream.responses.message()).await;
                        return self.ended(&stream, &last.unwrap_or(Ok(None)));
                    };
                    permit.send(v1::ReceiveRequest { request: self.todo.next() });
                }
                () = self.shared.room(), if !room => {}
                moved = &mut probe => {
                    if moved {
                        return End::Again { pause: false };
                    }
                }
                () = &mut idle => {
                    if heard.elapsed() >= IDLE && self.todo.is_idle() {
                        let (router, leader) = (self.opener.router.clone(), stream.leader.clone());
                        probe = async move { router.gone_from(&leader).await }.boxed().fuse();
                    }
                    self.shared.nudge();
                    idle.as_mut().reset(Instant::now() + IDLE);
                }
                () = &mut sync => sync.as_mut().reset(self.sync(ask)),
                _ = tick.tick(), if !self.todo.is_idle() => {
                    let waited = self.timeout;
                    let late = || Error::OutOfTime { waited, last: "the leader sent no answer".into() };
                    self.todo.expire(&late, &self.shared);
                    if self.todo.detach_is_late() {
                        return End::Fatal(late());
                    }
                    let owes = self.todo.settles.has_sent() || self.todo.detach_sent;
                    if owes && probe.is_terminated() && silence.doubts() {
                        let (router, leader) = (self.opener.router.clone(), stream.leader.clone());
                        probe = async move { router.moved_from(&leader).await }.boxed().fuse();
                    }
                }
            }
        }
    }

    /// Asks for the server's time if the last answer is older than that. Returns when to look again.
    fn sync(&mut self, interval: Duration) -> Instant {
        let since = self.shared.unsynced_for();
        if since >= interval {
            self.todo.settles.ask_for_time();
        }
        Instant::now() + interval.saturating_sub(since).max(TICK)
    }

    fn take(
        &mut self,
        stream: &Stream,
        response: Result<Option<v1::ReceiveResponse>, Status>,
    ) -> Result<(), End> {
        if buggify("client/actor/attach_again") {
            return Err(End::Again { pause: false });
        }
        let message = match response {
            Ok(Some(message)) => message.response,
            other => return Err(self.ended(stream, &other)),
        };
        self.backoff.reset();
        match message {
            Some(Response::Deliveries(deliveries)) => self.shared.push(deliveries),
            Some(Response::Settled(settled)) => {
                self.todo.settles.answer(settled, &self.shared);
            }
            Some(Response::Revoked(revoked)) => self.shared.revoke(&revoked),
            Some(Response::Credit(_)) => {}
            Some(Response::Detached(_)) => return Err(self.detached()),
            Some(Response::Attached(_)) | None => {
                tracing::warn!("an answer that does not belong here; attaching again");
                return Err(End::Again { pause: true });
            }
        }
        Ok(())
    }

    fn detached(&mut self) -> End {
        match self.todo.detaching.take() {
            Some(detaching) => {
                let _ = detaching.reply.send(Ok(()));
                End::Over
            }
            // Ended by the server: a session of the same name begins anew.
            None => End::Again { pause: true },
        }
    }

    fn ended(&mut self, stream: &Stream, response: &Result<Option<v1::ReceiveResponse>, Status>) -> End {
        let router = &self.opener.router;
        match response {
            // Without a `detached` before it, an end says nothing about a detach either.
            Ok(_) => {
                router.lost(&stream.leader, None, "ended the stream".into());
                End::Again { pause: true }
            }
            Err(status) => match judge(status) {
                Verdict::Certain(error) => match error.reason() {
                    Some(Reason::UnknownConsumer) if self.todo.detach_sent => self.detached(),
                    // The session's name is random, so it was fenced by an attempt of our own that arrived
                    // late; one that ended begins anew under its name, and its leases are lost.
                    Some(Reason::UnknownConsumer | Reason::ConsumerFenced) => End::Again { pause: true },
                    _ => End::Fatal(error),
                },
                Verdict::Elsewhere { leader, answer } => {
                    let pause = leader.is_none();
                    router.lost(&stream.leader, leader, answer);
                    End::Again { pause }
                }
                Verdict::Again { answer, busy, .. } => {
                    router.lost(&stream.leader, None, answer);
                    End::Again { pause: busy }
                }
            },
        }
    }

    /// Attaches again, for as long as it takes.
    async fn attach_again(&mut self) -> Result<Stream, Error> {
        let started = Instant::now();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let attach = self.opener.attach.clone();
            let opener = Opener { router: self.opener.router.clone(), attach };
            let attaching = opener.attach(Instant::now() + self.timeout);
            tokio::pin!(attaching);
            let result = loop {
                tokio::select! {
                    biased;
                    result = &mut attaching => break result,
                    _ = tick.tick(), if !self.todo.is_idle() => {
                        let late = || self.opener.router.no_leader(started);
                        self.todo.expire(&late, &self.shared);
                        if self.todo.detach_is_late() {
                            return Err(late());
                        }
                        self.todo.wake();
                    }
                    count = self.inbox.recv_many(&mut self.taken, COMMANDS_AT_ONCE) => {
                        if count == 0 {
                            return Err(Error::Closed("consumer"));
                        }
                        self.todo.absorb(&mut self.taken, &mut self.opener.attach);
                        self.todo.wake(); // whoever waits for nothing
                    }
                }
            };
            match result.map_err(|failed| failed.error) {
                Ok(stream) => return Ok(stream),
                Err(error @ (Error::NoLeader { .. } | Error::OutOfTime { .. })) => {
                    tracing::warn!(%error, "the consumer session is not attached; still trying");
                    self.shared.trouble(error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers everything that is left, and lets nothing more in.
    fn end(mut self, error: &Error, told: bool) {
        self.inbox.close();
        while let Ok(command) = self.inbox.try_recv() {
            self.taken.push(command);
        }
        self.todo.absorb(&mut self.taken, &mut self.opener.attach);
        self.todo.settles.fail(error, &self.shared);
        self.todo.wake();
        if let Some(detaching) = self.todo.detaching.take() {
            detaching.fail(error);
        }
        self.shared.end(told.then(|| error.clone()));
    }
}

impl Todo {
    fn absorb(&mut self, taken: &mut Vec<Command>, attach: &mut v1::Attach) {
        for command in taken.drain(..) {
            match command {
                Command::Settle(item) => self.settles.push(item),
                Command::Credit(credit) => {
                    attach.credit = credit; // also what the session has after the next attach
                    self.credit = Some(credit);
                }
                Command::Settled(waiter) => self.waiters.push(waiter),
                Command::Detach { reply, deadline } => {
                    attach.credit = 0; // a session that has to be attached again for this is to lease nothing more
                    self.detaching = Some(Detaching { reply, deadline, sent: false });
                }
            }
        }
    }

    fn next(&mut self) -> Option<Request> {
        if let Some(credit) = self.credit.take() {
            return Some(Request::Credit(v1::Credit { credit }));
        }
        if let Some(settle) = self.settles.next() {
            return Some(Request::Settle(settle));
        }
        let detach = self.wants_detach();
        self.detach_sent |= detach;
        if let Some(detaching) = self.detaching.as_mut().filter(|_| detach) {
            detaching.sent = true;
        }
        detach.then_some(Request::Detach(v1::Detach {}))
    }

    fn has_next(&self) -> bool {
        self.credit.is_some() || self.settles.has_waiting() || self.settles.asks() || self.wants_detach()
    }

    /// The session ends when every settle has its answer.
    fn wants_detach(&self) -> bool {
        self.detaching.is_some() && !self.detach_sent && self.settles.is_empty()
    }

    fn is_idle(&self) -> bool {
        self.settles.is_empty() && self.detaching.is_none()
    }

    fn expire(&mut self, error: &dyn Fn() -> Error, shared: &Shared) {
        self.settles.expire(Instant::now(), error, shared);
    }

    fn detach_is_late(&self) -> bool {
        self.detaching.as_ref().is_some_and(|detaching| Instant::now() >= detaching.deadline)
    }

    /// Wakes those who wait for the settles.
    fn wake(&mut self) {
        if !self.waiters.is_empty() && self.settles.is_empty() {
            for waiter in self.waiters.drain(..) {
                let _ = waiter.send(()); // who stopped waiting needs no answer
            }
        }
    }
}
