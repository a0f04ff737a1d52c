//! Clocks that jump, drift and strobe.

use super::{Site, Work};
use crate::plan::ClockFault;

/// See [`ClockFault`].
pub(super) struct Clock {
    node: usize,
    what: ClockFault,
    normal_ms: i64,
}

impl Clock {
    pub(super) fn new(node: usize, what: ClockFault) -> Self {
        Clock { node, what, normal_ms: 0 }
    }
}

impl Work for Clock {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.normal_ms = site.plan.clocks_off_ms[self.node];
        let node = &site.world.nodes[self.node];
        match self.what {
            ClockFault::Jump(by_ms) => node.clock.set_offset(self.normal_ms + by_ms),
            ClockFault::Drift(ppm) => node.clock.set_drift(ppm),
            ClockFault::Strobe { .. } => {}
        }
        format!("{} {:?}", node.name(), self.what)
    }

    fn tick(&mut self, site: &mut Site<'_>) {
        if let ClockFault::Strobe { by_ms, every } = self.what {
            let turns = site.elapsed().as_millis() / every.as_millis().max(1);
            let by_ms = if turns.is_multiple_of(2) { by_ms } else { 0 };
            site.world.nodes[self.node].clock.set_offset(self.normal_ms + by_ms);
        }
    }

    fn end(&mut self, site: &mut Site<'_>) {
        let clock = &site.world.nodes[self.node].clock;
        clock.set_drift(0);
        clock.set_offset(self.normal_ms);
    }
}
