//! A node's disk is replaced by an empty one, at the worst moment: it is one of a bare majority that has the newest entries.
//!
//! A minority is cut off for a while, so that what is committed meanwhile is on the others alone. Then, at once, that
//! minority is back, the node's disk is empty, and of the others so many go down that the node and the late ones would be a
//! majority. If it voted, they would elect a leader without those entries.

use std::time::Duration;

use super::Site;
use crate::disk::{Image, Loss};
use crate::faults::Work;
use crate::faults::network::{cut, mend};

/// See the module.
pub(in crate::faults) struct Lost {
    node: usize,
    behind: Duration,
    loss: Loss,
    since: Duration,
    cuts: Vec<(usize, usize)>,
    /// Down until the end.
    down: Vec<usize>,
    is_lost: bool,
}

impl Lost {
    pub(in crate::faults) fn new(node: usize, behind: Duration, loss: Loss) -> Self {
        let (since, cuts, down) = (Duration::ZERO, Vec::new(), Vec::new());
        Lost { node, behind, loss, since, cuts, down, is_lost: false }
    }

    fn lose(&mut self, site: &mut Site<'_>) {
        self.is_lost = true;
        mend(site, &self.cuts);
        for node in std::iter::once(self.node).chain(self.down.iter().copied()) {
            site.ledger.keep_down(node);
            site.world.crash(node, self.loss);
        }
        site.ledger.damage(self.node);
        site.world.nodes[self.node].with_image(|image| *image = Image::default());
        site.ledger.let_up(site.world, self.node);
    }
}

impl Work for Lost {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.since = site.elapsed();
        let mut others: Vec<usize> = (0..site.world.nodes.len()).filter(|node| *node != self.node).collect();
        site.rng.shuffle(&mut others);
        // Who leads stays, or nothing would be committed for a while.
        let leader = crate::faults::leader(site.world);
        others.sort_by_key(|node| Some(*node) == leader);
        let minority = others.len() / 2;
        self.down = others.split_off(minority);
        self.down.truncate(minority);
        for late in &others {
            let rest = (0..site.world.nodes.len()).filter(|node| !others.contains(node));
            self.cuts.extend(rest.flat_map(|node| [(node, *late), (*late, node)]));
        }
        cut(site, &self.cuts);
        let name = |node: &usize| site.world.nodes[*node].name();
        let (late, down): (Vec<_>, Vec<_>) =
            (others.iter().map(name).collect(), self.down.iter().map(name).collect());
        format!(
            "{} is to lose its disk; {late:?} are cut off until then and {down:?} down from then",
            name(&self.node)
        )
    }

    fn tick(&mut self, site: &mut Site<'_>) {
        if !self.is_lost && site.elapsed() >= self.since + self.behind {
            self.lose(site);
        }
    }

    fn end(&mut self, site: &mut Site<'_>) {
        if !self.is_lost {
            self.lose(site);
        }
        for node in std::mem::take(&mut self.down) {
            site.ledger.let_up(site.world, node);
        }
    }
}
