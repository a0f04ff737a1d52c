//! B8: the attempt is the number of failures so far, plus one. A failure ends a lease, so between two leases of a message it
//! grows by no more than the leases there can have been; a release counts none, a retry one.

use std::collections::BTreeMap;

use super::tokens::Tokens;
use crate::check::past::{Delivery, Fate, QueuePast};
use crate::check::report::Report;
use crate::history::How;

const CHECK: &str = "B8-attempts";

pub(super) fn check(queue: &QueuePast<'_>, report: &mut Report) {
    let tokens = Tokens::of(queue);
    let ends: BTreeMap<(u64, u64), How> = queue
        .settles
        .iter()
        .filter(|settle| settle.fate == Fate::Happened && !matches!(settle.how, How::Extend(_)))
        .map(|settle| ((settle.position, settle.token), settle.how))
        .collect();
    let mut deliveries: Vec<&Delivery<'_>> = queue.deliveries.iter().collect();
    deliveries.sort_by_key(|delivery| (delivery.position, delivery.token, delivery.event));
    let mut before: Option<&Delivery<'_>> = None;
    for delivery in deliveries {
        let last = before.filter(|before| before.position == delivery.position);
        let (low, high) = match last {
            None => (1, 1 + tokens.unseen(0, delivery.token)),
            Some(last) if last.token == delivery.token => (u64::from(last.attempt), u64::from(last.attempt)),
            Some(last) => {
                let unseen = tokens.unseen(last.token, delivery.token);
                let (low, high) = match ends.get(&(last.position, last.token)) {
                    Some(How::Retry(_)) => (1, 1),
                    Some(How::Release) => (0, 0),
                    _ => (0, 1),
                };
                (u64::from(last.attempt) + low, u64::from(last.attempt) + high + unseen)
            }
        };
        if !(low..=high).contains(&u64::from(delivery.attempt)) {
            let what = format!(
                "{} {} came under token {} as attempt {}, and {low} to {high} are possible after token {:?}",
                queue.name,
                delivery.position,
                delivery.token,
                delivery.attempt,
                last.map(|last| last.token)
            );
            report.safety("P9", CHECK, delivery.at, what);
        }
        before = Some(delivery);
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
    fn failures_count_and_releases_do_not() {
        let mut story = Story::default();
        story.delivered(5, 1, 1, 1, 7);
        story.settled(5, 1, 1, How::Retry(None), Answer::Done);
        story.delivered(5, 1, 2, 2, 7);
        story.settled(5, 1, 2, How::Release, Answer::Done);
        story.delivered(5, 1, 3, 2, 7);
        story.delivered(6, 1, 5, 4, 7); // token 4 was its too, and nobody saw it
        assert_eq!(story.found(check), Vec::<String>::new());
    }

    #[test]
    fn a_wrong_count_is_seen() {
        type Act = fn(&mut Story);
        let cases: [Act; 5] = [
            |story| story.delivered(5, 1, 1, 2, 7),
            |story| {
                story.delivered(5, 1, 1, 1, 7);
                story.delivered(5, 1, 1, 2, 7);
            },
            |story| {
                story.delivered(5, 1, 1, 1, 7);
                story.delivered(5, 1, 2, 3, 7);
            },
            |story| {
                story.delivered(5, 1, 1, 1, 7);
                story.settled(5, 1, 1, How::Release, Answer::Done);
                story.delivered(5, 1, 2, 2, 7);
            },
            |story| {
                story.delivered(5, 1, 1, 1, 7);
                story.settled(5, 1, 1, How::Retry(None), Answer::Done);
                story.delivered(5, 1, 9, 1, 7);
            },
        ];
        for (nth, act) in cases.into_iter().enumerate() {
            let mut story = Story::default();
            act(&mut story);
            assert_eq!(story.found(check).len(), 1, "case {nth}");
        }
    }
}
