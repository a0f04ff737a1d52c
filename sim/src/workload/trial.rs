//! A run of the workload alone, for its own test: real nodes that crash now and then, and no checker but the obvious.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::{Workload, WorkloadPlan};
use crate::disk::Loss;
use crate::history::{Answer, Call, History, What};
use crate::interpose;
use crate::seed::Rng;
use crate::world::{DiskSpeed, NodeHost, World, WorldOptions};

const NODES: usize = 3;
/// Until the cluster has formed.
const FORMING: Duration = Duration::from_secs(3);
/// The longest that ending and draining may take: the longest lease, and the actors' time to end.
const DRAINING: Duration = Duration::from_secs(120);

/// What came of it.
pub struct Trial {
    /// The same for two runs of a seed.
    pub summary: String,
    /// What is wrong with the workload; empty if nothing is.
    pub problems: Vec<String>,
    /// Calls that were done, by verb.
    pub done: BTreeMap<&'static str, u64>,
    /// Every event, a line each.
    pub history: String,
}

/// Runs the workload of a seed for so many seconds, then until it is drained. `dir` is an empty directory.
///
/// # Errors
/// What ended the run before its time.
pub fn run(seed: u64, seconds: u64, crashes: bool, dir: &Path) -> Result<Trial, String> {
    interpose::arm(seed).map_err(|e| e.to_string())?;
    let began = interpose::real_now();
    let plan = WorkloadPlan::from_seed(&mut Rng::new(seed, "workload"));
    let mut world = World::new(&options(seed, &plan, dir));
    let history = Rc::new(History::default());
    for id in 0..NODES {
        world.start(id);
    }
    advance(&mut world, FORMING)?;
    let mut workload = Workload::start(plan, &mut world, &history);
    let mut crashing = Crashing { rng: Rng::new(seed, "crashes"), next: FORMING, down: None };
    let end = FORMING + Duration::from_secs(seconds);
    while world.elapsed() < end {
        if crashes {
            crashing.step(&mut world, &history);
        }
        workload.step(&mut world);
        world.step()?;
    }
    for id in 0..NODES {
        world.start(id);
    }
    workload.quiesce(&mut world);
    while !workload.is_drained() && world.elapsed() < end + DRAINING {
        workload.step(&mut world);
        world.step()?;
    }
    let applied = world.nodes.iter().filter_map(|node| applied(node)).max().unwrap_or_default();
    let took = (interpose::real_now() - began).as_secs_f64();
    let speed = world.elapsed().as_secs_f64() / took;
    eprintln!("seed {seed}: {took:.1} s real, {speed:.1} simulated s a real s");
    Ok(report(&workload, &history, world.elapsed(), applied))
}

fn options(seed: u64, plan: &WorkloadPlan, dir: &Path) -> WorldOptions {
    let ms = Duration::from_millis;
    WorldOptions {
        seed,
        nodes: NODES,
        clients: Workload::clients(plan),
        dir: dir.to_owned(),
        latency: (ms(1), ms(5)),
        disk: DiskSpeed { latency: (ms(1), ms(4)) },
        raft: quorate_raft::Settings::default(),
        map_bytes_max: 1 << 30,
        thin_disks: Vec::new(),
        unanswered_bytes_max: 256 << 20,
        rejoin: false,
    }
}

fn advance(world: &mut World, to: Duration) -> Result<(), String> {
    while world.elapsed() < to {
        world.step()?;
    }
    Ok(())
}

fn applied(node: &NodeHost) -> Option<u64> {
    node.shard()?.replica.status().ok().map(|replica| replica.applied)
}

/// Takes one node after the other down.
struct Crashing {
    rng: Rng,
    next: Duration,
    down: Option<usize>,
}

impl Crashing {
    fn step(&mut self, world: &mut World, history: &History) {
        let now = world.elapsed();
        if now < self.next {
            return;
        }
        match self.down.take() {
            Some(id) => {
                world.start(id);
                self.next = now + Duration::from_millis(self.rng.between(1000, 6000));
            }
            None => {
                let id = self.rng.below(NODES as u64) as usize;
                let loss = *self.rng.pick(&[Loss::Nothing, Loss::Unsynced, Loss::Torn]);
                history.note(format!("{} crashes: {loss:?}", world.nodes[id].name()));
                world.crash(id, loss);
                self.down = Some(id);
                self.next = now + Duration::from_millis(self.rng.between(500, 5000));
            }
        }
    }
}

fn report(workload: &Workload, history: &History, elapsed: Duration, applied: u64) -> Trial {
    let stats = workload.stats();
    let lines = history.look(|events| {
        events.iter().fold(String::new(), |mut lines, event| {
            writeln!(lines, "{event}").expect("a string takes everything");
            lines
        })
    });
    let digest = twox_hash::XxHash3_64::oneshot(lines.as_bytes());
    let mut problems = Vec::new();
    if !workload.is_drained() {
        problems.push(format!("not drained within {} s", DRAINING.as_secs()));
    }
    if stats.damaged > 0 || stats.hung > 0 {
        problems.push(format!("{} damaged deliveries, {} calls that hung", stats.damaged, stats.hung));
    }
    problems.extend(history.look(lost));
    let mut done: BTreeMap<&'static str, u64> = BTreeMap::new();
    for verb in stats.calls.keys().map(|(verb, _)| *verb) {
        done.insert(verb, stats.done(verb));
    }
    let events = history.len();
    let summary = format!(
        "{:.3} s, {applied} entries, {events} events, history {digest:016x}\n{stats}",
        elapsed.as_secs_f64()
    );
    Trial { summary, problems, done, history: lines }
}

/// A name that a call to delete mentions.
fn deleted(event: &crate::history::Event) -> Option<&str> {
    match &event.what {
        What::Invoke(_, Call::DeleteQueue { queue }) => Some(queue),
        _ => None,
    }
}

/// Messages with a receipt that no consumer was handed, in queues that were not deleted.
fn lost(events: &[crate::history::Event]) -> Option<String> {
    let deleted: BTreeSet<&str> = events.iter().filter_map(deleted).collect();
    let (mut open, mut missing) = (BTreeMap::new(), BTreeMap::new());
    for event in events {
        match &event.what {
            What::Invoke(op, Call::Publish { queue, body, .. }) if !deleted.contains(queue.as_str()) => {
                open.insert(*op, (queue.clone(), *body));
            }
            What::Return(op, Answer::Receipt { position, .. }) => {
                if let Some((queue, body)) = open.remove(op) {
                    missing.insert((queue, *position), body);
                }
            }
            _ => {}
        }
    }
    for event in events {
        if let What::Delivered { queue, position, body, .. } = &event.what
            && missing.get(&(queue.clone(), *position)) == Some(body)
        {
            missing.remove(&(queue.clone(), *position));
        }
    }
    (!missing.is_empty()).then(|| format!("stored and never delivered: {missing:?}"))
}
