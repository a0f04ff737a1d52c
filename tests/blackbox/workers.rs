//! Workers: handlers whose leases are kept, whose messages are settled by what they return, and which stop in an orderly way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_client::{
    Client, Error, Job, Message, OnUndecodable, Order, Outcome, Peek, QueueSettings, SubscriptionSettings,
};
use tokio::sync::Notify;

use crate::harness::{Cluster, runtime, s, until};

const SHORT: Duration = Duration::from_millis(300);

async fn create(client: &Client, queue: &str, subscription: SubscriptionSettings) {
    let created = client.queues().create(queue, QueueSettings::from(subscription)).await;
    created.expect("a queue");
}

async fn publish(client: &Client, queue: &str, values: impl IntoIterator<Item = u64>) {
    let producer = client.queue::<u64>(queue).producer().open().await.expect("a session");
    for value in values {
        drop(producer.send(value).await.expect("room"));
    }
    producer.flush().await.expect("receipts");
}

/// State and reason of each message of a queue, in the order of the positions.
async fn looks(client: &Client, queue: &str) -> Vec<(String, String)> {
    let what = Peek { count: 100, ..Peek::default() };
    let page = client.queues().peek(queue, &what).await.expect("a look into the queue");
    let look = |one: quorate_client::wire::PeekedMessage| {
        let reason = one.failures.last().map(|failure| failure.reason.clone()).unwrap_or_default();
        (format!("{:?}", one.state()), reason)
    };
    page.messages.into_iter().map(look).collect()
}

/// Set when the future that has it is over, finished or not.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The handler takes five times as long as a lease: it runs once.
#[test]
fn a_lease_is_extended_while_its_handler_runs() {
    let cluster = Cluster::start(1, &[]);
    let client = cluster.client(s(10));
    runtime().block_on(async {
        let lease = SubscriptionSettings { lease: Some(SHORT), ..Default::default() };
        create(&client, "slow", lease).await;
        publish(&client, "slow", 1..=3).await;
        let begun = Arc::new(AtomicU32::new(0));
        let counted = begun.clone();
        let worker = client.queue::<u64>("slow").worker().concurrency(3).start(move |job: Job<u64>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(SHORT * 5).await;
                assert_eq!(job.attempt, 1);
            }
        });
        until("all to be done", s(20), || (cluster.stat("slow", "length") == 0).then_some(()));
        worker.stop().await.expect("an orderly end");
        assert_eq!(begun.load(Ordering::SeqCst), 3, "each was handled once");
    });
}

/// One handler, and messages behind it that wait longer than their leases: none of them is given to somebody else or counted as failed.
#[test]
fn what_waits_for_a_handler_stays_leased() {
    let cluster = Cluster::start(1, &[]);
    let client = cluster.client(s(10));
    runtime().block_on(async {
        for (queue, order) in [("free", Order::None), ("total", Order::Total)] {
            let lease = SubscriptionSettings { lease: Some(SHORT), order, ..Default::default() };
            create(&client, queue, lease).await;
            publish(&client, queue, 1..=4).await;
            let handled = Arc::new(Mutex::new(Vec::new()));
            let list = handled.clone();
            let worker = client.queue::<u64>(queue).worker().concurrency(1).prefetch(9);
            let worker = worker.start(move |job: Job<u64>| {
                list.lock().push((job.value, job.attempt));
                tokio::time::sleep(SHORT * 2)
            });
            until("all to be done", s(20), || (cluster.stat(queue, "length") == 0).then_some(()));
            worker.stop().await.expect("an orderly end");
            assert_eq!(*handled.lock(), [(1, 1), (2, 1), (3, 1), (4, 1)], "{queue}");
        }
    });
}

/// The same with a consumer: the work of a lease that is lost is given up.
#[test]
fn the_handler_of_a_revoked_lease_is_cancelled() {
    let cluster = Cluster::start(1, &[]);
    let client = cluster.client(s(10));
    runtime().block_on(async {
        create(&client, "doomed", SubscriptionSettings::default()).await;
        publish(&client, "doomed", [1]).await;
        let over = Arc::new(AtomicBool::new(false));
        let flag = over.clone();
        let worker = client.queue::<u64>("doomed").worker().start(move |_: Job<u64>| {
            let over = Over(flag.clone());
            async move {
                let _over = over;
                std::future::pending::<()>().await;
            }
        });
        until("the message to be leased", s(10), || (cluster.stat("doomed", "leased") == 1).then_some(()));
        assert!(!over.load(Ordering::SeqCst));
        cluster.quorate(&["sub", "seek", "doomed", "default", "--to", "2"]).ok();
        until("the handler to be cancelled", s(5), || over.load(Ordering::SeqCst).then_some(()));
        worker.stop().await.expect("an orderly end");

        publish(&client, "doomed", [2]).await;
        let mut consumer = client.queue::<u64>("doomed").consumer().attach().await.expect("a consumer");
        let delivery = consumer.next().await.expect("no end").expect("a delivery");
        let work = delivery.while_held(std::future::pending::<()>());
        let seek = cluster.command(&["sub", "seek", "doomed", "default", "--to", "3"]);
        let seek = tokio::task::spawn_blocking(move || seek.run().ok());
        let given_up = tokio::time::timeout(s(5), work).await.expect("it is given up");
        assert!(matches!(given_up, Err(Error::StaleLease { position: 2 })), "{given_up:?}");
        seek.await.expect("it is done");
        delivery.leave();
    });
}

