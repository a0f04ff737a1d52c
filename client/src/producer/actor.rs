//! The task that owns a producer session.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Fuse, FusedFuture as _, FutureExt as _};
use quorate_proto::v1;
use quorate_proto::v1::publish_request::Request;
use quorate_proto::v1::publish_response::Response;
use quorate_simpoint::{Bug, buggify, planted};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, Sleep};
use tonic::{Status, Streaming};

use super::Shared;
use super::close::Closing;
use super::ledger::{Freed, Item, Ledger};
use super::stream::{Opener, Stream};
use crate::backoff::Backoff;
use crate::error::{Error, Reason};
use crate::silence::{SILENCE, Silence};
use crate::status::{Verdict, judge, judge_refusal, refusal};

/// Deadlines and silence are looked at this often.
const TICK: Duration = Duration::from_millis(100);
/// Commands taken over at once.
const COMMANDS_AT_ONCE: usize = 1024;

/// What the producer's handle asks for.
pub(super) enum Command {
    Send(Item),
    /// Somebody waits for everything that was sent.
    Flush,
    Close {
        reply: oneshot::Sender<Result<(), Error>>,
        deadline: Instant,
    },
}

/// Why a stream was left.
pub(super) enum End {
    /// Open another one, after a pause or at once.
    Reopen {
        pause: bool,
    },
    Fatal(Error),
    Closed,
}

/// See the module.
pub(super) struct Actor {
    pub(super) opener: Opener,
    pub(super) queue: String,
    pub(super) ledger: Ledger,
    inbox: mpsc::UnboundedReceiver<Command>,
    taken: Vec<Command>,
    shared: Arc<Shared>,
    timeout: Duration,
    pub(super) closing: Option<Closing>,
    /// Why the last batch that has to be sent again was refused.
    obstacle: Option<String>,
    backoff: Backoff,
}

impl Actor {
    pub(super) fn new(
        opener: Opener,
        queue: String,
        ledger: Ledger,
        inbox: mpsc::UnboundedReceiver<Command>,
        shared: Arc<Shared>,
        timeout: Duration,
    ) -> Self {
        let taken = Vec::with_capacity(COMMANDS_AT_ONCE);
        Self {
            opener,
            queue,
            ledger,
            inbox,
            taken,
            shared,
            timeout,
            closing: None,
            obstacle: None,
            backoff: Backoff::new(),
        }
    }

    /// Runs until the session is closed or fails; dropping the handle aborts it.
    pub(super) async fn run(mut self, mut stream: Stream) {
        self.opener.resume(&stream.opened);
        loop {
            let pause = match self.drive(stream).await {
                End::Reopen { pause } => pause,
                End::Fatal(error) => return self.fail(&error),
                End::Closed => return self.fail(&Error::Closed("producer")),
            };
            if pause {
                tokio::time::sleep(self.backoff.wait(self.opener.router.random())).await;
            }
            stream = match self.reopen().await {
                Ok(stream) => stream,
                Err(error) => return self.fail(&error),
            };
        }
    }

    /// Sends and takes answers on one stream until it ends.
    async fn drive(&mut self, mut stream: Stream) -> End {
        self.rewind(stream.opened.last_seq);
        let mut draining = false;
        let mut silence = Silence::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut probe: Fuse<BoxFuture<'static, bool>> = Fuse::terminated();
        let mut used = Instant::now();
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        loop {
            if draining && self.ledger.unanswered() == 0 {
                return End::Reopen { pause: false };
            }
            if self.closing.is_some() && self.ledger.is_empty() {
                return self.finish(stream).await; // in `close`
            }
            let hold = self.ledger.unanswered() > 0 && buggify("client/actor/hold_back");
            let lingers = self.set(timer.as_mut(), used);
            let sends = !draining && !hold && !lingers && self.ledger.has_unsent();
            tokio::select! {
                biased;
                response = stream.responses.message() => {
                    silence.broken();
                    match self.take(&stream, response) {
                        Ok(refused) => draining |= refused,
                        Err(end) => return end,
                    }
                }
                count = self.inbox.recv_many(&mut self.taken, COMMANDS_AT_ONCE) => {
                    if count == 0 {
                        return End::Closed;
                    }
                    if self.ledger.unanswered() == 0 {
                        silence.broken(); // it counts from the first question
                    }
                    self.absorb();
                }
                permit = stream.requests.reserve(), if sends => {
                    let Ok(permit) = permit else {
                        let last = last_word(&mut stream.responses).await;
                        return self.ended(&stream, &last);
                    };
                    used = Instant::now();
                    if let Some(batch) = self.ledger.next(&self.queue) {
                        permit.send(v1::PublishRequest { request: Some(Request::Batch(batch)) });
                    }
                }
                moved = &mut probe => {
                    if moved {
                        return End::Reopen { pause: false };
                    }
                }
                () = &mut timer, if lingers || self.ledger.is_empty() => {
                    if !lingers {
                        return End::Reopen { pause: false }; // counts as a use of the session
                    }
                }
                _ = tick.tick(), if !self.ledger.is_empty() => {
                    if let Some(late) = self.overdue() {
                        return End::Fatal(late);
                    }
                    if self.ledger.unanswered() > 0 && probe.is_terminated() && silence.doubts() {
                        probe = self.ask_the_others(&stream);
                    }
                }
            }
        }
    }

