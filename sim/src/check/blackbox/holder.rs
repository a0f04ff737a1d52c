//! B6: a token stands for one lease, of one message, of one consumer; a consumer sees the tokens of a message grow.

use std::collections::BTreeMap;

use crate::check::past::QueuePast;
use crate::check::report::Report;

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
}
