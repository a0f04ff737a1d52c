//! A process does nothing for a while and then goes on where it was.
//!
//! Messages to and from it wait, and its disk actors stand still. Unlike with SIGSTOP its timers run, so that it knows
//! when it wakes how late it is: it may have given up a lease, or begun to campaign, while nothing it says gets out. What
//! it said meanwhile arrives when it wakes, which SIGSTOP would not do: as if it had been stopped with that in its
//! buffers.

use super::Site;
use crate::faults::Work;
use crate::plan::Whom;

/// See the module.
pub(in crate::faults) struct Pause {
    whom: Whom,
    node: usize,
}

impl Pause {
    pub(in crate::faults) fn new(whom: Whom) -> Self {
        Pause { whom, node: 0 }
    }

    fn others(&self, site: &Site<'_>) -> Vec<usize> {
        (0..site.world.net.hosts()).filter(|other| *other != self.node).collect()
    }
}

impl Work for Pause {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.node = site.find(self.whom);
        for other in self.others(site) {
            site.world.net.hold(&mut site.world.sim, self.node, other);
        }
        site.world.nodes[self.node].pause(true);
        site.world.nodes[self.node].name()
    }

    fn end(&mut self, site: &mut Site<'_>) {
        site.world.nodes[self.node].pause(false);
        for other in self.others(site) {
            site.world.net.release(&mut site.world.sim, self.node, other);
        }
    }
}
