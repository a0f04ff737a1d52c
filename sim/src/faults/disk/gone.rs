//! The data directory of a node is removed under it. The node must notice and end; it comes back with an empty disk, as a new
//! member.

use super::Site;
use crate::disk::Image;
use crate::faults::Work;

/// See the module.
pub(in crate::faults) struct Gone {
    node: usize,
}

impl Gone {
    pub(in crate::faults) fn new(node: usize) -> Self {
        Gone { node }
    }
}

impl Work for Gone {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        let node = &site.world.nodes[self.node];
        site.ledger.damage(self.node);
        if node.with_image(|image| *image = Image::default()).is_some() {
            return format!("{}, which is down", node.name());
        }
        node.remove_files();
        site.ledger.must_end(self.node, node.lives());
        node.name()
    }

    fn end(&mut self, _site: &mut Site<'_>) {}
}
