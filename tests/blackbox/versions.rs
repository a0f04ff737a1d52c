//! A node that meets what its program cannot read ends and says so. There is one version so far, so a stand-in for a leader of a later
//! program speaks to real nodes here; clusters of two programs run in the simulator.

use std::sync::Arc;

use bytes::Bytes;
use quorate_machine::command::{Batch, RaiseVersion, Tick, Verb};
use quorate_proto::peer::v1 as wire;
use quorate_proto::peer::v1::peer_client::PeerClient;
use quorate_raft::peers;
use quorate_raft::transport::{Tcp, Transport};
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::harness::{Cluster, runtime, s, until};

/// How a node ends whose program cannot read what the others write.
const UNREADABLE: i32 = 7;

/// Speaks to a follower in the name of its leader, whose process is gone.
struct StandIn {
    runtime: Runtime,
    peer: PeerClient<Channel>,
    hello: wire::HelloResponse,
    leader: wire::Member,
    last: wire::LogId,
    term: u64,
}

impl StandIn {
    /// Leaves one follower of the cluster, and leads it in a later term. Comes with the follower's place.
    fn of(cluster: &mut Cluster) -> (Self, usize) {
        cluster.quorate(&["queue", "create", "q"]).ok();
        cluster.converge();
        let (leader, follower) = (cluster.leader(), cluster.follower());
        let name = cluster.nodes()[leader].name.clone();
        for index in (0..cluster.nodes().len()).filter(|index| *index != follower) {
            cluster.kill(index);
        }
        (Self::to(&cluster.nodes()[follower].peer_addr, &name, 50), follower)
    }

    fn to(addr: &str, leader: &str, term: u64) -> Self {
        let runtime = runtime();
        let transport: Arc<dyn Transport> = Arc::new(Tcp);
        let (peer, hello) = runtime.block_on(async {
            let mut peer = peers::client(&transport, addr);
            let hello =
                peer.hello(wire::HelloRequest::default()).await.expect("it says who it is").into_inner();
            (peer, hello)
        });
        let member = hello.members.iter().find(|member| member.name == leader).expect("it knows its leader");
        let (leader, last) = (member.clone(), hello.tails[0].last.expect("it has a log"));
        Self { runtime, peer, hello, leader, last, term }
    }

    /// Sends one entry that follows what there is, as a committed one. Returns what became of it.
    fn send(&mut self, kind: u32, payload: impl Into<Bytes>) -> Result<(), tonic::Status> {
        let id = wire::LogId { term: self.term, node: self.leader.id, index: self.last.index + 1 };
        let entry = wire::Entry { id: Some(id), kind, payload: payload.into() };
        let request = wire::AppendRequest {
            route: Some(wire::Route {
                cluster_id: self.hello.cluster_id.clone(),
                from: self.leader.id,
                from_incarnation: self.leader.incarnation.clone(),
                to: self.hello.node_id,
                shard: 0,
            }),
            vote: Some(wire::Vote { term: self.term, node: self.leader.id, committed: true }),
            prev: Some(self.last),
            entries: vec![entry],
            committed: Some(id),
            ..wire::AppendRequest::default()
        };
        let appended = self.runtime.block_on(async {
            let answers = self.peer.append(futures::stream::iter([request.clone()])).await?;
            let answer = answers.into_inner().message().await?;
            let heartbeat = wire::AppendRequest { entries: Vec::new(), prev: Some(id), ..request };
            let _ = self.peer.heartbeat(heartbeat).await; // it may be at its end already
            Ok(answer)
        });
        appended.map(|_| self.last = id)
    }

    fn says_version(&mut self, active_version: u32) {
        let request = wire::HelloRequest {
            name: self.leader.name.clone(),
            cluster_id: self.hello.cluster_id.clone(),
            node_id: self.leader.id,
            incarnation: self.leader.incarnation.clone(),
            active_version,
            ..wire::HelloRequest::default()
        };
        let _ = self.runtime.block_on(self.peer.hello(request)); // it may be at its end already
    }
}

fn batch(format_version: u32, verbs: Vec<Verb>) -> Vec<u8> {
    let commands = verbs.into_iter().map(Into::into).collect();
    Batch { format_version, time_ms: 1, commands }.encode().to_vec()
}

