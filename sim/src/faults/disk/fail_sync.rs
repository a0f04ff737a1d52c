//! A sync fails. The process must end itself; what it asked to be synced is gone with the next power loss, although it
//! can be read until then.

use super::Site;
use crate::faults::Work;
use crate::plan::Whom;

/// See the module.
pub(in crate::faults) struct FailSync {
    whom: Whom,
    node: usize,
}

impl FailSync {
    pub(in crate::faults) fn new(whom: Whom) -> Self {
        FailSync { whom, node: 0 }
    }

    fn set(&self, site: &Site<'_>, fails: bool) {
        site.world.nodes[self.node].medium().borrow_mut().trouble.fail_sync = fails;
    }
}

impl Work for FailSync {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.node = site.find(self.whom);
        site.ledger.excuse(self.node);
        self.set(site, true);
        site.world.nodes[self.node].name()
    }

    fn end(&mut self, site: &mut Site<'_>) {
        self.set(site, false);
    }
}
