//! What must hold of every running node at every moment: nothing goes back, and the marks of log and
//! state stand in their order. Now and then a node's whole state is checked.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_machine::{check, read};
use quorate_node::shards::Shard;

use super::report::Report;
use crate::world::World;

const LEADER: &str = "leader-goes-back";
const BACK: &str = "nothing-goes-back";
const MARKS: &str = "marks";
const INVARIANT: &str = "invariant";

/// How often the marks are compared; it costs more than the rest.
const MARKS_EVERY: u64 = 10;
/// How often one node's whole state is checked.
const SCAN_EVERY_MS: u128 = 250;

/// What a node shows at a moment of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    term: u64,
    /// Whom it takes for the leader of that term.
    leader: Option<u64>,
    purged: Option<u64>,
    flushed: Option<u64>,
    applied: Option<u64>,
    durable_vote: u64,
}

/// What openraft says of the log, all at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks {
    applied: u64,
    committed: u64,
    last: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Watch {
    /// What each node showed last in its current life.
    seen: BTreeMap<usize, Seen>,
    /// Replicated time as each node showed it last in its current life.
    time_ms: BTreeMap<usize, u64>,
    ticks: u64,
    next_scan: u128,
    rotation: usize,
    pub(super) scans: u64,
    /// States that could not be read: the disk under them is damaged.
    pub(super) unreadable: u64,
}

impl Watch {
    /// Looks at every running node.
    pub(super) fn tick(&mut self, world: &World, report: &mut Report) {
        let at = world.elapsed();
        self.ticks += 1;
        for (node, host) in world.nodes.iter().enumerate() {
            let Some(shard) = host.shard() else {
                self.restarted(node);
                continue;
            };
            self.look(node, seen(&shard), at, report);
            if self.ticks.is_multiple_of(MARKS_EVERY)
                && let Ok(status) = shard.replica.status()
            {
                let (applied, committed) = (status.applied, status.committed);
                ordered(node, Marks { applied, committed, last: status.last }, at, report);
            }
        }
        if at.as_millis() >= self.next_scan && !world.nodes.is_empty() {
            self.next_scan = at.as_millis() + SCAN_EVERY_MS;
            self.rotation = (self.rotation + 1) % world.nodes.len();
            if let Some(shard) = world.nodes[self.rotation].shard() {
                self.scan(self.rotation, &shard, at, report);
            }
        }
    }

    /// A new life may show less.
    pub(super) fn restarted(&mut self, node: usize) {
        self.seen.remove(&node);
        self.time_ms.remove(&node);
    }

    fn look(&mut self, node: usize, seen: Seen, at: Duration, report: &mut Report) {
        let name = node + 1;
        let before = self.seen.insert(node, seen).unwrap_or_default();
        // A leader is known by term and node: in one term a node of a greater number may take over from a smaller one.
        if let (Some(now), Some(known)) = (seen.leader, before.leader)
            && seen.term == before.term
            && now < known
        {
            let what = format!("n{name}: the leader of term {} went from {known} to {now}", seen.term);
            report.safety("P2", LEADER, at, what);
        }
        // A replica that has stopped says nothing of terms any more.
        let back = [
            ("term", (seen.term != 0).then_some(seen.term), Some(before.term).filter(|_| seen.term != 0)),
            ("vote's term", Some(seen.durable_vote), Some(before.durable_vote)),
            ("purged", seen.purged, before.purged),
            ("flushed", seen.flushed, before.flushed),
            ("applied", seen.applied, before.applied),
        ];
        for (mark, now, before) in back {
            if now < before {
                let what = format!("n{name}: {mark} went from {before:?} to {now:?}");
                report.safety("P2", BACK, at, what);
            }
        }
        if seen.purged > seen.flushed || seen.flushed > seen.applied {
            let what = format!(
                "n{name}: purged {:?}, flushed {:?}, applied {:?}: each must be at most the next",
                seen.purged, seen.flushed, seen.applied
            );
            report.safety("P1", MARKS, at, what);
        }
    }

    fn scan(&mut self, node: usize, shard: &Shard, at: Duration, report: &mut Report) {
        self.scans += 1;
        let state = shard.state().read();
        let index = state.applied().last.map(|id| id.index);
        let time_ms = match (read::now_ms(&state), check::check(&state)) {
            (Ok(time_ms), Ok(())) => time_ms,
            (Err(_), _) => {
                self.unreadable += 1;
                return;
            }
            // A damaged row is the storage's to report, and the node's to end over.
            (Ok(_), Err(problem)) if problem.starts_with("the state store failed") => {
                self.unreadable += 1;
                return;
            }
            (Ok(_), Err(problem)) => {
                let what = format!("n{} after {index:?}: {problem}", node + 1);
                return report.safety("P10", INVARIANT, at, what);
            }
        };
        self.time(node, time_ms, at, report);
    }

