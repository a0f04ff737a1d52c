//! The disk of each node has so many bytes left. What is written beyond that is cut short where the room ends, and then
//! refused. As with a full disk nothing may suffer, nobody ends, and all goes on when there is room; a node that starts
//! meanwhile may say that it cannot.

use super::Site;
use crate::faults::Work;

/// See the module.
pub(in crate::faults) struct Scarce {
    left: Vec<u64>,
}

impl Scarce {
    pub(in crate::faults) fn new(left: Vec<u64>) -> Self {
        Scarce { left }
    }
}

impl Work for Scarce {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        for (node, left) in site.world.nodes.iter().zip(&self.left) {
            node.space.leave(*left);
        }
        format!("{:?} KiB are left", self.left.iter().map(|left| left >> 10).collect::<Vec<_>>())
    }

    fn tick(&mut self, site: &mut Site<'_>) {
        (0..self.left.len()).for_each(|node| site.ledger.excuse_start(node));
    }

    fn end(&mut self, site: &mut Site<'_>) {
        site.world.nodes.iter().for_each(|node| node.space.relieve());
    }
}
