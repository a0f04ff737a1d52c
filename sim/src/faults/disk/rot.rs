//! Bits flip in files that are in use, on the medium and in the page cache alike. Only in values: see
//! [`crate::disk::pages`].

use super::{Site, flip, parts, paths};
use crate::faults::Work;
use crate::plan::Victim;

/// See the module.
pub(in crate::faults) struct Rot {
    node: usize,
    victim: Victim,
    bits: u32,
}

impl Rot {
    pub(in crate::faults) fn new(node: usize, victim: Victim, bits: u32) -> Self {
        Rot { node, victim, bits }
    }
}

impl Work for Rot {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        site.ledger.damage(self.node);
        let node = &site.world.nodes[self.node];
        if !node.is_running() {
            return format!("{} does not run", node.name());
        }
        let medium = node.medium();
        let mut medium = medium.borrow_mut();
        for path in paths(self.victim, |path| medium.root.join(path).exists()) {
            let Some(mut file) = medium.look(&path) else { continue };
            let parts = parts(&path, &file);
            for _ in 0..self.bits {
                if let Some((at, byte)) = flip(&mut file, &parts, site.rng) {
                    medium.rot(&path, at as u64, &[byte]);
                }
            }
        }
        format!("{} bits in {:?} of {}", self.bits, self.victim, node.name())
    }

    fn end(&mut self, _site: &mut Site<'_>) {}
}
