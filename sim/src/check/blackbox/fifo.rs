//! B4: messages are leased for the first time in the order of their positions.
//!
//! Which lease of a message was its first is not seen from outside. But tokens count the leases: when a message is leased
//! under a token, every earlier message must have been leased under a smaller one, and if none was seen, one of those
//! that nobody saw must have been it. So the earlier messages without a smaller token that was seen are never more than the
//! smaller tokens that were not.
//!
//! Not in order `key`, where a message whose key is held is overtaken by others, as it is to be: `keys` looks at the order there.

use std::collections::BTreeSet;

use super::tokens::Tokens;
use crate::check::past::QueuePast;
use crate::check::report::Report;

const CHECK: &str = "B4-first-in-first-out";

pub(super) fn check(queue: &QueuePast<'_>, report: &mut Report) {
    if queue.keyed {
        return;
    }
    let tokens = Tokens::of(queue);
    let mut deliveries: Vec<_> = queue.deliveries.iter().collect();
    deliveries.sort_by_key(|delivery| (delivery.token, delivery.event));
    let positions: BTreeSet<u64> = deliveries.iter().map(|delivery| delivery.position).collect();
    let positions: Vec<u64> = positions.into_iter().collect();
    let mut leased = Counts::new(positions.len());
    let mut seen = BTreeSet::new();
    for delivery in deliveries {
        let place = positions.partition_point(|position| *position < delivery.position);
        let earlier = delivery.position.saturating_sub(1) - leased.below(place);
        let unseen = tokens.unseen(0, delivery.token);
        if earlier > unseen {
            let what = format!(
                "{} {} was leased under token {} while {earlier} earlier messages were not: only {unseen} smaller tokens \
                 are not known to be of others",
                queue.name, delivery.position, delivery.token
            );
            report.safety("P3", CHECK, delivery.at, what);
        }
        if seen.insert(delivery.position) {
            leased.add(place);
        }
    }
}

/// Counts by place, with sums in logarithmic time.
struct Counts(Vec<u64>);

impl Counts {
    fn new(places: usize) -> Self {
        Counts(vec![0; places + 1])
    }

    fn add(&mut self, place: usize) {
        let mut at = place + 1;
        while at < self.0.len() {
            self.0[at] += 1;
            at += at & at.wrapping_neg();
        }
    }

    fn below(&self, place: usize) -> u64 {
        let (mut at, mut sum) = (place, 0);
        while at > 0 {
            sum += self.0[at];
            at -= at & at.wrapping_neg();
        }
        sum
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
    fn returned_and_unseen_leases_are_fine() {
        let mut story = Story::default();
        story.delivered(5, 3, 3, 1, 3); // 1 and 2 went to somebody who died
        story.delivered(5, 1, 4, 1, 1);
        story.delivered(5, 4, 5, 1, 4);
        story.delivered(6, 2, 6, 1, 2);
        assert_eq!(story.found(check), Vec::<String>::new());
    }

    #[test]
    fn a_message_that_overtakes_is_seen() {
        let mut story = Story::default();
        story.delivered(5, 1, 1, 1, 1);
        story.delivered(5, 3, 2, 1, 3);
        story.delivered(5, 2, 3, 1, 2);
        assert!(story.found(check)[0].contains("q 3 was leased under token 2"));
    }
}
