//! A host that runs a node.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_machine::Versions;
use quorate_node::config::Config;
use quorate_node::node::{Components, Node, StartError};
use quorate_node::service::{Principal, Service};
use quorate_node::shards::Shard;
use quorate_raft::Ending;
use tokio::sync::{Notify, mpsc};

use super::clock::Shown;
use super::links::Links;
use super::net::node_name;
use super::random::Seeded;
use super::reach::Reach;
use super::runner::SlowRunner;
use super::{DiskSpeed, Gate, HostClock, WorldOptions};
use crate::disk::{Disks, Image, Loss, Medium, Space};
use crate::seed::Rng;

/// How long a leader that was told to hand over waits for another.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(3);

/// A node whose disk has less than this left admits nothing.
const DISK_RESERVE_BYTES: u64 = 16 << 20;

/// What a node's log takes before it is on disk: little, since a run writes little.
pub(crate) const LOG_QUEUE_BYTES: u64 = 64 << 10;

/// Where a node's process is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is none.
    Down,
    /// It has not said yet that it is ready.
    Starting,
    /// It serves.
    Running,
    /// It has ended itself.
    Ended(Ended),
}

/// Why a node has ended itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) cause: Cause,
    /// In the node's words, for people.
    pub(crate) says: String,
}

/// What a node's end comes of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// What its disk has is not what was written, or not its own.
    Damaged,
    /// Its disk was written by a later program.
    Later,
    /// It is no member any more.
    Removed,
    /// It has put its data out of the way.
    SetAside,
    /// Its state is not that of the others.
    Differs,
    /// Anything else.
    Other,
}

impl Ended {
    fn by_store(e: &quorate_storage::Error) -> Self {
        let cause = match e {
            quorate_storage::Error::NewerFormat { .. } => Cause::Later,
            e if e.is_loss() => Cause::Damaged,
            _ => Cause::Other,
        };
        Self { cause, says: e.to_string() }
    }

    fn before_it_ran(e: &StartError) -> Self {
        let cause = match e {
            StartError::Storage(e) | StartError::Raft(quorate_raft::Error::Damaged(e)) => {
                return Self::by_store(e);
            }
            StartError::Raft(quorate_raft::Error::NewerState { .. }) => Cause::Later,
            StartError::SetAside { .. } => Cause::SetAside,
            _ => Cause::Other,
        };
        Self { cause, says: e.to_string() }
    }

    fn while_it_ran(why: &Ending) -> Self {
        let cause = match why {
            Ending::Damaged(_) => Cause::Damaged,
            Ending::Removed { .. } => Cause::Removed,
            Ending::Differs { .. } => Cause::Differs,
            Ending::Failed(_) | Ending::TooLarge { .. } | Ending::Unreadable { .. } => Cause::Other,
        };
        Self { cause, says: why.to_string() }
    }
}

/// What a running node can be told to do at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// If it leads, to let another lead.
    HandOver,
    /// To bring its state to the disk.
    Flush,
    /// To take a snapshot, which nobody fetches.
    Snapshot,
    /// If it leads, to remove the member of this name.
    Remove(String),
    /// If it leads, to raise the active version as far as the members read.
    Raise,
}

/// The program that follows this one: it reads and writes one more version.
pub(crate) const NEXT: Versions = Versions {
    reads_from: Versions::OWN.reads_from,
    reads_to: Versions::OWN.reads_to + 1,
    writes: Versions::OWN.writes + 1,
};

/// A node's host: its clock and disk, and the process that runs on it or does not.
pub(crate) struct NodeHost {
    id: usize,
    options: WorldOptions,
    pub(crate) clock: Arc<HostClock>,
    pub(crate) speed: Arc<Mutex<DiskSpeed>>,
    pub(crate) space: Arc<Space>,
    rng: RefCell<Rng>,
    lives: Cell<u32>,
    /// What the program of the next life reads and writes.
    program: Cell<Versions>,
    /// What this life runs on.
    runtime: Cell<Option<tokio::runtime::Id>>,
    phase: RefCell<Phase>,
    /// The reason of a store that has ended the process.
    fatal: Arc<Mutex<Option<Ended>>>,
    gate: RefCell<Gate>,
    medium: RefCell<Rc<RefCell<Medium>>>,
    /// What the disk holds while nothing runs.
    image: RefCell<Option<Image>>,
    shard: RefCell<Option<Shard>>,
    stop: RefCell<Rc<Notify>>,
    orders: RefCell<Option<mpsc::UnboundedSender<Order>>>,
    reach: Arc<Reach>,
}

