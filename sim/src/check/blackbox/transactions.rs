//! B10: a transaction happens whole or not at all. What is known of its parts must agree: its answer, the messages that it was to publish,
//! and those that it was to acknowledge. That it happens once is B3's affair: a message that is published twice has two positions; and that it
//! settled what its consumer held then is B6's and B7's, which know its settles like any other.

use std::collections::BTreeMap;

use crate::check::past::{Delivery, Fate, Past, QueuePast, Transaction};
use crate::check::report::Report;
use crate::history::{Answer, How};

const CHECK: &str = "B10-transactions";

/// Queues by name, with their deliveries by body.
type Queues<'q, 'a> = BTreeMap<&'q str, (&'q QueuePast<'a>, BTreeMap<u64, &'q Delivery<'a>>)>;

pub(super) fn check(past: &Past<'_>, queues: &[QueuePast<'_>], report: &mut Report) {
    let mut known: Queues<'_, '_> = BTreeMap::new();
    for queue in queues {
        // The first delivery of a message counts.
        let bodies = queue.deliveries.iter().rev().map(|delivery| (delivery.body, delivery)).collect();
        known.insert(queue.name, (queue, bodies));
    }
    for transaction in past.transactions() {
        let (done, undone) = (done(&transaction, &known), undone(&transaction, &known));
        if let (Some(done), Some(undone)) = (done, undone) {
            let what = format!("transaction #{}: {done}, and {undone}", transaction.op.0);
            report.safety("P6", CHECK, transaction.at, what);
        }
    }
}

/// What says that it happened.
fn done(transaction: &Transaction<'_>, known: &Queues<'_, '_>) -> Option<String> {
    if transaction.fate == Fate::Happened {
        return Some("it was answered".into());
    }
    let (delivery, queue) = first_delivered(transaction, known)?;
    Some(format!("its body {} came from {queue}", delivery.body))
}

/// The first of its messages that somebody was handed.
fn first_delivered<'q, 'a>(
    transaction: &Transaction<'a>,
    known: &Queues<'q, 'a>,
) -> Option<(&'q Delivery<'a>, &'a str)> {
    let delivered = transaction.sends.iter().filter_map(|sent| {
        let (_, bodies) = known.get(sent.queue.as_str())?;
        Some((*bodies.get(&sent.body)?, sent.queue.as_str()))
    });
    delivered.min_by_key(|(delivery, _)| delivery.event)
}

/// What says that it did not, or not all of it.
fn undone(transaction: &Transaction<'_>, known: &Queues<'_, '_>) -> Option<String> {
    match transaction.answer {
        Some(answer @ (Answer::Refused(_) | Answer::NotDone(_))) => {
            return Some(format!("it was answered {answer:?}"));
        }
        Some(Answer::Transacted { positions, .. }) if positions.len() != transaction.sends.len() => {
            return Some(format!("its answer has the positions {positions:?}"));
        }
        _ => {}
    }
    not_acknowledged(transaction, known).or_else(|| not_published(transaction, known))
}

/// A message that it was to acknowledge, and that was not done, or by somebody else.
fn not_acknowledged(transaction: &Transaction<'_>, known: &Queues<'_, '_>) -> Option<String> {
    for ack in transaction.acks {
        let Some((queue, _)) = known.get(ack.queue.as_str()) else { continue };
        let at = format!("{} {} (token {})", ack.queue, ack.position, ack.token);
        let later = queue.deliveries.iter().find(|row| row.position == ack.position && row.token > ack.token);
        if let Some(later) = later {
            return Some(format!("{at} was leased again under token {}", later.token));
        }
        let other = queue.settles.iter().find(|row| {
            let is_ack = row.how == How::Ack && row.fate == Fate::Happened;
            is_ack && row.position == ack.position && row.op != transaction.op
        });
        if let Some(other) = other {
            return Some(format!("{at} was done by #{} under token {}", other.op.0, other.token));
        }
    }
    None
}

