//! P12: what a component holds in memory, and what an entry does, has a bound.

use std::time::Duration;

use quorate_simpoint::Component;

use super::report::Report;
use crate::probe::Held;
use crate::world::World;

const MEMORY: &str = "memory";
const WORK: &str = "entry-work";

/// Rows that an entry touches at most. To let a batch of 4096 messages with ids and deadlines go touches some 30,000; whatever is due, swept or moved is done in
/// steps that are smaller.
pub(super) const ENTRY_ROWS_MAX: u64 = 32_768;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Commands that wait for an entry, and entries that are not decided, beside a single long one: the proposer's limits.
const PROPOSER: u64 = 16 * MIB;
/// Of one node for all consumers of a run, beside a single long frame.
const OUTBOX: u64 = 16 * MIB;
/// Of one client process, beside a single long message.
const CLIENT: u64 = 64 * MIB;
/// Rows that are not on disk: two overlays of 32 MiB, and what the entry that fills one is over it.
const OVERLAYS: u64 = 160 * MIB;
/// Records that are not on disk: the log's own bound, and what is under way when it is reached.
const LOG: u64 = 320 * MIB;

/// The bounds of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// What a node admits.
    pub(crate) admitted: u64,
}

impl Bounds {
    /// A request that is longer than all that is admitted is admitted alone.
    fn of(self, component: Component, single: u64) -> u64 {
        match component {
            // Messages, and as much of all else.
            Component::Admitted => 2 * (self.admitted + KIB).max(single),
            Component::Waiting | Component::Proposed => PROPOSER.max(self.admitted) + single,
            Component::Outbox => OUTBOX + single,
            Component::Client => CLIENT + single,
        }
    }

    /// A component of a host was seen to hold this.
    pub(super) fn check(
        self,
        name: &str,
        component: Component,
        held: Held,
        at: Duration,
        report: &mut Report,
    ) {
        let bound = self.of(component, held.single);
        if held.most > bound {
            let what =
                format!("{name}: {} holds {} bytes, and may hold {bound}", component.name(), held.most);
            report.safety("P12", MEMORY, at, what);
        }
    }
}

/// What nodes hold that is not on disk.
pub(super) fn nodes(world: &World, report: &mut Report) {
    for host in &world.nodes {
        let Some(shard) = host.shard() else { continue };
        let quotas =
            [("log", shard.replica.log().quota(), LOG), ("overlays", shard.state().quota(), OVERLAYS)];
        for (name, quota, bound) in quotas {
            if quota.owed_bytes > bound {
                let what =
                    format!("{}: {name} holds {} bytes, and may hold {bound}", host.name(), quota.owed_bytes);
                report.safety("P12", MEMORY, world.elapsed(), what);
            }
        }
    }
}

/// An entry touched so many rows.
pub(super) fn entry(index: u64, rows: u64, at: Duration, report: &mut Report) {
    if rows > ENTRY_ROWS_MAX {
        let what = format!("entry {index} touched {rows} rows, and may touch {ENTRY_ROWS_MAX}");
        report.safety("P12", WORK, at, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_bound_is_seen_and_one_long_piece_alone_is_not() {
        let bounds = Bounds { admitted: 100 * KIB };
        let found = |component, most, single| {
            let mut report = Report::default();
            bounds.check("n1", component, Held { now: 0, most, single }, Duration::ZERO, &mut report);
            report.violations().iter().map(|v| v.what.clone()).collect::<Vec<_>>()
        };
        assert_eq!(found(Component::Admitted, 101 * KIB, 50 * KIB), Vec::<String>::new());
        assert_eq!(found(Component::Admitted, 900 * KIB, 900 * KIB), Vec::<String>::new());
        let all = found(Component::Admitted, 203 * KIB, 50 * KIB);
        assert!(all[0].contains("n1: admitted holds 207872 bytes, and may hold 206848"), "{all:?}");
        for component in Component::ALL {
            assert_eq!(found(*component, 1 << 40, 0).len(), 1, "{component:?}");
        }
    }

    #[test]
    fn an_entry_that_does_too_much_is_seen() {
        let mut report = Report::default();
        entry(7, ENTRY_ROWS_MAX, Duration::ZERO, &mut report);
        assert_eq!(report.found(), 0);
        entry(8, ENTRY_ROWS_MAX + 1, Duration::ZERO, &mut report);
        assert_eq!(report.checks(), [WORK]);
    }
}
