//! B9 in queues of order `key`: a message is leased only when every earlier one of its key is done, or leased to the same consumer. So
//! whoever is handed a message was handed every earlier one of its key before, and has not given it back, but for those that somebody had
//! asked to have done, or that went with a queue that was deleted.
//!
//! In the queues of a run a key has one message in flight, so nothing of it is on its way to somebody who gives one back.

use std::collections::BTreeMap;

use crate::check::past::{Delivery, Fate, QueuePast};
use crate::check::report::Report;
use crate::history::{How, Who, key};

const CHECK: &str = "B9-key-order";

enum Seen {
    Asked(u64),
    Back(u64, u64),
    Delivered(usize),
    Detached(Who),
}

pub(super) fn check(queue: &QueuePast<'_>, report: &mut Report) {
    if !queue.keyed {
        return;
    }
    let mut open = places(queue);
    // What each consumer was handed, and under which token.
    let mut handed: BTreeMap<Who, BTreeMap<u64, u64>> = BTreeMap::new();
    for (_, seen) in events(queue) {
        match seen {
            Seen::Asked(position) => {
                open.values_mut().for_each(|places| places.retain(|at, _| *at != position));
            }
            Seen::Back(position, token) => {
                handed.values_mut().for_each(|mine| mine.retain(|at, by| (*at, *by) != (position, token)));
            }
            Seen::Detached(who) => drop(handed.remove(&who)),
            Seen::Delivered(nth) => {
                let delivery = &queue.deliveries[nth];
                let mine = handed.entry(delivery.who).or_default();
                let earlier = open.get(&key(delivery.body)).and_then(|places| {
                    let waits = |(position, sent): &(&u64, &usize)| {
                        !mine.contains_key(position) && !went_with_its_queue(queue, **sent, delivery.event)
                    };
                    places.range(..delivery.position).find(waits)
                });
                if let Some((earlier, _)) = earlier {
                    overtakes(queue, delivery, *earlier, report);
                }
                mine.insert(delivery.position, delivery.token);
            }
        }
    }
}

/// Where the messages of each key are, as far as that was seen, and when they were sent.
fn places(queue: &QueuePast<'_>) -> BTreeMap<u64, BTreeMap<u64, usize>> {
    let delivered: BTreeMap<u64, u64> = queue.deliveries.iter().map(|row| (row.body, row.position)).collect();
    let mut places: BTreeMap<u64, BTreeMap<u64, usize>> = BTreeMap::new();
    for send in queue.sends.iter().rev() {
        if let Some(position) = send.position.or_else(|| delivered.get(&send.body).copied()) {
            places.entry(key(send.body)).or_default().insert(position, send.invoked);
        }
    }
    places
}

/// What happened, in order.
fn events(queue: &QueuePast<'_>) -> Vec<(usize, Seen)> {
    let mut events: Vec<(usize, Seen)> = Vec::new();
    for settle in &queue.settles {
        match settle.how {
            How::Ack if settle.fate != Fate::Absent => {
                events.push((settle.invoked, Seen::Asked(settle.position)));
            }
            How::Retry(_) | How::Release if settle.fate == Fate::Happened => {
                let back = |place| (place, Seen::Back(settle.position, settle.token));
                events.extend(settle.returned.map(back));
            }
            _ => {}
        }
    }
    events.extend(queue.deliveries.iter().enumerate().map(|(nth, row)| (row.event, Seen::Delivered(nth))));
    events.extend(queue.detached.iter().map(|(place, who)| (*place, Seen::Detached(*who))));
    events.sort_by_key(|(place, _)| *place);
    events
}

/// Whether the queue of the name may have been deleted between two events.
fn went_with_its_queue(queue: &QueuePast<'_>, from: usize, to: usize) -> bool {
    queue.deletes.iter().any(|(begun, over)| *begun < to && *over > from)
}

fn overtakes(queue: &QueuePast<'_>, delivery: &Delivery<'_>, earlier: u64, report: &mut Report) {
    let what = format!(
        "{} {} (token {}) came to {:?} before {earlier} of the same key, which nobody had asked to have done",
        queue.name, delivery.position, delivery.token, delivery.who
    );
    report.safety("P3", CHECK, delivery.at, what);
}

#[cfg(test)]
mod tests {
    use crate::check::past::Past;
    use crate::check::report::Report;
    use crate::check::story::Story;
    use crate::history::{Answer, Call, How};

    fn check(past: &Past<'_>, report: &mut Report) {
        past.queues().iter().for_each(|queue| super::check(queue, report));
    }

    /// The bodies 1, 4 and 7 have the same key, 2 has another; and 1 is in somebody's hands.
    fn story() -> Story {
        let mut story = Story::of("keyed-1");
        for (position, body) in [(1, 1), (2, 2), (3, 4), (4, 7)] {
            story.published(1, body, position);
        }
        story.delivered(5, 1, 1, 1, 1);
        story
    }

    #[test]
    fn keys_run_beside_each_other_and_in_themselves_in_order() {
        let mut story = story();
        story.delivered(6, 2, 2, 1, 2);
        story.acked(5, 1, 1);
        story.delivered(6, 3, 3, 1, 4);
        story.settled(6, 3, 3, How::Release, Answer::Done);
        story.delivered(5, 3, 4, 1, 4);
        story.acked(5, 3, 4);
        story.delivered(6, 4, 5, 1, 7);
        assert_eq!(story.found(check), Vec::<String>::new());
    }

    #[test]
    fn a_message_that_overtakes_its_key_is_seen() {
        let mut story = story();
        story.delivered(6, 3, 2, 1, 4);
        assert!(story.found(check)[0].contains("before 1 of the same key"));
        // Another order of the same queue knows no keys.
        story.queue = "q";
        story.events.clear();
        story.delivered(6, 3, 2, 1, 4);
        assert_eq!(story.found(check), Vec::<String>::new());
    }

    #[test]
    fn what_was_given_back_comes_first() {
        for (answer, found) in [(Answer::Done, 1), (Answer::Unknown("…".into()), 0)] {
            let mut story = story();
            story.settled(5, 1, 1, How::Retry(None), answer);
            story.delivered(5, 3, 2, 1, 4);
            assert_eq!(story.found(check).len(), found);
        }
        let mut story = story();
        story.did(5, Call::Detach { queue: "keyed-1".into() }, Answer::Done);
        story.delivered(5, 3, 2, 1, 4);
        assert_eq!(story.found(check).len(), 1);
    }

    #[test]
    fn what_went_with_its_queue_holds_up_nothing() {
        let mut story = story();
        story.delete();
        story.published(1, 10, 5);
        story.published(1, 13, 6);
        story.delivered(6, 5, 2, 1, 10);
        assert_eq!(story.found(check), Vec::<String>::new());
        story.delivered(7, 6, 3, 1, 13);
        assert!(story.found(check)[0].contains("before 5 of the same key"));
    }
}
