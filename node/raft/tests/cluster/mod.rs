//! Three real replicas in one process, over TCP, on disks that can hang and say how full they are.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use quorate_machine::Versions;
use quorate_machine::command::{Batch, Publish, Verb};
use quorate_raft::peers::Me;
use quorate_raft::service::{LocalNode, PeerApi, router};
use quorate_raft::transport::{BoxedIo, Tcp, Transport};
use quorate_raft::types::Peer;
use quorate_raft::{Gate, Leadership, NotDone, Parts, Replica, Settings};
use quorate_storage::disk::{DiskRunner, Running, Threads, Volume};
use quorate_storage::identity::{FORMAT, Identity};
use quorate_storage::log::{Log, LogOptions};
use quorate_storage::state::{State, StateOptions};
use quorate_storage::{DataDir, Watch};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// What each node keeps in reserve, in bytes.
pub const RESERVE: u64 = 64 << 20;
/// What may wait for the disk of each, in bytes.
const QUEUE: u64 = 4 << 20;
/// A disk with room.
pub const ROOMY: u64 = 1 << 40;

/// Short times, so that a test is.
pub fn settings() -> Settings {
    Settings {
        retention_interval: Duration::from_millis(100),
        log_stall_after: Duration::from_secs(1),
        ..Settings::default()
    }
}

/// A disk whose log actor can be kept from its work, as a sync that does not return does.
#[derive(Default)]
pub struct Disk {
    hangs: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
    free_bytes: AtomicU64,
}

impl Disk {
    pub fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
        if !hangs {
            self.waiting.lock().drain(..).for_each(Waker::wake);
        }
    }

    pub fn has(&self, free_bytes: u64) {
        self.free_bytes.store(free_bytes, Ordering::SeqCst);
    }
}

struct Runner(Arc<Disk>);

impl DiskRunner for Runner {
    fn run(&self, name: &str, mut actor: BoxFuture<'static, ()>) -> Running {
        if name != "quorate-log" {
            return Threads.run(name, actor);
        }
        let disk = self.0.clone();
        let gated = poll_fn(move |cx| {
            let mut waiting = disk.waiting.lock();
            if disk.hangs.load(Ordering::SeqCst) {
                waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            drop(waiting);
            actor.as_mut().poll(cx)
        });
        Threads.run(name, Box::pin(gated))
    }

    fn pause(&self, d: Duration) -> BoxFuture<'static, ()> {
        Threads.pause(d)
    }

    fn volume(&self, _path: &Path) -> Volume {
        let free_bytes = self.0.free_bytes.load(Ordering::SeqCst);
        Volume { free_bytes, total_bytes: 2 * ROOMY, is_read_only: false, writes_in_place: false }
    }
}

/// A replica and what it runs on; the directory is removed last.
pub struct Node {
    pub id: u64,
    pub replica: Replica,
    pub disk: Arc<Disk>,
    server: JoinHandle<()>,
    looking: JoinHandle<()>,
    _log: Log,
    _dir: TempDir,
}

