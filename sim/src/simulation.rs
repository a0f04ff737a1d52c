//! A simulated cluster for tests of your own.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use quorate_client::Client;

use crate::check::Checker;
use crate::faults::Faults;
use crate::history::History;
use crate::interpose;
use crate::plan::{Kind, Plan};
use crate::probe::{Origin, Points};
use crate::seed::Rng;
use crate::violation::Violation;
use crate::world::{ClientHost, World};

/// A simulated cluster and the programs that use it.
///
/// Nodes and client are the real ones. The run follows from the seed alone: time, network, disks, crashes, and the order
/// in which things happen. One simulation per process, since the clock and the randomness of the thread belong to it:
/// [`explore`](crate::explore) runs many.
pub struct Simulation {
    seed: u64,
    nodes: usize,
    kinds: Vec<Kind>,
    faults_for: Duration,
    limit: Duration,
    programs: Vec<Program>,
}

type Work = Rc<dyn Fn(Context) -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>>>>>;

struct Program {
    name: String,
    work: Work,
    kills_percent: u64,
}

/// How a program of a simulation has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Done,
    Failed(String),
}

/// Why a simulation did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The program of this name returned an error.
    Program {
        /// Whose.
        name: String,
        /// What it returned.
        error: String,
    },
    /// These programs were not done when the simulated time was up.
    OutOfTime(Vec<String>),
    /// Quorate broke a promise.
    Promise(Violation),
    /// Something panicked.
    Panic(String),
    /// The program does not say `quorate_sim::interpose!();`, or the disks found no room.
    Setup(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Program { name, error } => write!(f, "{name}: {error}"),
            Failure::OutOfTime(names) => write!(f, "not done in time: {}", names.join(", ")),
            Failure::Promise(violation) => violation.fmt(f),
            Failure::Panic(what) | Failure::Setup(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Failure {}

/// What a program gets to work with.
#[derive(Clone)]
pub struct Context {
    host: Rc<ClientHost>,
    rng: Rc<RefCell<Rng>>,
}

impl Context {
    /// A client of the cluster whose calls end after `timeout`, which is more than zero, at the latest.
    ///
    /// # Errors
    /// [`quorate_client::Error::Config`] if the timeout is zero.
    pub fn client(&self, timeout: Duration) -> Result<Client, quorate_client::Error> {
        self.host.connect(timeout)
    }

    /// How often the program was started, this time included. A program that was killed starts again from its beginning;
    /// only what it shares outside the simulation, as its database would be, is still there.
    pub fn life(&self) -> u32 {
        self.host.lives()
    }

    /// Time since the start of the simulation.
    pub fn now(&self) -> Duration {
        interpose::elapsed()
    }

    /// Choices that follow from the seed.
    pub fn choose(&self, below: u64) -> u64 {
        self.rng.borrow_mut().below(below.max(1))
    }
}

impl Simulation {
    /// Three nodes, no faults, five simulated minutes.
    pub fn new(seed: u64) -> Self {
        Simulation {
            seed,
            nodes: 3,
            kinds: Vec::new(),
            faults_for: Duration::from_secs(20),
            limit: Duration::from_secs(300),
            programs: Vec::new(),
        }
    }

    /// How many nodes the cluster has: 1 to 7.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes.clamp(1, 7);
        self
    }

    /// Lets faults of these kinds happen for the first `time`, drawn from the seed. Afterwards all is healed.
    #[must_use]
    pub fn faults(mut self, kinds: &[Kind], time: Duration) -> Self {
        self.kinds = kinds.to_vec();
        self.faults_for = time;
        self
    }

    /// The programs have to be done within this much simulated time.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// A program on a host of its own. It is done when it returns; an error fails the simulation.
    #[must_use]
    pub fn program<F, Fut, E>(self, name: impl Into<String>, work: F) -> Self
    where
        F: Fn(Context) -> Fut + 'static,
        Fut: Future<Output = Result<(), E>> + 'static,
        E: fmt::Display + 'static,
    {
        self.mortal_program(name, 0, work)
    }

    /// Like [`program`](Simulation::program), and killed in `percent` of the simulated seconds in which faults may happen.
    /// Each time it starts again from its beginning a little later.
    #[must_use]
    pub fn mortal_program<F, Fut, E>(mut self, name: impl Into<String>, percent: u64, work: F) -> Self
    where
        F: Fn(Context) -> Fut + 'static,
        Fut: Future<Output = Result<(), E>> + 'static,
        E: fmt::Display + 'static,
    {
        let work: Work = Rc::new(move |context| {
            let running = work(context);
            Box::pin(async move { running.await.map_err(|e| e.to_string()) })
        });
        self.programs.push(Program { name: name.into(), work, kills_percent: percent });
        self
    }

    /// Runs until every program is done. On a thread that nothing has run on before, as [`explore`](crate::explore) does it;
    /// otherwise what was there before is part of what the run follows from.
    ///
    /// # Errors
    /// The first thing that went wrong: a program's error, time that ran out, a promise that Quorate broke.
    pub fn run(self) -> Result<(), Failure> {
        interpose::arm(self.seed).map_err(|e| Failure::Setup(e.to_string()))?;
        let scratch = crate::scratch().map_err(|e| Failure::Setup(e.to_string()))?;
        let plan = Plan::of_kinds(self.seed, self.nodes, &self.kinds, self.faults_for);
        let history = Rc::new(History::default());
        let checker = Rc::new(RefCell::new(Checker::new(Rc::clone(&history))));
        let mut world = World::new(&plan.world(scratch.path(), self.programs.len()));
        let (seen, hosts) = (Rc::clone(&checker), world.nodes.clone());
        let on_applied = move |origin: Origin, applied: &quorate_simpoint::Applied<'_>| {
            if hosts[origin.node].is_gone() {
                return;
            }
            seen.borrow_mut().applied(origin.node, origin.life, interpose::elapsed(), applied);
        };
        let points = Points::new(self.seed, false, None, || 0, on_applied);
        let _scope = quorate_simpoint::install(points as Rc<dyn quorate_simpoint::Probe>);
        (0..world.nodes.len()).for_each(|id| world.start(id));
        let stage = Stage { programs: self.programs, limit: self.limit, plan, history, checker };
        stage.play(&mut world, self.seed)
    }
}