/// What is in hand is finished, what was leased ahead goes back at once, and what takes longer than the grace is given back, too.
#[test]
fn a_worker_that_stops_finishes_what_it_began_and_gives_back_the_rest() {
    let cluster = Cluster::start(1, &[]);
    let client = cluster.client(s(10));
    runtime().block_on(async {
        create(&client, "jobs", SubscriptionSettings::default()).await;
        publish(&client, "jobs", 1..=5).await;
        let go = Arc::new(Notify::new());
        let waiting = go.clone();
        let worker = client.queue::<u64>("jobs").worker().concurrency(1).prefetch(10);
        let worker = worker.start(move |_: Job<u64>| {
            let go = waiting.clone();
            async move { go.notified().await }
        });
        until("all to be leased", s(10), || (cluster.stat("jobs", "leased") == 5).then_some(()));
        let stopping = tokio::spawn(worker.stop());
        until("the others to be free", s(10), || (cluster.stat("jobs", "ready") == 4).then_some(()));
        assert_eq!(cluster.stat("jobs", "leased"), 1, "the first is still worked on");
        go.notify_one();
        stopping.await.expect("it stops").expect("an orderly end");
        assert_eq!((cluster.stat("jobs", "length"), cluster.stat("jobs", "ready")), (4, 4));

        let worker = client.queue::<u64>("jobs").worker().concurrency(1).grace(SHORT);
        let worker = worker.start(|_: Job<u64>| std::future::pending::<()>());
        until("some to be leased", s(10), || (cluster.stat("jobs", "leased") > 0).then_some(()));
        let stopped = tokio::time::timeout(s(5), worker.stop()).await.expect("no longer than the grace");
        stopped.expect("an orderly end");
        assert_eq!((cluster.stat("jobs", "length"), cluster.stat("jobs", "ready")), (4, 4), "cancelled");
        let attempts =
            client.queues().peek("jobs", &Peek { count: 9, ..Peek::default() }).await.expect("a look");
        assert!(attempts.messages.iter().all(|one| one.attempt <= 1), "no failure was counted: {attempts:?}");
    });
}

/// Errors and panics are failures with a reason; what cannot be decoded is parked with one.
#[test]
fn what_fails_is_retried_and_what_cannot_be_decoded_is_parked_with_the_reason() {
    let cluster = Cluster::start(1, &[]);
    let client = cluster.client(s(10));
    runtime().block_on(async {
        let slow = SubscriptionSettings { backoff: Some((s(600), s(600))), ..Default::default() };
        create(&client, "mixed", slow).await;
        publish(&client, "mixed", 1..=4).await;
        let raw = client.raw_queue("mixed").producer().open().await.expect("a session");
        drop(raw.send(Bytes::from("no number")).await.expect("room"));
        drop(raw.close().await);
        let protobuf = client.protobuf_queue::<u64>("mixed").producer().open().await.expect("a session");
        drop(protobuf.send(Message::new(7)).await.expect("room"));
        drop(protobuf.close().await);

        let worker = client.queue::<u64>("mixed").worker().start(|job: Job<u64>| async move {
            match job.value {
                1 => Ok(Outcome::Ack),
                2 => Err(std::io::Error::other("the bank is closed")),
                3 => panic!("what is {}?", job.value),
                _ => Ok(Outcome::park("no such customer")),
            }
        });
        until("all to be settled", s(10), || {
            let figures = (cluster.stat("mixed", "parked"), cluster.stat("mixed", "retrying"));
            (figures == (3, 2)).then_some(())
        });
        worker.stop().await.expect("an orderly end");
        let found = looks(&client, "mixed").await;
        let expected = [
            ("Retrying", "the bank is closed"),
            ("Retrying", "the handler panicked: what is 3?"),
            ("Parked", "no such customer"),
            ("Parked", "cannot be decoded: "),
            (
                "Parked",
                r#"cannot be decoded: its content type is "application/protobuf", not "application/json""#,
            ),
        ];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((state, reason), (want, because)) in found.iter().zip(expected) {
            assert!(
                state == want && reason.starts_with(because),
                "{state} {reason:?}, not {want} {because:?}"
            );
        }

        // The type they are of takes them; and a policy of one's own.
        cluster.quorate(&["parked", "redrive", "mixed", "--where", "position=5..6"]).ok();
        let worker = client.protobuf_queue::<u64>("mixed").worker().on_undecodable(OnUndecodable::Discard);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let values = seen.clone();
        let worker = worker.start(move |job: Job<u64>| {
            values.lock().push(job.value);
            async {}
        });
        until("both to be gone", s(10), || (cluster.stat("mixed", "length") == 3).then_some(()));
        worker.stop().await.expect("an orderly end");
        assert_eq!(*seen.lock(), [7]);
    });
}

