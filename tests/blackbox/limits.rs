//! P8, P12: what one request may cost, and what is refused costs nothing that stays.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::Bytes;
use quorate_client::wire::producer_client::ProducerClient;
use quorate_client::wire::publish_request::Request as Req;
use quorate_client::wire::publish_response::Response as Res;
use quorate_client::wire::queues_client::QueuesClient;
use quorate_client::wire::transactions_client::TransactionsClient;
use quorate_client::{Client, QueueSettings, wire};
use quorate_node::{Components, Config, Node};
use quorate_proto::codec::Counting;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::harness::{Cluster, ports, runtime, s, take_turn, until};

const MIB: u64 = 1024 * 1024;

async fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("a connection")
}

/// What a refusal names as its reason; empty if it names none.
fn reason(refused: &tonic::Status) -> String {
    refused.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Bytes on the disk below a directory: files may have holes.
fn on_disk(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).expect("a directory");
    let of = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("an entry");
        match entry.metadata() {
            Ok(data) if data.is_dir() => on_disk(&entry.path()),
            Ok(data) => data.blocks() * 512,
            Err(_) => 0, // it went away meanwhile
        }
    };
    entries.map(of).sum()
}

fn anonymous(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// A full queue and a producer that sends on regardless, always with a gap behind what was refused: 10,000 messages of 3 KiB, 30 MB.
#[test]
fn what_is_refused_beforehand_costs_no_log() {
    let cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "q", "--max-length", "1"]).ok();
    cluster.quorate(&["publish", "q", "it is full"]).ok();
    let leader = &cluster.nodes()[cluster.leader()];
    let dirs: Vec<_> = cluster.nodes().iter().map(|node| node.data_dir.clone()).collect();
    let mut before: Vec<u64> = Vec::new();
    // The first flush makes files longer, ahead of what is in them.
    until("the files are as long as they are at rest", s(60), || {
        std::thread::sleep(s(3));
        let now: Vec<u64> = dirs.iter().map(|dir| on_disk(dir)).collect();
        (std::mem::replace(&mut before, now.clone()) == now).then_some(())
    });
    let last = cluster.replica(cluster.leader()).last;
    let told = runtime().block_on(publish_in_vain(&leader.client_addr, 200, 50));
    assert_eq!(told, (200, 9_800), "QUEUE_FULL and SEQUENCE_GAP");
    let entries = cluster.replica(cluster.leader()).last - last;
    for (dir, before) in dirs.iter().zip(before) {
        let grown = on_disk(dir).saturating_sub(before);
        println!("{}: {} KiB more, {entries} entries", dir.display(), grown / 1024);
        assert!(grown < 2 * MIB, "{} grew by {grown} bytes", dir.display());
    }
    assert!(entries < 100, "{entries} entries for what was refused");
    assert_eq!(cluster.stat("q", "length"), 1);
}

/// Publishes the first message again and again, each time with so many behind it. Returns how many were refused as full, and as a gap.
async fn publish_in_vain(address: &str, times: u64, batches: u64) -> (u64, u64) {
    let (requests, stream) = mpsc::channel(64);
    let open = wire::OpenProducer { session: "s".into(), holder: vec![1; 16].into(), ..Default::default() };
    let first = wire::PublishRequest { request: Some(Req::Open(open)) };
    requests.send(first).await.expect("the stream is open");
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut answers =
        ProducerClient::new(channel(address).await).publish(stream).await.expect("a stream").into_inner();
    tokio::spawn(async move {
        // An encoded message with a body: field 5, of 3000 bytes.
        let message = Bytes::from([&[0x2a, 0xb8, 0x17][..], &[7; 3000]].concat());
        for _ in 0..times {
            for first_seq in 1..=batches {
                let messages = vec![message.clone()];
                let batch =
                    wire::PublishBatch { queue: "q".into(), first_seq, messages, ..Default::default() };
                let request = wire::PublishRequest { request: Some(Req::Batch(batch)) };
                if requests.send(request).await.is_err() {
                    return;
                }
            }
        }
    });
    let (mut full, mut gaps) = (0, 0);
    while let Some(answer) = answers.message().await.expect("no error") {
        match answer.response.expect("an answer") {
            Res::Opened(_) => {}
            Res::Refused(refused) => match &*refused.refusal.expect("a refusal").reason {
                "QUEUE_FULL" => full += 1,
                "SEQUENCE_GAP" => gaps += 1,
                other => panic!("{other}"),
            },
            Res::Receipt(receipt) => panic!("{receipt:?}"),
        }
    }
    (full, gaps)
}

/// A transaction as it is on the wire, of so many empty settles.
#[derive(Clone, PartialEq, prost::Message)]
struct Empty {
    #[prost(message, repeated, tag = "7")]
    settle: Vec<()>,
}

