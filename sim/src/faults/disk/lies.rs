//! Writes are acknowledged and lost, or land elsewhere. Nobody sees it before the next power loss, since the page cache
//! has it right.

use super::Site;
use crate::disk::Loss;
use crate::faults::Work;

/// See the module.
pub(in crate::faults) struct Lies {
    node: usize,
    lost: u32,
    misdirected: u32,
}

impl Lies {
    pub(in crate::faults) fn new(node: usize, lost: u32, misdirected: u32) -> Self {
        Lies { node, lost, misdirected }
    }

    fn set(&self, site: &Site<'_>, lost: u32, misdirected: u32) {
        let medium = site.world.nodes[self.node].medium();
        let trouble = &mut medium.borrow_mut().trouble;
        (trouble.lose_writes, trouble.misdirect_writes) = (lost, misdirected);
    }
}

impl Work for Lies {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        site.ledger.damage(self.node);
        self.set(site, self.lost, self.misdirected);
        let name = site.world.nodes[self.node].name();
        format!("{name} loses {} writes and misdirects {}", self.lost, self.misdirected)
    }

    fn end(&mut self, site: &mut Site<'_>) {
        self.set(site, 0, 0);
        site.ledger.keep_down(self.node);
        site.world.crash(self.node, Loss::Unsynced);
        site.ledger.let_up(site.world, self.node);
    }
}