/// P6: what a handler returns as a transaction happens with its acknowledgement, or not at all; one that is refused is tried again.
#[test]
fn the_transaction_of_a_handler_is_committed_with_the_acknowledgement() {
    const ORDERS: u64 = 40;
    let cluster = Cluster::start(3, &[]);
    let client = cluster.client(s(30));
    runtime().block_on(async {
        let quick = SubscriptionSettings {
            backoff: Some((Duration::from_millis(5), Duration::from_millis(5))),
            ..Default::default()
        };
        for queue in ["first", "second"] {
            create(&client, queue, quick.clone()).await;
        }
        let second = client.queue::<u64>("second");
        // All of them count on one key, so that many are refused and read it again.
        let worker = client.queue::<u64>("first").worker().concurrency(8).start(move |job: Job<u64>| {
            let second = second.clone();
            async move {
                let seen = job.client().state().get("count").await?;
                let (count, version) = match &seen {
                    Some(entry) => (entry.json::<u64>()?, entry.version),
                    None => (0, 0),
                };
                let step = job.transaction().require_version("count", version);
                Ok::<_, Error>(step.put_json("count", &(count + 1)).publish(&second, job.value))
            }
        });
        publish(&client, "first", 1..=ORDERS).await;
        until("the first step of all", s(60), || (cluster.stat("first", "length") == 0).then_some(()));
        worker.stop().await.expect("an orderly end");
        let count = client.state().get("count").await.expect("a leader").expect("it was counted");
        assert_eq!(count.json::<u64>().expect("a number"), ORDERS);
        assert_eq!(
            (cluster.stat("second", "length"), cluster.stat("second", "last_position")),
            (ORDERS, ORDERS)
        );
    });
}

/// In order `key` the handlers of a key run one after the other even if more of its messages may be leased at once.
#[test]
fn the_handlers_of_one_key_run_one_after_the_other() {
    const KEYS: u64 = 8;
    let cluster = Cluster::start(1, &[]);
    let client = cluster.client(s(10));
    runtime().block_on(async {
        let keyed = SubscriptionSettings {
            order: Order::Key,
            per_key_inflight: Some(16),
            backoff: Some((Duration::from_millis(1), Duration::from_millis(1))),
            ..Default::default()
        };
        create(&client, "keyed", keyed).await;
        let producer = client.queue::<u64>("keyed").producer().open().await.expect("a session");
        for value in 0..KEYS * 25 {
            let key = format!("k{}", value % KEYS);
            drop(producer.send(Message::new(value).key(key)).await.expect("room"));
        }
        producer.flush().await.expect("receipts");
        let done = Arc::new(Mutex::new(vec![Vec::new(); KEYS as usize]));
        let at_work = Arc::new(Mutex::new(vec![false; KEYS as usize]));
        let most = Arc::new(AtomicU32::new(0));
        let (list, busy, peak) = (done.clone(), at_work.clone(), most.clone());
        let worker = client.queue::<u64>("keyed").worker().concurrency(32).start(move |job: Job<u64>| {
            let (list, busy, peak) = (list.clone(), busy.clone(), peak.clone());
            async move {
                let key = (job.value % KEYS) as usize;
                let at_once = {
                    let mut busy = busy.lock();
                    assert!(!std::mem::replace(&mut busy[key], true), "two of one key at once");
                    busy.iter().filter(|one| **one).count()
                };
                peak.fetch_max(at_once as u32, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
                busy.lock()[key] = false;
                // Every tenth fails at first, with others of its key leased behind it.
                if job.value.is_multiple_of(10) && job.attempt == 1 {
                    return Outcome::retry();
                }
                list.lock()[key].push(job.value);
                Outcome::Ack
            }
        });
        until("all to be done", s(30), || (cluster.stat("keyed", "length") == 0).then_some(()));
        worker.stop().await.expect("an orderly end");
        for (key, values) in done.lock().iter().enumerate() {
            let expected: Vec<u64> = (0..25).map(|i| i * KEYS + key as u64).collect();
            assert_eq!(*values, expected, "key {key}");
        }
        assert!(most.load(Ordering::SeqCst) > 1, "keys run side by side");
    });
}
