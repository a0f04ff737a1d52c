//! B6: a token stands for one lease, of one message, of one consumer; a consumer sees the tokens of a message grow. No two leases of a
//! message overlap: one that was settled had lasted until the settle was asked for, so nobody can have had a later one by then. And tokens
//! of a name grow, also over the lives of its queues: what was published after a lease had been seen is leased under a greater token.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::check::past::{Delivery, Fate, QueuePast};
use crate::check::report::Report;
use crate::history::OpId;

const CHECK: &str = "B6-one-holder";

pub(super) fn check(queue: &QueuePast<'_>, report: &mut Report) {
    let (mut leases, mut newest) = (BTreeMap::new(), BTreeMap::new());
    for delivery in &queue.deliveries {
        let (token, position) = (delivery.token, delivery.position);
        let lease = *leases.entry(token).or_insert((position, delivery.who));
        if lease != (position, delivery.who) {
            let what = format!(
                "{}: token {token} is {} for {:?} and {position} for {:?}",
                queue.name, lease.0, lease.1, delivery.who
            );
            report.safety("P4", CHECK, delivery.at, what);
        }
        let newest = newest.entry((delivery.who, position)).or_insert(token);
        if *newest > token {
            let what = format!("{} {position} came with token {token} after {newest}", queue.name);
            report.safety("P4", CHECK, delivery.at, what);
        }
        *newest = token.max(*newest);
    }
    overlaps(queue, report);
    grows(queue, report);
}

/// From when a lease was seen, and until when it certainly lasted.
struct Span {
    from: usize,
    until: Option<(usize, OpId)>,
}

fn overlaps(queue: &QueuePast<'_>, report: &mut Report) {
    let mut spans: BTreeMap<(u64, u64), Span> = BTreeMap::new();
    for Delivery { position, token, event, .. } in &queue.deliveries {
        spans.entry((*position, *token)).or_insert(Span { from: *event, until: None });
    }
    for settle in queue.settles.iter().filter(|settle| settle.fate == Fate::Happened) {
        if let Some(span) = spans.get_mut(&(settle.position, settle.token)) {
            span.until = span.until.max(Some((settle.invoked, settle.op)));
        }
    }
    // From the newest lease of a message to its first.
    let mut newer: Option<(u64, u64, usize)> = None;
    for ((position, token), span) in spans.iter().rev() {
        let later = newer.filter(|(of, ..)| of == position);
        if let (Some((_, later, from)), Some((until, op))) = (later, span.until)
            && from < until
        {
            let at = queue.settles.iter().find(|settle| settle.op == op).map_or(Duration::ZERO, |row| row.at);
            let what = format!(
                "{} {position}: the lease under token {token} lasted when #{} settled it, and one under {later} had been seen",
                queue.name, op.0
            );
            report.safety("P4", CHECK, at, what);
        }
        newer = Some(match later {
            Some((_, later, from)) if from < span.from => (*position, later, from),
            _ => (*position, *token, span.from),
        });
    }
}

fn grows(queue: &QueuePast<'_>, report: &mut Report) {
    // The first time counts: a message may be sent again when it is known not to be stored.
    let sent: BTreeMap<u64, usize> = queue.sends.iter().rev().map(|send| (send.body, send.invoked)).collect();
    let mut highest: Vec<(usize, u64)> = Vec::new();
    for delivery in &queue.deliveries {
        let before = highest.last().map_or(0, |(_, token)| *token);
        highest.push((delivery.event, before.max(delivery.token)));
    }
    for delivery in &queue.deliveries {
        let Some(sent) = sent.get(&delivery.body) else { continue };
        let seen = highest.partition_point(|(event, _)| event < sent);
        let out = seen.checked_sub(1).map_or(0, |at| highest[at].1);
        if out >= delivery.token {
            let what = format!(
                "{} {} is leased under token {}, and was published when token {out} was out",
                queue.name, delivery.position, delivery.token
            );
            report.safety("P4", CHECK, delivery.at, what);
        }
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
    fn one_lease_in_two_hands_is_seen() {
        let mut story = Story::default();
        story.delivered(5, 1, 1, 1, 7);
        story.delivered(5, 1, 1, 1, 7); // again, after its session was resumed
        story.delivered(6, 1, 2, 2, 7);
        assert_eq!(story.found(check), Vec::<String>::new());
        story.delivered(5, 1, 2, 2, 7);
        assert_eq!(story.found(check).len(), 1);
    }

    #[test]
    fn a_token_of_two_messages_and_a_token_that_shrinks_are_seen() {
        let mut story = Story::default();
        story.delivered(5, 1, 4, 1, 7);
        story.delivered(5, 2, 4, 1, 8);
        assert!(story.found(check)[0].contains("token 4"));
        let mut story = Story::default();
        story.delivered(5, 1, 4, 1, 7);
        story.delivered(5, 1, 3, 1, 7);
        assert!(story.found(check)[0].contains("token 3 after 4"));
    }

    #[test]
    fn leases_that_overlap_are_seen() {
        for (settled, found) in [(false, 0), (true, 1)] {
            let mut story = Story::default();
            story.delivered(5, 1, 1, 1, 7);
            story.delivered(5, 2, 2, 1, 8);
            story.delivered(6, 1, 3, 1, 7);
            // It may not know yet that it has lost it. But then it cannot extend it.
            let answer = if settled { Answer::Done } else { Answer::Refused("STALE_LEASE".into()) };
            story.settled(5, 1, 1, How::Extend(None), answer);
            story.acked(5, 2, 2);
            story.acked(6, 1, 3);
            assert_eq!(story.found(check).len(), found);
        }
    }

    #[test]
    fn a_token_that_begins_again_is_seen() {
        let mut story = Story::default();
        story.published(1, 7, 1);
        let under_way = story.send(1, 8);
        story.delivered(5, 1, 4, 1, 7);
        story.receipt(1, under_way, 2);
        story.published(1, 9, 3);
        story.delivered(6, 2, 3, 1, 8); // it may have been leased before the first was seen
        assert_eq!(story.found(check), Vec::<String>::new());
        story.delivered(6, 3, 2, 1, 9);
        assert!(story.found(check)[0].contains("was published when token 4 was out"));
    }
}
