//! Each link has a latency of its own, so that messages overtake one another across connections.

use std::time::Duration;

use super::{Site, pairs};
use crate::faults::Work;

/// See the module.
pub(in crate::faults) struct Spread {
    greatest: Duration,
}

impl Spread {
    pub(in crate::faults) fn new(greatest: Duration) -> Self {
        Spread { greatest }
    }
}

impl Work for Spread {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        let greatest = self.greatest.as_millis() as u64;
        for pair in pairs(site) {
            let least = site.rng.below(greatest + 1);
            let latency =
                (Duration::from_millis(least), Duration::from_millis(site.rng.between(least, greatest)));
            site.world.net.slow(&mut site.world.sim, pair, site.number, Some(latency));
        }
        format!("up to {:?}", self.greatest)
    }

    fn end(&mut self, site: &mut Site<'_>) {
        for pair in pairs(site) {
            site.world.net.slow(&mut site.world.sim, pair, site.number, None);
        }
    }
}
