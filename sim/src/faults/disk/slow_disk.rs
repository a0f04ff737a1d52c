//! The disk of one node takes its time.

use super::Site;
use crate::faults::Work;
use crate::plan::Whom;
use crate::world::{DiskSpeed, Latency};

/// See the module.
pub(in crate::faults) struct SlowDisk {
    whom: Whom,
    latency: Latency,
    node: usize,
}

impl SlowDisk {
    pub(in crate::faults) fn new(whom: Whom, latency: Latency) -> Self {
        SlowDisk { whom, latency, node: 0 }
    }
}

impl Work for SlowDisk {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.node = site.find(self.whom);
        let node = &site.world.nodes[self.node];
        *node.speed.lock() = DiskSpeed { latency: self.latency };
        format!("{}, {:?} to {:?}", node.name(), self.latency.0, self.latency.1)
    }

    fn end(&mut self, site: &mut Site<'_>) {
        *site.world.nodes[self.node].speed.lock() = site.normal_speed();
    }
}
