//! Ending a producer session: told on the stream, and told again until there is an answer.
//!
//! When the answer is lost, the session may be over: then it cannot be resumed, and that is the answer.

use std::time::Duration;

use quorate_proto::v1;
use quorate_proto::v1::publish_request::Request;
use quorate_proto::v1::publish_response::Response;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::actor::{Actor, End};
use super::stream::Stream;
use crate::error::{Error, Reason};
use crate::status::{Verdict, judge, judge_refusal, refusal};

/// How long the end of a session may take to be confirmed on one stream.
const CLOSE: Duration = Duration::from_secs(5);

/// A close that was asked for.
pub(super) struct Closing {
    reply: oneshot::Sender<Result<(), Error>>,
    pub(super) deadline: Instant,
    /// It was sent on some stream and may have been carried out.
    sent: bool,
}

impl Closing {
    pub(super) fn new(reply: oneshot::Sender<Result<(), Error>>, deadline: Instant) -> Self {
        Self { reply, deadline, sent: false }
    }

    fn succeed(self) {
        let _ = self.reply.send(Ok(())); // who stopped waiting needs no answer
    }

    /// Answers as far as one knows when the producer ends with `error`.
    pub(super) fn fail(self, error: &Error) {
        let error = match self {
            Self { sent: true, .. } if over(error) => return self.succeed(),
            Self { sent: true, .. } => error.clone().unknown(),
            _ => error.clone(),
        };
        let _ = self.reply.send(Err(error));
    }
}

/// What a stream said to a close.
enum Answer {
    Closed,
    /// Not carried out.
    Refused(Verdict),
    /// The stream ended without a word about it.
    Ended(Verdict),
    /// It said nothing in time.
    None,
}

impl Actor {
    /// Ends the session on the server.
    pub(super) async fn finish(&mut self, stream: Stream) -> End {
        let Some(closing) = self.closing.as_mut() else { return End::Closed };
        let sent_before = std::mem::replace(&mut closing.sent, true);
        let confirmed = self.ledger.confirmed();
        let batch = v1::PublishBatch {
            queue: self.queue.clone(),
            first_seq: confirmed + 1,
            acked_seq: confirmed,
            messages: Vec::new(),
            close: true,
        };
        let until = closing.deadline.min(Instant::now() + CLOSE);
        let leader = stream.leader.clone();
        let answer = tokio::time::timeout_at(until, tell(stream, batch)).await.unwrap_or(Answer::None);
        let verdict = match answer {
            Answer::Closed => return self.closed(),
            Answer::Refused(verdict) => {
                closing.sent = sent_before;
                verdict
            }
            Answer::Ended(verdict) => verdict,
            Answer::None => return End::Reopen { pause: true },
        };
        match verdict {
            Verdict::Certain(error) if over(&error) => return self.closed(),
            Verdict::Certain(error) => return Self::session_lost(error),
            Verdict::Elsewhere { leader: now_at, answer } => self.opener.router.lost(&leader, now_at, answer),
            Verdict::Again { answer, .. } => self.opener.router.lost(&leader, None, answer),
        }
        End::Reopen { pause: true }
    }

    /// The session is over, through this close or before it.
    fn closed(&mut self) -> End {
        if let Some(closing) = self.closing.take() {
            closing.succeed();
        }
        End::Closed
    }
}

/// Whether the session has ended.
fn over(error: &Error) -> bool {
    error.reason() == Some(&Reason::UnknownProducer)
}

async fn tell(stream: Stream, batch: v1::PublishBatch) -> Answer {
    let Stream { requests, mut responses, .. } = stream;
    // If the transport dropped its half, the other half says why.
    let _ = requests.send(v1::PublishRequest { request: Some(Request::Batch(batch)) }).await;
    drop(requests); // nothing follows
    loop {
        match responses.message().await {
            Ok(Some(message)) => match message.response {
                Some(Response::Receipt(_)) => return Answer::Closed,
                Some(Response::Refused(refused)) => {
                    return Answer::Refused(judge_refusal(refusal(refused.refusal)));
                }
                Some(Response::Opened(_)) | None => {}
            },
            Ok(None) => {
                let answer = "ended the stream".into();
                return Answer::Ended(Verdict::Again { answer, applied: true, busy: false });
            }
            Err(status) => return Answer::Ended(judge(&status)),
        }
    }
}
