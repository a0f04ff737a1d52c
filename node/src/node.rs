//! One node: the only place that puts the parts together, and takes them apart in order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_machine::Versions;
use quorate_proto::peer::v1::AdoptRequest;
use quorate_raft::peers::Me;
use quorate_raft::service::{Join, LocalNode, PeerApi};
use quorate_raft::transport::{Listener, Transport};
use quorate_raft::{Formation, FormationError, Founding, Gate, Joiner, Refused, Replica, TakenIn};
use quorate_storage::OnFatal;
use quorate_storage::data_dir::{Contents, DataDir};
use quorate_storage::disk::DiskRunner;
use quorate_storage::identity::Identity;
use quorate_storage::log::{Log, ShardLog};
use quorate_storage::state::State;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::cluster::{self, Members};
use crate::config::{Config, Invalid};
use crate::disk;
use crate::edge::grpc::Api;
use crate::edge::listen::descriptors::{HTTP_CONNECTIONS_MAX, PEER_CONNECTIONS_MAX};
use crate::edge::listen::request::HalfRead;
use crate::edge::listen::slots::Slots;
use crate::edge::{http, listen};
use crate::random::Random;
use crate::service::Service;
use crate::service::admission::Admission;
use crate::shards::Shard;
use crate::shards::delivery::{self, Hub};
use crate::shards::proposal::{LeaderTime, Proposer};
use quorate_machine::limits::REQUEST_BYTES_MAX;

/// The only shard so far; it will hold the catalogue.
const SHARD: u32 = 0;
/// How long a leader that stops waits for another to take over.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(3);

/// What a node is made of: everything that is not deterministic.
#[derive(Clone)]
pub struct Components {
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Draws ids.
    pub random: Arc<dyn Random>,
    /// Connects and listens.
    pub transport: Arc<dyn Transport>,
    /// Runs blocking disk work.
    pub disk: Arc<dyn DiskRunner>,
    /// Ends the process, when a store has met an error after which it must not go on.
    pub on_fatal: OnFatal,
    /// What the program reads and writes: [`Versions::OWN`], but where an older or a later one is played.
    pub versions: Versions,
}

