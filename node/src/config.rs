//! The settings of a node: plain data, checked once.

use std::path::PathBuf;
use std::time::Duration;

use crate::{service, shards::proposal};

/// Everything that a node is told. What it is made of is in [`crate::Components`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Stable name of the node, unique in the cluster.
    pub name: String,
    /// Where it keeps its identity, log and state.
    pub data_dir: PathBuf,
    /// `host:port` to serve clients on.
    pub client_addr: String,
    /// `host:port` to serve peers on.
    pub peer_addr: String,
    /// `host:port` to serve health on, over HTTP.
    pub http_addr: String,
    /// The first members of the cluster with their peer addresses, in the order of their ids; empty for a node
    /// that is a member already.
    pub bootstrap: Vec<(String, String)>,
    /// Peer addresses of members: a new node asks them to be taken in.
    pub join: Vec<String>,
    /// A data directory that is damaged or lost its log is set aside, and the node joins as a new member.
    pub rejoin: bool,
    /// Times and sizes of replication.
    pub raft: quorate_raft::Settings,
    /// Bounds of the proposer.
    pub proposal: proposal::Limits,
    /// Bodies that were read and not answered yet, in bytes.
    pub unanswered_bytes_max: usize,
    /// Most connections of clients; beyond it the one goes that has had no call for longest.
    pub client_connections_max: usize,
    /// What requests may hold of which not everything has come yet, in bytes.
    pub half_read_bytes_max: usize,
    /// Publishing, and whatever else stores something new, stops when the volume of the log or of the state has less than
    /// this left, in bytes; unused pages of their files count as left. The rest is for what makes room.
    pub disk_reserve_bytes: u64,
    /// Size that the map of the log, and of each state, may grow to, in bytes. It is reserved, not used.
    pub map_bytes_max: u64,
    /// What the log takes before it is on disk, in bytes: what a disk that hangs costs in memory.
    pub log_queue_bytes: u64,
}

/// Smallest map, in bytes: with less, what settles and deletes would find no pages.
pub const MAP_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Largest map, in bytes: what the address space of a process has, with room for several.
pub const MAP_BYTES_MAX: u64 = 16 << 40;
/// Smallest reserve of the disk, in bytes.
pub const DISK_RESERVE_BYTES_MIN: u64 = 1024 * 1024;
/// Least time after which a log counts as stalled: two looks at it, or every write would be a stall.
pub const LOG_STALL_AFTER_MIN: Duration = Duration::from_millis(500);

/// Longest name of a node, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// A setting that cannot be used.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{key}: {problem}")]
pub struct Invalid {
    /// The setting.
    pub key: &'static str,
    /// What is wrong with it, and what it may be.
    pub problem: String,
}

