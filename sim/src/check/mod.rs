//! The checks: what a run must never show, whatever was done to it.
//!
//! Two layers that do not trust each other. With the log: nodes must have applied one log to one state (`log`), which is the
//! state that the model says it is (`replay`), and every answer must be the model's at the entry that carried it out
//! (`witness`). Without it: the history alone must be possible (`blackbox`). Beside them the nodes are watched while they
//! run (`state`, `members`) and compared row by row in the end (`convergence`).

mod blackbox;
mod convergence;
mod facts;
mod log;
mod members;
mod past;
mod replay;
mod report;
mod state;
#[cfg(test)]
mod story;
mod witness;

use std::rc::Rc;
use std::time::Duration;

use quorate_simpoint::Applied;

use crate::history::History;
use crate::violation::Violation;
use crate::world::World;

/// How much was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CheckStats {
    /// Entries of the committed log.
    pub(crate) entries: u64,
    /// Applications of an entry by a node that were compared.
    pub(crate) applied: u64,
    /// How often a node went on after a snapshot.
    pub(crate) jumps: u64,
    /// Scans of a whole state.
    pub(crate) scans: u64,
    /// Scans that damage under a node's state prevented.
    pub(crate) unreadable: u64,
    /// Writes that were held against the log.
    pub(crate) writes: u64,
    /// Reads that were held against the model.
    pub(crate) reads: u64,
    /// Deliveries that were held against the log.
    pub(crate) deliveries: u64,
    /// Rows of nodes that were compared in the end.
    pub(crate) rows: u64,
    /// Whether the model followed the log to its end.
    pub(crate) complete: bool,
    /// Violations, with those that are not kept.
    pub(crate) violations: u64,
}

/// All checks of one run.
pub(crate) struct Checker {
    history: Rc<History>,
    log: log::CommittedLog,
    replay: replay::Replay,
    watch: state::Watch,
    ids: members::Ids,
    report: report::Report,
    witnessed: witness::Checked,
    rows: u64,
}

impl Checker {
    /// For a run that has not begun.
    pub(crate) fn new(history: Rc<History>) -> Self {
        Checker {
            history,
            log: log::CommittedLog::default(),
            replay: replay::Replay::default(),
            watch: state::Watch::default(),
            ids: members::Ids::default(),
            report: report::Report::default(),
            witnessed: witness::Checked::default(),
            rows: 0,
        }
    }

    /// A node, in one of its lives, applied an entry. Called from inside the node: nothing here runs the machine.
    pub(crate) fn applied(&mut self, node: usize, life: u32, at: Duration, applied: &Applied<'_>) {
        self.log.applied(log::Node { id: node, life }, at, applied, &mut self.report);
    }

    /// After every tick of the world.
    pub(crate) fn tick(&mut self, world: &World) {
        self.replay.advance(&self.log, &mut self.report);
        self.watch.tick(world, &mut self.report);
        self.ids.tick(world, &mut self.report);
    }

    /// A new life of a node begins.
    pub(crate) fn restarted(&mut self, node: usize) {
        self.log.restarted(node);
        self.watch.restarted(node);
    }

    /// After the faults are healed and the queues drained: looks at the whole run.
    pub(crate) fn finish(&mut self, world: &World) {
        self.tick(world);
        self.rows = convergence::check(world, &self.log, &self.replay, &mut self.report);
        self.look_back();
    }

    fn look_back(&mut self) {
        let history = Rc::clone(&self.history);
        history.look(|events| {
            let past = past::Past::of(events);
            if self.replay.is_complete(&self.log) {
                let (asked, checked) = witness::check(&past, &self.log, &self.replay.facts, &mut self.report);
                self.witnessed = checked;
                witness::compare_reads(&self.log, asked, &mut self.report);
            }
            blackbox::check(&past, &mut self.report);
        });
    }

    /// What was found so far, the first of each check.
    pub(crate) fn violations(&self) -> &[Violation] {
        self.report.violations()
    }

    /// How much was checked so far.
    pub(crate) fn stats(&self) -> CheckStats {
        CheckStats {
            entries: self.replay.entries,
            applied: self.log.applied,
            jumps: self.log.jumps,
            scans: self.replay.scans + self.watch.scans,
            unreadable: self.watch.unreadable,
            writes: self.witnessed.writes,
            reads: self.witnessed.reads,
            deliveries: self.witnessed.deliveries,
            rows: self.rows,
            complete: self.replay.is_complete(&self.log),
            violations: self.report.found(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use quorate_machine::command::{Batch, Tick, Verb};

    use super::*;
    use crate::history::{Answer, Call, Who};

    #[test]
    fn what_nodes_and_clients_tell_comes_together() {
        let history = Rc::new(History::default());
        let mut checker = Checker::new(Rc::clone(&history));
        let entry = Batch::new(7, vec![Verb::Tick(Tick {}).into()]).encode();
        let told = |checker: &mut Checker, node, digest: [u8; 16]| {
            let digest = || Some(digest);
            let applied = Applied {
                data_dir: Path::new(""),
                shard: 0,
                term: 1,
                index: 1,
                entry: Some(&entry),
                digest: &digest,
            };
            checker.applied(node, 1, Duration::ZERO, &applied);
        };
        told(&mut checker, 0, [1; 16]);
        checker.restarted(0);
        told(&mut checker, 0, [1; 16]);
        assert_eq!(checker.violations(), []);
        told(&mut checker, 1, [2; 16]);

        checker.replay.advance(&checker.log, &mut checker.report);
        let who = Who { client: 0, life: 1, actor: 0 };
        let call = Call::Publish { session: "s".into(), queue: "q".into(), body: 1, bytes: 16 };
        let op = history.invoke(who, call);
        history.complete(who, op, Answer::Receipt { position: 2, duplicate: false });
        checker.look_back();
        let checks: Vec<&str> = checker.violations().iter().map(|violation| violation.check).collect();
        assert_eq!(checks, ["same-state", "reference", "witness", "B5-positions"]);
        let stats = checker.stats();
        assert_eq!((stats.entries, stats.applied, stats.writes, stats.violations), (1, 3, 1, 4));
        assert!(stats.complete);
    }
}
