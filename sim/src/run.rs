//! One run of one seed, from the first tick to the verdict.
//!
//! The cluster forms and works while faults come and go; then everything is healed, and what must be true in the
//! end has a bounded time to become true: every node that may come back serves, the clients' work is drained, all nodes
//! hold the same. Then the whole history is checked.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hash::Hasher as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use quorate_simpoint::Bug;
use twox_hash::XxHash3_64;

use crate::check::{Bounds, Checker};
use crate::disk::Loss;
use crate::faults::{Faults, leader};
use crate::history::{Event, History};
use crate::interpose::{self, NotInterposed};
use crate::plan::Plan;
use crate::probe::Points;
use crate::seed::Rng;
use crate::summary::{Counts, Figures, Summary, Verdict};
use crate::violation::{Sort, Violation};
use crate::workload::{Workload, WorkloadPlan};
use crate::world::World;

/// After the heal, every node that may come back serves within this.
const CONVERGE_MAX: Duration = Duration::from_secs(30);
/// After that, the work is drained within this.
const DRAIN_MAX: Duration = Duration::from_secs(120);
/// After that, all nodes have applied the same within this.
const SETTLE_MAX: Duration = Duration::from_secs(20);
/// In so many of 100 seeds the sites in the product's code may be odd.
const ODD_PERCENT: u64 = 60;
/// Events of the history that are shown around a violation.
const SHOWN_EVENTS: usize = 40;

/// What to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Everything follows from it.
    pub seed: u64,
    /// How long the cluster works before it is healed, in simulated seconds.
    pub seconds: u64,
    /// Faults of the plan that are left out, by their number.
    pub without: BTreeSet<usize>,
    /// Whether the sites in the product's code may be odd.
    pub odd: bool,
    /// A bug that is planted in the product.
    pub bug: Option<Bug>,
    /// Where the disks are. Empty, and removed by the caller.
    pub dir: PathBuf,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its figures and verdict.
    pub summary: Summary,
    /// What was done, one line per fault.
    pub plan: String,
    /// Everything that was wrong.
    pub violations: Vec<Violation>,
    /// The part of the history around the first violation, one line per event.
    pub excerpt: Vec<String>,
}

/// The plan of a seed, for people.
pub fn describe(options: &RunOptions) -> String {
    Plan::from_seed(options.seed, options.seconds).without(&options.without).to_string()
}

/// Runs a seed, on a thread that nothing else has used. Once per process.
///
/// # Errors
/// [`NotInterposed`].
pub fn run(options: &RunOptions) -> Result<Finished, NotInterposed> {
    interpose::on_a_fresh_thread(|| run_here(options))
}

fn run_here(options: &RunOptions) -> Result<Finished, NotInterposed> {
    interpose::arm(options.seed)?;
    let started = interpose::real_now();
    let mut run = Run::new(options);
    let crashed = run.go().err();
    let mut finished = run.finish(crashed);
    finished.summary.figures.real_ms = (interpose::real_now() - started).as_millis() as u64;
    Ok(finished)
}

/// Why a run ends before its time.
enum Stop {
    /// A check has failed.
    Violated,
    /// A host panicked.
    Crashed(String),
}

struct Run {
    seed: u64,
    plan: Plan,
    world: World,
    history: Rc<History>,
    checker: Rc<RefCell<Checker>>,
    points: Rc<Points>,
    _scope: quorate_simpoint::Scope,
    faults: Faults,
    workload: Workload,
    late: Vec<Violation>,
    lives: Vec<u32>,
    trace: Rc<RefCell<XxHash3_64>>,
}

