//! A disk is damaged while nothing runs on it.

use std::path::Path;

use super::{Site, flip, parts, paths};
use crate::disk::{Bytes, Image, Loss};
use crate::faults::Work;
use crate::plan::{Damage, Victim};
use crate::seed::Rng;

/// See the module.
pub(in crate::faults) struct AtRest {
    node: usize,
    victim: Victim,
    damage: Damage,
    loss: Loss,
}

impl AtRest {
    pub(in crate::faults) fn new(node: usize, victim: Victim, damage: Damage, loss: Loss) -> Self {
        AtRest { node, victim, damage, loss }
    }

    fn spoil(&self, image: &mut Image, rng: &mut Rng) {
        for path in paths(self.victim, |path| image.files.contains_key(path)) {
            image.damage(&path, |file| spoil(&path, file, self.damage, rng));
        }
    }
}

fn spoil(path: &Path, file: &mut Bytes, damage: Damage, rng: &mut Rng) {
    let parts = parts(path, &file.bytes);
    match damage {
        Damage::Flip(bits) => {
            for _ in 0..bits {
                flip(&mut file.bytes, &parts, rng);
            }
        }
        Damage::Truncate(thousandths) => file.resize(file.bytes.len() as u64 * thousandths / 1000),
        Damage::Stale => {
            for _ in 0..rng.between(1, 8).min(parts.len() as u64) {
                let (from, to) = (rng.pick(&parts).clone(), rng.pick(&parts).start);
                let len = from.len().min(file.bytes.len() - to).min(parts_len(&parts, to));
                file.bytes.copy_within(from.start..from.start + len, to);
            }
        }
    }
}

/// Length of the part that begins there.
fn parts_len(parts: &[std::ops::Range<usize>], start: usize) -> usize {
    parts.iter().find(|part| part.start == start).map_or(0, |part| part.len())
}

impl Work for AtRest {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        site.ledger.keep_down(self.node);
        site.world.crash(self.node, self.loss);
        let name = site.world.nodes[self.node].name();
        format!("{name} goes down, losing {:?}; then {:?} in {:?}", self.loss, self.damage, self.victim)
    }

    fn end(&mut self, site: &mut Site<'_>) {
        // Another fault may have started it.
        site.world.crash(self.node, self.loss);
        site.ledger.damage(self.node);
        site.world.nodes[self.node].with_image(|image| self.spoil(image, site.rng));
        site.ledger.let_up(site.world, self.node);
    }
}
