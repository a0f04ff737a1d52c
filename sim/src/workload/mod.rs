//! The workload: clients that use every verb of the product, and write down what they did and saw.
//!
//! `plan.rs` says what they do, `actors/` how, `verbs/` what each call is. Some producers and consumers live in the same
//! process, which dies and comes back now and then; what a producer must know across its lives is in `outbox.rs`.

mod actors;
mod body;
mod cx;
mod foretold;
mod outbox;
mod plan;
mod settle;
mod stats;
pub mod trial;
mod verbs;

pub(crate) use plan::WorkloadPlan;
pub(crate) use stats::WorkloadStats;

use std::future::Future;
use std::rc::{Rc, Weak};
use std::time::Duration;

use futures::future::join_all;

use cx::{Cx, Shared};
use foretold::Foretold;
use plan::HostPlan;

use crate::history::{History, Who};
use crate::seed::Rng;
use crate::world::{ClientHost, World};

/// How long actors may take to end. Whoever has not then is killed.
const ENDING: Duration = Duration::from_secs(60);
/// Of the client that drains.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Working,
    /// Since then.
    Ending(Duration),
    Draining,
}

/// A client process.
struct Host {
    plan: HostPlan,
    rng: Rng,
    up: bool,
    /// When it dies or comes back.
    next: Option<Duration>,
}

impl Host {
    fn time(&mut self, now: Duration, bounds_ms: (u64, u64)) -> Duration {
        now + Duration::from_millis(self.rng.between(bounds_ms.0, bounds_ms.1))
    }
}

/// See the module.
pub(crate) struct Workload {
    shared: Rc<Shared>,
    hosts: Vec<Host>,
    phase: Phase,
}

impl Workload {
    /// How many client hosts the world needs: the plan's and one that drains.
    pub(crate) fn clients(plan: &WorkloadPlan) -> usize {
        plan.hosts.len() + 1
    }

    /// Starts the clients.
    pub(crate) fn start(plan: WorkloadPlan, world: &mut World, history: &Rc<History>) -> Self {
        let mut rng = Rng::new(plan.seed, "client processes");
        let shared = Shared::new(plan, history);
        let now = world.elapsed();
        let hosts = shared.plan.hosts.iter().map(|plan| {
            let mut host = Host { plan: plan.clone(), rng: rng.fork(), up: false, next: None };
            host.next = plan.lives_ms.map(|bounds| host.time(now, bounds));
            host
        });
        let hosts = hosts.collect();
        let mut workload = Workload { shared, hosts, phase: Phase::Working };
        for id in 0..workload.hosts.len() {
            workload.launch(world, id);
        }
        workload
    }

    /// Lets client processes die and come back, and after [`Workload::quiesce`] leads to the end. Once a tick.
    pub(crate) fn step(&mut self, world: &mut World) {
        match self.phase {
            Phase::Working => {
                for id in 0..self.hosts.len() {
                    self.kill_or_start(world, id);
                }
            }
            Phase::Ending(since) => {
                let ended = (0..self.hosts.len()).all(|id| self.shared.has_ended(id));
                if ended || world.elapsed() > since + ENDING {
                    self.drain(world);
                }
            }
            Phase::Draining => {}
        }
    }

    /// The work is over: producers wait for what they have sent, all others leave, and then what is left in the queues
    /// is acknowledged. To be called when the cluster is healed; [`Workload::step`] does the rest.
    pub(crate) fn quiesce(&mut self, world: &mut World) {
        if self.phase != Phase::Working {
            return;
        }
        self.shared.history.note("the clients come to their end");
        self.shared.stop();
        self.phase = Phase::Ending(world.elapsed());
        for id in 0..self.hosts.len() {
            if !self.hosts[id].up {
                self.launch(world, id);
            }
        }
    }

    /// Whether all actors have ended and every queue was seen empty.
    pub(crate) fn is_drained(&self) -> bool {
        self.shared.drained()
    }

    /// What was done so far.
    pub(crate) fn stats(&self) -> WorkloadStats {
        self.shared.history.look(|events| WorkloadStats::of(events, self.shared.hung()))
    }

    fn kill_or_start(&mut self, world: &mut World, id: usize) {
        let (now, host) = (world.elapsed(), &mut self.hosts[id]);
        if host.next.is_none_or(|next| now < next) {
            return;
        }
        if host.up {
            let back = host.time(now, host.plan.down_ms);
            self.shared.history.note(format!("{} is killed", world.clients[id].name()));
            if back > now {
                (host.up, host.next) = (false, Some(back));
                world.kill_client(id);
                return;
            }
        }
        host.next = host.plan.lives_ms.map(|bounds| host.time(now, bounds));
        self.launch(world, id);
    }

    /// Starts a client's process; what an earlier one was doing is dropped.
    fn launch(&mut self, world: &mut World, id: usize) {
        self.hosts[id].up = true;
        self.shared.set_ended(id, false);
        let (host, shared) = (Rc::downgrade(&world.clients[id]), Rc::clone(&self.shared));
        world.clients[id].assign(move || process(&host, Rc::clone(&shared), id));
        world.start_client(id);
    }

    fn drain(&mut self, world: &mut World) {
        self.phase = Phase::Draining;
        for id in 0..self.hosts.len() {
            if !self.shared.has_ended(id) {
                self.shared.history.note(format!("{} has not ended: killed", world.clients[id].name()));
                self.shared.note_hung();
            }
            self.hosts[id].up = false;
            world.kill_client(id);
        }
        self.shared.history.note("what is left is drained");
        let id = self.hosts.len();
        let (host, shared) = (Rc::downgrade(&world.clients[id]), Rc::clone(&self.shared));
        world.clients[id].assign(move || {
            let (host, shared) = (alive(&host), Rc::clone(&shared));
            async move { actors::drain::run(some_cx(&host, shared, id, 0, DRAIN_TIMEOUT, None)).await }
        });
        world.start_client(id);
    }
}

/// A host's work is called only by the host.
fn alive(host: &Weak<ClientHost>) -> Rc<ClientHost> {
    host.upgrade().expect("a host that runs is there")
}

/// One life of a client's process: all its actors.
fn process(host: &Weak<ClientHost>, shared: Rc<Shared>, id: usize) -> impl Future<Output = ()> + use<> {
    let host = alive(host);
    let life = host.lives();
    let mut lives = Vec::new();
    for (n, plan) in shared.plan.actors.iter().enumerate().filter(|(_, plan)| plan.host == id) {
        let cx = some_cx(&host, Rc::clone(&shared), id, lives.len() as u32, plan.timeout, plan.quiet);
        let rng = Rng::new(shared.plan.seed, &format!("actor {n}, life {life}"));
        lives.push(actors::live(cx, plan.role.clone(), Rc::clone(&shared.outboxes[n]), rng));
    }
    async move {
        join_all(lives).await;
        shared.set_ended(id, true);
    }
}

fn some_cx(
    host: &ClientHost,
    shared: Rc<Shared>,
    client: usize,
    actor: u32,
    timeout: Duration,
    quiet: Option<plan::Quiet>,
) -> Cx {
    let random = Foretold::new(host.rng());
    let connected = host.connect_with(timeout, random.clone());
    Cx {
        who: Who { client, life: host.lives(), actor },
        shared,
        client: connected.expect("the addresses of the nodes can be read"),
        random,
        quiet,
    }
}