/// P10: an entry of a later version is not even stored, and the node says what it takes to read it.
#[test]
fn an_entry_that_cannot_be_read_ends_the_node_before_it_is_stored() {
    let mut cluster = Cluster::start(3, &[]);
    let (mut stand_in, follower) = StandIn::of(&mut cluster);
    let leader = stand_in.leader.name.clone();
    let first_term = stand_in.term;
    let first = format!("the entry at index {}", stand_in.last.index + 1);
    let later: [(u32, Vec<u8>, &str); 3] = [
        (1, batch(2, vec![Verb::Tick(Tick {})]), "it is of version 2, and this program reads version 1"),
        (9, Vec::new(), "a kind that this program does not know"),
        (2, b"\x7a\x01\x00".to_vec(), "fields that this program does not know"),
    ];
    for (term, (kind, payload, why)) in (first_term + 1..).zip(later) {
        stand_in.send(kind, payload).expect_err("it is not taken");
        let ended = cluster.node(follower).wait_end(s(30));
        ended.fails(UNREADABLE, &["cannot be read", &first, why, "upgrade this node"]);
        cluster.node(follower).start();
        let addr = cluster.nodes()[follower].peer_addr.clone();
        stand_in = until("the node is back with its log", s(30), || {
            let transport: Arc<dyn Transport> = Arc::new(Tcp);
            let hello = runtime().block_on(async {
                peers::client(&transport, &addr).hello(wire::HelloRequest::default()).await.ok()
            });
            let there = hello.is_some_and(|hello| !hello.get_ref().tails.is_empty());
            there.then(|| StandIn::to(&addr, &leader, term))
        });
        assert_eq!(format!("the entry at index {}", stand_in.last.index + 1), first, "nothing was stored");
    }
}

/// P10: what is found when an entry is applied ends the node there, and again after each start.
#[test]
fn an_unknown_verb_ends_the_node_and_is_never_skipped() {
    let mut cluster = Cluster::start(3, &[]);
    let (mut stand_in, follower) = StandIn::of(&mut cluster);
    stand_in.send(1, batch(1, vec![Verb::Tick(Tick {})])).expect("it is taken");
    let unknown = [batch(1, Vec::new()), b"\x1a\x03\x9a\x06\x00".to_vec()].concat();
    let _ = stand_in.send(1, unknown); // it is stored, and may be applied before the answer
    let ended = cluster.node(follower).wait_end(s(30));
    let at = format!(
        "the entry at index {}",
        stand_in.last.index.max(stand_in.hello.tails[0].last.unwrap().index + 2)
    );
    ended.fails(UNREADABLE, &["cannot be read", &at, "command 0 of it has no verb that this program knows"]);
}

/// A version that this program does not read is raised without it: it ends there, and where it hears of it.
#[test]
fn a_version_that_is_not_read_is_the_end() {
    let mut cluster = Cluster::start(3, &[]);
    let (mut stand_in, follower) = StandIn::of(&mut cluster);
    stand_in.says_version(1);
    assert!(cluster.node(follower).is_running());
    stand_in.says_version(2);
    let ended = cluster.node(follower).wait_end(s(30));
    ended.fails(
        UNREADABLE,
        &["what the cluster writes cannot be read", "it is of version 2", "upgrade this node"],
    );
    drop(cluster);

    let mut cluster = Cluster::start(3, &[]);
    let (mut stand_in, follower) = StandIn::of(&mut cluster);
    let _ = stand_in.send(1, batch(1, vec![Verb::RaiseVersion(RaiseVersion { to: 7 })]));
    let ended = cluster.node(follower).wait_end(s(30));
    ended.fails(UNREADABLE, &["it raises the cluster to version 7, and this program reads version 1"]);
}

/// `quorate cluster version`, and who is not taken in.
#[test]
fn the_versions_of_the_members_are_shown_and_an_unfit_node_is_not_taken_in() {
    let cluster = Cluster::start(3, &[]);
    let shown = cluster.quorate(&["cluster", "version", "-o", "json"]).ok().lines();
    let names: Vec<_> = shown.iter().map(|line| line["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["n1", "n2", "n3"]);
    for line in &shown {
        let figures = ["reads_from", "reads_to", "writes", "active"].map(|key| line[key].as_u64());
        assert_eq!(figures, [Some(1); 4]);
    }
    // There is nothing to raise to.
    let raised = cluster.quorate(&["cluster", "version", "--raise"]).ok().stdout;
    let lines: Vec<Vec<&str>> = raised.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "ID", "READS", "WRITES", "ACTIVE"]);
    assert_eq!(lines[1], ["n1", "1", "1", "1", "1"]);
    let client = cluster.client(s(10));
    let runtime = runtime();
    let refused = runtime.block_on(client.cluster().raise_version(Some(2))).expect_err("nobody reads it");
    assert_eq!(refused.reason().map(|reason| reason.to_string()).as_deref(), Some("VERSION_NOT_READ"));

    let transport: Arc<dyn Transport> = Arc::new(Tcp);
    let leader = cluster.nodes()[cluster.leader()].peer_addr.clone();
    let request = wire::JoinRequest {
        name: "n4".into(),
        incarnation: Bytes::from_static(&[4; 16]),
        peer_addr: "127.0.0.1:1".into(),
        client_addr: "127.0.0.1:2".into(),
        versions: Some(wire::Versions { reads_from: 2, reads_to: 3, writes: 3 }),
    };
    let answer = runtime.block_on(async { peers::client(&transport, &leader).join(request).await });
    let status = answer.expect_err("it is not taken in");
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert!(
        status.message().contains("it reads versions 2 to 3, and the cluster is at version 1"),
        "{status}"
    );
}
