//! A producer and a worker that go on, in order and without loss, whatever becomes of the leader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quorate_client::{
    Client, Job, Message, Order, QueueSettings, Receipt, Retain, Start, SubscriptionSettings, Working,
};
use tokio::task::JoinHandle;

use crate::harness::{Cluster, runtime, s, until};

const LEADERS: usize = 20;
const KEYS: u64 = 5;

/// A queue with its producer and its worker, both at work.
struct Line {
    queue: &'static str,
    order: Order,
    /// Positions and values, in the order in which the handlers began.
    handled: Arc<Mutex<Vec<(u64, u64)>>>,
    enough: Arc<AtomicBool>,
    producing: JoinHandle<Vec<Receipt>>,
    working: Working,
}

fn key(value: u64) -> String {
    format!("key {}", value % KEYS)
}

impl Line {
    async fn start(client: &Client, queue: &'static str, order: Order) -> Self {
        // Everything stays stored, so that it can be compared with the receipts in the end.
        let retain = Retain { until_done: true, age: Some(s(3600)), ..Retain::default() };
        let default_subscription = SubscriptionSettings { order, ..Default::default() };
        let settings = QueueSettings { default_subscription, retain, ..Default::default() };
        client.queues().create(queue, settings).await.expect("a queue");

        let enough = Arc::new(AtomicBool::new(false));
        let producing = tokio::spawn(produce(client.clone(), queue, enough.clone()));
        let handled = Arc::new(Mutex::new(Vec::new()));
        let list = handled.clone();
        let working = client.queue::<u64>(queue).worker().concurrency(8).start(move |job: Job<u64>| {
            list.lock().push((job.position, job.value));
            async {}
        });
        Self { queue, order, handled, enough, producing, working }
    }

    fn progress(&self) -> usize {
        self.handled.lock().len()
    }

    /// Ends the producer, lets the worker finish, and compares what was sent, stored and handled.
    async fn finish(self, client: &Client, cluster: &Cluster) {
        self.enough.store(true, Ordering::SeqCst);
        let receipts = self.producing.await.expect("no send failed");
        until("all to be done", s(60), || (cluster.stat(self.queue, "length") == 0).then_some(()));
        self.working.stop().await.expect("no error reached the worker");

        let sent = receipts.len() as u64;
        let values: BTreeMap<u64, u64> =
            (0..).zip(&receipts).map(|(value, receipt)| (receipt.position, value)).collect();
        assert_eq!(values.len() as u64, sent, "two receipts name one position");
        let positions: Vec<u64> = receipts.iter().map(|receipt| receipt.position).collect();
        assert_eq!(positions, (1..=sent).collect::<Vec<_>>(), "the order of sending, without gaps");

        let mut stored = client.queues().read(self.queue, Start::Earliest, sent + 1, false);
        let mut found = BTreeMap::new();
        while let Some(message) = stored.next().await {
            let message = message.expect("it can be read");
            let value: u64 = serde_json::from_slice(&message.body).expect("a number");
            assert_eq!(message.meta.key, key(value));
            found.insert(message.position, value);
        }
        assert_eq!(found, values, "each receipt's position holds what was sent; nothing else is stored");

        let handled = self.handled.lock().clone();
        let again = in_order(&handled, self.order);
        assert!(handled.iter().all(|(position, value)| values.get(position) == Some(value)));
        println!("{}: {sent} sent, stored and handled in order; {again} handled again", self.queue);
    }
}

/// Sends numbers until it is told that it is enough. Every send has to succeed.
async fn produce(client: Client, queue: &'static str, enough: Arc<AtomicBool>) -> Vec<Receipt> {
    let producer = client.queue::<u64>(queue).producer().window(64).open().await.expect("a session");
    let (pending, mut waiting) = tokio::sync::mpsc::unbounded_channel();
    let receipts = tokio::spawn(async move {
        let mut receipts = Vec::new();
        while let Some(one) = waiting.recv().await {
            let one: quorate_client::Pending = one;
            receipts.push(one.await.expect("a receipt"));
        }
        receipts
    });
    for value in 0.. {
        if enough.load(Ordering::SeqCst) {
            break;
        }
        let message = Message::new(value).key(key(value));
        pending.send(producer.send(message).await.expect("no error")).expect("it waits for receipts");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(pending);
    producer.close().await.expect("an orderly end");
    receipts.await.expect("all of them came")
}

/// Nothing is begun before everything that comes before it in its order was: only what was begun already may come again.
/// Returns how many did.
fn in_order(handled: &[(u64, u64)], order: Order) -> usize {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut again = 0;
    for (_, value) in handled {
        let (lane, step) = match order {
            Order::Total => (String::new(), 1),
            _ => (key(*value), KEYS),
        };
        let next = last.get(&lane).map_or(value % step, |last| last + step);
        assert!(*value <= next, "{value} was begun before {next}");
        if *value == next {
            last.insert(lane, *value);
        } else {
            again += 1;
        }
    }
    again
}

#[test]
fn a_producer_and_a_worker_go_on_while_the_leader_changes_twenty_times() {
    let mut cluster = Cluster::start(3, &[]);
    let client = cluster.client(s(60));
    let runtime = runtime();
    let lines = runtime.block_on(async {
        [Line::start(&client, "total", Order::Total).await, Line::start(&client, "keyed", Order::Key).await]
    });
    let mut terms = vec![cluster.status().iter().map(|replica| replica.term).max().expect("members")];
    for round in 0..LEADERS {
        let before = lines.each_ref().map(Line::progress);
        until("work to go on", s(30), || {
            lines.iter().zip(before).all(|(line, before)| line.progress() > before + 20).then_some(())
        });
        let leader = cluster.leader();
        match round % 3 {
            0 => cluster.kill(leader),
            1 => assert_eq!(cluster.node(leader).stop(), 0, "an orderly end"),
            _ => cluster.nodes()[leader].freeze(),
        }
        let next = until("another leader", s(30), || {
            let status = cluster.quorate(&["cluster", "status", "-o", "json", "--timeout", "5s"]);
            let lines = if status.code == 0 { status.lines() } else { Vec::new() };
            let newest = lines.iter().filter_map(|line| line["term"].as_u64()).max()?;
            let leads = lines.iter().any(|l| l["role"] == "leader" && l["term"].as_u64() == Some(newest));
            (leads && terms.last().is_some_and(|last| newest > *last)).then_some(newest)
        });
        terms.push(next);
        match round % 3 {
            2 => cluster.nodes()[leader].thaw(),
            _ => cluster.restart(leader),
        }
    }
    assert!(terms.windows(2).all(|pair| pair[0] < pair[1]) && terms.len() > LEADERS, "{terms:?}");
    runtime.block_on(async {
        for line in lines {
            line.finish(&client, &cluster).await;
        }
    });
    cluster.converge();
    for node in cluster.nodes() {
        let log = node.log_tail();
        assert!(!log.contains("lost data"), "a node that starts or stops has lost nothing: {log}");
    }
}