impl Config {
    /// A node with everything at its default.
    pub fn new(name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            data_dir: data_dir.into(),
            client_addr: "127.0.0.1:7400".into(),
            peer_addr: "127.0.0.1:7401".into(),
            http_addr: "127.0.0.1:7402".into(),
            bootstrap: Vec::new(),
            join: Vec::new(),
            rejoin: false,
            raft: quorate_raft::Settings::default(),
            proposal: proposal::Limits::default(),
            unanswered_bytes_max: 256 * 1024 * 1024,
            client_connections_max: 4096,
            half_read_bytes_max: 128 * 1024 * 1024,
            disk_reserve_bytes: 256 * 1024 * 1024,
            map_bytes_max: 1 << 40,
            log_queue_bytes: 32 * 1024 * 1024,
        }
    }

    /// Checks what can be checked without touching anything.
    pub fn check(&self) -> Result<(), Invalid> {
        let invalid = |key, problem: &str| Err(Invalid { key, problem: problem.into() });
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX {
            return invalid("name", &format!("must have 1 to {NAME_BYTES_MAX} bytes"));
        }
        let addresses = [
            ("client-addr", &self.client_addr),
            ("peer-addr", &self.peer_addr),
            ("http-addr", &self.http_addr),
        ];
        for (key, addr) in addresses {
            if split_addr(addr).is_none() {
                return invalid(key, &format!("{addr:?} is not host:port"));
            }
        }
        if self.client_connections_max == 0 {
            return invalid("client-connections-max", "must be at least 1");
        }
        for (name, addr) in &self.bootstrap {
            if name.is_empty() || split_addr(addr).is_none_or(|(_, port)| port == 0) {
                return invalid("bootstrap", &format!("{name}={addr} is not name=host:port"));
            }
        }
        if !self.bootstrap.is_empty() && !self.bootstrap.iter().any(|(name, _)| *name == self.name) {
            return invalid("bootstrap", &format!("does not name this node, {:?}", self.name));
        }
        for addr in &self.join {
            if split_addr(addr).is_none_or(|(_, port)| port == 0) {
                return invalid("join", &format!("{addr:?} is not host:port"));
            }
        }
        self.check_sizes()?;
        let joins = !self.join.is_empty() || self.rejoin;
        if joins && self.advertised_peer_addr(1).is_none() {
            let problem =
                "the other nodes cannot reach a wildcard: name the host that they reach, or give --bootstrap";
            return invalid("peer-addr", problem);
        }
        if self.rejoin && self.seeds().is_empty() {
            return invalid("rejoin", "needs --bootstrap or --join, to know whom to ask");
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), Invalid> {
        let invalid = |key, problem: String| Err(Invalid { key, problem });
        let mib = |bytes: u64| format!("{}MiB", bytes >> 20);
        if !(MAP_BYTES_MIN..=MAP_BYTES_MAX).contains(&self.map_bytes_max) {
            let (least, most) = (mib(MAP_BYTES_MIN), MAP_BYTES_MAX >> 30);
            return invalid(
                "map-bytes-max",
                format!("must be from {least} to {most}GiB: the log and the state need pages to work with"),
            );
        }
        if self.disk_reserve_bytes < DISK_RESERVE_BYTES_MIN {
            let least = mib(DISK_RESERVE_BYTES_MIN);
            return invalid(
                "disk-reserve",
                format!("must be at least {least}: what makes room needs some itself"),
            );
        }
        if self.raft.log_stall_after < LOG_STALL_AFTER_MIN {
            let least = LOG_STALL_AFTER_MIN.as_millis();
            return invalid(
                "log-stall-after",
                format!("must be at least {least}ms: a healthy disk takes its time, too"),
            );
        }
        if self.raft.log_bytes_max == 0 {
            return invalid("log-bytes-max", "must be more than 0".into());
        }
        Ok(())
    }

    /// Checks what only the volume of the data directory can tell.
    pub(crate) fn check_volume(&self, volume: &quorate_storage::disk::Volume) -> Result<(), Invalid> {
        if volume.total_bytes == 0 || self.disk_reserve_bytes < volume.total_bytes {
            return Ok(()); // one that does not say how large it is admits nothing until it does
        }
        let (reserve, total) = (self.disk_reserve_bytes >> 20, volume.total_bytes >> 20);
        let problem = format!(
            "is {reserve}MiB, and the disk of the data directory has {total}MiB in all: nothing could ever be published. \
             Give less, or a larger disk"
        );
        Err(Invalid { key: "disk-reserve", problem })
    }

    /// Peer addresses of the others: whom a new node asks to be taken in.
    pub fn seeds(&self) -> Vec<String> {
        let listed = self.bootstrap.iter().filter(|(name, _)| *name != self.name).map(|(_, addr)| addr);
        self.join.iter().chain(listed).cloned().collect()
    }

    /// Where the others reach the peer API: as the bootstrap list has it, or where it listens. `None` if that is a wildcard.
    pub fn advertised_peer_addr(&self, bound_port: u16) -> Option<String> {
        if let Some((_, addr)) = self.bootstrap.iter().find(|(name, _)| *name == self.name) {
            return Some(addr.clone());
        }
        let (host, _) = split_addr(&self.peer_addr).filter(|(host, _)| !is_wildcard(host))?;
        Some(format!("{host}:{bound_port}"))
    }

    /// The client address that others are told: a wildcard is replaced by the host that peers use.
    pub fn advertised_client_addr(&self, bound_port: u16) -> String {
        let host = split_addr(&self.client_addr).map_or("127.0.0.1", |(host, _)| host);
        let own = self.bootstrap.iter().find(|(name, _)| *name == self.name);
        let own = own.map_or(&self.peer_addr, |(_, addr)| addr);
        let peer_host = split_addr(own).map(|(host, _)| host).filter(|host| !is_wildcard(host));
        let host = if is_wildcard(host) { peer_host.unwrap_or("127.0.0.1") } else { host };
        format!("{host}:{bound_port}")
    }

    pub(crate) fn admission(&self) -> service::admission::Limits {
        service::admission::Limits { unanswered_bytes_max: self.unanswered_bytes_max }
    }
}

fn is_wildcard(host: &str) -> bool {
    matches!(host, "0.0.0.0" | "[::]")
}

/// Splits `host:port`.
pub fn split_addr(addr: &str) -> Option<(&str, u16)> {
    let (host, port) = addr.rsplit_once(':')?;
    if host.is_empty() { None } else { Some((host, port.parse().ok()?)) }
}
