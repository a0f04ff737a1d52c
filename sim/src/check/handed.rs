//! A client hands out nothing whose lease is over by its own reckoning, whatever stopped it or its connection meanwhile. Within one term
//! replicated time runs at nine tenths of the speed of the client's clock at least, so a lease that nobody extended is over ten ninths of
//! its length after the entry that gave it, at the latest.

use std::collections::BTreeSet;
use std::time::Duration;

use super::facts::Facts;
use super::log::CommittedLog;
use super::past::Past;
use super::report::Report;

const CHECK: &str = "handed-over";
/// A leader that has just been elected may stamp a little behind what was stamped before, and leases end so much later.
const SLACK: Duration = Duration::from_millis(300);

/// Looks at each first handing out of a lease. Returns at how many.
pub(super) fn check(past: &Past<'_>, log: &CommittedLog, facts: &Facts, report: &mut Report) -> u64 {
    let (mut seen, mut judged) = (BTreeSet::new(), 0);
    for delivery in &past.deliveries {
        // One that comes again may have been extended.
        if !seen.insert((delivery.queue, delivery.token)) {
            continue;
        }
        let leases = facts.leases.get(&(delivery.queue.to_owned(), delivery.token));
        let lease = leases.into_iter().flatten().find(|lease| lease.position == delivery.position);
        let Some((lease, given)) = lease.and_then(|lease| Some((lease, log.get(lease.index)?))) else {
            continue; // the witness says so
        };
        // A new leader may be ahead of what the one before it told this client.
        let term = log.last_at(delivery.at).and_then(|index| log.get(index)).map(|entry| entry.term);
        if term != Some(given.term) {
            continue;
        }
        judged += 1;
        let over = given.at + Duration::from_millis(lease.lasts_ms * 10 / 9) + SLACK;
        if delivery.at > over {
            let what = format!(
                "{} {} (token {}) was handed out, and its lease of {} ms from {:.3} s was over at {:.3} s",
                delivery.queue,
                delivery.position,
                delivery.token,
                lease.lasts_ms,
                given.at.as_secs_f64(),
                over.as_secs_f64()
            );
            report.safety("P4", CHECK, delivery.at, what);
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use quorate_machine::command::{Attach, CreateQueue, OpenProducer, Publish, Settings, Verb};

    use super::*;
    use crate::check::replay::Replay;
    use crate::check::story::{Story, Written, message};

    const DEFAULT: &str = "default";
    const LEASE_MS: u64 = 900;

    /// A message that was leased at 3 ms, and handed out so much later.
    fn found(after_ms: u64, times: usize) -> (u64, Vec<String>) {
        let mut written = Written::default();
        let at = Duration::from_millis;
        let settings = Settings { lease_ms: LEASE_MS, ..Settings::default() };
        let create =
            CreateQueue { namespace: DEFAULT.into(), name: "q".into(), settings, ..CreateQueue::default() };
        let open = OpenProducer {
            namespace: DEFAULT.into(),
            session: "s".into(),
            holder: vec![1; 16].into(),
            ..OpenProducer::default()
        };
        let attach = Attach {
            namespace: DEFAULT.into(),
            queue: "q".into(),
            subscription: "default".into(),
            session: vec![2; 16].into(),
            credit: 9,
            ..Attach::default()
        };
        let (lengths, messages) = Publish::pack(&[prost::Message::encode_to_vec(&message(7))]);
        let publish = Publish {
            namespace: DEFAULT.into(),
            queue: "q".into(),
            producer: 1,
            epoch: 1,
            first_seq: 1,
            lengths,
            messages,
            ..Publish::default()
        };
        written.apply(Duration::ZERO, 0, None, [0; 16]);
        written.entry(at(1), vec![Verb::CreateQueue(create), Verb::OpenProducer(open)]);
        written.entry(at(2), vec![Verb::Attach(attach)]);
        written.entry(at(3), vec![Verb::Publish(publish)]);
        let mut replay = Replay::default();
        replay.advance(&written.log, &mut written.report);
        assert_eq!(written.report.violations(), []);
        let mut story = Story::default();
        for _ in 0..times {
            story.delivered(5, 1, 1, 1, 7);
        }
        story.events.last_mut().expect("it was delivered").at = at(3 + after_ms);
        let mut report = Report::default();
        let judged = check(&Past::of(&story.events), &written.log, &replay.facts, &mut report);
        (judged, report.violations().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_handed_out_after_its_end_is_seen() {
        assert_eq!(found(LEASE_MS, 1), (1, Vec::new()));
        let (judged, found) = found(LEASE_MS * 10 / 9 + 301, 1);
        assert!(judged == 1 && found[0].contains("was over at"), "{found:?}");
    }

    #[test]
    fn what_comes_again_may_have_been_extended() {
        assert_eq!(found(LEASE_MS * 9, 2), (1, Vec::new()));
    }
}