    /// Sets the timer for the batch that waits for more, or for when the session has to be used. Whether a batch waits.
    fn set(&self, mut timer: Pin<&mut Sleep>, used: Instant) -> bool {
        let lingers_until = self.ledger.lingers_until().filter(|until| *until > Instant::now());
        let wake = lingers_until.unwrap_or_else(|| used + self.opener.ttl() / 2);
        if timer.deadline() != wake {
            timer.as_mut().reset(wake);
        }
        lingers_until.is_some()
    }

    fn rewind(&mut self, last_seq: u64) {
        self.ledger.rewind(last_seq);
        if planted(Bug::ClientResendsUnderNewSeq) {
            self.ledger.renumber_after(last_seq);
        }
    }

    /// Whether another node leads by now.
    fn ask_the_others(&self, stream: &Stream) -> Fuse<BoxFuture<'static, bool>> {
        let (router, leader) = (self.opener.router.clone(), stream.leader.clone());
        async move { router.moved_from(&leader).await }.boxed().fuse()
    }

    fn overdue(&mut self) -> Option<Error> {
        overdue(&self.ledger, self.closing.as_ref()).then(|| {
            let last = self.obstacle.take().unwrap_or_else(|| "the leader sent no receipt".into());
            Error::OutOfTime { waited: self.timeout, last }
        })
    }

    /// Takes one answer; whether something was refused, which leaves a gap.
    fn take(
        &mut self,
        stream: &Stream,
        response: Result<Option<v1::PublishResponse>, Status>,
    ) -> Result<bool, End> {
        if buggify("client/actor/lose_answer") {
            return Err(End::Reopen { pause: false });
        }
        let mut response = response;
        let message = match &mut response {
            Ok(Some(message)) => message.response.take(),
            _ => return Err(self.ended(stream, &response)),
        };
        match message {
            Some(Response::Receipt(receipt)) => {
                let freed = self.ledger.confirm(&receipt).ok_or_else(|| mismatch("a receipt"))?;
                self.backoff.reset();
                self.obstacle = None;
                self.free(freed);
                Ok(false)
            }
            Some(Response::Refused(refused)) => self.refused(refused),
            Some(Response::Opened(_)) | None => Err(mismatch("an answer")),
        }
    }

    fn refused(&mut self, refused: v1::PublishRefused) -> Result<bool, End> {
        let (first_seq, count) = (refused.first_seq, u64::from(refused.count));
        match judge_refusal(refusal(refused.refusal)) {
            Verdict::Certain(error) => match error.reason() {
                Some(Reason::SequenceGap) => {
                    self.ledger.gap(first_seq);
                    Ok(true)
                }
                Some(Reason::ProducerFenced | Reason::UnknownProducer | Reason::ReceiptForgotten) => {
                    Err(Self::session_lost(error))
                }
                // It is stored since an earlier stream and only its receipt is refused: its numbers are used up.
                _ if self.ledger.is_stored(first_seq) => {
                    self.obstacle = Some(format!("the leader answers {error}"));
                    Err(if error.retryable() { End::Reopen { pause: true } } else { End::Fatal(error) })
                }
                _ => {
                    let freed = self.ledger.refuse(first_seq, count, &error);
                    self.free(freed.ok_or_else(|| mismatch("a refusal"))?);
                    Ok(true)
                }
            },
            Verdict::Elsewhere { .. } | Verdict::Again { .. } => Err(End::Reopen { pause: true }),
        }
    }

    /// The stream is over: what next?
    fn ended(&self, stream: &Stream, response: &Result<Option<v1::PublishResponse>, Status>) -> End {
        let router = &self.opener.router;
        match response {
            Ok(_) => {
                router.lost(&stream.leader, None, "ended the stream".into());
                End::Reopen { pause: true }
            }
            Err(status) => match judge(status) {
                Verdict::Certain(error) => Self::session_lost(error),
                Verdict::Elsewhere { leader, answer } => {
                    let pause = leader.is_none();
                    router.lost(&stream.leader, leader, answer);
                    End::Reopen { pause }
                }
                Verdict::Again { answer, busy, .. } => {
                    router.lost(&stream.leader, None, answer);
                    End::Reopen { pause: busy }
                }
            },
        }
    }

    /// What fenced this stream may be an attempt of our own that arrived late: resuming tells.
    pub(super) fn session_lost(error: Error) -> End {
        match error.reason() {
            Some(Reason::ProducerFenced) => End::Reopen { pause: true },
            _ => End::Fatal(error),
        }
    }

    /// Opens the session again, however long it takes while nothing is overdue.
    async fn reopen(&mut self) -> Result<Stream, Error> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let opening = self.opener.open(Instant::now() + self.timeout);
            tokio::pin!(opening);
            let result = loop {
                tokio::select! {
                    biased;
                    result = &mut opening => break result,
                    _ = tick.tick() => if overdue(&self.ledger, self.closing.as_ref()) {
                        return Err(self.opener.router.no_leader(Instant::now() - self.timeout));
                    },
                    count = self.inbox.recv_many(&mut self.taken, COMMANDS_AT_ONCE) => {
                        if count == 0 {
                            return Err(Error::Closed("producer"));
                        }
                        absorb(&mut self.taken, &mut self.ledger, &mut self.closing);
                    }
                }
            };
            match result.map_err(|failed| failed.error) {
                Ok(stream) => return Ok(stream),
                Err(error @ (Error::NoLeader { .. } | Error::OutOfTime { .. })) => {
                    tracing::warn!(%error, "the producer session is not open; still trying");
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn absorb(&mut self) {
        absorb(&mut self.taken, &mut self.ledger, &mut self.closing);
    }

    fn free(&self, freed: Freed) {
        self.shared.messages.add_permits(freed.messages);
        self.shared.bytes.add_permits(freed.bytes);
    }

    /// Answers everything that is left, in order, and lets nothing more in.
    fn fail(mut self, error: &Error) {
        *self.shared.failed.lock() = Some(error.clone());
        self.shared.messages.close();
        self.shared.bytes.close();
        self.inbox.close();
        while let Ok(command) = self.inbox.try_recv() {
            self.taken.push(command);
        }
        self.absorb();
        self.ledger.fail(error);
        if let Some(closing) = self.closing.take() {
            closing.fail(error);
        }
    }
}

fn absorb(taken: &mut Vec<Command>, ledger: &mut Ledger, closing: &mut Option<Closing>) {
    for command in taken.drain(..) {
        match command {
            Command::Send(item) => ledger.push(item),
            Command::Flush => ledger.hurry(),
            Command::Close { reply, deadline } => *closing = Some(Closing::new(reply, deadline)),
        }
    }
}

/// The transport dropped its half of a stream; the other half says why.
async fn last_word(
    responses: &mut Streaming<v1::PublishResponse>,
) -> Result<Option<v1::PublishResponse>, Status> {
    tokio::time::timeout(SILENCE, responses.message()).await.unwrap_or(Ok(None))
}

/// Whether the oldest message, or the close, has waited too long.
fn overdue(ledger: &Ledger, closing: Option<&Closing>) -> bool {
    let now = Instant::now();
    let deadlines = [ledger.deadline(), closing.map(|closing| closing.deadline)];
    deadlines.into_iter().flatten().any(|deadline| now >= deadline)
}

fn mismatch(what: &str) -> End {
    tracing::warn!("{what} does not match what was sent; opening the stream again");
    End::Reopen { pause: true }
}
