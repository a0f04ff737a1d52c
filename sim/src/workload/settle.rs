//! What settles have in common: the call in the history, alone or together with others.

use std::future::Future;

use quorate_client::Error;

use super::cx::{self, Cx};
use super::verbs::{Consumer, Delivery};
use crate::history::{Answer, Call, How, OpId};

/// Settles one lease and waits for the answer.
pub(crate) async fn settle(
    cx: &Cx,
    queue: &str,
    position: u64,
    token: u64,
    how: How,
    work: impl Future<Output = Result<(), Error>>,
) -> Answer {
    let call = Call::Settle { queue: queue.to_owned(), position, token, how };
    match cx.call(call, work, |()| Answer::Done).await {
        Ok(()) => Answer::Done,
        Err(answer) => answer,
    }
}

/// A settle that nobody waits for on its own.
pub(crate) struct Later {
    op: OpId,
    position: u64,
    token: u64,
}

impl Later {
    pub(crate) fn new(cx: &Cx, queue: &str, delivery: &Delivery, how: How) -> Self {
        let (position, token) = (delivery.position, delivery.token);
        let op = cx.invoke(Call::Settle { queue: queue.to_owned(), position, token, how });
        Later { op, position, token }
    }
}

/// Waits for all of them, which are all that the consumer was asked to settle later since the last time. True if each
/// was carried out or refused, so that what became of every lease is known.
pub(crate) async fn settled(cx: &Cx, consumer: &Consumer, laters: Vec<Later>) -> bool {
    let failures = cx.bounded(consumer.settled()).await;
    let mut certain = true;
    for Later { op, position, token } in laters {
        let answer = match &failures {
            Ok(failures) => failures
                .iter()
                .find(|failure| failure.position == position && failure.token == token)
                .map_or(Answer::Done, |failure| cx::answer(&failure.error)),
            Err(answer) => answer.clone(),
        };
        certain &= is_certain(&answer);
        cx.complete(op, answer);
    }
    certain
}

/// Whether the lease is over, one way or the other.
pub(crate) fn is_certain(answer: &Answer) -> bool {
    matches!(answer, Answer::Done | Answer::Refused(_))
}
