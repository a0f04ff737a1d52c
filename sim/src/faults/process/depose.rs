//! A leader is cut off from the other nodes by a firewall that refuses them, not from its clients, and the others restart: they
//! know nothing of what they granted it, hold it for gone, and one of them leads at once. Whoever asks the old one meanwhile must
//! not be told what was.

use super::Site;
use crate::disk::Loss;
use crate::faults::Work;
use crate::faults::network::{cut, mend};
use crate::plan::Whom;

/// See the module.
pub(in crate::faults) struct Depose {
    loss: Loss,
    cuts: Vec<(usize, usize)>,
}

impl Depose {
    pub(in crate::faults) fn new(loss: Loss) -> Self {
        Depose { loss, cuts: Vec::new() }
    }

    fn reject(&self, site: &mut Site<'_>, rejected: bool) {
        for (from, to) in &self.cuts {
            site.world.net.reject(*from, *to, rejected);
        }
    }
}

impl Work for Depose {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        let leader = site.find(Whom::Leader);
        let others: Vec<usize> = (0..site.world.nodes.len()).filter(|node| *node != leader).collect();
        self.cuts = others.iter().flat_map(|node| [(leader, *node), (*node, leader)]).collect();
        cut(site, &self.cuts);
        self.reject(site, true);
        for node in others {
            site.ledger.keep_down(node);
            site.world.crash(node, self.loss);
            site.ledger.let_up(site.world, node);
        }
        format!("{} is cut off, and the others restart", site.world.nodes[leader].name())
    }

    fn end(&mut self, site: &mut Site<'_>) {
        self.reject(site, false);
        mend(site, &self.cuts);
    }
}
