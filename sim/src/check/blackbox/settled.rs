//! B7: a message that is done is never leased again, a lease ends once, and an old token settles nothing.

use std::collections::BTreeMap;

use crate::check::past::{Fate, QueuePast, Settle};
use crate::check::report::Report;
use crate::history::How;

const CHECK: &str = "B7-settled";

pub(super) fn check(queue: &QueuePast<'_>, report: &mut Report) {
    let happened: Vec<&Settle> =
        queue.settles.iter().filter(|settle| settle.fate == Fate::Happened).collect();
    let mut acked: BTreeMap<u64, &Settle> = BTreeMap::new();
    let mut ended: BTreeMap<(u64, u64), &Settle> = BTreeMap::new();
    for settle in &happened {
        let (position, token) = (settle.position, settle.token);
        if !matches!(settle.how, How::Extend(_))
            && let Some(first) = ended.insert((position, token), settle)
        {
            let what = format!(
                "{} {position}: #{} and #{} both ended token {token}",
                queue.name, first.op.0, settle.op.0
            );
            report.safety("P4", CHECK, settle.at, what);
        }
        if settle.how == How::Ack
            && let Some(first) = acked.insert(position, settle)
        {
            let what =
                format!("{} {position} was done by #{} and by #{}", queue.name, first.op.0, settle.op.0);
            report.safety("P4", CHECK, settle.at, what);
        }
    }
    for delivery in &queue.deliveries {
        if let Some(ack) = acked.get(&delivery.position)
            && delivery.token > ack.token
        {
            let what = format!(
                "{} {} was leased under token {} after #{} had done it under token {}",
                queue.name, delivery.position, delivery.token, ack.op.0, ack.token
            );
            report.safety("P4", CHECK, delivery.at, what);
        }
    }
    stale(queue, &happened, &ended, report);
}

/// What was seen of a message before a settle of it began: its token must not be older, and its lease not over.
fn stale(
    queue: &QueuePast<'_>,
    happened: &[&Settle],
    ended: &BTreeMap<(u64, u64), &Settle>,
    report: &mut Report,
) {
    enum Seen<'a> {
        Token(u64, u64),
        Begins(&'a Settle),
    }
    let mut events: Vec<(usize, Seen<'_>)> =
        queue.deliveries.iter().map(|row| (row.event, Seen::Token(row.position, row.token))).collect();
    for settle in happened {
        events.push((settle.invoked, Seen::Begins(settle)));
        events.extend(settle.returned.map(|place| (place, Seen::Token(settle.position, settle.token))));
    }
    events.sort_by_key(|(place, _)| *place);
    let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
    for (_, seen) in events {
        let settle = match seen {
            Seen::Token(position, token) => {
                let newest = newest.entry(position).or_insert(token);
                *newest = token.max(*newest);
                continue;
            }
            Seen::Begins(settle) => settle,
        };
        if let Some(newest) = newest.get(&settle.position).filter(|newest| **newest > settle.token) {
            let what = format!(
                "{} {}: #{} settled token {} when token {newest} was already out",
                queue.name, settle.position, settle.op.0, settle.token
            );
            report.safety("P4", CHECK, settle.at, what);
        }
        let over = ended.get(&(settle.position, settle.token));
        if let Some(over) = over.filter(|over| over.returned.is_some_and(|place| place < settle.invoked)) {
            let what = format!(
                "{} {}: #{} settled token {}, which #{} had ended",
                queue.name, settle.position, settle.op.0, settle.token, over.op.0
            );
            report.safety("P4", CHECK, settle.at, what);
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

    fn story() -> Story {
        let mut story = Story::default();
        story.delivered(5, 1, 1, 1, 7);
        story.settled(5, 1, 1, How::Extend(None), Answer::Done);
        story.settled(5, 1, 1, How::Release, Answer::Done);
        story.delivered(6, 1, 2, 1, 7);
        story
    }

    #[test]
    fn one_end_for_each_lease_is_fine() {
        let mut story = story();
        story.settled(5, 1, 1, How::Ack, Answer::Refused("STALE_LEASE".into()));
        story.acked(6, 1, 2);
        assert_eq!(story.found(check), Vec::<String>::new());
    }

    #[test]
    fn a_second_ack_is_seen() {
        let mut story = story();
        story.acked(6, 1, 2);
        story.acked(7, 1, 3);
        assert!(story.found(check)[0].contains("was done by"));
    }

    #[test]
    fn a_lease_after_the_end_is_seen() {
        let mut story = story();
        story.acked(6, 1, 2);
        story.delivered(7, 1, 3, 1, 7);
        assert!(story.found(check)[0].contains("after #2 had done it"));
    }

    #[test]
    fn an_old_token_that_settles_is_seen() {
        let mut story = story();
        story.settled(5, 1, 1, How::Extend(None), Answer::Done);
        let found = story.found(check);
        assert!(found[0].contains("when token 2 was already out"), "{found:?}");
        assert!(found[1].contains("which #1 had ended"), "{found:?}");
    }
}
