//! One node after the other is stopped in good order and started again.

use std::time::Duration;

use super::Site;
use crate::faults::Work;

/// See the module.
pub(in crate::faults) struct Rolling {
    apart: Duration,
    /// Those still to come, the next one last.
    waiting: Vec<usize>,
    /// Asked to stop.
    stopping: Option<usize>,
    next: Duration,
}

impl Rolling {
    pub(in crate::faults) fn new(apart: Duration) -> Self {
        Rolling { apart, waiting: Vec::new(), stopping: None, next: Duration::ZERO }
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
        if let Some(node) = self.stopping {
            if !site.world.nodes[node].is_up() {
                site.ledger.let_up(site.world, node);
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
            site.ledger.let_up(site.world, node);
        }
    }
}
