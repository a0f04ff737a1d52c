//! One node after the other is stopped in good order and started again, with the next program if it is an upgrade. Then the leader
//! is told all the while to raise the active version, which it must do when every member reads the next one, and not before.

use std::time::Duration;

use super::Site;
use crate::faults::{Work, leader};
use crate::world::{NEXT, Order};

/// The leader is told again after this: it may have died, or refused.
const AGAIN: Duration = Duration::from_millis(500);

/// See the module.
pub(in crate::faults) struct Rolling {
    apart: Duration,
    upgrade: bool,
    /// Those still to come, the next one last.
    waiting: Vec<usize>,
    /// Asked to stop.
    stopping: Option<usize>,
    next: Duration,
    next_raise: Duration,
}

impl Rolling {
    pub(in crate::faults) fn new(apart: Duration) -> Self {
        let (next, next_raise) = (Duration::ZERO, Duration::ZERO);
        Rolling { apart, upgrade: false, waiting: Vec::new(), stopping: None, next, next_raise }
    }

    pub(in crate::faults) fn upgrade(apart: Duration) -> Self {
        Rolling { upgrade: true, ..Rolling::new(apart) }
    }

    /// It is down: it comes back, with the next program if it is time.
    fn bring_back(&self, site: &mut Site<'_>, node: usize) {
        if self.upgrade && !site.world.nodes[node].is_up() {
            site.world.nodes[node].install(NEXT);
        }
        site.ledger.let_up(site.world, node);
    }

    fn raise(&mut self, site: &mut Site<'_>) {
        if !self.upgrade || site.elapsed() < self.next_raise {
            return;
        }
        let Some(leader) = leader(site.world) else { return };
        self.next_raise = site.elapsed() + AGAIN;
        site.world.nodes[leader].order(Order::Raise);
    }
}

impl Work for Rolling {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.waiting = (0..site.world.nodes.len()).collect();
        site.rng.shuffle(&mut self.waiting);
        let order: Vec<String> =
            self.waiting.iter().rev().map(|node| site.world.nodes[*node].name()).collect();
        format!("{} with {} ms between", order.join(", "), self.apart.as_millis())
    }

    fn tick(&mut self, site: &mut Site<'_>) {
        self.raise(site);
        if let Some(node) = self.stopping {
            if !site.world.nodes[node].is_up() {
                self.bring_back(site, node);
                self.stopping = None;
                self.next = site.elapsed() + self.apart;
            }
        } else if site.elapsed() >= self.next
            && let Some(node) = self.waiting.pop()
        {
            site.ledger.keep_down(node);
            site.world.nodes[node].ask_to_stop();
            self.stopping = Some(node);
        }
    }

    fn end(&mut self, site: &mut Site<'_>) {
        // It may still be at it; whoever finds it down then starts it again.
        if let Some(node) = self.stopping.take() {
            self.bring_back(site, node);
        }
    }
}
