//! Which nodes are down, on whose account, and which were ever damaged.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::disk::Image;
use crate::history::History;
use crate::violation::{Sort, Violation};
use crate::world::{Cause, Ended, Phase, World};

/// A process that is down on nobody's account is started again after this.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Whether a node that ended said that its disk is not what it was.
pub(super) fn is_of_the_disk(cause: Cause) -> bool {
    matches!(cause, Cause::Damaged | Cause::Later | Cause::SetAside)
}

/// See the module.
pub(crate) struct Ledger {
    /// How many faults want the node down.
    down: Vec<u32>,
    /// Since when its process is down on nobody's account.
    idle: Vec<Option<Duration>>,
    damaged: BTreeSet<usize>,
    /// Nodes whose process may end itself in this life although nothing was taken from them.
    excused: BTreeSet<usize>,
    /// Nodes whose process may end itself in this life while it starts.
    excused_starts: BTreeSet<usize>,
    /// Lives of nodes that must end themselves.
    doomed: BTreeSet<(usize, u32)>,
    /// Nodes that somebody has asked to be removed.
    removable: BTreeSet<usize>,
    seen: Vec<Phase>,
    violations: Vec<Violation>,
}

impl Ledger {
    pub(super) fn new(nodes: usize) -> Self {
        Ledger {
            down: vec![0; nodes],
            idle: vec![None; nodes],
            damaged: BTreeSet::new(),
            excused: BTreeSet::new(),
            excused_starts: BTreeSet::new(),
            doomed: BTreeSet::new(),
            removable: BTreeSet::new(),
            seen: vec![Phase::Running; nodes],
            violations: Vec::new(),
        }
    }

    /// Nobody starts the node until as many [`Ledger::let_up`]s.
    pub(crate) fn keep_down(&mut self, node: usize) {
        self.down[node] += 1;
    }

    /// Takes it back; the node is started if that was the last.
    pub(crate) fn let_up(&mut self, world: &mut World, node: usize) {
        self.down[node] = self.down[node].saturating_sub(1);
        if self.down[node] == 0 {
            self.start(world, node);
        }
    }

    fn start(&mut self, world: &mut World, node: usize) {
        if !world.nodes[node].is_up() {
            self.excused.remove(&node);
            self.excused_starts.remove(&node);
            self.idle[node] = None;
            world.start(node);
        }
    }

    /// From now on the node may refuse to go on.
    pub(crate) fn damage(&mut self, node: usize) {
        self.damaged.insert(node);
    }

    pub(crate) fn is_damaged(&self, node: usize) -> bool {
        self.damaged.contains(&node)
    }

    /// The process of the node may end itself.
    pub(crate) fn excuse(&mut self, node: usize) {
        self.excused.insert(node);
    }

    /// The process of the node may end itself as long as it has not started.
    pub(crate) fn excuse_start(&mut self, node: usize) {
        self.excused_starts.insert(node);
    }

    /// This life of the node must end itself, soon after all is healed at the latest.
    pub(crate) fn must_end(&mut self, node: usize, life: u32) {
        self.doomed.insert((node, life));
    }

    /// Those that have not.
    pub(super) fn stayed<'a>(&'a self, world: &'a World) -> impl Iterator<Item = Violation> + 'a {
        let stays =
            |(id, life): &&(usize, u32)| world.nodes[*id].lives() == *life && world.nodes[*id].is_up();
        self.doomed.iter().filter(stays).map(|(id, _)| Violation {
            sort: Sort::Safety,
            promise: "P1",
            check: "faults/gone",
            what: format!("{} goes on without its data directory", world.nodes[*id].name()),
            at: world.elapsed(),
        })
    }

    /// From now on the cluster may let go of the node, also much later: a leader may take its time.
    pub(crate) fn may_be_removed(&mut self, node: usize) {
        self.removable.insert(node);
    }

    /// A node that was removed gets an empty disk, as whoever runs it would see to.
    fn empty_if_removed(&self, world: &World, node: usize, history: &History) {
        let host = &world.nodes[node];
        if matches!(host.phase(), Phase::Ended(ended) if ended.cause == Cause::Removed) {
            history.note(format!("{} gets an empty disk", host.name()));
            host.with_image(|image| *image = Image::default());
        }
    }

    pub(super) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Nobody keeps any node down any more.
    pub(super) fn release_all(&mut self, world: &mut World, history: &History) {
        self.notice(world, history);
        for node in 0..self.down.len() {
            self.down[node] = 0;
            if !self.is_out(node) {
                self.empty_if_removed(world, node, history);
                self.start(world, node);
            }
        }
    }

    /// It was damaged and has said so. One that ended for another reason, such as a full disk, is started again.
    pub(super) fn is_out(&self, node: usize) -> bool {
        let says_so = |cause| is_of_the_disk(cause) && cause != Cause::SetAside; // that one can be started again
        self.is_damaged(node) && matches!(&self.seen[node], Phase::Ended(ended) if says_so(ended.cause))
    }

    /// Notes who came and went, and starts who is down on nobody's account.
    pub(super) fn supervise(&mut self, world: &mut World, history: &History) {
        self.notice(world, history);
        let now = world.elapsed();
        for node in 0..self.down.len() {
            if world.nodes[node].is_up() || self.down[node] > 0 || self.is_out(node) {
                self.idle[node] = None;
            } else if now >= *self.idle[node].get_or_insert(now) + RESTART_AFTER {
                self.empty_if_removed(world, node, history);
                self.start(world, node);
            }
        }
    }

    fn notice(&mut self, world: &World, history: &History) {
        for (id, node) in world.nodes.iter().enumerate() {
            let phase = node.phase();
            if phase == self.seen[id] {
                continue;
            }
            history.note(match &phase {
                Phase::Down => format!("{} is down", node.name()),
                Phase::Starting => format!("{} starts", node.name()),
                Phase::Running => format!("{} runs", node.name()),
                Phase::Ended(Ended { says, .. }) => format!("{} has ended itself: {says}", node.name()),
            });
            if let Phase::Ended(Ended { cause, says }) = &phase
                && !self.is_damaged(id)
                && !(self.removable.contains(&id) && *cause == Cause::Removed)
                && !self.excused.contains(&id)
                && !(self.excused_starts.contains(&id) && self.seen[id] != Phase::Running)
            {
                self.violations.push(Violation {
                    sort: Sort::Safety,
                    promise: "P11",
                    check: "faults/ended",
                    what: format!("{} was not damaged and ended itself: {says}", node.name()),
                    at: world.elapsed(),
                });
            }
            self.seen[id] = phase;
        }
    }

    pub(super) fn not_back(&self, world: &World, id: usize, phase: &Phase) -> Violation {
        let (node, was) = (&world.nodes[id], if self.is_damaged(id) { "damaged" } else { "not damaged" });
        Violation {
            sort: Sort::Liveness,
            promise: if self.is_damaged(id) { "P11" } else { "P8" },
            check: "faults/back",
            what: format!("{} was {was} and is at the end: {phase:?}", node.name()),
            at: world.elapsed(),
        }
    }
}
