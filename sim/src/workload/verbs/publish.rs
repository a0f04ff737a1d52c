//! Publishes one message. Found in the log by the number in its body, which no other message has.
//!
//! A producer that learns from `last_seq` that a message was not stored sends it again: the same number, in a call of
//! its own.

use std::cell::RefCell;
use std::rc::Rc;

use super::open_producer::Open;
use crate::history::{Answer, Call};
use crate::seed::Rng;
use crate::workload::body;
use crate::workload::cx::Cx;
use crate::workload::outbox::{Fate, Letter, Outbox};

/// A new message, with a body of a length between two bounds.
pub(crate) fn sample(cx: &Cx, rng: &mut Rng, bytes: (u64, u64)) -> Letter {
    let bytes = rng.magnitude(bytes.0, bytes.1) as usize;
    Letter { body: cx.shared.next_body(), bytes: bytes.max(body::BYTES_MIN) }
}

/// Hands it in; its receipt is taken by a task. An error is why it was not handed in.
pub(crate) async fn call(
    cx: &Cx,
    open: &Open,
    letter: Letter,
    outbox: &Rc<RefCell<Outbox>>,
) -> Result<(), Answer> {
    let Letter { body, bytes } = letter;
    let session = open.producer.session().to_owned();
    let op = cx.invoke(Call::Publish { session, queue: open.queue.clone(), body, bytes });
    let place = outbox.borrow_mut().push(letter);
    let pending = match cx.bounded(open.producer.send(body::message(&open.queue, body, bytes))).await {
        Ok(pending) => pending,
        Err(answer) => {
            // It was not handed in, because the producer had failed before: what it says of the cluster was so then.
            let answer = match answer {
                Answer::Refused(reason) => Answer::NotDone(reason),
                other => other,
            };
            outbox.borrow_mut().answered(place, body, fate(&answer));
            cx.complete(op, answer.clone());
            return Err(answer);
        }
    };
    let (cx, outbox) = (cx.clone(), Rc::clone(outbox));
    tokio::task::spawn_local(async move {
        let answer = match cx.bounded(pending).await {
            Ok(receipt) => Answer::Receipt { position: receipt.position, duplicate: receipt.duplicate },
            Err(answer) => answer,
        };
        outbox.borrow_mut().answered(place, body, fate(&answer));
        cx.complete(op, answer);
    });
    Ok(())
}

fn fate(answer: &Answer) -> Fate {
    match answer {
        Answer::Receipt { .. } => Fate::Stored,
        Answer::Refused(_) | Answer::NotDone(_) => Fate::Out,
        _ => Fate::Open,
    }
}
