//! What goes wrong between hosts.

mod flap;
mod hold;
mod loss;
mod partition;
mod shape;
mod slow;
mod spread;

pub(super) use flap::Flap;
pub(super) use hold::Hold;
pub(super) use loss::Loss;
pub(super) use partition::Partition;
pub(super) use slow::Slow;
pub(super) use spread::Spread;

use super::Site;

/// All pairs of hosts, each once.
fn pairs(site: &Site<'_>) -> Vec<(usize, usize)> {
    let hosts = site.world.net.hosts();
    (0..hosts).flat_map(|a| (a + 1..hosts).map(move |b| (a, b))).collect()
}

/// The links of one host.
fn pairs_of(site: &Site<'_>, host: usize) -> Vec<(usize, usize)> {
    (0..site.world.net.hosts()).filter(|other| *other != host).map(|other| (host, other)).collect()
}

pub(super) fn cut(site: &mut Site<'_>, cuts: &[(usize, usize)]) {
    for (from, to) in cuts {
        site.world.net.cut(&mut site.world.sim, *from, *to);
    }
}

pub(super) fn mend(site: &mut Site<'_>, cuts: &[(usize, usize)]) {
    for (from, to) in cuts {
        site.world.net.mend(&mut site.world.sim, *from, *to);
    }
}
