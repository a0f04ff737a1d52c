//! A member is removed: one that is dead, as an administrator would, or one that runs and has to find out. Whoever runs the
//! node then gives it an empty disk (see the ledger), and it comes back as a new member.

use std::time::Duration;

use super::Site;
use crate::disk::Loss;
use crate::faults::{Work, leader};
use crate::plan::Whom;
use crate::world::Order;

/// The leader is told again after this: it may have died, or refused.
const AGAIN: Duration = Duration::from_secs(1);

/// See the module.
pub(in crate::faults) struct Remove {
    whom: Whom,
    dead: Option<Loss>,
    node: usize,
    next: Duration,
}

impl Remove {
    pub(in crate::faults) fn new(whom: Whom, dead: Option<Loss>) -> Self {
        Remove { whom, dead, node: 0, next: Duration::ZERO }
    }
}

impl Work for Remove {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.node = site.find(self.whom);
        site.ledger.may_be_removed(self.node);
        if let Some(loss) = self.dead {
            site.ledger.keep_down(self.node);
            site.world.crash(self.node, loss);
        }
        site.world.nodes[self.node].name()
    }

    fn tick(&mut self, site: &mut Site<'_>) {
        if site.elapsed() < self.next {
            return;
        }
        let Some(leader) = leader(site.world) else { return };
        self.next = site.elapsed() + AGAIN;
        let name = site.world.nodes[self.node].name();
        site.world.nodes[leader].order(Order::Remove(name));
    }

    fn end(&mut self, site: &mut Site<'_>) {
        if self.dead.is_some() {
            site.ledger.let_up(site.world, self.node);
        }
    }
}