impl Node {
    async fn start(id: u64, settings: Settings) -> (Self, Peer) {
        let (disk, dir) = (Arc::<Disk>::default(), TempDir::new().expect("a directory"));
        disk.has(ROOMY);
        let data = DataDir::open(dir.path()).expect("a new data directory");
        let (name, incarnation) = (format!("n{id}"), [id as u8; 16]);
        let identity = Identity {
            format_version: FORMAT,
            cluster_id: [9; 16],
            node_id: id,
            name: name.clone(),
            incarnation,
            joined_at: 0,
            voted: false,
        };
        data.create(identity).expect("an identity");
        let runner: Arc<dyn DiskRunner> = Arc::new(Runner(disk.clone()));
        let options = LogOptions { reserve_bytes: RESERVE, queue_bytes: QUEUE, ..LogOptions::default() };
        let log = Log::open(&data, options, &runner).expect("a log");
        let shard = log.shard(0).expect("a shard");
        let state = State::open(
            &data,
            &shard,
            StateOptions { reserve_bytes: RESERVE, ..StateOptions::default() },
            &runner,
        );
        let state = state.expect("a state");
        let watch = Watch::start(&data, &shard, &state, &runner).expect("a watch");
        let looking = tokio::spawn(async move {
            while watch.look().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let versions = Versions::OWN;
        let me =
            Me { cluster_id: [9; 16], node_id: id, incarnation, name: name.clone(), joined_at: 0, versions };
        let listener = Tcp.listen("127.0.0.1:0".into()).await.expect("a port");
        let addr = listener.local_addr().expect("an address").to_string();
        let (applied, mut told) = mpsc::unbounded_channel();
        tokio::spawn(async move { while told.recv().await.is_some() {} });
        let transport: Arc<dyn Transport> = Arc::new(Tcp);
        let replica = Replica::start(Parts {
            me: me.clone(),
            shard: 0,
            settings,
            log: shard,
            state,
            transport,
            applied,
            gate: Gate::new(versions),
        });
        let replica = replica.await.expect("a replica");
        let local = LocalNode { name: name.clone(), incarnation, client_addr: addr.clone(), versions };
        let api = PeerApi::new(local, mpsc::channel(1).0, mpsc::channel(1).0);
        api.set_identity(me);
        api.add_replica(0, replica.clone());
        let incoming = futures::stream::unfold(listener, |mut listener| async move {
            let accepted: Result<BoxedIo, std::io::Error> = listener.accept().await;
            Some((accepted, listener))
        });
        let server = tokio::spawn(async move {
            let _ = router(api).serve_with_incoming(Box::pin(incoming)).await; // until it is aborted
        });
        let peer = Peer { name, peer_addr: addr.clone(), client_addr: addr, incarnation, versions };
        (Self { id, replica, disk, server, looking, _log: log, _dir: dir }, peer)
    }

    pub fn leads(&self) -> bool {
        self.leadership().mine
    }

    pub fn leadership(&self) -> Leadership {
        self.replica.leadership().borrow().clone()
    }

    /// Proposes an entry of so many bytes, which the machine refuses and the log keeps.
    pub async fn propose(&self, bytes: usize) -> oneshot::Receiver<Result<(), NotDone>> {
        let publish =
            Publish { queue: "nowhere".into(), messages: vec![7; bytes].into(), ..Publish::default() };
        let entry: Bytes = Batch::new(1, vec![Verb::Publish(publish).into()]).encode();
        let (tell, told) = oneshot::channel();
        self.replica.propose(entry, 1, |done| drop(tell.send(done.map(drop)))).await;
        told
    }

    /// The same, and waits for the answer.
    pub async fn commit(&self, bytes: usize) -> Result<(), NotDone> {
        let told = self.propose(bytes).await;
        let answer = tokio::time::timeout(Duration::from_secs(5), told).await;
        answer.map_err(|_| NotDone::Unknown)?.unwrap_or(Err(NotDone::Unknown))
    }

    /// The same, again and again while a new leader has not heard from a majority yet.
    pub async fn serves(&self) {
        for _ in 0..500 {
            match self.commit(100).await {
                Ok(()) => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        panic!("n{} does not serve", self.id);
    }

    /// Ends it as a process that is killed does, but for what it would still write.
    pub async fn kill(self) {
        self.server.abort();
        self.looking.abort();
        self.replica.shutdown().await;
    }
}

/// The members, formed and with a leader.
pub async fn cluster(settings: Settings) -> Vec<Node> {
    let (mut nodes, mut peers) = (Vec::new(), BTreeMap::new());
    for id in 1..=3 {
        let (node, peer) = Node::start(id, settings.clone()).await;
        nodes.push(node);
        peers.insert(id, peer);
    }
    nodes[0].replica.initialize(peers).await.expect("a cluster");
    leader(&nodes).await;
    nodes
}

/// Where the leader is, once there is one that the others know.
pub async fn leader(nodes: &[Node]) -> usize {
    let mut found = None;
    until("there is a leader", || {
        found = nodes
            .iter()
            .position(Node::leads)
            .filter(|at| nodes.iter().all(|node| node.leadership().leader == Some(nodes[*at].id)));
        found.is_some()
    })
    .await;
    found.expect("just found")
}

/// Waits until that is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to pass that {what}");
}
