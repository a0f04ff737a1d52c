//! Messages get lost.

use super::{Site, pairs};
use crate::faults::Work;

/// See the module.
pub(in crate::faults) struct Loss {
    per_million: u32,
}

impl Loss {
    pub(in crate::faults) fn new(per_million: u32) -> Self {
        Loss { per_million }
    }

    fn set(&self, site: &mut Site<'_>, rate: Option<u32>) {
        for pair in pairs(site) {
            site.world.net.lose(&mut site.world.sim, pair, site.number, rate);
        }
    }
}

impl Work for Loss {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.set(site, Some(self.per_million));
        format!("{} of a million messages", self.per_million)
    }

    fn end(&mut self, site: &mut Site<'_>) {
        self.set(site, None);
    }
}
