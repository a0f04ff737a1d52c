//! The links of one host are slow.

use super::{Site, pairs_of};
use crate::faults::Work;
use crate::plan::Whom;
use crate::world::Latency;

/// See the module.
pub(in crate::faults) struct Slow {
    whom: Whom,
    latency: Latency,
    pairs: Vec<(usize, usize)>,
}

impl Slow {
    pub(in crate::faults) fn new(whom: Whom, latency: Latency) -> Self {
        Slow { whom, latency, pairs: Vec::new() }
    }
}

impl Work for Slow {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        let host = site.find(self.whom);
        self.pairs = pairs_of(site, host);
        for pair in &self.pairs {
            site.world.net.slow(&mut site.world.sim, *pair, site.number, Some(self.latency));
        }
        format!("{}, {:?} to {:?}", site.world.net.name(host), self.latency.0, self.latency.1)
    }

    fn end(&mut self, site: &mut Site<'_>) {
        for pair in &self.pairs {
            site.world.net.slow(&mut site.world.sim, *pair, site.number, None);
        }
    }
}
