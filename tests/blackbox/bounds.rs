//! P12: a consumer that stops reading costs a bounded amount of memory, in its own process and in the node's.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use quorate_client::wire::consumer_client::ConsumerClient;
use quorate_client::wire::receive_request::Request as Req;
use quorate_client::{Client, QueueSettings, SubscriptionSettings, wire};

use crate::harness::{Cluster, QUORATE, runtime, s, until};

pub const MIB: u64 = 1024 * 1024;
const BODY: usize = 16 * 1024;
/// Twice as much as either side may take.
const BACKLOG: u64 = 160 * MIB;
const BOUND: u64 = 80 * MIB;

/// What a process holds in memory of its own, in bytes; mapped files are the system's cache.
pub fn anonymous(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux says it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

async fn fill(client: &Client, queue: &str, auto_ack: bool) {
    let subscription = SubscriptionSettings { auto_ack, lease: Some(s(600)), ..Default::default() };
    client.queues().create(queue, QueueSettings::from(subscription)).await.expect("a queue");
    let producer = client.raw_queue(queue).producer().open().await.expect("a session");
    for _ in 0..BACKLOG / BODY as u64 {
        drop(producer.send(Bytes::from(vec![b'x'; BODY])).await.expect("room"));
    }
    producer.close().await.expect("all of it is stored");
}

/// The command, writing to a pipe that nobody reads.
struct Stuck(Child);

impl Stuck {
    /// Its credit allows for a tenth of the backlog.
    fn start(cluster: &Cluster, queue: &str) -> Self {
        let mut command = Command::new(QUORATE);
        command.args(["receive", queue, "--follow", "--body", "--credit", "1024"]);
        command.args(["--endpoint", &cluster.endpoints()]).stdout(Stdio::piped());
        Self(command.spawn().expect("it starts"))
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the first of the backlog are handed out.
fn handing_out(cluster: &Cluster, queue: &str) {
    until("the first to be handed out", s(30), || {
        (cluster.stat(queue, "ready") < BACKLOG / BODY as u64).then_some(())
    });
}

/// Waits until a figure has not changed for a second: nothing moves any more.
fn stands_still(what: &str, figure: impl Fn() -> u64) {
    let mut last = (figure(), 0);
    until(what, s(60), || {
        thread::sleep(Duration::from_millis(100));
        let now = figure();
        last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
        (last.1 >= 10).then_some(())
    });
}

#[test]
fn a_consumer_that_stops_reading_takes_a_bounded_amount_of_memory_on_both_sides() {
    let cluster = Cluster::start(1, &[]);
    let client = cluster.client(s(60));
    let runtime = runtime();
    for (queue, auto_ack) in [("leased", false), ("automatic", true)] {
        runtime.block_on(fill(&client, queue, auto_ack));
        let node = cluster.nodes()[0].pid();
        let before = anonymous(node);
        let stuck = Stuck::start(&cluster, queue);
        let moved = || if auto_ack { cluster.stat(queue, "length") } else { cluster.stat(queue, "leased") };
        handing_out(&cluster, queue);
        stands_still("the consumer to be stuck", moved);
        let (grown, own) = (anonymous(node).saturating_sub(before), anonymous(stuck.0.id()));
        println!(
            "{queue}: the node has {} MiB, {} MiB more than before; the consumer {} MiB",
            anonymous(node) / MIB,
            grown / MIB,
            own / MIB
        );
        assert!(grown < BOUND, "{queue}: the node took {} MiB", grown / MIB);
        assert!(own < BOUND, "{queue}: the consumer took {} MiB", own / MIB);
    }
}

/// A client that asks for everything and never reads its connection.
#[test]
fn a_connection_that_is_not_read_takes_a_bounded_amount_of_memory_of_the_node() {
    let cluster = Cluster::start(1, &[]);
    let client = cluster.client(s(60));
    let runtime = runtime();
    // It asks for all of it at once.
    for (queue, auto_ack) in [("leased", false), ("automatic", true)] {
        runtime.block_on(fill(&client, queue, auto_ack));
        let node = cluster.nodes()[0].pid();
        let before = anonymous(node);
        let address = format!("http://{}", cluster.nodes()[0].client_addr);
        let unread = runtime.block_on(async {
            let channel = tonic::transport::Endpoint::from_shared(address).expect("an address");
            let channel = channel.connect().await.expect("a connection");
            let attach = wire::Attach {
                queue: queue.into(),
                session: Bytes::copy_from_slice(format!("{queue:0>16}").as_bytes()),
                credit: 65_536,
                session_timeout_ms: 3_600_000,
                ..Default::default()
            };
            let first = wire::ReceiveRequest { request: Some(Req::Attach(attach)) };
            let requests =
                futures::StreamExt::chain(futures::stream::iter([first]), futures::stream::pending());
            ConsumerClient::new(channel).receive(requests).await.expect("a stream")
        });
        handing_out(&cluster, queue);
        stands_still("the stream to be full", || cluster.stat(queue, "ready"));
        let grown = anonymous(node).saturating_sub(before);
        println!("{queue}: the node has {} MiB, {} MiB more than before", anonymous(node) / MIB, grown / MIB);
        assert!(grown < BOUND, "{queue}: the node took {} MiB", grown / MIB);
        drop(unread);
    }
}
