//! B2: once a queue is drained, every message with a receipt has been delivered, and somebody asked to have it done.

use std::collections::BTreeSet;

use crate::check::past::{Fate, QueuePast};
use crate::check::report::Report;
use crate::history::How;

const CHECK: &str = "B2-loss";

pub(super) fn check(queue: &QueuePast<'_>, report: &mut Report) {
    let Some(drained) = queue.drained() else { return };
    let delivered: BTreeSet<u64> = queue
        .deliveries
        .iter()
        .filter(|delivery| delivery.event < drained)
        .map(|delivery| delivery.position)
        .collect();
    let acked: BTreeSet<u64> = queue
        .settles
        .iter()
        .filter(|settle| settle.how == How::Ack && settle.fate != Fate::Absent && settle.invoked < drained)
        .map(|settle| settle.position)
        .collect();
    let receipts: Vec<_> = queue.sends.iter().filter_map(|send| Some((send.position?, send))).collect();
    let last = receipts.iter().map(|(position, _)| *position).max().unwrap_or(0);
    let all = receipts.len();
    let lost: Vec<_> = receipts
        .into_iter()
        .filter(|(position, _)| !(delivered.contains(position) && acked.contains(position)))
        .collect();
    for (position, send) in &lost {
        let how = if delivered.contains(position) { "delivered and never acked" } else { "never delivered" };
        let what = format!(
            "{} {position} (#{} body {}) has a receipt, is {how} and is gone: {} of {all} are, up to {last}",
            queue.name,
            send.op.0,
            send.body,
            lost.len()
        );
        report.safety("P1", CHECK, send.at, what);
    }
}

#[cfg(test)]
mod tests {
    use crate::check::past::Past;
    use crate::check::report::Report;
    use crate::check::story::Story;
    use crate::history::{Answer, How};

    fn check(past: &Past<'_>, report: &mut Report) {
        past.queues().iter().for_each(|queue| super::check(queue, report));
    }

    #[test]
    fn a_lost_message_is_seen_once_the_queue_is_drained() {
        let mut story = Story::default();
        story.published(1, 7, 1);
        story.published(1, 8, 2);
        story.delivered(5, 1, 1, 1, 7);
        story.acked(5, 1, 1);
        assert!(story.found(check).is_empty(), "not drained yet");
        story.empty(2);
        let found = story.found(check);
        assert!(found.len() == 1 && found[0].contains("q 2 (#1 body 8)"), "{found:?}");
    }

    #[test]
    fn an_ack_whose_answer_was_lost_may_have_done_it() {
        for (answer, lost) in [(Answer::Unknown("…".into()), 0), (Answer::NotDone("…".into()), 1)] {
            let mut story = Story::default();
            story.published(1, 7, 1);
            story.delivered(5, 1, 1, 1, 7);
            story.settled(5, 1, 1, How::Ack, answer);
            story.empty(1);
            assert_eq!(story.found(check).len(), lost);
        }
    }
}
