//! B3: a message is at one position, and at a position is one message, whatever was retried.

use std::collections::BTreeMap;

use crate::check::past::QueuePast;
use crate::check::report::Report;

const CHECK: &str = "B3-dedup";

pub(super) fn check(queue: &QueuePast<'_>, report: &mut Report) {
    let of_sends = queue.sends.iter().filter_map(|send| Some((send.body, send.position?, send.at)));
    let of_deliveries = queue.deliveries.iter().map(|row| (row.body, row.position, row.at));
    let (mut positions, mut bodies) = (BTreeMap::new(), BTreeMap::new());
    for (body, position, at) in of_sends.chain(of_deliveries) {
        let known = *positions.entry(body).or_insert(position);
        if known != position {
            let what = format!("{}: body {body} is at {known} and at {position}", queue.name);
            report.safety("P5", CHECK, at, what);
        }
        let known = *bodies.entry(position).or_insert(body);
        if known != body {
            let what = format!("{}: at {position} are the bodies {known} and {body}", queue.name);
            report.safety("P2", CHECK, at, what);
        }
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
    fn two_positions_or_two_bodies_are_seen() {
        let mut story = Story::default();
        story.published(1, 7, 1);
        story.published(1, 8, 2);
        story.delivered(5, 1, 1, 1, 7);
        story.delivered(5, 1, 9, 2, 7);
        assert!(story.found(check).is_empty());
        story.delivered(5, 3, 10, 1, 7);
        assert!(story.found(check)[0].contains("body 7 is at 1 and at 3"));
        story.published(2, 9, 2);
        assert!(story.found(check).iter().any(|found| found.contains("at 2 are the bodies 8 and 9")));
    }
}