impl Run {
    fn new(options: &RunOptions) -> Self {
        let plan = Plan::from_seed(options.seed, options.seconds).without(&options.without);
        let work = WorkloadPlan::from_seed(&mut Rng::new(options.seed, "workload"));
        let history = Rc::new(History::default());
        let checker = Rc::new(RefCell::new(Checker::new(Rc::clone(&history))));
        let mut world = World::new(&plan.world(&options.dir, Workload::clients(&work)));
        let trace = Rc::new(RefCell::new(XxHash3_64::new()));
        let (seen, traced) = (Rc::clone(&checker), Rc::clone(&trace));
        let hosts = world.nodes.clone();
        let on_applied = move |origin: crate::probe::Origin, applied: &quorate_simpoint::Applied<'_>| {
            if hosts[origin.node].is_gone() {
                return;
            }
            let mut trace = traced.borrow_mut();
            trace.write(&(origin.node as u64).to_le_bytes());
            trace.write(&applied.index.to_le_bytes());
            trace.write(&(applied.digest)().unwrap_or_default());
            seen.borrow_mut().applied(origin.node, origin.life, interpose::elapsed(), applied);
        };
        let clocks = world.nodes.clone();
        let clock_ms = move || {
            let here = clocks.iter().find(|node| node.is_here()).or_else(|| clocks.first());
            here.map_or(0, |node| node.clock.now_ms())
        };
        let odd = options.odd && Rng::new(options.seed, "odd").percent(ODD_PERCENT);
        let points = Points::new(options.seed, odd, options.bug, clock_ms, on_applied);
        let (nodes, clients) = (world.nodes.clone(), world.clients.clone());
        points.know_hosts(move || {
            let caller = tokio::runtime::Handle::try_current().ok()?.id();
            let mut hosts =
                nodes.iter().map(|host| host.runtime()).chain(clients.iter().map(|host| host.runtime()));
            hosts.position(|runtime| runtime == Some(caller))
        });
        let scope = quorate_simpoint::install(Rc::clone(&points) as Rc<dyn quorate_simpoint::Probe>);
        let faults = Faults::new(&plan);
        for id in 0..world.nodes.len() {
            world.start(id);
        }
        let workload = Workload::start(work, &mut world, &history);
        let lives = vec![1; world.nodes.len()];
        Run {
            seed: options.seed,
            plan,
            world,
            history,
            checker,
            points,
            _scope: scope,
            faults,
            workload,
            late: Vec::new(),
            lives,
            trace,
        }
    }

    fn go(&mut self) -> Result<(), Stop> {
        while self.world.elapsed() < self.plan.duration {
            self.faults.step(&mut self.world, &self.history);
            self.workload.step(&mut self.world);
            self.step()?;
        }
        self.points.calm();
        self.faults.heal(&mut self.world, &self.history);
        self.until(CONVERGE_MAX, "recovery", "every node that may come back serves", |run| run.is_whole())?;
        self.workload.quiesce(&mut self.world);
        self.until(DRAIN_MAX, "drain", "all work is drained", |run| run.workload.is_drained())?;
        self.until(SETTLE_MAX, "convergence", "all nodes have applied the same", |run| {
            run.is_whole() && run.is_settled()
        })?;
        let whole = "whoever runs is a member with a vote, and no change of members is under way";
        self.until(SETTLE_MAX, "members", whole, |run| run.is_whole() && run.has_members())?;
        let compared = "the leader has found that every running member has its digest";
        self.until(SETTLE_MAX, "agreement", compared, |run| run.is_whole() && run.has_compared())?;
        self.late.append(&mut self.faults.violations(&self.world));
        self.judge_the_clients();
        self.checker.borrow_mut().finish(&self.world);
        Ok(())
    }

    /// A tick, and what is checked at every tick.
    fn step(&mut self) -> Result<(), Stop> {
        self.world.step().map_err(Stop::Crashed)?;
        for (id, seen) in self.lives.iter_mut().enumerate() {
            let life = self.world.nodes[id].lives();
            if std::mem::replace(seen, life) != life {
                self.checker.borrow_mut().restarted(id);
            }
        }
        let mut checker = self.checker.borrow_mut();
        let (bounds, at) = (Bounds { admitted: self.plan.unanswered_bytes_max }, self.world.elapsed());
        self.points.look_at_held(|host, component, held| {
            if held.most == 0 {
                return;
            }
            checker.held(bounds, self.world.net.name(host), component, held, at);
        });
        checker.tick(&self.world);
        if checker.violations().is_empty() { Ok(()) } else { Err(Stop::Violated) }
    }

    /// Goes on until something is true; a liveness violation if that takes too long.
    fn until(
        &mut self,
        most: Duration,
        check: &'static str,
        what: &str,
        is_true: impl Fn(&Self) -> bool,
    ) -> Result<(), Stop> {
        let end = self.world.elapsed() + most;
        while !is_true(self) {
            if self.world.elapsed() >= end {
                let what = format!("after {} s it is not so that {what}; {}", most.as_secs(), self.phases());
                let at = self.world.elapsed();
                let mut found = self.faults.violations(&self.world);
                self.late.append(&mut found);
                self.late.push(Violation { sort: Sort::Liveness, promise: "P8", check, what, at });
                return Err(Stop::Violated);
            }
            self.faults.step(&mut self.world, &self.history);
            self.workload.step(&mut self.world);
            self.step()?;
        }
        Ok(())
    }

    /// What only those who called could see.
    fn judge_the_clients(&mut self) {
        let (stats, at) = (self.workload.stats(), self.world.elapsed());
        if stats.damaged > 0 {
            let what = format!("{} deliveries were not what was published", stats.damaged);
            self.late.push(Violation { sort: Sort::Safety, promise: "P2", check: "bodies", what, at });
        }
        if stats.hung > 0 {
            let what = format!("{} calls did not end within the client's own bounds", stats.hung);
            self.late.push(Violation { sort: Sort::Liveness, promise: "P11", check: "hung-calls", what, at });
        }
    }

    fn is_whole(&self) -> bool {
        let nodes = self.world.nodes.iter().enumerate();
        nodes.filter(|(id, _)| !self.faults.is_out(*id)).all(|(_, node)| node.is_running())
    }

    fn is_settled(&self) -> bool {
        let shards = self.world.nodes.iter().filter_map(|node| node.shard());
        let applied: BTreeSet<_> = shards.map(|shard| shard.state().applied().last).collect();
        applied.len() == 1
    }

    /// What every running node knows of the members is in force, and names each running node once, as a voter.
    fn has_members(&self) -> bool {
        let running: Vec<_> = self.world.nodes.iter().filter(|node| node.is_running()).collect();
        running.iter().filter_map(|node| node.shard()).all(|shard| {
            let membership = shard.replica.membership();
            membership.committed
                && !membership.is_joint()
                && running.iter().all(|node| {
                    let of_name: Vec<_> = membership.named(&node.name()).map(|member| member.id).collect();
                    matches!(of_name[..], [id] if membership.is_voter(id))
                })
        })
    }

    /// The replicas compare their states by themselves, not only here.
    fn has_compared(&self) -> bool {
        let Some(leader) = leader(&self.world) else { return false };
        let Some(shard) = self.world.nodes[leader].shard() else { return false };
        let (membership, agreed) = (shard.replica.membership(), shard.replica.agreed());
        let others =
            self.world.nodes.iter().enumerate().filter(|(id, node)| *id != leader && node.is_running());
        others
            .flat_map(|(_, node)| membership.named(&node.name()).map(|m| m.id).collect::<Vec<_>>())
            .all(|id| agreed.contains_key(&id))
    }

    fn phases(&self) -> String {
        let each = self.world.nodes.iter().map(|node| {
            let applied = node.shard().and_then(|shard| shard.state().applied().last);
            format!("{} {:?} applied {:?}", node.name(), node.phase(), applied.map(|id| id.index))
        });
        each.collect::<Vec<_>>().join(", ")
    }

    fn finish(mut self, stop: Option<Stop>) -> Finished {
        let simulated = self.world.elapsed();
        let data = self.data_hash();
        let mut violations = self.checker.borrow().violations().to_vec();
        violations.append(&mut self.late);
        let mut summary = Summary {
            seed: self.seed,
            verdict: Verdict::Clean,
            reason: None,
            promise: None,
            check: None,
            planted_hits: self.points.planted_hits(),
            trace: format!("{:016x}", self.trace_hash()),
            data: format!("{data:016x}"),
            figures: self.figures(simulated),
        };
        let shortfall = self.checker.borrow().stats().judged.shortfall(self.plan.duration);
        summary.judge(&violations, shortfall);
        if let Some(Stop::Crashed(why)) = stop {
            summary.verdict = Verdict::Crash;
            summary.reason = Some(why);
        }
        let around = violations.first().map_or(simulated, |violation| violation.at);
        let excerpt = self.history.look(|events| excerpt(events, around));
        Finished { summary, plan: self.plan.to_string(), violations, excerpt }
    }

    fn figures(&self, simulated: Duration) -> Figures {
        let (checks, work) = (self.checker.borrow().stats(), self.workload.stats());
        Figures {
            simulated_ms: simulated.as_millis() as u64,
            real_ms: 0,
            entries: checks.judged.entries,
            writes: checks.judged.writes,
            reads: checks.judged.reads,
            deliveries: checks.judged.deliveries,
            scans: checks.judged.scans,
            rows: checks.judged.rows,
            by_check: checks.judged.by_check,
            held: checks.held,
            rows_most: checks.rows_most,
            calls: sum(work.calls.iter().map(|((verb, _), n)| (*verb, *n))),
            answers: sum(work.calls.iter().map(|((_, sort), n)| (*sort, *n))),
            faults: sum(self.faults.stats()),
            odd: self.points.fired(),
        }
    }

    fn trace_hash(&self) -> u64 {
        let mut trace = self.trace.borrow_mut();
        self.history.look(|events| {
            for event in events {
                trace.write(event.to_string().as_bytes());
            }
        });
        for node in &self.world.nodes {
            trace.write(format!("{:?}", node.medium().borrow().work).as_bytes());
        }
        trace.write(&interpose::drawn().to_le_bytes());
        trace.finish()
    }

    /// Ends every process as a kill would, and identifies what is on the disks then.
    fn data_hash(&mut self) -> u64 {
        let mut hash = XxHash3_64::new();
        for id in 0..self.world.nodes.len() {
            self.world.crash(id, Loss::Nothing);
            let image = self.world.nodes[id].with_image(|image| image.hash());
            hash.write(&image.unwrap_or_default().to_le_bytes());
        }
        hash.finish()
    }
}

fn sum(counts: impl IntoIterator<Item = (&'static str, u64)>) -> Counts {
    let mut sums = Counts::new();
    for (name, count) in counts {
        *sums.entry(name.to_owned()).or_default() += count;
    }
    sums
}

/// The events before and a few after a moment.
fn excerpt(events: &[Event], at: Duration) -> Vec<String> {
    let after = events.partition_point(|event| event.at <= at);
    let to = (after + SHOWN_EVENTS / 4).min(events.len());
    let from = to.saturating_sub(SHOWN_EVENTS);
    events[from..to].iter().map(ToString::to_string).collect()
}
