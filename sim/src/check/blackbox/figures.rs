//! B11: what a stat says lies between what had certainly happened when it was asked and what can have happened when it
//! answered.

use crate::check::past::{Fate, QueuePast};
use crate::check::report::Report;
use crate::history::How;

const CHECK: &str = "B11-figures";

/// How many of some ordered places are below one.
fn below(places: &[usize], end: usize) -> u64 {
    places.partition_point(|place| *place < end) as u64
}

fn sorted(places: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut places: Vec<usize> = places.collect();
    places.sort_unstable();
    places
}

pub(super) fn check(queue: &QueuePast<'_>, report: &mut Report) {
    let received = queue.sends.iter().filter(|send| send.fate == Fate::Happened);
    let stored_surely = sorted(received.filter_map(|send| send.returned));
    let stored_maybe = queue.sends.iter().filter(|send| send.fate != Fate::Absent).map(|send| send.invoked);
    let stored_maybe = sorted(stored_maybe);
    let acks = || queue.settles.iter().filter(|settle| settle.how == How::Ack);
    let done_surely = sorted(acks().filter(|ack| ack.fate == Fate::Happened).filter_map(|ack| ack.returned));
    let mut first_asked = std::collections::BTreeMap::new();
    for ack in acks().filter(|ack| ack.fate != Fate::Absent) {
        first_asked.entry(ack.position).or_insert(ack.invoked);
    }
    let done_maybe = sorted(first_asked.into_values());

    for (op, stat) in &queue.stats {
        let Some((returned, at, _)) = op.returned else { continue };
        let stored = below(&stored_surely, op.invoked)..=below(&stored_maybe, returned);
        let done = below(&done_surely, op.invoked)..=below(&done_maybe, returned);
        let length = stored.start().saturating_sub(*done.end())..=stored.end().saturating_sub(*done.start());
        let of_states = stat.ready + stat.leased + stat.delayed + stat.retrying + stat.parked;
        let wrong = if !stored.contains(&stat.last_position) {
            format!("last position {}, not within {stored:?}", stat.last_position)
        } else if !length.contains(&stat.length) {
            format!("length {}, not within {length:?}", stat.length)
        } else if stat.length != of_states {
            format!("length {}, and the states add up to {of_states}", stat.length)
        } else if stat.delayed + stat.parked > 0 {
            format!("{} delayed and {} parked, and nothing delays or parks", stat.delayed, stat.parked)
        } else if (stat.length == 0) != (stat.first_position == 0) || stat.first_position > stat.last_position
        {
            format!("length {} and first position {}", stat.length, stat.first_position)
        } else if stat.first_position != 0 && stat.last_position - stat.first_position + 1 < stat.length {
            format!("length {} from {} to {}", stat.length, stat.first_position, stat.last_position)
        } else {
            continue;
        };
        report.safety("P7", CHECK, at, format!("#{} says of {}: {wrong}", op.id.0, queue.name));
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::v1::StatResponse;

    use crate::check::past::Past;
    use crate::check::report::Report;
    use crate::check::story::Story;

    fn check(past: &Past<'_>, report: &mut Report) {
        past.queues().iter().for_each(|queue| super::check(queue, report));
    }

    fn stat(length: u64, first_position: u64, last_position: u64) -> StatResponse {
        StatResponse { length, ready: length, first_position, last_position, ..Default::default() }
    }

    fn story() -> Story {
        let mut story = Story::default();
        for body in 1..=3 {
            story.published(1, body, body);
        }
        story.send(2, 4);
        story.delivered(5, 1, 1, 1, 1);
        story.acked(5, 1, 1);
        story
    }

    #[test]
    fn what_can_be_is_accepted() {
        for good in [stat(2, 2, 3), stat(3, 2, 4)] {
            let mut story = story();
            story.stat(good);
            assert_eq!(story.found(check), Vec::<String>::new());
        }
    }

    #[test]
    fn what_cannot_be_is_seen() {
        let uneven = StatResponse { ready: 1, ..stat(2, 2, 3) };
        let parked = StatResponse { ready: 1, parked: 1, ..stat(2, 2, 3) };
        let bad = [
            stat(2, 2, 2),
            stat(4, 1, 5),
            stat(1, 3, 3),
            stat(4, 1, 4),
            stat(2, 0, 3),
            stat(3, 3, 4),
            uneven,
            parked,
        ];
        for (nth, bad) in bad.into_iter().enumerate() {
            let mut story = story();
            story.stat(bad);
            assert_eq!(story.found(check).len(), 1, "case {nth}");
        }
    }
}
