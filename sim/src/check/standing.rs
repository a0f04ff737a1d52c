//! A leader whose own log stands still lets another one lead (P8): it must not go on for long, with what the others store.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_storage::log::LogId;

use super::report::Report;
use crate::world::World;

const CHECK: &str = "standing-leader";
/// After five seconds a log counts as stalled; then its node tries to hand over, twice if it must.
const PATIENCE: Duration = Duration::from_secs(15);

/// A log that waits for its disk.
#[derive(Clone, Copy)]
struct Waits {
    durable: Option<LogId>,
    since: Duration,
    /// The last entry that any other node had on its disk when the patience was at an end.
    others: Option<Option<LogId>>,
}

/// The logs of leaders that wait, by node.
#[derive(Default)]
pub(super) struct Standing(BTreeMap<usize, Waits>);

impl Standing {
    /// Looks at every node that leads.
    pub(super) fn tick(&mut self, world: &World, report: &mut Report) {
        let now = world.elapsed();
        let logs: Vec<_> =
            world.nodes.iter().enumerate().filter_map(|(id, node)| Some((id, node.shard()?))).collect();
        for (id, shard) in &logs {
            let log = shard.replica.log();
            let durable = log.durable();
            if !shard.leadership.borrow().mine || durable >= log.last() {
                self.0.remove(id);
                continue;
            }
            let waits = self.0.entry(*id).or_insert(Waits { durable, since: now, others: None });
            if waits.durable != durable {
                *waits = Waits { durable, since: now, others: None };
            }
            if now < waits.since + PATIENCE {
                continue;
            }
            let others =
                logs.iter().filter(|(other, _)| other != id).map(|(_, shard)| shard.replica.log().durable());
            let others = others.max().flatten();
            let then = *waits.others.get_or_insert(others);
            if others > then && others.map(|id| id.term) == log.last().map(|id| id.term) {
                let what = format!(
                    "{} leads on, and others store what it sends, {} ms after its own disk took the last of it",
                    world.nodes[*id].name(),
                    (now - waits.since).as_millis()
                );
                report.liveness("P8", CHECK, now, what);
            }
        }
    }
}
