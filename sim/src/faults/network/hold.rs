//! Messages wait and arrive late, all at once: requests long given up by whoever sent them among them.

use super::{Site, pairs, pairs_of};
use crate::faults::Work;
use crate::plan::Whom;

/// See the module.
pub(in crate::faults) struct Hold {
    whom: Option<Whom>,
    pairs: Vec<(usize, usize)>,
}

impl Hold {
    pub(in crate::faults) fn new(whom: Option<Whom>) -> Self {
        Hold { whom, pairs: Vec::new() }
    }
}

impl Work for Hold {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        let host = self.whom.map(|whom| site.find(whom));
        self.pairs = host.map_or_else(|| pairs(site), |host| pairs_of(site, host));
        for (a, b) in &self.pairs {
            site.world.net.hold(&mut site.world.sim, *a, *b);
        }
        host.map_or_else(|| "everybody".into(), |host| site.world.net.name(host).into())
    }

    fn end(&mut self, site: &mut Site<'_>) {
        for (a, b) in &self.pairs {
            site.world.net.release(&mut site.world.sim, *a, *b);
        }
    }
}
