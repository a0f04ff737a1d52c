//! A process dies, or the power of its host fails, at any disk operation; it comes back sooner or later.

use super::{Site, fail_at};
use crate::disk::Loss;
use crate::faults::Work;
use crate::plan::Whom;

/// See the module.
pub(in crate::faults) struct Crash {
    whom: Whom,
    /// 0: between two ticks.
    ops: u64,
    after: bool,
    loss: Loss,
    node: usize,
}

impl Crash {
    pub(in crate::faults) fn new(whom: Whom, ops: u64, after: bool, loss: Loss) -> Self {
        Crash { whom, ops, after, loss, node: 0 }
    }
}

impl Work for Crash {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.node = site.find(self.whom);
        site.ledger.keep_down(self.node);
        if self.ops == 0 {
            site.world.crash(self.node, self.loss);
        } else {
            fail_at(site, self.node, self.ops - 1, self.after, self.loss);
        }
        let when = if self.after { "after" } else { "before" };
        format!(
            "{} {when} {} disk operations, losing {:?}",
            site.world.nodes[self.node].name(),
            self.ops,
            self.loss
        )
    }

    fn end(&mut self, site: &mut Site<'_>) {
        // A node that had nothing to write has not come to that operation.
        site.world.crash(self.node, self.loss);
        site.ledger.let_up(site.world, self.node);
    }
}
