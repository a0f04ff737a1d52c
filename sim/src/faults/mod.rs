//! Carries out a plan's faults.
//!
//! `Faults::step` begins and ends what is due, once per tick. A process that is down because of nobody's fault any more
//! is started again a little later, as whoever runs a node would. Nodes that were damaged are counted: they are the only
//! ones that may stay away.
//!
//! Not among the faults: damage to LMDB's own pages, which would
//! end the simulator's process (see `disk::pages`); and purges on demand, for which small logs stand in.

pub mod astray;
mod clock;
mod disk;
pub mod ill;
mod ledger;
mod network;
mod process;
mod raft;
pub mod smoke;
pub mod unanswered;

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use ledger::Ledger;

use crate::history::History;
use crate::plan::{Fault, Kind, Plan, Scheduled, Whom};
use crate::seed::Rng;
use crate::violation::Violation;
use crate::world::{DiskSpeed, Phase, World};

/// What a fault works with.
pub(crate) struct Site<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) ledger: &'a mut Ledger,
    /// The fault's own choices.
    pub(crate) rng: &'a mut Rng,
    /// The fault's number.
    pub(crate) number: usize,
    /// What is normal.
    pub(crate) plan: &'a Plan,
}

impl Site<'_> {
    /// Who that is right now.
    fn find(&mut self, whom: Whom) -> usize {
        let nodes = self.world.nodes.len();
        let leader = leader(self.world);
        match (whom, leader) {
            (Whom::Node(node), _) => node,
            (Whom::Leader, Some(leader)) => leader,
            (Whom::Follower, Some(leader)) if nodes > 1 => {
                let others: Vec<usize> = (0..nodes).filter(|node| *node != leader).collect();
                *self.rng.pick(&others)
            }
            _ => self.rng.below(nodes as u64) as usize,
        }
    }

    fn elapsed(&self) -> Duration {
        self.world.elapsed()
    }

    fn normal_speed(&self) -> DiskSpeed {
        self.plan.disk
    }
}

/// Whether the cluster has its first members in its log.
fn has_formed(world: &World) -> bool {
    world.nodes.iter().filter_map(|node| node.shard()).any(|shard| shard.state().applied().last.is_some())
}

/// Which node leads, as the nodes themselves believe; the one of the latest term if several do.
pub(crate) fn leader(world: &World) -> Option<usize> {
    let claims = world.nodes.iter().enumerate().filter_map(|(id, node)| {
        let leadership = node.shard()?.leadership.borrow().clone();
        leadership.mine.then_some((leadership.term, id))
    });
    claims.max().map(|(_, id)| id)
}