    fn time(&mut self, node: usize, time_ms: u64, at: Duration, report: &mut Report) {
        let before = self.time_ms.insert(node, time_ms).unwrap_or(0);
        if time_ms < before {
            let what = format!("n{}: replicated time went from {before} to {time_ms}", node + 1);
            report.safety("P10", BACK, at, what);
        }
    }
}

fn seen(shard: &Shard) -> Seen {
    let leadership = shard.leadership.borrow().clone();
    let (log, state) = (shard.replica.log(), shard.state());
    let index = |id: Option<quorate_storage::log::LogId>| id.map(|id| id.index);
    Seen {
        term: leadership.term,
        leader: leadership.leader,
        purged: index(log.purged()),
        flushed: index(state.flushed()),
        applied: index(state.applied().last),
        durable_vote: log.vote().map_or(0, |vote| vote.term),
    }
}

fn ordered(node: usize, marks: Marks, at: Duration, report: &mut Report) {
    let Marks { applied, committed, last } = marks;
    if applied > committed || committed > last {
        let what = format!("n{}: applied {applied}, committed {committed}, last {last}", node + 1);
        report.safety("P1", MARKS, at, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_secs(1);

    fn good() -> Seen {
        let (purged, flushed, applied) = (Some(3), Some(5), Some(9));
        Seen { term: 4, leader: Some(2), purged, flushed, applied, durable_vote: 4 }
    }

    fn found(act: impl FnOnce(&mut Watch, &mut Report)) -> Vec<&'static str> {
        let (mut watch, mut report) = (Watch::default(), Report::default());
        watch.look(0, good(), AT, &mut report);
        act(&mut watch, &mut report);
        report.checks()
    }

    #[test]
    fn standing_and_going_on_is_fine() {
        let none: Vec<&str> = Vec::new();
        assert_eq!(found(|watch, report| watch.look(0, good(), AT, report)), none);
        let later = Seen { term: 5, leader: None, purged: Some(5), ..good() };
        assert_eq!(found(|watch, report| watch.look(0, later, AT, report)), none);
        assert_eq!(found(|watch, report| watch.look(1, good(), AT, report)), none);
        let stopped = Seen { term: 0, leader: None, ..good() };
        assert_eq!(found(|watch, report| watch.look(0, stopped, AT, report)), none);
    }

    #[test]
    fn a_new_life_may_show_less_and_the_same_life_not() {
        let less = Seen { flushed: Some(4), applied: Some(4), ..good() };
        assert_eq!(found(|watch, report| watch.look(0, less, AT, report)), [BACK]);
        let again = |watch: &mut Watch, report: &mut Report| {
            watch.restarted(0);
            watch.look(0, less, AT, report);
        };
        assert_eq!(found(again), Vec::<&str>::new());
        let lower = Seen { term: 3, ..good() };
        assert_eq!(found(|watch, report| watch.look(0, lower, AT, report)), [BACK]);
    }

    #[test]
    fn a_leader_that_goes_back_within_a_term_is_seen() {
        let leader = good().leader.expect("there is one");
        let higher = Seen { leader: Some(leader + 1), ..good() };
        assert_eq!(found(|watch, report| watch.look(0, higher, AT, report)), Vec::<&str>::new());
        let lower = Seen { leader: Some(leader - 1), ..good() };
        assert_eq!(found(|watch, report| watch.look(0, lower, AT, report)), [LEADER]);
    }

    #[test]
    fn marks_out_of_order_are_seen() {
        let purged = Seen { purged: Some(6), ..good() };
        assert_eq!(found(|watch, report| watch.look(1, purged, AT, report)), [MARKS]);
        let flushed = Seen { flushed: Some(10), ..good() };
        assert_eq!(found(|watch, report| watch.look(1, flushed, AT, report)), [MARKS]);
        let marks = |applied, committed, last| {
            found(|_, report| ordered(0, Marks { applied, committed, last }, AT, report))
        };
        assert_eq!(marks(3, 3, 4), Vec::<&str>::new());
        assert_eq!(marks(4, 3, 4), [MARKS]);
        assert_eq!(marks(3, 5, 4), [MARKS]);
    }

    #[test]
    fn time_that_goes_back_is_seen() {
        let times = |first, second| {
            found(|watch, report| {
                watch.time(0, first, AT, report);
                watch.time(0, second, AT, report);
            })
        };
        assert_eq!(times(7, 7), Vec::<&str>::new());
        assert_eq!(times(7, 6), [BACK]);
    }
}
