//! B9: with order `total` a message is leased only when every earlier one is done, or leased to the same consumer. So whoever
//! is handed a message was handed every earlier one before, but for those that somebody had asked to have done.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::past::{Fate, QueuePast};
use crate::check::report::Report;
use crate::history::{How, Who};

const CHECK: &str = "B9-total-order";

enum Seen {
    Acked(u64),
    Delivered(usize),
    Detached(Who),
}

/// Positions, those without a gap from 1 on as a number.
#[derive(Default)]
struct Covered {
    up_to: u64,
    beyond: BTreeSet<u64>,
}

impl Covered {
    fn add(&mut self, position: u64) {
        self.beyond.insert(position);
        while self.beyond.remove(&(self.up_to + 1)) {
            self.up_to += 1;
        }
        if position <= self.up_to {
            self.beyond.remove(&position);
        }
    }

    fn has(&self, position: u64) -> bool {
        position <= self.up_to || self.beyond.contains(&position)
    }
}

pub(super) fn check(queue: &QueuePast<'_>, report: &mut Report) {
    if !queue.total {
        return;
    }
    let mut events: Vec<(usize, Seen)> = Vec::new();
    let acks = queue.settles.iter().filter(|row| row.how == How::Ack && row.fate != Fate::Absent);
    events.extend(acks.map(|settle| (settle.invoked, Seen::Acked(settle.position))));
    events.extend(queue.deliveries.iter().enumerate().map(|(nth, row)| (row.event, Seen::Delivered(nth))));
    events.extend(queue.detached.iter().map(|(place, who)| (*place, Seen::Detached(*who))));
    events.sort_by_key(|(place, _)| *place);

    let mut acked = Covered::default();
    // What each consumer was handed, and up to where it or the acks leave no gap.
    let mut handed: BTreeMap<Who, (Covered, u64)> = BTreeMap::new();
    for (_, seen) in events {
        let delivery = match seen {
            Seen::Acked(position) => {
                acked.add(position);
                continue;
            }
            Seen::Detached(who) => {
                handed.remove(&who);
                continue;
            }
            Seen::Delivered(nth) => &queue.deliveries[nth],
        };
        let (mine, without_gap) = handed.entry(delivery.who).or_default();
        mine.add(delivery.position);
        *without_gap = (*without_gap).max(acked.up_to).max(mine.up_to);
        while mine.has(*without_gap + 1) || acked.has(*without_gap + 1) {
            *without_gap += 1;
        }
        if *without_gap < delivery.position {
            let what = format!(
                "{} {} (token {}) came to {:?} before {}, which nobody had asked to have done",
                queue.name,
                delivery.position,
                delivery.token,
                delivery.who,
                *without_gap + 1
            );
            report.safety("P3", CHECK, delivery.at, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::past::Past;
    use crate::check::report::Report;
    use crate::check::story::Story;
    use crate::history::{Answer, Call};

    fn check(past: &Past<'_>, report: &mut Report) {
        past.queues().iter().for_each(|queue| super::check(queue, report));
    }

    fn story(total: bool) -> Story {
        let mut story = Story::default();
        story.create(total);
        story.delivered(5, 1, 1, 1, 1);
        story.delivered(5, 2, 2, 1, 2);
        story.delivered(5, 3, 3, 1, 3);
        story.acked(5, 3, 3);
        story.acked(5, 1, 1);
        story
    }

    #[test]
    fn an_unbroken_run_and_its_successor_are_fine() {
        let mut story = story(true);
        story.delivered(6, 2, 4, 1, 2);
        story.delivered(6, 4, 5, 1, 4);
        assert_eq!(story.found(check), Vec::<String>::new());
    }

    #[test]
    fn a_message_that_overtakes_is_seen() {
        for total in [true, false] {
            let mut story = story(total);
            story.delivered(6, 4, 5, 1, 4); // 2 is still with the other
            assert_eq!(story.found(check).len(), usize::from(total));
        }
    }

    #[test]
    fn a_new_session_of_the_same_consumer_begins_anew() {
        let mut story = story(true);
        story.did(5, Call::Detach { queue: "q".into() }, Answer::Done);
        story.delivered(5, 4, 5, 1, 4);
        assert!(story.found(check)[0].contains("before 2"));
    }
}