/// A message that it was to publish, and that was not there when its queue was seen empty after another of them had come.
fn not_published(transaction: &Transaction<'_>, known: &Queues<'_, '_>) -> Option<String> {
    let (first, _) = first_delivered(transaction, known)?;
    for sent in transaction.sends {
        let Some((queue, bodies)) = known.get(sent.queue.as_str()) else { continue };
        if bodies.contains_key(&sent.body) || queue.was_deleted() {
            continue;
        }
        let empty = queue.stats.iter().find(|(op, stat)| stat.length == 0 && op.invoked > first.event);
        if let Some((op, _)) = empty {
            let (name, body) = (&sent.queue, sent.body);
            return Some(format!("{name} was empty at #{} and body {body} had not come", op.id.0));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::check::past::Past;
    use crate::check::report::Report;
    use crate::check::story::Story;
    use crate::history::{Acked, Answer, Call, Sent};

    fn check(past: &Past<'_>, report: &mut Report) {
        super::check(past, &past.queues(), report);
    }

    fn unknown() -> Answer {
        Answer::Unknown("…".into())
    }

    /// A message in hand, and a transaction that is to end it and publish two.
    fn story(answer: Answer) -> Story {
        let mut story = Story::default();
        story.published(1, 7, 1);
        story.delivered(5, 1, 1, 1, 7);
        let acks = vec![Acked { queue: "q".into(), position: 1, token: 1 }];
        let sent = |body| Sent { queue: "q".into(), body, bytes: crate::check::story::BYTES };
        story.did(5, Call::Transact { number: 3, acks, sends: vec![sent(8), sent(9)] }, answer);
        story
    }

    fn answered(positions: &[u64]) -> Answer {
        Answer::Transacted { version: 1, positions: positions.to_vec() }
    }

    #[test]
    fn all_of_it_and_nothing_of_it_are_fine() {
        for answer in [answered(&[2, 3]), unknown()] {
            let mut story = story(answer);
            story.delivered(6, 2, 2, 1, 8);
            story.delivered(6, 3, 3, 1, 9);
            story.empty(3);
            assert_eq!(story.found(check), Vec::<String>::new());
        }
        for answer in [Answer::Refused("PRECONDITION_FAILED".into()), unknown()] {
            let mut story = story(answer);
            story.delivered(6, 1, 2, 2, 7);
            story.acked(6, 1, 2);
            story.empty(1);
            assert_eq!(story.found(check), Vec::<String>::new());
        }
    }

    #[test]
    fn a_part_of_it_is_seen() {
        type Act = fn(&mut Story);
        let cases: [(Answer, Act, &str); 6] = [
            (answered(&[2]), |_| {}, "its answer has the positions [2]"),
            (
                answered(&[2, 3]),
                |story| story.delivered(6, 1, 2, 1, 7),
                "it was answered, and q 1 (token 1) was leased again under token 2",
            ),
            (answered(&[2, 3]), |story| story.acked(6, 1, 2), "q 1 (token 1) was done by #2 under token 2"),
            (
                Answer::Refused("UNKNOWN_QUEUE".into()),
                |story| story.delivered(6, 2, 2, 1, 8),
                "its body 8 came from q, and it was answered Refused",
            ),
            (
                unknown(),
                |story| {
                    story.delivered(6, 2, 2, 1, 8);
                    story.delivered(6, 1, 3, 1, 7);
                },
                "its body 8 came from q, and q 1 (token 1) was leased again under token 3",
            ),
            (
                unknown(),
                |story| {
                    story.delivered(6, 3, 2, 1, 9);
                    story.empty(3);
                },
                "q was empty at #2 and body 8 had not come",
            ),
        ];
        for (answer, act, says) in cases {
            let mut story = story(answer);
            act(&mut story);
            let found = story.found(check);
            assert!(found.len() == 1 && found[0].contains(says), "{found:?}, not {says}");
        }
    }
}
