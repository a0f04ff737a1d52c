//! The checks: what a run must never show, whatever was done to it.
//!
//! Two layers that do not trust each other. With the log: nodes must have applied one log to one state (`log`), which is the
//! state that the model says it is (`replay`), and every answer must be the model's at the entry that carried it out
//! (`witness`). Without it: the history alone must be possible (`blackbox`). Beside them the nodes are watched while they
//! run (`state`, `members`, `disks`, `standing`) and compared row by row in the end (`convergence`); nothing in the log may be what the leader refuses (`lawful`).

mod blackbox;
mod bounds;
mod convergence;
mod disks;
mod facts;
mod handed;
mod judged;
mod lawful;
mod log;
mod members;
mod memory;
mod past;
mod replay;
mod report;
mod room;
mod standing;
mod state;
#[cfg(test)]
mod story;
mod witness;

use std::rc::Rc;
use std::time::Duration;

use quorate_simpoint::{Applied, Component};

pub(crate) use bounds::Bounds;
pub(crate) use judged::Judged;

use crate::history::History;
use crate::probe::Held;
use crate::summary::Counts;
use crate::violation::Violation;
use crate::world::World;

/// How much was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CheckStats {
    /// What was judged, and whether that is enough.
    pub(crate) judged: Judged,
    /// The most that a component of any host held, in bytes.
    pub(crate) held: Counts,
    /// The most rows that an entry touched.
    pub(crate) rows_most: u64,
    /// Applications of an entry by a node that were compared.
    pub(crate) applied: u64,
    /// How often a node went on after a snapshot.
    pub(crate) jumps: u64,
    /// Scans that damage under a node's state prevented.
    pub(crate) unreadable: u64,
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
    shortages: room::Shortages,
    standing: standing::Standing,
    disks: disks::Disks,
    report: report::Report,
    witnessed: witness::Checked,
    finished: bool,
    by_check: Counts,
    rows: u64,
    /// The most that any host's component held, and that an entry touched.
    held: Counts,
    rows_most: u64,
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
            shortages: room::Shortages::default(),
            standing: standing::Standing::default(),
            disks: disks::Disks::default(),
            report: report::Report::default(),
            witnessed: witness::Checked::default(),
            finished: false,
            by_check: Counts::new(),
            held: Counts::new(),
            rows_most: 0,
            rows: 0,
        }
    }

    /// A node, in one of its lives, applied an entry. Called from inside the node: nothing here runs the machine.
    pub(crate) fn applied(&mut self, node: usize, life: u32, at: Duration, applied: &Applied<'_>) {
        bounds::entry(applied.index, applied.rows, at, &mut self.report);
        self.rows_most = self.rows_most.max(applied.rows);
        self.log.applied(log::Node { id: node, life }, at, applied, &mut self.report);
    }

    /// After every tick of the world.
    pub(crate) fn tick(&mut self, world: &World) {
        self.replay.advance(&self.log, &mut self.report);
        self.watch.tick(world, &mut self.report);
        self.ids.tick(world, &mut self.report);
        let proposed_most = self.held.get(Component::Proposed.name()).copied().unwrap_or(0);
        memory::tick(world, proposed_most, &mut self.report);
        self.shortages.tick(world);
        self.standing.tick(world, &mut self.report);
        self.disks.tick(world, &mut self.report);
        bounds::nodes(world, &mut self.report);
    }

    /// A component of a host was seen to hold this.
    pub(crate) fn held(
        &mut self,
        bounds: Bounds,
        name: &str,
        component: Component,
        held: Held,
        at: Duration,
    ) {
        let most = self.held.entry(component.name().to_owned()).or_default();
        *most = held.most.max(*most);
        bounds.check(name, component, held, at, &mut self.report);
    }

    /// A new life of a node begins.
    pub(crate) fn restarted(&mut self, node: usize) {
        self.log.restarted(node);
        self.watch.restarted(node);
    }

    /// After the faults are healed and the queues drained: looks at the whole run.
    pub(crate) fn finish(&mut self, world: &World) {
        self.tick(world);
        lawful::check(&self.log, &mut self.report);
        self.rows = convergence::check(world, &self.log, &self.replay, &mut self.report);
        self.look_back();
        self.finished = true;
    }

    fn look_back(&mut self) {
        let history = Rc::clone(&self.history);
        history.look(|events| {
            let past = past::Past::of(events);
            if self.replay.is_complete(&self.log) {
                let (asked, checked) = witness::check(&past, &self.log, &self.replay.facts, &mut self.report);
                self.witnessed = checked;
                witness::compare_reads(&self.log, &self.replay.facts, asked, &mut self.report);
                let handed = handed::check(&past, &self.log, &self.replay.facts, &mut self.report);
                self.by_check.insert("handed-over".to_owned(), handed);
            }
            blackbox::check(&past, &mut self.report);
            self.shortages.check(events, &mut self.report);
            self.by_check.append(&mut judged::by_check(&past));
        });
    }

    /// What was found so far, the first of each check.
    pub(crate) fn violations(&self) -> &[Violation] {
        self.report.violations()
    }

    /// How much was checked so far.
    pub(crate) fn stats(&self) -> CheckStats {
        let judged = Judged {
            finished: self.finished,
            left: (!self.replay.is_complete(&self.log)).then(|| self.replay.left_at()),
            entries: self.replay.entries,
            writes: self.witnessed.writes,
            reads: self.witnessed.reads,
            deliveries: self.witnessed.deliveries,
            scans: self.replay.scans + self.watch.scans,
            rows: self.rows,
            by_check: self.by_check.clone(),
        };
        CheckStats {
            judged,
            held: self.held.clone(),
            rows_most: self.rows_most,
            applied: self.log.applied,
            jumps: self.log.jumps,
            unreadable: self.watch.unreadable,
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
                rows: 3,
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
        let Judged { entries, writes, ref left, .. } = stats.judged;
        assert_eq!((entries, stats.applied, writes, stats.violations), (1, 3, 1, 4));
        assert_eq!(*left, None);
    }
}