/// 17 MiB of empty settles would be half a GiB, on each node.
#[test]
fn a_request_of_empty_parts_is_refused_before_it_is_decoded() {
    let cluster = Cluster::start(3, &[]);
    let leader = cluster.leader();
    let address = cluster.nodes()[leader].client_addr.clone();
    let last = cluster.replica(leader).last;
    let before: Vec<u64> = cluster.nodes().iter().map(|node| anonymous(node.pid())).collect();
    let many = Empty { settle: vec![(); 8_400_000] };
    runtime().block_on(async {
        let channel = channel(&address).await;
        for _ in 0..4 {
            let mut grpc = tonic::client::Grpc::new(channel.clone());
            grpc.ready().await.expect("a connection");
            let path = http::uri::PathAndQuery::from_static("/quorate.v1.Transactions/Transact");
            let codec = Counting::<Empty, wire::TransactResponse>::default();
            let refused = grpc.unary(Request::new(many.clone()), path, codec).await.expect_err("too many");
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
            assert!(refused.message().contains("parts"), "{refused:?}");
            assert_eq!(reason(&refused), "INVALID", "{refused:?}");
        }
        let create = wire::CreateQueueRequest { name: "x".repeat(2 << 20), ..Default::default() };
        let refused = QueuesClient::new(channel).create(create).await.expect_err("too long");
        assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
        assert_eq!(reason(&refused), "INVALID", "{refused:?}");
    });
    for (node, before) in cluster.nodes().iter().zip(before) {
        let grown = anonymous(node.pid()).saturating_sub(before);
        println!("{} MiB more", grown / MIB);
        assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
    }
    assert!(cluster.replica(leader).last < last + 20, "nothing of it is in the log");
}

/// Names of any length are refused at once, by every node, and no more than the beginning of them comes back.
#[test]
fn what_is_unlawful_never_reaches_the_log() {
    let cluster = Cluster::start(3, &[]);
    let last = cluster.replica(cluster.leader()).last;
    runtime().block_on(async {
        for node in cluster.nodes() {
            let channel = channel(&node.client_addr).await;
            let create = wire::CreateQueueRequest { name: "x".repeat(20_000), ..Default::default() };
            let refused = QueuesClient::new(channel.clone()).create(create).await.expect_err("too long");
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
            assert!(refused.message().contains("name") && refused.message().len() < 300, "{refused:?}");
            let session = "s".repeat(16 << 20);
            let open = wire::OpenProducer { session, holder: vec![1; 16].into(), ..Default::default() };
            let refused = TransactionsClient::new(channel.clone()).open(open).await.expect_err("too long");
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
            // Each of these reasons is another, and compared with all before it: that took minutes.
            let lease = |at: usize| {
                let range =
                    wire::SettleRange { count: 1, outcome: 2, reason: format!("{at}"), ..Default::default() };
                wire::SettleLease { queue: "q".into(), range: Some(range), ..Default::default() }
            };
            let settle = (0..9000).map(lease).collect();
            let request = wire::TransactRequest { settle, ..Default::default() };
            let refused = TransactionsClient::new(channel).transact(request).await.expect_err("too many");
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        }
    });
    assert!(cluster.replica(cluster.leader()).last < last + 20, "nothing of it is in the log");
}

/// Nodes in this process, which take no message between each other that is longer than `bytes`.
async fn start_with_short_messages(dir: &Path, bytes: usize) -> Vec<Node> {
    let base = ports::free_row(30);
    let bootstrap = |at: u16| (format!("n{at}"), format!("127.0.0.1:{}", base + at * 10 + 1));
    let bootstrap: Vec<_> = (0..3).map(bootstrap).collect();
    let config = |at: u16| {
        let name = format!("n{at}");
        let mut config = Config::new(&name, dir.join(&name));
        config.client_addr = format!("127.0.0.1:{}", base + at * 10);
        config.peer_addr = format!("127.0.0.1:{}", base + at * 10 + 1);
        config.http_addr = format!("127.0.0.1:{}", base + at * 10 + 2);
        config.bootstrap = bootstrap.clone();
        config.raft.peer_message_bytes_max = bytes;
        config
    };
    let starting = (0..3).map(|at| Node::start(config(at), Components::system()));
    futures::future::try_join_all(starting).await.expect("three nodes")
}

/// An entry that no follower can take ends its leader loudly; the others go on without it.
#[test]
fn an_entry_that_peers_cannot_take_ends_its_leader() {
    let _turn = take_turn();
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut nodes = start_with_short_messages(scratch.path(), 64 * 1024).await;
        let endpoints: Vec<String> =
            nodes.iter().map(|node| format!("http://{}", node.client_addr())).collect();
        let client = Client::builder().endpoints(endpoints).timeout(s(30)).build().expect("a client");
        client.queues().create("q", QueueSettings::default()).await.expect("a queue");
        let publishing = tokio::spawn({
            let queue = client.raw_queue("q");
            async move {
                let producer = queue.producer().open().await.expect("a session");
                let sent = producer.send(Bytes::from(vec![7; 1 << 20])).await.expect("room");
                let _ = sent.await;
            }
        });
        let ended =
            futures::future::select_all(nodes.iter().map(|node| Box::pin(node.shard().replica.ended())));
        let (why, at, _) = tokio::time::timeout(s(20), ended).await.expect("the leader says so");
        publishing.abort();
        assert!(why.to_string().contains("takes messages of 65536 bytes"), "{why}");
        nodes.remove(at).shutdown().await;
        let small = async {
            let producer = client.raw_queue("q").producer().open().await.expect("a session");
            producer.publish(Bytes::from_static(b"small")).await.expect("the others go on")
        };
        tokio::time::timeout(s(20), small).await.expect("without the entry");
        futures::future::join_all(nodes.into_iter().map(Node::shutdown)).await;
    });
}
