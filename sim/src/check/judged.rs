//! How much of a run was judged. A run of which too little was is not clean: nobody knows what it was.

use std::time::Duration;

use super::past::Past;
use crate::summary::Counts;

/// Whoever works for so long has something to be judged by.
const WORKED_MIN: Duration = Duration::from_secs(60);
/// Then at least so many writes, reads and deliveries were held against the log.
const FLOORS: [(&str, u64); 3] = [("writes", 20), ("reads", 5), ("deliveries", 5)];

/// What was judged, by the end of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Whether the checks that look at the whole run were reached.
    pub(crate) finished: bool,
    /// Where the model stopped following the log, if it did not come to its end.
    pub(crate) left: Option<u64>,
    /// Entries that the model carried out, too.
    pub(crate) entries: u64,
    /// Answers to writes that were held against the log.
    pub(crate) writes: u64,
    /// Reads that were held against the model.
    pub(crate) reads: u64,
    /// Deliveries that were held against the log.
    pub(crate) deliveries: u64,
    /// Scans of a whole state.
    pub(crate) scans: u64,
    /// Rows of nodes that were compared in the end.
    pub(crate) rows: u64,
    /// What each of the checks that know only the history had to look at.
    pub(crate) by_check: Counts,
}

impl Judged {
    /// Why this was no judgement of a cluster that worked for so long. `None`: it was one.
    pub(crate) fn shortfall(&self, worked: Duration) -> Option<String> {
        if !self.finished {
            return Some("the run did not come to its end, so nobody looked back at it".into());
        }
        if let Some(index) = self.left {
            return Some(format!(
                "the model stopped following the log at entry {index}: no answer was held against it"
            ));
        }
        let none = [
            ("entry was carried out by the model", self.entries),
            ("state was scanned", self.scans),
            ("row of a node was compared with the log's", self.rows),
            ("read was held against the model", self.reads),
        ];
        if let Some((what, _)) = none.iter().find(|(_, count)| *count == 0) {
            return Some(format!("no {what}"));
        }
        let counts = [self.writes, self.reads, self.deliveries];
        let few = FLOORS.iter().zip(counts).find(|((_, floor), count)| count < floor);
        let ((what, floor), count) = few.filter(|_| worked >= WORKED_MIN)?;
        Some(format!(
            "{count} {what} were judged in {} s of work; at least {floor} are to be",
            worked.as_secs()
        ))
    }
}

/// What each of the checks from the history alone has to look at: see the table in `blackbox`.
pub(super) fn by_check(past: &Past<'_>) -> Counts {
    let mut counts = Counts::new();
    for queue in past.queues() {
        let mut add = |name: &str, count: usize| *counts.entry(name.to_owned()).or_default() += count as u64;
        let (sends, deliveries) = (queue.sends.len(), queue.deliveries.len());
        add("B1", deliveries);
        add("B2", if queue.drained().is_some() { sends } else { 0 });
        add("B3", sends);
        add("B4", deliveries);
        add("B5", sends);
        add("B6", deliveries);
        add("B7", queue.settles.len());
        add("B8", deliveries);
        add("B9", if queue.total { deliveries } else { 0 });
        add("B11", queue.stats.len());
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;

    const MINUTE: Duration = Duration::from_secs(60);

    fn judged() -> Judged {
        let whole = Judged {
            finished: true,
            entries: 90,
            writes: 50,
            reads: 30,
            deliveries: 40,
            ..Judged::default()
        };
        Judged { scans: 3, rows: 500, ..whole }
    }

    #[test]
    fn a_run_that_was_judged_is_one() {
        assert_eq!(judged().shortfall(MINUTE), None);
    }

    #[test]
    fn each_way_of_not_being_judged_is_told() {
        type Take = fn(&mut Judged);
        let ways: [(Take, &str); 9] = [
            (|judged| judged.finished = false, "did not come to its end"),
            (|judged| judged.left = Some(17), "at entry 17"),
            (|judged| judged.entries = 0, "no entry"),
            (|judged| judged.scans = 0, "no state"),
            (|judged| judged.rows = 0, "no row"),
            (|judged| judged.reads = 0, "no read"),
            (|judged| judged.writes = 19, "19 writes were judged in 60 s"),
            (|judged| judged.reads = 4, "4 reads"),
            (|judged| judged.deliveries = 4, "4 deliveries"),
        ];
        for (take, expected) in ways {
            let mut judged = judged();
            take(&mut judged);
            let told = judged.shortfall(MINUTE).expect(expected);
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn who_worked_for_a_moment_need_not_have_done_much() {
        let little = Judged { writes: 0, deliveries: 0, reads: 1, ..judged() };
        assert_eq!(little.shortfall(Duration::from_secs(5)), None);
    }

    #[test]
    fn what_the_checks_look_at_is_counted() {
        let mut story = Story::default();
        story.create(true);
        story.published(1, 7, 1);
        story.delivered(5, 1, 1, 1, 7);
        story.acked(5, 1, 1);
        let of = |story: &Story| by_check(&Past::of(&story.events));
        let counts = of(&story);
        assert!(["B1", "B3", "B5", "B7", "B9"].iter().all(|name| counts[*name] == 1), "{counts:?}");
        assert_eq!((counts["B2"], counts["B11"]), (0, 0));
        story.empty(1);
        assert_eq!((of(&story)["B2"], of(&story)["B11"]), (1, 1));
    }
}
