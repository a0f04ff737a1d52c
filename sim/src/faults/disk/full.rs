//! Files cannot grow. Nothing that was stored may suffer, and the node goes on when there is room again; one that starts
//! meanwhile may say that it cannot.

use super::Site;
use crate::faults::Work;
use crate::plan::Whom;

/// See the module.
pub(in crate::faults) struct Full {
    whom: Whom,
    node: usize,
}

impl Full {
    pub(in crate::faults) fn new(whom: Whom) -> Self {
        Full { whom, node: 0 }
    }

    fn set(&self, site: &Site<'_>, full: bool) {
        site.world.nodes[self.node].space.set_full(full);
    }
}

impl Work for Full {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.node = site.find(self.whom);
        site.world.nodes[self.node].name()
    }

    fn tick(&mut self, site: &mut Site<'_>) {
        site.ledger.excuse_start(self.node);
        self.set(site, true);
    }

    fn end(&mut self, site: &mut Site<'_>) {
        self.set(site, false);
    }
}