/// A fault at work.
pub(crate) trait Work {
    /// It begins. What is returned is noted.
    fn begin(&mut self, site: &mut Site<'_>) -> String;

    /// Once per tick while it lasts.
    fn tick(&mut self, _site: &mut Site<'_>) {}

    /// It ends: whatever it did is undone.
    fn end(&mut self, site: &mut Site<'_>);
}

fn work(fault: &Fault) -> Box<dyn Work> {
    match fault.clone() {
        Fault::Loss { per_million } => Box::new(network::Loss::new(per_million)),
        Fault::Slow { whom, latency } => Box::new(network::Slow::new(whom, latency)),
        Fault::Spread { greatest } => Box::new(network::Spread::new(greatest)),
        Fault::Partition(shape) => Box::new(network::Partition::new(shape)),
        Fault::Flap { shape, every } => Box::new(network::Flap::new(shape, every)),
        Fault::Hold(whom) => Box::new(network::Hold::new(whom)),
        Fault::Crash { whom, ops, after, loss } => Box::new(process::Crash::new(whom, ops, after, loss)),
        Fault::CrashAll { ops_max, loss } => Box::new(process::CrashAll::new(ops_max, loss)),
        Fault::CrashAtStart { whom, ops_max, loss } => {
            Box::new(process::CrashAtStart::new(whom, ops_max, loss))
        }
        Fault::CrashInstalling { whom, away, ops_max, loss } => {
            Box::new(process::CrashInstalling::new(whom, away, ops_max, loss))
        }
        Fault::Rolling { apart } => Box::new(process::Rolling::new(apart)),
        Fault::Upgrade { apart } => Box::new(process::Rolling::upgrade(apart)),
        Fault::Pause(whom) => Box::new(process::Pause::new(whom)),
        Fault::Clock { node, what } => Box::new(clock::Clock::new(node, what)),
        Fault::HandOver { every } => Box::new(raft::HandOver::new(every)),
        Fault::Snapshots { every } => Box::new(raft::Snapshots::new(every)),
        Fault::FailSync(whom) => Box::new(disk::FailSync::new(whom)),
        Fault::Full(whom) => Box::new(disk::Full::new(whom)),
        Fault::SlowDisk { whom, latency } => Box::new(disk::SlowDisk::new(whom, latency)),
        Fault::AtRest { node, victim, damage, loss } => {
            Box::new(disk::AtRest::new(node, victim, damage, loss))
        }
        Fault::Rot { node, victim, bits } => Box::new(disk::Rot::new(node, victim, bits)),
        Fault::Lies { node, lost, misdirected } => Box::new(disk::Lies::new(node, lost, misdirected)),
        Fault::LogStalls { whom, loss } => Box::new(disk::LogStalls::new(whom, loss)),
        Fault::Remove { whom, dead } => Box::new(process::Remove::new(whom, dead)),
        Fault::Depose { loss } => Box::new(process::Depose::new(loss)),
        Fault::Scarce { left } => Box::new(disk::Scarce::new(left)),
        Fault::Hang(whom) => Box::new(disk::Hang::new(whom)),
        Fault::Gone { node } => Box::new(disk::Gone::new(node)),
        Fault::LostDisk { node, behind, loss } => Box::new(disk::Lost::new(node, behind, loss)),
        Fault::PauseClient { nth } => Box::new(process::PauseClient::new(nth)),
    }
}

struct Active {
    scheduled: Scheduled,
    rng: Rng,
    work: Box<dyn Work>,
}

/// See the module.
pub(crate) struct Faults {
    plan: Plan,
    began: Option<Duration>,
    /// The next fault of the plan.
    next: usize,
    active: Vec<Active>,
    ledger: Ledger,
    counts: BTreeMap<Kind, u64>,
    healed: bool,
}

impl Faults {
    pub(crate) fn new(plan: &Plan) -> Self {
        Faults {
            plan: plan.clone(),
            began: None,
            next: 0,
            active: Vec::new(),
            ledger: Ledger::new(plan.nodes),
            counts: BTreeMap::new(),
            healed: false,
        }
    }

    /// One tick. The first call is when the plan's time begins. It is to be called after [`Faults::heal`], too: a process
    /// that was asked to stop may still be at it and is started again when it is done.
    pub(crate) fn step(&mut self, world: &mut World, history: &History) {
        let now = world.elapsed();
        let began = match self.began {
            Some(began) => began,
            None => {
                self.set_clocks(world);
                *self.began.insert(now)
            }
        };
        if !self.healed {
            self.end(world, history, |scheduled| began + scheduled.until <= now);
            self.begin(world, history, now - began);
            let Faults { active, ledger, plan, .. } = self;
            for Active { scheduled, rng, work } in active {
                work.tick(&mut Site { world, ledger, rng, number: scheduled.number, plan });
            }
        }
        self.ledger.supervise(world, history);
    }

    fn begin(&mut self, world: &mut World, history: &History, now: Duration) {
        let Faults { plan, ledger, active, counts, next, .. } = self;
        while let Some(scheduled) = plan.faults.get(*next).filter(|scheduled| scheduled.at <= now) {
            *next += 1;
            let (kind, number) = (scheduled.fault.kind(), scheduled.number);
            if kind.damages() && !has_formed(world) {
                history.note(format!(
                    "fault {number} is left out: a cluster that has not formed needs every node"
                ));
                continue;
            }
            *counts.entry(kind).or_default() += 1;
            let mut rng = Rng::new(plan.seed, &format!("fault {}", scheduled.number));
            let mut work = work(&scheduled.fault);
            let said = work.begin(&mut Site { world, ledger, rng: &mut rng, number, plan });
            history.note(format!("fault {number} begins: {}: {said}", kind.name()));
            active.push(Active { scheduled: scheduled.clone(), rng, work });
        }
    }

    fn end(&mut self, world: &mut World, history: &History, is_over: impl Fn(&Scheduled) -> bool) {
        let (over, active) =
            std::mem::take(&mut self.active).into_iter().partition(|a| is_over(&a.scheduled));
        self.active = active;
        for Active { scheduled, mut rng, mut work } in over {
            let number = scheduled.number;
            history.note(format!("fault {number} ends: {}", scheduled.fault.kind().name()));
            let Faults { plan, ledger, .. } = self;
            work.end(&mut Site { world, ledger, rng: &mut rng, number, plan });
        }
    }

    /// Ends everything: links are whole, disks healthy, clocks as at the beginning, and every node is started that may
    /// come back.
    pub(crate) fn heal(&mut self, world: &mut World, history: &History) {
        history.note("all faults end");
        self.end(world, history, |_| true);
        self.healed = true;
        debug_assert!(world.net.is_whole(), "a fault left a link as it was not before");
        for node in &world.nodes {
            node.medium().borrow_mut().trouble = crate::disk::Trouble::default();
            *node.speed.lock() = self.plan.disk;
            node.pause(false);
            node.space.set_full(false);
            node.space.relieve();
        }
        self.set_clocks(world);
        self.ledger.release_all(world, history);
    }

    fn set_clocks(&self, world: &World) {
        for (node, off_ms) in world.nodes.iter().zip(&self.plan.clocks_off_ms) {
            node.clock.set_drift(0);
            node.clock.set_offset(*off_ms);
        }
    }

    /// Whether nothing is left to begin or to end.
    pub(crate) fn is_over(&self) -> bool {
        self.next == self.plan.faults.len() && self.active.is_empty()
    }

    /// Whether a node may be away at the end of the run: it was damaged and has said so.
    pub(crate) fn is_out(&self, node: usize) -> bool {
        self.ledger.is_out(node)
    }

    /// How often each kind has happened, by name.
    pub(crate) fn stats(&self) -> BTreeMap<&'static str, u64> {
        self.counts.iter().map(|(kind, count)| (kind.name(), *count)).collect()
    }

    /// What is wrong with how nodes ended or did not come back. To be asked when there was time enough after
    /// [`Faults::heal`].
    pub(crate) fn violations(&self, world: &World) -> Vec<Violation> {
        let mut found = self.ledger.violations().to_vec();
        found.extend(self.ledger.stayed(world));
        for (id, node) in world.nodes.iter().enumerate() {
            let phase = node.phase();
            if phase == Phase::Running {
                continue;
            }
            let is_out = matches!(&phase, Phase::Ended(ended) if ledger::is_of_the_disk(ended.cause));
            if !(is_out && self.ledger.is_damaged(id)) {
                found.push(self.ledger.not_back(world, id, &phase));
            }
        }
        found
    }
}
