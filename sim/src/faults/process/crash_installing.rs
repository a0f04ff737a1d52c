//! A node is away until the others may have forgotten what it needs; then it dies again and again while a snapshot arrives,
//! takes the place of its state, or has just done so.

use std::time::Duration;

use super::{Site, fail_at};
use crate::disk::Loss;
use crate::faults::Work;
use crate::plan::Whom;

/// See the module.
pub(in crate::faults) struct CrashInstalling {
    whom: Whom,
    away: Duration,
    ops_max: u64,
    loss: Loss,
    node: usize,
    next: Duration,
    is_armed: bool,
}

impl CrashInstalling {
    pub(in crate::faults) fn new(whom: Whom, away: Duration, ops_max: u64, loss: Loss) -> Self {
        CrashInstalling { whom, away, ops_max, loss, node: 0, next: Duration::ZERO, is_armed: false }
    }

    /// Whether a snapshot is on its way into the node.
    fn is_installing(&self, site: &Site<'_>) -> bool {
        let root = site.world.nodes[self.node].medium().borrow().root.clone();
        let arriving = |name: std::ffi::OsString| {
            let name = name.to_string_lossy().into_owned();
            name.starts_with("state-") && name.ends_with(".new")
        };
        std::fs::read_dir(root).is_ok_and(|names| names.flatten().any(|entry| arriving(entry.file_name())))
    }
}

impl Work for CrashInstalling {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.node = site.find(self.whom);
        self.next = site.elapsed() + self.away;
        site.ledger.keep_down(self.node);
        site.world.crash(self.node, self.loss);
        let (name, away) = (site.world.nodes[self.node].name(), self.away.as_millis());
        format!("{name} after {away} ms, within {} disk operations, losing {:?}", self.ops_max, self.loss)
    }

    fn tick(&mut self, site: &mut Site<'_>) {
        if !site.world.nodes[self.node].is_up() {
            if site.elapsed() >= self.next {
                self.next = site.elapsed() + Duration::from_millis(site.rng.magnitude(1, 500));
                self.is_armed = false;
                site.world.start(self.node);
            }
        } else if !self.is_armed && self.is_installing(site) {
            self.is_armed = true;
            let (ops, after) = (site.rng.below(self.ops_max), site.rng.percent(50));
            fail_at(site, self.node, ops, after, self.loss);
        }
    }

    fn end(&mut self, site: &mut Site<'_>) {
        site.world.crash(self.node, self.loss);
        site.ledger.let_up(site.world, self.node);
    }
}