impl Components {
    /// The system's clock, randomness and network, and threads for the disk.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(crate::clock::SystemClock),
            random: Arc::new(crate::random::SystemRandom),
            transport: Arc::new(quorate_raft::transport::Tcp),
            disk: Arc::new(quorate_storage::disk::Threads),
            on_fatal: quorate_storage::abort_process(),
            versions: Versions::OWN,
        }
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] Invalid),
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] quorate_storage::Error),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {addr} for {what}: {source}; choose another address, or stop the process that uses it"
    )]
    Listen {
        /// The address.
        addr: String,
        /// `clients`, `peers` or `health`.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// There is neither data nor anybody to ask.
    #[error(
        "the data directory is new: name the first members with --bootstrap, or members to join with --join"
    )]
    NoCluster,
    /// The data cannot be used, and was set aside as asked.
    #[error(
        "{problem} The data was set aside in {aside}: start the node again, and it joins as a new member"
    )]
    SetAside {
        /// What is wrong with it.
        problem: String,
        /// Where it is now.
        aside: String,
    },
    /// The data directory belongs to a node of another name.
    #[error("the data directory belongs to the node {found:?}, not {name:?}")]
    OtherName {
        /// Whose it is.
        found: String,
        /// This node.
        name: String,
    },
    /// The cluster did not form.
    #[error(transparent)]
    Formation(#[from] FormationError),
    /// The cluster does not take this node in.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Replication cannot go on.
    #[error(transparent)]
    Raft(#[from] quorate_raft::Error),
    /// A service cannot be built.
    #[error("the client API cannot be served: {0}")]
    Service(String),
}

/// A running node.
pub struct Node {
    client_addr: String,
    shard: Shard,
    log: Log,
    service: Service,
    peer_api: PeerApi,
    /// Cancelled first: streams and requests are told to go elsewhere.
    draining: CancellationToken,
    /// Cancelled when nothing is to be served any more.
    stop: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
}

/// Cancels the servers if the start is given up half way.
struct Started {
    stop: CancellationToken,
    servers: Mutex<Vec<JoinHandle<()>>>,
    client_addr: String,
    peer_port: u16,
    service: Service,
    peer_api: PeerApi,
    draining: CancellationToken,
}

impl Drop for Started {
    fn drop(&mut self) {
        if !self.servers.lock().is_empty() {
            self.stop.cancel();
        }
    }
}

impl Node {
    /// Starts a node and returns when it is a member that can take part; a new node first waits for the others
    /// of its `bootstrap` list.
    pub async fn start(config: Config, parts: Components) -> Result<Self, StartError> {
        config.check()?;
        let dir = match DataDir::open(&config.data_dir) {
            Err(problem) if config.rejoin && problem.is_loss() => return Err(set_aside(&config, &problem)),
            opened => opened?,
        };
        config.check_volume(&parts.disk.volume(dir.path()))?;
        let incarnation = dir.identity().map_or_else(|| parts.random.id(), |identity| identity.incarnation);
        let (adopt, mut adoptions) = mpsc::channel(1);
        let (join, members, inbox) = cluster::channel();
        let started = listen_and_serve(&config, &parts, incarnation, (adopt, join)).await?;
        let formation = Formation {
            name: config.name.clone(),
            incarnation,
            bootstrap: config.bootstrap.clone(),
            transport: parts.transport.clone(),
        };
        let identity = identify(&config, &parts, &dir, &started, &formation, &mut adoptions).await?;
        let me = Me {
            cluster_id: identity.cluster_id,
            node_id: identity.node_id,
            incarnation: identity.incarnation,
            name: identity.name,
            joined_at: identity.joined_at,
            versions: parts.versions,
        };
        started.peer_api.set_identity(me.clone());
        let (log, shard, mut tasks) = match start_shard(&config, &parts, &dir, &me, &started, members).await {
            Ok(running) => running,
            Err(StartError::Storage(problem)) if config.rejoin && problem.is_loss() => {
                drop(dir);
                return Err(set_aside(&config, &problem));
            }
            Err(e) => return Err(e),
        };
        let is_founder =
            config.bootstrap.first().is_some_and(|(name, _)| *name == config.name) && me.node_id == 1;
        if is_founder && !shard.replica.is_initialized().await? {
            let members = formation.adopt_all(&me, &started.client_addr).await?;
            shard.replica.initialize(members).await?;
        }
        started.service.admission().heed(shard.replica.refusal());
        tasks.push(disk::watch(&dir, &shard.replica, &parts, started.stop.clone())?);
        let changing = cluster::Parts {
            me,
            replica: shard.replica.clone(),
            proposer: shard.proposer.clone(),
            time: shard.time.clone(),
            seeds: config.seeds(),
            transport: parts.transport.clone(),
            stop: started.stop.clone(),
        };
        tasks.push(cluster::start(changing, inbox));
        let servers = std::mem::take(&mut *started.servers.lock());
        Ok(Self {
            client_addr: started.client_addr.clone(),
            shard,
            log,
            service: started.service.clone(),
            peer_api: started.peer_api.clone(),
            draining: started.draining.clone(),
            stop: started.stop.clone(),
            servers,
            tasks,
        })
    }

    /// `host:port` of the client API, as clients are told.
    pub fn client_addr(&self) -> &str {
        &self.client_addr
    }

    /// The shard that this node serves.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// What this node can be asked, without any protocol.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Before a planned stop of one node: clients are told to go elsewhere, and leadership is handed over.
    pub async fn drain(&self) {
        self.draining.cancel();
        self.shard.replica.hand_over(HAND_OVER_TIMEOUT).await;
    }

    /// Stops the node in the order of the flow: servers, shell, replica, state, log.
    pub async fn shutdown(self) {
        self.draining.cancel();
        self.stop.cancel();
        // Nobody makes room for a node that stops.
        self.log.lose_patience();
        self.shard.state().lose_patience();
        for task in self.servers.into_iter().chain(self.tasks) {
            if let Err(e) = task.await {
                tracing::error!("a task had failed: {e}");
            }
        }
        self.service.join().await;
        self.peer_api.clear();
        self.shard.replica.shutdown().await;
        if let Err(e) = self.shard.state().clone().close().await {
            tracing::warn!("the state was not flushed at the end: {e}"); // the log has it all
        }
        self.log.close().await;
    }
}

/// Binds both addresses first, so that a port in use is the first thing that is said.
async fn listen_and_serve(
    config: &Config,
    parts: &Components,
    incarnation: [u8; 16],
    (adopt, join): (mpsc::Sender<AdoptRequest>, mpsc::Sender<Join>),
) -> Result<Started, StartError> {
    let clients = bind(parts, &config.client_addr, "clients").await?;
    let peers = bind(parts, &config.peer_addr, "peers").await?;
    let health = bind(parts, &config.http_addr, "health").await?;
    let peer_port = peers.local_addr().map_err(|e| listen_error(&config.peer_addr, "peers", e))?.port();
    let port = clients.local_addr().map_err(|e| listen_error(&config.client_addr, "clients", e))?.port();
    let client_addr = config.advertised_client_addr(port);
    let (draining, stop) = (CancellationToken::new(), CancellationToken::new());
    let admission = Admission::new(&config.admission());
    let service = Service::new(parts.transport.clone(), admission, draining.clone());
    let node = LocalNode {
        name: config.name.clone(),
        incarnation,
        client_addr: client_addr.clone(),
        versions: parts.versions,
    };
    let peer_api = PeerApi::new(node, adopt, join);
    let half_read = HalfRead::new(config.half_read_bytes_max, REQUEST_BYTES_MAX);
    let router =
        Api::new(service.clone()).router(half_read).await.map_err(|e| StartError::Service(e.to_string()))?;
    let of_clients = Slots::new("clients", config.client_connections_max);
    let of_peers = Slots::new("peers", PEER_CONNECTIONS_MAX);
    let of_health = Slots::new("health", HTTP_CONNECTIONS_MAX);
    let servers = Mutex::new(vec![
        listen::serve(router, clients, of_clients, stop.clone()),
        listen::serve(quorate_raft::service::router(peer_api.clone()), peers, of_peers, stop.clone()),
        http::serve(service.clone(), health, of_health, stop.clone()),
    ]);
    Ok(Started { stop, servers, client_addr, peer_port, service, peer_api, draining })
}

async fn bind(parts: &Components, addr: &str, what: &'static str) -> Result<Box<dyn Listener>, StartError> {
    parts.transport.listen(addr.to_owned()).await.map_err(|e| listen_error(addr, what, e))
}

fn listen_error(addr: &str, what: &'static str, source: io::Error) -> StartError {
    StartError::Listen { addr: addr.into(), what, source }
}

/// Who this node is: from its directory, or from the cluster that forms.
async fn identify(
    config: &Config,
    parts: &Components,
    dir: &DataDir,
    started: &Started,
    formation: &Formation,
    adoptions: &mut mpsc::Receiver<AdoptRequest>,
) -> Result<Identity, StartError> {
    if let Contents::Member(identity) = dir.contents() {
        return match identity.name == config.name {
            true => Ok(identity),
            false => Err(StartError::OtherName { found: identity.name, name: config.name.clone() }),
        };
    }
    if config.bootstrap.is_empty() && config.join.is_empty() {
        return Err(StartError::NoCluster);
    }
    // Whoever had data founds nothing: it would be a cluster that forgot.
    let founding = match config.bootstrap.is_empty() || dir.has_set_aside() {
        true => Founding::Late,
        false => {
            tracing::info!("waiting for the other nodes of --bootstrap");
            formation.decide(adoptions).await?
        }
    };
    let TakenIn { cluster_id, node_id, joined_at } = match founding {
        Founding::Found => TakenIn { cluster_id: parts.random.id(), node_id: 1, joined_at: 0 },
        Founding::Adopted { cluster_id, node_id } => TakenIn { cluster_id, node_id, joined_at: 0 },
        Founding::Late => join(config, parts, started, formation.incarnation).await?,
    };
    let identity = Identity {
        format_version: quorate_storage::identity::FORMAT,
        cluster_id,
        node_id,
        name: config.name.clone(),
        incarnation: formation.incarnation,
        joined_at,
        voted: false,
    };
    dir.create(identity.clone())?;
    Ok(identity)
}

/// Asks the cluster to take this node in.
async fn join(
    config: &Config,
    parts: &Components,
    started: &Started,
    incarnation: [u8; 16],
) -> Result<TakenIn, StartError> {
    tracing::info!("asking to be taken in as a new member");
    let peer_addr = config.advertised_peer_addr(started.peer_port).unwrap_or_default();
    let joiner = Joiner {
        name: config.name.clone(),
        incarnation,
        peer_addr,
        client_addr: started.client_addr.clone(),
        versions: parts.versions,
        transport: parts.transport.clone(),
    };
    Ok(joiner.join(&config.seeds()).await?)
}

/// Puts data that cannot be used out of the way, for a node that is to come back as a new member.
fn set_aside(config: &Config, problem: &quorate_storage::Error) -> StartError {
    match DataDir::set_aside(&config.data_dir) {
        Ok(aside) => {
            StartError::SetAside { problem: problem.to_string(), aside: aside.display().to_string() }
        }
        Err(e) => StartError::Storage(e),
    }
}

async fn start_shard(
    config: &Config,
    parts: &Components,
    dir: &DataDir,
    me: &Me,
    started: &Started,
    members: Members,
) -> Result<(Log, Shard, Vec<JoinHandle<()>>), StartError> {
    let log = Log::open(dir, disk::log_options(config, parts), &parts.disk)?;
    let (shard_log, state) = match open_state(config, parts, dir, &log) {
        Ok(opened) => opened,
        Err(e) => {
            log.close().await; // nobody may have the directory when its data is set aside
            return Err(e.into());
        }
    };
    let (applied_tx, applied) = mpsc::unbounded_channel();
    let replica = Replica::start(quorate_raft::Parts {
        me: me.clone(),
        shard: SHARD,
        settings: config.raft.clone(),
        log: shard_log,
        state,
        transport: parts.transport.clone(),
        applied: applied_tx,
        gate: Gate::new(parts.versions),
    })
    .await?;
    let stop = started.stop.clone();
    let time = Arc::new(LeaderTime::new(replica.clone(), parts.clock.clone()));
    let (proposer, packer) = Proposer::start(replica.clone(), time.clone(), config.proposal, stop.clone());
    let hub = Arc::new(Hub::default());
    let shell = delivery::Parts {
        replica: replica.clone(),
        proposer: proposer.clone(),
        time: time.clone(),
        hub: hub.clone(),
        applied,
        stop,
    };
    let mut tasks = delivery::start(shell);
    tasks.push(packer);
    let leadership = replica.leadership();
    let shard = Shard { replica: replica.clone(), proposer, time, hub, leadership };
    started.peer_api.add_replica(SHARD, replica);
    started.service.serve(me.clone(), members, shard.clone());
    Ok((log, shard, tasks))
}

fn open_state(
    config: &Config,
    parts: &Components,
    dir: &DataDir,
    log: &Log,
) -> Result<(ShardLog, State), quorate_storage::Error> {
    let shard_log = log.shard(SHARD)?;
    let state = State::open(dir, &shard_log, disk::state_options(config, parts), &parts.disk)?;
    Ok((shard_log, state))
}