/// A simulation under way.
struct Stage {
    programs: Vec<Program>,
    limit: Duration,
    plan: Plan,
    history: Rc<History>,
    checker: Rc<RefCell<Checker>>,
}

/// Programs that were killed, and when they start again.
type Restarts = Vec<(Duration, usize)>;

/// How each program has ended, if it has.
type Ends = Vec<Rc<RefCell<Option<End>>>>;

impl Stage {
    fn play(&self, world: &mut World, seed: u64) -> Result<(), Failure> {
        let ends: Ends = self.programs.iter().map(|_| Rc::default()).collect();
        for (id, end) in ends.iter().enumerate() {
            self.assign(world, id, end);
        }
        let mut faults = Faults::new(&self.plan);
        let mut kills = Rng::new(seed, "kills");
        let (mut restarts, mut healed) = (Restarts::new(), false);
        loop {
            let now = world.elapsed();
            faults.step(world, &self.history);
            if now >= self.plan.duration && !healed {
                faults.heal(world, &self.history);
                healed = true;
            }
            self.restart(world, now, &mut restarts, &ends);
            if !healed && now.as_millis() % 1000 == 999 {
                self.kill(world, now, &mut restarts, &ends, &mut kills);
            }
            world.step().map_err(Failure::Panic)?;
            self.check(world)?;
            if self.is_over(&ends)? && healed {
                return Ok(());
            }
            if now > self.limit {
                return Err(Failure::OutOfTime(self.unfinished(&ends)));
            }
        }
    }

    fn assign(&self, world: &mut World, id: usize, end: &Rc<RefCell<Option<End>>>) {
        let host = Rc::clone(&world.clients[id]);
        let rng = Rc::new(RefCell::new(host.rng()));
        let context = Context { host: Rc::clone(&host), rng };
        let (work, end) = (Rc::clone(&self.programs[id].work), Rc::clone(end));
        host.assign(move || {
            let (running, end) = (work(context.clone()), Rc::clone(&end));
            async move {
                let ended = match running.await {
                    Ok(()) => End::Done,
                    Err(error) => End::Failed(error),
                };
                *end.borrow_mut() = Some(ended);
            }
        });
        world.start_client(id);
    }

    fn kill(&self, world: &mut World, now: Duration, restarts: &mut Restarts, ends: &Ends, rng: &mut Rng) {
        for (id, program) in self.programs.iter().enumerate() {
            let is_at_work = ends[id].borrow().is_none() && restarts.iter().all(|(_, down)| *down != id);
            if is_at_work && rng.percent(program.kills_percent) {
                self.history.note(format!("{} is killed", program.name));
                world.kill_client(id);
                restarts.push((now + Duration::from_millis(rng.between(1, 3000)), id));
            }
        }
    }

    fn restart(&self, world: &mut World, now: Duration, restarts: &mut Restarts, ends: &Ends) {
        let (due, later): (Restarts, Restarts) = restarts.iter().partition(|(at, _)| *at <= now);
        *restarts = later;
        for (_, id) in due {
            self.assign(world, id, &ends[id]);
        }
    }

    fn check(&self, world: &World) -> Result<(), Failure> {
        let mut checker = self.checker.borrow_mut();
        checker.tick(world);
        checker.violations().first().map_or(Ok(()), |violation| Err(Failure::Promise(violation.clone())))
    }

    /// Whether every program is done.
    fn is_over(&self, ends: &Ends) -> Result<bool, Failure> {
        for (program, end) in self.programs.iter().zip(ends) {
            if let Some(End::Failed(error)) = &*end.borrow() {
                return Err(Failure::Program { name: program.name.clone(), error: error.clone() });
            }
        }
        Ok(ends.iter().all(|end| end.borrow().is_some()))
    }

    fn unfinished(&self, ends: &Ends) -> Vec<String> {
        let open = self.programs.iter().zip(ends).filter(|(_, end)| end.borrow().is_none());
        open.map(|(program, _)| program.name.clone()).collect()
    }
}
