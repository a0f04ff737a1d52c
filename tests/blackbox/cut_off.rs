//! A consumer that is cut off, with messages in its hands that it was leased: it knows by its own clock when they are somebody else's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_client::{Client, Order, QueueSettings, Raw, SubscriptionSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::{Cluster, runtime, s};

const LEASE: Duration = Duration::from_millis(600);
const MESSAGES: u64 = 40;

type Consumer = quorate_client::Consumer<Bytes, Raw>;

/// Passes on what comes, for as long as it is not stopped.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut stopped: watch::Receiver<bool>) {
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        if stopped.wait_for(|stopped| !*stopped).await.is_err()
            || to.write_all(&chunk[..count]).await.is_err()
        {
            return;
        }
    }
}

/// Stands between a client and a node. Returns where it listens.
async fn proxy(node: String, stopped: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(node) = TcpStream::connect(&node).await else { continue };
            let ((from_client, to_client), (from_node, to_node)) = (client.into_split(), node.into_split());
            tokio::spawn(pass(from_client, to_node, stopped.clone()));
            tokio::spawn(pass(from_node, to_client, stopped.clone()));
        }
    });
    address
}

async fn attach(client: &Client, queue: &str) -> Consumer {
    let consumer = client.raw_queue(queue).consumer().credit(MESSAGES as u32).session_timeout(s(60));
    consumer.attach().await.expect("a session")
}

/// Takes what there is until `end`. When each was handed out first, by its position, with its token.
async fn take(consumer: &mut Consumer, end: Instant, each: Duration) -> BTreeMap<u64, (Instant, u64)> {
    let mut taken = BTreeMap::new();
    while Instant::now() < end {
        match tokio::time::timeout(Duration::from_millis(50), consumer.next()).await {
            Ok(Some(Ok(delivery))) => {
                taken.entry(delivery.position).or_insert_with(|| (Instant::now(), delivery.token));
                delivery.leave();
                tokio::time::sleep(each).await;
            }
            Ok(None) => break,
            Err(_) | Ok(Some(Err(_))) => {}
        }
    }
    taken
}

/// What was leased to a consumer that nothing reaches any more goes to another when the leases are over. The first one has most of it in its
/// buffer, and hands out none of that from then on.
#[test]
fn who_is_cut_off_hands_out_nothing_that_another_has() {
    let cluster = Cluster::start(1, &[]);
    let client = cluster.client(s(10));
    runtime().block_on(async {
        for order in [Order::None, Order::Total] {
            let queue = format!("cut-off-{order:?}").to_lowercase();
            let settings = SubscriptionSettings { order, lease: Some(LEASE), ..Default::default() };
            client.queues().create(&queue, QueueSettings::from(settings)).await.expect("a queue");
            let (stop, stopped) = watch::channel(false);
            let node = cluster.endpoints().trim_start_matches("http://").to_owned();
            let between = proxy(node, stopped).await;
            let behind = Client::builder().endpoints([format!("http://{between}")]).timeout(s(10)).build();
            let mut cut_off = attach(&behind.expect("a client"), &queue).await;
            let producer = client.raw_queue(&queue).producer().open().await.expect("a session");
            for _ in 0..MESSAGES {
                drop(producer.send(Bytes::from_static(b"m")).await.expect("room"));
            }
            producer.flush().await.expect("receipts");
            let first = tokio::time::timeout(s(10), cut_off.next()).await.expect("in time");
            first.expect("a session").expect("a delivery").leave();
            let from = Instant::now();
            stop.send_replace(true);
            let mut other = attach(&client, &queue).await;
            let end = from + 4 * LEASE;
            let (late, theirs) =
                tokio::join!(take(&mut cut_off, end, LEASE / 12), take(&mut other, end, Duration::ZERO));
            // The first leases have the first tokens. Who finds the node by another way gets new ones, and may hand those out.
            let first: BTreeMap<u64, (Instant, u64)> =
                late.into_iter().filter(|(_, (_, token))| *token <= MESSAGES).collect();
            let over: Vec<u64> =
                first.iter().filter(|(_, (at, _))| *at > from + LEASE).map(|(at, _)| *at).collect();
            assert_eq!(over, Vec::<u64>::new(), "{order:?}: handed out when they were over");
            for (position, (at, _)) in &first {
                let twice = theirs.get(position).filter(|(since, _)| since < at);
                assert!(twice.is_none(), "{order:?}: message {position} was another's by then");
            }
            assert!(!first.is_empty() && first.len() < MESSAGES as usize, "{order:?}: {} taken", first.len());
            assert!(cut_off.lost_count() > 0, "{order:?}: what was over is counted");
            // In order `total` the one that is cut off stays the active one until its session ends.
            assert!(order == Order::Total || !theirs.is_empty(), "they came to the other");
        }
    });
}
