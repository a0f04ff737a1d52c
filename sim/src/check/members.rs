//! An id belongs to one data directory for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use super::log::hex;
use super::report::Report;
use crate::world::World;

const CHECK: &str = "one-id-one-directory";
/// Looked at once in so many ticks.
const EVERY: u64 = 20;

type Incarnation = [u8; 16];

/// See the module.
#[derive(Default)]
pub(super) struct Ids {
    directories: BTreeMap<u64, Incarnation>,
    ticks: u64,
}

impl Ids {
    /// Looks at the members that every running node knows of.
    pub(super) fn tick(&mut self, world: &World, report: &mut Report) {
        self.ticks += 1;
        if !self.ticks.is_multiple_of(EVERY) {
            return;
        }
        for shard in world.nodes.iter().filter_map(|node| node.shard()) {
            let membership = shard.replica.membership();
            // What only a leader that was lost had in mind counts for nothing.
            for member in membership.members.iter().filter(|_| membership.committed) {
                self.see(member.id, member.peer.incarnation, world.elapsed(), report);
            }
        }
    }

    fn see(&mut self, id: u64, directory: Incarnation, at: Duration, report: &mut Report) {
        let known = *self.directories.entry(id).or_insert(directory);
        if known != directory {
            let what = format!("the id {id} is that of {} and of {}", hex(&known), hex(&directory));
            report.safety("P8", CHECK, at, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_twice_is_seen() {
        let found = |seen: &[(u64, u8)]| {
            let (mut ids, mut report) = (Ids::default(), Report::default());
            seen.iter()
                .for_each(|(id, directory)| ids.see(*id, [*directory; 16], Duration::ZERO, &mut report));
            report.found()
        };
        assert_eq!(found(&[(1, 1), (2, 2), (1, 1), (2, 2)]), 0);
        assert_eq!(found(&[(1, 1), (1, 2)]), 1);
    }
}
