//! The simulated world: hosts, the links between them, and time.

mod client;
mod clock;
mod gate;
mod links;
mod net;
mod node;
mod random;
mod reach;
mod runner;

pub(crate) use client::ClientHost;
pub(crate) use clock::HostClock;
pub(crate) use gate::Gate;
pub(crate) use net::{Latency, Net};
pub(crate) use node::{Cause, Ended, LOG_QUEUE_BYTES, NEXT, NodeHost, Order, Phase};
pub(crate) use runner::DiskSpeed;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::{Disks, Loss};
use crate::interpose;
use crate::seed::Rng;
use reach::Reach;

/// How long a tick is. Messages and timers are no finer.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// What a world is made of.
#[derive(Debug, Clone)]
pub(crate) struct WorldOptions {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) clients: usize,
    /// Where the disks are; made and removed by the caller.
    pub(crate) dir: PathBuf,
    /// Latency of a message between two hosts.
    pub(crate) latency: Latency,
    pub(crate) disk: DiskSpeed,
    pub(crate) raft: quorate_raft::Settings,
    pub(crate) map_bytes_max: u64,
    /// Nodes whose disks give room only for what is written: see [`crate::disk::Space`].
    pub(crate) thin_disks: Vec<usize>,
    /// What a node admits of requests that have no answer.
    pub(crate) unanswered_bytes_max: u64,
    /// Whether nodes set aside what they cannot use and come back as new members.
    pub(crate) rejoin: bool,
}

/// Nodes, clients, and what is between them.
pub(crate) struct World {
    pub(crate) sim: turmoil::Sim<'static>,
    pub(crate) nodes: Vec<Rc<NodeHost>>,
    pub(crate) clients: Vec<Rc<ClientHost>>,
    pub(crate) disks: Rc<Disks>,
    pub(crate) net: Net,
}

impl World {
    /// A world in which nothing has started yet.
    pub(crate) fn new(options: &WorldOptions) -> Self {
        let mut rng = Rng::new(options.seed, "world");
        let sim = turmoil::Builder::new()
            .rng_seed(rng.next())
            .enable_random_order()
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(1 << 30))
            .tcp_capacity(1 << 20)
            .min_message_latency(options.latency.0)
            .max_message_latency(options.latency.1)
            .epoch(std::time::UNIX_EPOCH + Duration::from_secs(interpose::EPOCH_S))
            .build();
        let disks = Rc::new(Disks::default());
        interpose::set_hook(Some(Rc::clone(&disks) as Rc<dyn interpose::Hook>));
        let reach = Arc::<Reach>::default();
        let net = Net::new(options.nodes, options.clients, options.latency, Arc::clone(&reach));
        let mut world = World { sim, nodes: Vec::new(), clients: Vec::new(), disks, net };
        for id in 0..options.nodes {
            let node = NodeHost::new(id, options, &world.disks, Arc::clone(&reach), rng.fork());
            world.nodes.push(Rc::clone(&node));
            world.sim.host(node.name(), move || Rc::clone(&node).live());
        }
        for id in 0..options.clients {
            let client = ClientHost::new(id, options.nodes, Arc::clone(&reach), rng.fork());
            world.clients.push(Rc::clone(&client));
            world.sim.host(client.name(), move || Rc::clone(&client).live());
        }
        world
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.sim.elapsed()
    }

    /// One tick for everybody, then the end of those that died in it.
    ///
    /// # Errors
    /// A panic in a host, or its software's own end, neither of which may happen.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        interpose::set_elapsed(self.sim.elapsed());
        for host in &self.nodes {
            host.clock.advance(self.sim.elapsed());
        }
        for host in &self.clients {
            host.clock.advance(self.sim.elapsed());
        }
        self.sim.step().map_err(|e| e.to_string())?;
        for id in 0..self.nodes.len() {
            if let Some(loss) = self.nodes[id].died() {
                self.crash(id, loss);
            }
        }
        Ok(())
    }

    /// Starts a node's process.
    pub(crate) fn start(&mut self, id: usize) {
        let node = &self.nodes[id];
        if node.begin(&self.disks) {
            self.net.power_on(&mut self.sim, id);
            self.sim.bounce(node.name());
        }
    }

    /// Ends a node's process at once. With [`Loss::Nothing`] its host stays up and refuses connections; otherwise the
    /// host is silent.
    pub(crate) fn crash(&mut self, id: usize, loss: Loss) {
        let node = Rc::clone(&self.nodes[id]);
        if !node.end(&self.disks, loss) {
            return;
        }
        match loss {
            Loss::Nothing => self.sim.bounce(node.name()), // drops all that ran; what runs now only waits
            Loss::Unsynced | Loss::Torn => {
                self.net.power_off(&mut self.sim, id);
                self.sim.crash(node.name());
            }
        }
    }

    /// Starts the work of a client; what it was doing is dropped.
    pub(crate) fn start_client(&mut self, id: usize) {
        self.sim.bounce(self.clients[id].name());
    }

    /// A client's process is gone.
    pub(crate) fn kill_client(&mut self, id: usize) {
        self.clients[id].stop();
        self.sim.bounce(self.clients[id].name());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        interpose::set_hook(None);
    }
}
