//! The device of a log stalls while that of the state goes on, and then the power fails: what the others committed meanwhile was
//! applied here, and is not in this node's log. Nothing on its disk may know of it.

use super::Site;
use crate::disk::Loss;
use crate::faults::Work;
use crate::plan::Whom;

/// See the module.
pub(in crate::faults) struct LogStalls {
    whom: Whom,
    loss: Loss,
    node: usize,
}

impl LogStalls {
    pub(in crate::faults) fn new(whom: Whom, loss: Loss) -> Self {
        LogStalls { whom, loss, node: 0 }
    }
}

impl Work for LogStalls {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.node = site.find(self.whom);
        site.world.nodes[self.node].stall_log(true);
        site.world.nodes[self.node].name()
    }

    fn end(&mut self, site: &mut Site<'_>) {
        site.ledger.keep_down(self.node);
        site.world.crash(self.node, self.loss);
        site.world.nodes[self.node].stall_log(false);
        site.ledger.let_up(site.world, self.node);
    }
}
