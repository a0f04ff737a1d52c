//! B5: positions have no gaps, and follow the order in which messages were sent: of one producer session, and wherever one
//! send was over before another began.
//!
//! A producer that learns from `last_seq` that a message is not stored sends it again: that is another operation with the same
//! body. Of those the last one tells the message's place in its session, the first one how early it may have been stored.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::past::{Fate, QueuePast, Send};
use crate::check::report::Report;

const CHECK: &str = "B5-positions";

/// A message whose position is known, with the operations that sent it.
#[derive(Clone, Copy)]
struct Placed<'a> {
    first: &'a Send<'a>,
    last: &'a Send<'a>,
    position: u64,
}

pub(super) fn check(queue: &QueuePast<'_>, report: &mut Report) {
    let delivered: BTreeMap<u64, u64> = queue.deliveries.iter().map(|row| (row.body, row.position)).collect();
    let mut placed: BTreeMap<u64, Placed<'_>> = BTreeMap::new();
    for send in &queue.sends {
        let Some(position) = send.position.or_else(|| delivered.get(&send.body).copied()) else { continue };
        placed.entry(send.body).or_insert(Placed { first: send, last: send, position }).last = send;
    }
    let mut placed: Vec<Placed<'_>> = placed.into_values().collect();
    placed.sort_by_key(|row| row.last.op);
    gaps(queue, &placed, report);
    in_session(queue, &placed, report);
    in_time(queue, &placed, report);
}

/// A position that nobody has seen belongs to a send whose fate nobody knows.
fn gaps(queue: &QueuePast<'_>, placed: &[Placed<'_>], report: &mut Report) {
    let mut seen: BTreeSet<u64> = placed.iter().map(|row| row.position).collect();
    seen.extend(queue.deliveries.iter().map(|delivery| delivery.position));
    let placed: BTreeSet<u64> = placed.iter().map(|row| row.last.body).collect();
    let open =
        queue.sends.iter().filter(|send| send.fate == Fate::Unknown && !placed.contains(&send.body)).count();
    let last = seen.last().copied().unwrap_or(0);
    let missing = last - seen.len() as u64;
    if missing > open as u64 || seen.first() == Some(&0) {
        let gap = (1..=last).find(|position| !seen.contains(position)).unwrap_or(0);
        let what = format!(
            "{}: of the positions up to {last} {missing} are missing, {gap} first, and only {open} sends are unknown",
            queue.name
        );
        report.safety("P2", CHECK, queue.sends.last().map_or_else(Default::default, |send| send.at), what);
    }
}

/// A session's sends keep their order, whenever they return.
fn in_session(queue: &QueuePast<'_>, placed: &[Placed<'_>], report: &mut Report) {
    let mut last: BTreeMap<_, (u64, &Send<'_>)> = BTreeMap::new();
    for Placed { last: send, position, .. } in placed.iter().filter(|row| !row.last.session.is_empty()) {
        if let Some((before, earlier)) = last.insert((send.who, send.session), (*position, send))
            && before >= *position
        {
            let what = format!(
                "{}: #{} is at {position}, and #{} of the same session, sent before, at {before}",
                queue.name, send.op.0, earlier.op.0
            );
            report.safety("P2", CHECK, send.at, what);
        }
    }
}

/// A send that began after another was over comes behind it.
fn in_time(queue: &QueuePast<'_>, placed: &[Placed<'_>], report: &mut Report) {
    // At its invocation a send looks how far the queue was known to be; a return says how far it is.
    let mut events: Vec<(usize, bool, &Send<'_>, u64)> = Vec::new();
    for Placed { first, last, position } in placed {
        events.push((first.invoked, false, first, *position));
        if let (Some(returned), Some(_)) = (last.returned, last.position) {
            events.push((returned, true, last, *position));
        }
    }
    events.sort_by_key(|(place, ..)| *place);
    let mut known: (u64, u64) = (0, 0);
    for (_, is_return, send, position) in events {
        if is_return {
            known = known.max((position, send.op.0));
        } else if position <= known.0 {
            let what = format!(
                "{}: #{} is at {position}, and #{}, over before it began, at {}",
                queue.name, send.op.0, known.1, known.0
            );
            report.safety("P2", CHECK, send.at, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::past::Past;
    use crate::check::report::Report;
    use crate::check::story::Story;
    use crate::history::Answer;

    fn check(past: &Past<'_>, report: &mut Report) {
        past.queues().iter().for_each(|queue| super::check(queue, report));
    }

    #[test]
    fn sends_under_way_at_once_come_in_any_order_across_sessions() {
        let mut story = Story::default();
        let (a, b, c) = (story.send(1, 7), story.send(2, 8), story.send(3, 9));
        story.receipt(1, a, 3);
        story.receipt(2, b, 1);
        assert_eq!(story.found(check), Vec::<String>::new(), "2 may be the send that has no answer");
        story.answer(3, c, Answer::NotDone("…".into()));
        assert!(story.found(check)[0].contains("only 0 sends are unknown"));
    }

    #[test]
    fn a_gap_is_seen() {
        let mut story = Story::default();
        story.published(1, 7, 1);
        story.published(1, 8, 3);
        assert!(story.found(check)[0].contains("1 are missing, 2 first"));
        story.delivered(5, 2, 1, 1, 9);
        assert_eq!(story.found(check), Vec::<String>::new());
    }

    #[test]
    fn an_inversion_is_seen() {
        let mut story = Story::default();
        story.published(1, 7, 2);
        story.published(2, 8, 1);
        assert!(story.found(check)[0].contains("over before it began"));

        let mut story = Story::default();
        let (a, b) = (story.send(1, 7), story.send(1, 8));
        story.receipt(1, a, 2);
        story.receipt(1, b, 1);
        assert!(story.found(check)[0].contains("of the same session"));
    }

    #[test]
    fn what_is_sent_again_has_its_place_from_the_last_time() {
        let mut story = Story::default();
        for body in [7, 8] {
            let lost = story.send(1, body);
            story.answer(1, lost, Answer::Unknown("…".into()));
        }
        story.published(2, 9, 1);
        story.published(1, 7, 2);
        story.published(1, 8, 3);
        assert_eq!(story.found(check), Vec::<String>::new());
        story.published(1, 6, 2);
        assert!(!story.found(check).is_empty());
    }
}
