//! B1: what is delivered was published to that queue before, and arrives whole.

use std::collections::BTreeMap;

use crate::check::past::QueuePast;
use crate::check::report::Report;

const CHECK: &str = "B1-phantom";

pub(super) fn check(queue: &QueuePast<'_>, report: &mut Report) {
    // The first operation of a body counts: it may be sent again when it is known not to be stored.
    let sends: BTreeMap<u64, _> = queue.sends.iter().rev().map(|send| (send.body, send)).collect();
    for delivery in &queue.deliveries {
        let at =
            format!("{} {} (token {}) body {}", queue.name, delivery.position, delivery.token, delivery.body);
        let wrong = match sends.get(&delivery.body) {
            _ if delivery.bytes == 0 => format!("{at} is not what a publisher sends"),
            None => format!("{at} was never published"),
            Some(send) if send.invoked > delivery.event => format!("{at} came before #{} sent it", send.op.0),
            Some(send) if send.bytes != delivery.bytes => {
                format!("{at} has {} bytes, #{} sent {}", delivery.bytes, send.op.0, send.bytes)
            }
            Some(_) => continue,
        };
        report.safety("P2", CHECK, delivery.at, wrong);
    }
}

#[cfg(test)]
mod tests {
    use crate::check::past::Past;
    use crate::check::report::Report;
    use crate::check::story::Story;

    fn check(past: &Past<'_>, report: &mut Report) {
        past.queues().iter().for_each(|queue| super::check(queue, report));
    }

    #[test]
    fn what_nobody_sent_is_seen() {
        let mut story = Story::default();
        story.published(1, 7, 1);
        story.delivered(5, 1, 1, 1, 7);
        assert!(story.found(check).is_empty());
        story.delivered(5, 2, 2, 1, 8);
        assert!(story.found(check)[0].contains("never published"));
        story.send(1, 8);
        assert!(story.found(check)[0].contains("came before"));
    }

    #[test]
    fn a_broken_body_is_seen() {
        let mut story = Story::default();
        story.published(1, 7, 1);
        story.delivered(5, 1, 1, 1, 7);
        for bytes in [0, 15] {
            if let Some(event) = story.events.last_mut()
                && let crate::history::What::Delivered { bytes: given, .. } = &mut event.what
            {
                *given = bytes;
            }
            assert_eq!(story.found(check).len(), 1, "{bytes}");
        }
    }
}
