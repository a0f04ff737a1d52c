//! What the examples of the help texts and the pinned shapes of JSON are about: a queue `orders` and a little around it.

use bytes::Bytes;
use quorate_client::{
    Client, Consumer, Delivery, Filter, Message, OnExhausted, Order, QueueSettings, Raw, Start,
    SubscriptionSettings,
};

use crate::harness::s;

/// Takes away whatever queues and keys there are.
pub async fn clear(client: &Client) {
    for queue in client.queues().list().await.expect("the queues") {
        client.queues().delete(&queue.name).await.expect("a queue goes");
    }
    let (entries, more) = client.state().list("", "").await.expect("the keys");
    assert!(!more, "a scene has few keys");
    for entry in entries {
        client.transaction().delete(&entry.key).commit().await.expect("a key goes");
    }
}

/// Makes the scene anew; in a cluster that had it before, positions and tokens go on. `orders` keeps the order of keys, has the subscriptions `default`, `billing` and `audit`, and stores:
/// 1 and 2 of the key anna, 3 of bert, 4 to 6 without a key, 7 and 8 that are due in an hour. 1 is parked in `default` and `billing`. `payments`
/// and `shipping` are plain and empty. The keys `order/1` and `order/2` are there.
pub async fn set(client: &Client) {
    clear(client).await;
    let default_subscription = SubscriptionSettings {
        order: Order::Key,
        max_attempts: Some(1),
        on_exhausted: Some(OnExhausted::Park),
        backoff: Some((s(1), s(60))),
        ..SubscriptionSettings::default()
    };
    let settings =
        QueueSettings { default_subscription, routes: vec!["orders.>".into()], ..QueueSettings::default() };
    client.queues().create("orders", settings).await.expect("the queue");
    for name in ["payments", "shipping"] {
        client.queues().create(name, QueueSettings::default()).await.expect("a queue");
    }
    let filter = Filter { headers: vec![("tier".into(), Bytes::from("gold"))], ..Filter::default() };
    let billing = SubscriptionSettings {
        filter: Some(filter),
        max_lag: Some(1_000_000),
        max_attempts: Some(9),
        ..SubscriptionSettings::default()
    };
    let subs = client.subscriptions("orders");
    subs.create("billing", &billing, Start::Earliest).await.expect("a subscription");
    subs.create("audit", &SubscriptionSettings::default(), Start::Earliest).await.expect("a subscription");
    publish(client).await;
    park_first(client, "").await;
    park_first(client, "billing").await;
    for (key, value) in [("order/1", "received"), ("order/2", "paid")] {
        client.transaction().put(key, value).commit().await.expect("a key is written");
    }
}

async fn publish(client: &Client) {
    let producer = client.raw_queue("orders").producer().session("scene").open().await.expect("a producer");
    for (number, key) in ["anna", "anna", "bert", "", "", "", "", ""].into_iter().enumerate() {
        let body = format!("order {}", number + 1);
        let mut message = Message::new(Bytes::from(body))
            .key(key.as_bytes().to_vec())
            .subject("orders.eu.created")
            .header("tier", "gold")
            .id(format!("remind-{}", number + 1));
        if number >= 6 {
            message = message.delay(s(3600));
        }
        // One after the other: in a new cluster the positions are those of the numbers.
        producer.send(message).await.expect("room in the window").await.expect("a receipt");
    }
    // The session stays: `producers` has something to show.
    drop(producer);
}

async fn park_first(client: &Client, subscription: &str) {
    let mut consumer = attach(client, subscription).await;
    let delivery = consumer.next().await.expect("no end").expect("a delivery");
    assert_eq!(&delivery.value[..], b"order 1");
    delivery.park("no connection").await.expect("it is parked");
    consumer.detach().await.expect("the session ends");
}

/// A consumer that holds the first message for `audit`, in a new cluster under token 1, until both are dropped.
pub async fn hold(client: &Client) -> (Consumer<Bytes, Raw>, Delivery<Bytes>) {
    let mut consumer = attach(client, "audit").await;
    let delivery = consumer.next().await.expect("no end").expect("a delivery");
    assert_eq!((delivery.position, delivery.token), (1, 1));
    (consumer, delivery)
}

async fn attach(client: &Client, subscription: &str) -> Consumer<Bytes, Raw> {
    let consumer = client.raw_queue("orders").consumer().subscription(subscription).credit(1);
    consumer.attach().await.expect("a consumer")
}