impl NodeHost {
    pub(super) fn new(
        id: usize,
        options: &WorldOptions,
        disks: &Disks,
        reach: Arc<Reach>,
        rng: Rng,
    ) -> Rc<Self> {
        let root = options.dir.join(node_name(id)).join("0");
        std::fs::create_dir_all(&root).expect("the simulation's directory can be written");
        let medium = disks.mount(&root, None).expect("the simulation's directory can be read");
        Rc::new(NodeHost {
            id,
            options: options.clone(),
            clock: Arc::default(),
            speed: Arc::new(Mutex::new(options.disk)),
            space: Arc::new(Space::new(options.thin_disks.contains(&id))),
            rng: RefCell::new(rng),
            lives: Cell::new(0),
            program: Cell::new(Versions::OWN),
            runtime: Cell::new(None),
            phase: RefCell::new(Phase::Down),
            fatal: Arc::default(),
            gate: RefCell::default(),
            medium: RefCell::new(medium),
            image: RefCell::new(Some(Image::default())),
            shard: RefCell::new(None),
            stop: RefCell::default(),
            orders: RefCell::default(),
            reach,
        })
    }

    /// How many processes the host has had.
    pub(crate) fn lives(&self) -> u32 {
        self.lives.get()
    }

    /// What it runs on.
    pub(crate) fn runtime(&self) -> Option<tokio::runtime::Id> {
        self.runtime.get()
    }

    /// Whether the caller runs on this host.
    pub(crate) fn is_here(&self) -> bool {
        let caller = tokio::runtime::Handle::try_current().ok().map(|handle| handle.id());
        caller.is_some() && caller == self.runtime.get()
    }

    pub(crate) fn name(&self) -> String {
        node_name(self.id)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    pub(crate) fn is_running(&self) -> bool {
        *self.phase.borrow() == Phase::Running
    }

    /// Whether there is a process.
    pub(crate) fn is_up(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Starting | Phase::Running)
    }

    /// The running node's only shard.
    pub(crate) fn shard(&self) -> Option<Shard> {
        self.shard.borrow().clone()
    }

    /// Where this life keeps its data.
    pub(crate) fn root(&self) -> PathBuf {
        self.options.dir.join(self.name()).join(self.lives.get().to_string())
    }

    /// The disk of this life.
    pub(crate) fn medium(&self) -> Rc<RefCell<Medium>> {
        Rc::clone(&self.medium.borrow())
    }

    /// What the disk holds, while nothing runs.
    pub(crate) fn with_image<T>(&self, look: impl FnOnce(&mut Image) -> T) -> Option<T> {
        self.image.borrow_mut().as_mut().map(look)
    }

    /// The device of its log does nothing; a restart finds it well.
    pub(crate) fn stall_log(&self, stalled: bool) {
        self.gate.borrow().stall_log(stalled);
    }

    /// Its whole disk does nothing: what was begun does not return, and the process goes on. A restart finds it well.
    pub(crate) fn stall_disk(&self, stalled: bool) {
        self.gate.borrow().stall_disk(stalled);
    }

    /// Removes everything from the disk, under the process that uses it.
    pub(crate) fn remove_files(&self) {
        let root = self.root();
        match crate::interpose::unseen(|| std::fs::remove_dir_all(root)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {} // it is gone already
            removed => removed.expect("the simulation's directory can be removed"),
        }
    }

    /// Whether its process runs and its disk works, as far as the world can tell.
    pub(crate) fn is_at_ease(&self) -> bool {
        let gate = self.gate.borrow();
        let is_slow = *self.speed.lock() != self.options.disk;
        let in_trouble = gate.is_paused() || self.is_log_stalled() || is_slow;
        self.is_running() && !in_trouble && !self.is_full()
    }

