//! A node dies again and again while it starts, before it is stopped from doing so.

use std::time::Duration;

use super::{Site, fail_at};
use crate::disk::Loss;
use crate::faults::Work;
use crate::plan::Whom;

/// See the module.
pub(in crate::faults) struct CrashAtStart {
    whom: Whom,
    ops_max: u64,
    loss: Loss,
    node: usize,
    next: Duration,
}

impl CrashAtStart {
    pub(in crate::faults) fn new(whom: Whom, ops_max: u64, loss: Loss) -> Self {
        CrashAtStart { whom, ops_max, loss, node: 0, next: Duration::ZERO }
    }
}

impl Work for CrashAtStart {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.node = site.find(self.whom);
        site.ledger.keep_down(self.node);
        site.world.crash(self.node, self.loss);
        let name = site.world.nodes[self.node].name();
        format!("{name} within {} disk operations, losing {:?}", self.ops_max, self.loss)
    }

    fn tick(&mut self, site: &mut Site<'_>) {
        if site.elapsed() < self.next || site.world.nodes[self.node].is_up() {
            return;
        }
        self.next = site.elapsed() + Duration::from_millis(site.rng.magnitude(1, 500));
        site.world.start(self.node);
        let (ops, after) = (site.rng.below(self.ops_max), site.rng.percent(50));
        fail_at(site, self.node, ops, after, self.loss);
    }

    fn end(&mut self, site: &mut Site<'_>) {
        site.world.crash(self.node, self.loss);
        site.ledger.let_up(site.world, self.node);
    }
}
