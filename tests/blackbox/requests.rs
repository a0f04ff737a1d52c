//! Request and reply through a queue, and transactions across the death of a leader.

use std::time::Duration;

use quorate_client::{Client, Error, QueueSettings, SubscriptionSettings, Unmet};

use crate::harness::{Cluster, runtime, s, until};

async fn create(client: &Client, queue: &str, lease: Duration) {
    let default_subscription = SubscriptionSettings { lease: Some(lease), ..Default::default() };
    let settings = QueueSettings { default_subscription, ..Default::default() };
    client.queues().create(queue, settings).await.expect("a queue");
}

/// Two workers had the message: only the one whose lease is current answers, and the other is told.
#[test]
fn an_answer_is_accepted_once() {
    let cluster = Cluster::start(3, &[]);
    let client = cluster.client(s(30));
    runtime().block_on(async {
        create(&client, "sums", Duration::from_millis(300)).await;
        let sums = client.queue::<(u64, u64)>("sums");
        let asking = tokio::spawn({
            let sums = client.queue::<(u64, u64)>("sums");
            async move { sums.request::<u64>((20, 22), s(20)).await }
        });
        let mut slow = sums.consumer().credit(1).attach().await.expect("a consumer");
        let first = slow.next().await.expect("no end").expect("a delivery");
        assert!(first.wants_reply());
        slow.set_credit(0);
        let mut quick = sums.consumer().credit(1).attach().await.expect("a consumer");
        let second = quick.next().await.expect("no end").expect("a delivery");
        assert_eq!((second.position, second.attempt), (first.position, 2));
        let (a, b) = second.value;
        client.transaction().reply(&second, &(a + b)).commit().await.expect("the lease is current");
        let late = client.transaction().reply(&first, &0).commit().await;
        let Err(Error::Refused(refusal)) = late else { panic!("{late:?}") };
        assert!(
            matches!(refusal.unmet, Some(Unmet::Require { .. } | Unmet::Lease { .. })),
            "what is not the case: {refusal:?}"
        );
        assert_eq!(asking.await.expect("it ran").expect("an answer"), 42);
    });
}

/// Nobody answers: the requester is told in time, and nothing is left behind.
#[test]
fn a_request_that_nobody_answers_ends_and_leaves_nothing() {
    let cluster = Cluster::start(3, &[]);
    let client = cluster.client(s(30));
    runtime().block_on(async {
        create(&client, "nobody", s(30)).await;
        let queue = client.raw_queue("nobody");
        let answer = queue.request::<u64>(bytes::Bytes::new(), Duration::from_millis(700)).await;
        assert!(matches!(answer, Err(Error::OutOfTime { .. })), "{answer:?}");
    });
    until("the request has expired", s(10), || (cluster.stat("nobody", "length") == 0).then_some(()));
}

/// P6, P8: the leader dies while somebody waits for an answer, and another one while it is given.
#[test]
fn answers_and_transactions_survive_dead_leaders() {
    let mut cluster = Cluster::start(3, &[]);
    let client = cluster.client(s(60));
    let runtime = runtime();
    runtime.block_on(create(&client, "work", s(30)));
    let asking = runtime.spawn({
        let work = client.queue::<String>("work");
        async move { work.request::<String>("question".to_owned(), s(60)).await }
    });
    let delivery = runtime.block_on(async {
        let mut consumer = client.queue::<String>("work").consumer().attach().await.expect("a consumer");
        let delivery = consumer.next().await.expect("no end").expect("a delivery");
        std::mem::forget(consumer); // its session ends by itself; what counts is the token
        delivery
    });
    let leader = cluster.leader();
    cluster.kill(leader);
    runtime.block_on(async {
        // Repeated until it is done: whatever a lost answer hides, it happens once.
        let answer = format!("answer to {}", delivery.value);
        let transaction = client.transaction().reply(&delivery, &answer).put("answered", answer.clone());
        transaction.commit().await.expect("the others have a majority");
        let got = asking.await.expect("it ran").expect("an answer");
        assert_eq!(got, answer);
    });
    cluster.restart(leader);
    let leader = cluster.leader();
    cluster.kill(leader);
    let kept = runtime.block_on(client.state().get("answered")).expect("a leader").expect("it is kept");
    assert_eq!(kept.value, "answer to question");
}