    /// Whether the device of its log does nothing.
    pub(crate) fn is_log_stalled(&self) -> bool {
        let gate = self.gate.borrow();
        gate.is_log_stalled() || gate.is_disk_stalled()
    }

    /// Whether its files cannot grow.
    pub(crate) fn is_full(&self) -> bool {
        self.space.left_bytes() == 0
    }

    /// How the nodes of this world replicate.
    pub(crate) fn raft(&self) -> &quorate_raft::Settings {
        &self.options.raft
    }

    /// A process that is paused keeps its connections and does nothing.
    pub(crate) fn pause(&self, paused: bool) {
        self.gate.borrow().pause(paused);
    }

    /// From its next life on the host runs another program.
    pub(crate) fn install(&self, program: Versions) {
        self.program.set(program);
    }

    /// Asks the process to end in good order.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.borrow().notify_one();
    }

    /// Gives an order to the process; one that does not run yet, or any more, does not hear it.
    pub(crate) fn order(&self, order: Order) {
        if let Some(orders) = self.orders.borrow().as_ref() {
            let _ = orders.send(order); // it may be at its end
        }
    }

    /// Whether nothing that the process does counts any more: its power is off or it has ended itself, and the rest of
    /// its last tick goes by.
    pub(crate) fn is_gone(&self) -> bool {
        self.gate.borrow().is_closed()
    }

    /// Prepares the next life. False if one is under way.
    pub(super) fn begin(&self, disks: &Disks) -> bool {
        let Some(image) = self.image.borrow_mut().take() else { return false };
        self.lives.set(self.lives.get() + 1);
        let root = self.root();
        image.restore(&root).expect("the simulation's directory can be written");
        let medium = disks.mount(&root, Some(&image)).expect("the simulation's directory can be read");
        medium.borrow_mut().reseed(self.rng.borrow_mut().fork());
        medium.borrow_mut().space = Arc::clone(&self.space);
        let gate = Gate::of_host(Arc::clone(&medium.borrow().dead));
        *self.gate.borrow_mut() = gate;
        *self.medium.borrow_mut() = medium;
        *self.fatal.lock() = None;
        *self.stop.borrow_mut() = Rc::default();
        *self.phase.borrow_mut() = Phase::Starting;
        true
    }

    /// What the process has died of in this tick, if it has.
    pub(super) fn died(&self) -> Option<Loss> {
        if self.image.borrow().is_some() {
            return None;
        }
        let gate = self.gate.borrow();
        let medium = self.medium();
        if gate.is_dead() {
            return Some(medium.borrow().lost().unwrap_or(Loss::Torn));
        }
        // A store that failed leaves pages that look written and are not: they are gone with the next power loss,
        // so half of the time the power goes, too.
        let by_store = self.fatal.lock().is_some();
        let after_failure = || match by_store && self.rng.borrow_mut().percent(50) {
            true => Loss::Unsynced,
            false => Loss::Nothing,
        };
        gate.has_aborted().then(after_failure)
    }

    /// Takes the process's end down. False if there is none.
    pub(super) fn end(&self, disks: &Disks, loss: Loss) -> bool {
        if self.image.borrow().is_some() {
            return false;
        }
        let medium = self.medium();
        // What a process without power has met is not why it ended.
        let by_power = medium.borrow().lost().is_some();
        medium.borrow_mut().lose_power(loss); // if it was lost before, that image counts
        // There is no image of a disk whose files were removed.
        *self.image.borrow_mut() = Some(medium.borrow_mut().take_image().unwrap_or_default());
        disks.unmount(&self.root());
        *self.shard.borrow_mut() = None;
        *self.orders.borrow_mut() = None;
        let fatal = self.fatal.lock().take();
        let mut phase = self.phase.borrow_mut();
        let reason = match (fatal, &*phase) {
            _ if by_power => None,
            (Some(fatal), _) => Some(fatal),
            (None, Phase::Ended(ended)) => Some(ended.clone()),
            (None, _) => None,
        };
        // Where the simulation keeps its files is no part of it.
        let root = self.root().display().to_string();
        *phase = reason.map_or(Phase::Down, |Ended { cause, says }| {
            Phase::Ended(Ended { cause, says: says.replace(&root, &self.name()) })
        });
        true
    }

    /// The software of the host: one life of the process, then nothing until the next start.
    pub(super) async fn live(self: Rc<Self>) -> turmoil::Result {
        self.runtime.set(Some(tokio::runtime::Handle::current().id()));
        if *self.phase.borrow() == Phase::Starting {
            let (config, parts) = self.parts();
            let stop = Rc::clone(&self.stop.borrow());
            if let Err(reason) = self.run(config, parts, &stop).await {
                *self.phase.borrow_mut() = Phase::Ended(reason);
            }
            self.gate.borrow().abort();
        }
        pending().await
    }

    async fn run(&self, config: Config, parts: Components, stop: &Notify) -> Result<(), Ended> {
        let node = Node::start(config, parts).await.map_err(|e| Ended::before_it_ran(&e))?;
        *self.shard.borrow_mut() = Some(node.shard().clone());
        *self.phase.borrow_mut() = Phase::Running;
        let (give, orders) = mpsc::unbounded_channel();
        *self.orders.borrow_mut() = Some(give);
        let ended = tokio::select! {
            biased;
            () = stop.notified() => Ok(()),
            why = node.shard().replica.ended() => Err(Ended::while_it_ran(&why)),
            () = obey(node.shard().clone(), node.service().clone(), orders) => Ok(()),
        };
        *self.shard.borrow_mut() = None;
        if ended.is_ok() {
            node.drain().await;
        }
        node.shutdown().await;
        ended
    }

    fn parts(&self) -> (Config, Components) {
        let bootstrap = (0..self.options.nodes).map(node_name);
        let config = Config {
            client_addr: "0.0.0.0:7400".into(),
            peer_addr: "0.0.0.0:7401".into(),
            http_addr: "0.0.0.0:7402".into(),
            bootstrap: bootstrap.map(|name| (name.clone(), format!("{name}:7401"))).collect(),
            raft: self.options.raft.clone(),
            disk_reserve_bytes: DISK_RESERVE_BYTES,
            map_bytes_max: self.options.map_bytes_max,
            log_queue_bytes: LOG_QUEUE_BYTES,
            unanswered_bytes_max: self.options.unanswered_bytes_max as usize,
            rejoin: self.options.rejoin,
            ..Config::new(self.name(), self.root())
        };
        let (gate, fatal) = (self.gate.borrow().clone(), Arc::clone(&self.fatal));
        let rng = || self.rng.borrow_mut().fork();
        let on_fatal_gate = gate.clone();
        let parts = Components {
            clock: Arc::new(Shown(Arc::clone(&self.clock))),
            random: Arc::new(Seeded::new(rng())),
            transport: Arc::new(Links { gate: gate.clone(), reach: Arc::clone(&self.reach), host: self.id }),
            disk: Arc::new(SlowRunner {
                speed: Arc::clone(&self.speed),
                gate,
                rng: Arc::new(Mutex::new(rng())),
                space: Arc::clone(&self.space),
            }),
            on_fatal: Arc::new(move |error| {
                fatal.lock().get_or_insert_with(|| Ended::by_store(error));
                on_fatal_gate.abort();
            }),
            versions: self.program.get(),
        };
        (config, parts)
    }
}

/// Carries out orders, one after the other, until there will be none any more.
async fn obey(shard: Shard, service: Service, mut orders: mpsc::UnboundedReceiver<Order>) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::HandOver => shard.replica.hand_over(HAND_OVER_TIMEOUT).await,
            // A store that has stopped says so by itself.
            Order::Flush => drop(shard.state().flush().await),
            Order::Snapshot => drop(shard.state().snapshot().await),
            // What came of it shows in the membership.
            Order::Remove(name) => {
                if let Ok(context) = service.admit(Principal::Anyone, String::new()) {
                    drop(service.remove_member(&context, name).await);
                }
            }
            // Nor does it matter whether it was too early.
            Order::Raise => {
                if let Ok(context) = service.admit(Principal::Anyone, String::new()) {
                    drop(service.raise_version(&context, 0).await);
                }
            }
        }
    }
}
