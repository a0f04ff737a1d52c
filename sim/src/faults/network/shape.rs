//! Which links a partition cuts.

use super::{Site, pairs_of};
use crate::plan::{Shape, Whom};

type Cuts = Vec<(usize, usize)>;

fn both_ways(pairs: impl IntoIterator<Item = (usize, usize)>) -> Cuts {
    pairs.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}

/// All pairs of nodes of which this is true.
fn among_nodes(nodes: usize, is_cut: impl Fn(usize, usize) -> bool) -> Cuts {
    let pairs = (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b)));
    both_ways(pairs.filter(|(a, b)| is_cut(*a, *b)))
}

/// Neighbours on a ring see each other, so that each node sees a majority, its own.
pub(super) fn ring(nodes: usize) -> Cuts {
    let reach = (nodes / 2).div_ceil(2);
    among_nodes(nodes, |a, b| (b - a).min(nodes - (b - a)) > reach)
}

/// What is cut, each direction by itself, and what to say about it.
pub(super) fn cuts(shape: &Shape, site: &mut Site<'_>) -> (Cuts, String) {
    let (nodes, hosts) = (site.world.net.nodes(), site.world.net.hosts());
    let mut who = None;
    let mut find = |site: &mut Site<'_>, whom: Whom| *who.insert(site.find(whom));
    let cuts = match shape {
        Shape::Halves(half) => {
            let mut cuts = among_nodes(nodes, |a, b| half.contains(&a) != half.contains(&b));
            for client in nodes..hosts {
                let side = site.rng.below(3); // 0 sees both
                let hidden = (0..nodes).filter(|node| side > 0 && half.contains(node) == (side == 1));
                cuts.extend(both_ways(hidden.map(|node| (client, node))));
            }
            cuts
        }
        Shape::One { whom, clients } => {
            let alone = find(site, *whom);
            let others = pairs_of(site, alone).into_iter().filter(|(_, other)| *clients || *other < nodes);
            both_ways(others)
        }
        Shape::Ring => ring(nodes),
        Shape::Bridge { bridge, half } => {
            among_nodes(nodes, |a, b| ![a, b].contains(bridge) && half.contains(&a) != half.contains(&b))
        }
        Shape::Star(whom) => {
            let centre = find(site, *whom);
            among_nodes(nodes, |a, b| ![a, b].contains(&centre))
        }
        Shape::Mute(whom) => {
            let mute = find(site, *whom);
            pairs_of(site, mute)
        }
        Shape::Deaf(whom) => {
            let deaf = find(site, *whom);
            pairs_of(site, deaf).into_iter().map(|(deaf, other)| (other, deaf)).collect()
        }
        Shape::Clients { percent } => {
            let mut cuts = Vec::new();
            for (client, node) in (nodes..hosts).flat_map(|c| (0..nodes).map(move |n| (c, n))) {
                cuts.extend(
                    [(client, node), (node, client)].into_iter().filter(|_| site.rng.percent(*percent)),
                );
            }
            cuts
        }
    };
    let who = who.map_or_else(String::new, |node| format!(" {}", site.world.net.name(node)));
    (cuts, format!("{shape:?}{who}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sees(nodes: usize, cuts: &Cuts, a: usize) -> Vec<usize> {
        (0..nodes).filter(|b| !cuts.contains(&(a, *b))).collect()
    }

    #[test]
    fn on_a_ring_each_sees_a_majority_and_no_two_the_same() {
        for nodes in [5, 7] {
            let cuts = ring(nodes);
            let seen: Vec<_> = (0..nodes).map(|a| sees(nodes, &cuts, a)).collect();
            assert!(seen.iter().all(|s| s.len() > nodes / 2), "{seen:?}");
            assert!((0..nodes).all(|a| (0..a).all(|b| seen[a] != seen[b])), "{seen:?}");
        }
        assert!(ring(1).is_empty() && ring(3).is_empty());
    }
}
