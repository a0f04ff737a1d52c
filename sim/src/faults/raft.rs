//! Orders to the nodes that an operator, or the product itself, would give now and then, given often.

use std::time::Duration;

use super::{Site, Work, leader};
use crate::world::Order;

/// Leadership moves.
pub(super) struct HandOver {
    every: Duration,
    next: Duration,
}

impl HandOver {
    pub(super) fn new(every: Duration) -> Self {
        HandOver { every, next: Duration::ZERO }
    }
}

impl Work for HandOver {
    fn begin(&mut self, _site: &mut Site<'_>) -> String {
        format!("every {} ms", self.every.as_millis())
    }

    fn tick(&mut self, site: &mut Site<'_>) {
        if site.elapsed() >= self.next {
            self.next = site.elapsed() + self.every;
            if let Some(leader) = leader(site.world) {
                site.world.nodes[leader].order(Order::HandOver);
            }
        }
    }

    fn end(&mut self, _site: &mut Site<'_>) {}
}

/// States are brought to the disk, and snapshots taken.
pub(super) struct Snapshots {
    every: Duration,
    next: Duration,
}

impl Snapshots {
    pub(super) fn new(every: Duration) -> Self {
        Snapshots { every, next: Duration::ZERO }
    }
}

impl Work for Snapshots {
    fn begin(&mut self, _site: &mut Site<'_>) -> String {
        format!("every {} ms", self.every.as_millis())
    }

    fn tick(&mut self, site: &mut Site<'_>) {
        if site.elapsed() >= self.next {
            self.next = site.elapsed() + self.every;
            let node = site.rng.pick(&site.world.nodes);
            node.order(if site.rng.clone().percent(50) { Order::Flush } else { Order::Snapshot });
        }
    }

    fn end(&mut self, _site: &mut Site<'_>) {}
}
