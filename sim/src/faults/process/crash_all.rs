//! The power of all hosts fails, each at a disk operation of its own.

use super::{Site, fail_at};
use crate::disk::Loss;
use crate::faults::Work;

/// See the module.
pub(in crate::faults) struct CrashAll {
    ops_max: u64,
    loss: Loss,
}

impl CrashAll {
    pub(in crate::faults) fn new(ops_max: u64, loss: Loss) -> Self {
        CrashAll { ops_max, loss }
    }
}

impl Work for CrashAll {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        for node in 0..site.world.nodes.len() {
            site.ledger.keep_down(node);
            let (ops, after) = (site.rng.below(self.ops_max), site.rng.percent(50));
            fail_at(site, node, ops, after, self.loss);
        }
        format!("within {} disk operations, losing {:?}", self.ops_max, self.loss)
    }

    fn end(&mut self, site: &mut Site<'_>) {
        let nodes = site.world.nodes.len();
        (0..nodes).for_each(|node| site.world.crash(node, self.loss));
        (0..nodes).for_each(|node| site.ledger.let_up(site.world, node));
    }
}
