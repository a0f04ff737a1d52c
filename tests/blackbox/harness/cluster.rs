//! A cluster of real `quorate serve` processes in a temporary directory.

use std::fs;
use std::path::Path;
use std::time::Duration;

use parking_lot::MutexGuard;
use quorate_client::Client;
use quorate_client::wire::Role;
use serde_json::Value;
use tempfile::TempDir;

use super::{Command, Node, Output, runtime, s, take_turn, until};

/// A cluster under test. Everything ends when it is dropped, in the order of the fields.
pub struct Cluster {
    nodes: Vec<Node>,
    dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// One line of `cluster status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The node.
    pub name: String,
    /// The id that the cluster gave it.
    pub id: u64,
    /// `leader`, `follower`, `learner`, `candidate` or `unreachable`.
    pub role: String,
    /// Its term.
    pub term: u64,
    /// The last index of its log.
    pub last: u64,
    /// Applied up to here.
    pub applied: u64,
    /// Index and digest of the state.
    pub digest: String,
}

impl Cluster {
    /// Forms a cluster of so many new nodes, each with these further flags, and waits until it has a leader.
    pub fn start(count: usize, flags: &[&str]) -> Self {
        let mut cluster = Self::prepare(count, flags);
        for node in &mut cluster.nodes {
            node.start();
        }
        for node in &mut cluster.nodes {
            node.wait_ready();
        }
        cluster.leader();
        cluster
    }

    /// The nodes `n1`, `n2`, … with their addresses, not started.
    pub fn prepare(count: usize, flags: &[&str]) -> Self {
        let turn = take_turn();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut nodes: Vec<Node> = (1..=count).map(|i| Node::new(&format!("n{i}"), dir.path())).collect();
        let members: Vec<String> = nodes.iter().map(|n| format!("{}={}", n.name, n.peer_addr)).collect();
        for node in &mut nodes {
            let bootstrap = ["--bootstrap".to_owned(), members.join(",")];
            node.set_flags(bootstrap.into_iter().chain(flags.iter().map(|&f| f.to_owned())).collect());
        }
        Self { nodes, dir, _turn: turn }
    }

    /// Another node, not started, that is to join; its place.
    pub fn add(&mut self, name: &str) -> usize {
        let mut node = Node::new(name, self.dir.path());
        let seeds: Vec<String> = self.nodes.iter().map(|n| n.peer_addr.clone()).collect();
        node.set_flags(vec!["--join".into(), seeds.join(",")]);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Forgets a node that is no member any more; its process must have ended.
    pub fn forget(&mut self, index: usize) -> Node {
        self.nodes.remove(index)
    }

    /// A directory that ends with the cluster.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file in that directory with these contents; its path.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, contents).expect("a file is written");
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// Every node's client API.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = self.nodes.iter().map(|n| format!("http://{}", n.client_addr)).collect();
        all.join(",")
    }

    /// A client of the cluster whose calls may take so long.
    pub fn client(&self, timeout: Duration) -> Client {
        let endpoints = self.nodes.iter().map(|n| format!("http://{}", n.client_addr));
        Client::builder().endpoints(endpoints).timeout(timeout).build().expect("a client")
    }

    /// A command that knows every node.
    pub fn command(&self, args: &[&str]) -> Command {
        Command::new(&self.endpoints(), args)
    }

    /// Runs a command to its end.
    pub fn quorate(&self, args: &[&str]) -> Output {
        self.command(args).run()
    }

    /// Runs a command that must succeed, and returns its one line of JSON.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        self.quorate(&[args, &["-o", "json"]].concat()).ok().json()
    }

    /// One figure of `stat`.
    #[track_caller]
    pub fn stat(&self, queue: &str, figure: &str) -> u64 {
        self.json(&["stat", queue])[figure].as_u64().unwrap_or_else(|| panic!("stat has no {figure}"))
    }

    /// Every member's account of itself.
    pub fn status(&self) -> Vec<Replica> {
        let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let number = |line: &Value, key: &str| line[key].as_u64().unwrap_or_default();
        let replica = |line: &Value| Replica {
            name: text(line, "name"),
            id: number(line, "id"),
            role: text(line, "role"),
            term: number(line, "term"),
            last: number(line, "last"),
            applied: number(line, "applied"),
            digest: text(line, "digest"),
        };
        self.quorate(&["cluster", "status", "-o", "json"]).ok().lines().iter().map(replica).collect()
    }

    /// Up to which index each member that answers has forgotten its log, by name; `cluster status` does not show it.
    pub fn purged(&self) -> Vec<(String, u64)> {
        let client = self.client(s(10));
        let status = runtime().block_on(async { client.cluster().status().await.expect("a member answers") });
        let there = status.into_iter().filter(|replica| replica.role() != Role::Unreachable);
        there.map(|replica| (replica.name, replica.purged)).collect()
    }

    /// One member's account of itself.
    pub fn replica(&self, index: usize) -> Replica {
        let found = self.status().into_iter().find(|r| r.name == self.nodes[index].name);
        found.expect("every member is listed")
    }

    /// Which node leads; waits for an election to end.
    pub fn leader(&self) -> usize {
        until("one leader", s(30), || {
            let status = self.quorate(&["cluster", "status", "-o", "json", "--timeout", "5s"]);
            let lines = if status.code == 0 { status.lines() } else { Vec::new() };
            let terms: Vec<u64> = lines.iter().filter_map(|line| line["term"].as_u64()).collect();
            let newest = terms.into_iter().max()?;
            // A node that was cut off may still believe that it leads an older term.
            let leads = |line: &&Value| line["role"] == "leader" && line["term"].as_u64() == Some(newest);
            let name = lines.iter().find(leads)?["name"].as_str()?;
            self.nodes.iter().position(|node| node.name == name)
        })
    }

    /// A node that does not lead.
    pub fn follower(&self) -> usize {
        let leader = self.leader();
        (0..self.nodes.len()).find(|index| *index != leader).expect("more than one node")
    }

    /// SIGKILL for one node.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].kill();
    }

    /// SIGKILL for all nodes before any of them is waited for.
    pub fn kill_all(&mut self) {
        self.nodes.iter().for_each(Node::send_kill);
        self.nodes.iter_mut().for_each(Node::reap);
    }

    /// Starts a node again and waits until it is a member that takes part.
    pub fn restart(&mut self, index: usize) {
        self.nodes[index].start();
        self.nodes[index].wait_ready();
    }

    /// Waits until every member is there and has applied the same index with the same digest: the state is then the
    /// same, byte for byte (P10).
    pub fn converge(&self) -> Vec<Replica> {
        let mut seen = Vec::new();
        let what = "all members at the same index";
        let status = until(what, s(60), || {
            seen = self.status();
            let last = seen.iter().map(|r| r.last).max()?;
            let there = |r: &Replica| r.role != "unreachable" && r.applied == last;
            let index = |r: &Replica| r.digest.split(':').next().map(str::to_owned);
            let same_index = seen.iter().all(|r| index(r) == index(&seen[0]));
            (seen.len() == self.nodes.len() && seen.iter().all(there) && same_index).then(|| seen.clone())
        });
        let digest = &status[0].digest;
        assert!(digest.split_once(':').is_some_and(|(_, hex)| !hex.is_empty()), "a digest: {status:#?}");
        assert!(status.iter().all(|r| r.digest == *digest), "P10: the same index, other states: {status:#?}");
        status
    }
}
