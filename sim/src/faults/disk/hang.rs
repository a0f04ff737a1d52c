//! The disk of a node does not answer, for minutes perhaps, while the node goes on. Then it is there again as if nothing had
//! been, and so is all that waited for it.

use super::Site;
use crate::faults::Work;
use crate::plan::Whom;

/// See the module.
pub(in crate::faults) struct Hang {
    whom: Whom,
    node: usize,
}

impl Hang {
    pub(in crate::faults) fn new(whom: Whom) -> Self {
        Hang { whom, node: 0 }
    }
}

impl Work for Hang {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.node = site.find(self.whom);
        site.world.nodes[self.node].stall_disk(true);
        site.world.nodes[self.node].name()
    }

    fn end(&mut self, site: &mut Site<'_>) {
        site.world.nodes[self.node].stall_disk(false);
    }
}
