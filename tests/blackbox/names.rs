//! Queues and subscriptions that are deleted and made again under their names: what is late names nothing of the new ones.

use bytes::Bytes;
use quorate_client::{
    Client, Committed, Consumer, Delivery, Error, QueueSettings, Raw, Reason, Start, SubscriptionSettings,
    Unmet,
};

use crate::harness::{Cluster, runtime, s};

/// A new consumer of a subscription, and the message that it is handed first. As long as it lives it is a slow worker, not a dead one.
async fn take(client: &Client, subscription: &str) -> (Consumer<Bytes, Raw>, Delivery<Bytes>) {
    let consumer = client.raw_queue("pay").consumer().subscription(subscription).credit(1);
    let mut consumer = consumer.attach().await.expect("a consumer");
    let delivery = consumer.next().await.expect("no end").expect("a delivery");
    (consumer, delivery)
}

async fn publish(client: &Client, body: &'static str) -> u64 {
    let producer = client.raw_queue("pay").producer().open().await.expect("a session");
    producer.send(Bytes::from(body)).await.expect("room").await.expect("a receipt").position
}

/// The step of a worker that has finished what it was handed.
async fn finish(client: &Client, delivery: &Delivery<Bytes>) -> Result<Committed, Error> {
    let out = client.raw_queue("out");
    client.transaction().ack(delivery).publish(&out, Bytes::from("done")).put("by", "a worker").commit().await
}

fn is_stale(done: Result<Committed, Error>, position: u64) -> bool {
    let Err(Error::Refused(refusal)) = done else { panic!("it was carried out: {done:?}") };
    assert_eq!(refusal.reason, Reason::PreconditionFailed);
    matches!(refusal.unmet, Some(Unmet::Lease { position: at, .. }) if at == position)
}

async fn create(client: &Client, queue: &str) {
    client.queues().create(queue, QueueSettings::default()).await.expect("the name is free");
}

/// P4: the same message, of a subscription that was deleted and made again: the holder of now settles it, the one of before does not, and
/// whatever remembers the greater token refuses the former.
#[test]
fn a_late_transaction_of_a_deleted_subscription_is_refused() {
    let cluster = Cluster::start(3, &[]);
    let client = cluster.client(s(30));
    runtime().block_on(async {
        create(&client, "pay").await;
        create(&client, "out").await;
        let subscriptions = client.subscriptions("pay");
        let settings = SubscriptionSettings::default();
        let make = || subscriptions.create("w", &settings, Start::Earliest);
        make().await.expect("the name is free");
        publish(&client, "order 7").await;
        let (_slow, old) = take(&client, "w").await;
        subscriptions.delete("w").await.expect("it is there");
        make().await.expect("the name is free again");
        let (_quick, new) = take(&client, "w").await;
        assert_eq!(new.position, old.position);
        assert!(new.token > old.token, "{} after {}", new.token, old.token);
        assert!(is_stale(finish(&client, &old).await, old.position));
        finish(&client, &new).await.expect("its lease is current");
        let put = client.state().get("by").await.expect("a look").expect("it was written");
        assert_eq!(put.version, 1, "by one of them only");
    });
    assert_eq!(cluster.stat("out", "length"), 1);
}

/// P4, P9: another message, of a queue that was deleted and made again, is not acknowledged by somebody who never saw it.
#[test]
fn a_late_transaction_of_a_deleted_queue_is_refused() {
    let cluster = Cluster::start(3, &[]);
    let client = cluster.client(s(30));
    runtime().block_on(async {
        create(&client, "pay").await;
        create(&client, "out").await;
        publish(&client, "the old order").await;
        let (_slow, old) = take(&client, "").await;
        client.queues().delete("pay").await.expect("it is there");
        create(&client, "pay").await;
        assert_eq!(publish(&client, "the new order").await, 2);
        let (_quick, new) = take(&client, "").await;
        assert_eq!((new.position, &new.value[..]), (2, &b"the new order"[..]));
        assert!(new.token > old.token, "{} after {}", new.token, old.token);
        assert!(is_stale(finish(&client, &old).await, old.position));
        // Whatever it names, it is not the new message.
        let guess = client.transaction().ack_lease("pay", "", new.position, old.token).put("by", "a guess");
        assert!(is_stale(guess.commit().await, new.position));
        assert_eq!(cluster.stat("pay", "length"), 1);
        finish(&client, &new).await.expect("its lease is current");
    });
    assert_eq!((cluster.stat("pay", "length"), cluster.stat("out", "length")), (0, 1));
}
