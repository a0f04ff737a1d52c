//! Much at once, on a queue of its own: many messages that fall due, expire, are redriven, purged, passed over or deleted together, with keys
//! and without, and long requests side by side. As with [`super::everything`] the replay of the log judges it, and the bounds of work and
//! memory do.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::join_all;
use quorate_client::{Message, Order, Outcome, QueueSettings, Selector, SubscriptionSettings};

use crate::interpose;
use crate::seed::Rng;
use crate::workload::cx::Cx;
use crate::workload::plan::CrowdPlan;
use crate::workload::verbs::{delete_queue, purge, seek, transact, unpark};

/// Nobody else's; the end of a run deletes it like those of [`super::everything`].
const QUEUE: &str = "model-crowd";
const WAIT: Duration = Duration::from_millis(300);
/// A header may have 64 KiB with its name, and a value of the state as much.
const LONG: usize = 60 << 10;
/// Keys that long values go to: the state is not to grow with the run.
const PLACES: u64 = 8;

pub(super) async fn run(cx: Cx, plan: CrowdPlan, mut rng: Rng) {
    while !cx.stopping() {
        cx.think(&mut rng, plan.every_ms).await;
        if rng.percent(plan.long_percent) {
            long(&cx, &plan, &mut rng).await;
        } else {
            crowd(&cx, &plan, &mut rng).await;
        }
    }
}

/// Fills the queue with messages that have something in common, and lets it happen to all of them.
async fn crowd(cx: &Cx, plan: &CrowdPlan, rng: &mut Rng) {
    let order = *rng.pick(&[Order::None, Order::Key]);
    let settings = SubscriptionSettings {
        order,
        lease: Some(Duration::from_millis(rng.magnitude(200, 3000))),
        ..SubscriptionSettings::default()
    };
    create(cx, settings).await;
    let (together, at) = (rng.below(8), Duration::from_millis(rng.magnitude(50, 3000)));
    let due = UNIX_EPOCH + Duration::from_secs(interpose::EPOCH_S) + interpose::elapsed() + at;
    let common = |message: Message<Bytes>| match together {
        0 | 1 => message.deliver_at(due),
        2 | 3 => message.ttl(at),
        _ => message,
    };
    publish(cx, plan, rng, order == Order::Key, common).await;
    match together {
        0..=3 => cx.pause(at + WAIT).await,
        4 => drop(purge::call(cx, QUEUE).await),
        5 => drop(seek::call(cx, QUEUE, "default").await),
        6 => drop(delete_queue::call(cx, QUEUE).await),
        _ => {
            take(cx, plan, rng).await;
            drop(unpark::call(cx, QUEUE, "default", &Selector::default(), (rng.percent(70), 0)).await);
        }
    }
    if rng.percent(60) {
        drop(purge::call(cx, QUEUE).await);
    }
}

async fn create(cx: &Cx, settings: SubscriptionSettings) {
    let queues = cx.client.queues();
    let creating = queues.create(QUEUE, QueueSettings::from(settings));
    let _ = Box::pin(cx.manage(QUEUE, "create_queue", creating)).await; // what is there from before will do
}

/// Batches large and small: a message that is a batch of its own costs more than one among many.
async fn publish(
    cx: &Cx,
    plan: &CrowdPlan,
    rng: &mut Rng,
    keyed: bool,
    common: impl Fn(Message<Bytes>) -> Message<Bytes>,
) {
    let batch = *rng.pick(&[1, 16, 256, 256]);
    let opening = cx.client.raw_queue(QUEUE).producer().batch_messages(batch).window(1024).open();
    let Ok(producer) = cx.bounded(opening).await else { return };
    let keys = rng.magnitude(1, 1000);
    for _ in 0..plan.messages {
        let mut message = common(Message::new(Bytes::from_static(b"crowd")));
        if keyed {
            message = message.key(rng.below(keys).to_string());
        }
        // Receipts are not waited for one by one.
        if cx.stopping() || cx.bounded(producer.send(message)).await.is_err() {
            return;
        }
    }
    let _ = cx.bounded(producer.close()).await; // the replay knows what came of it
}

/// Takes as many as come at once and parks most of them.
async fn take(cx: &Cx, plan: &CrowdPlan, rng: &mut Rng) {
    let attaching = cx.client.raw_queue(QUEUE).consumer().credit(plan.messages as u32).attach();
    let Ok(mut consumer) = cx.bounded(attaching).await else { return };
    while let Ok(Some(Ok(delivery))) = tokio::time::timeout(WAIT, consumer.next()).await {
        match rng.below(10) {
            0 => delivery.ack_later(),
            1 => delivery.leave(),
            _ => delivery.settle_later(Outcome::park("one of many")),
        }
    }
    let _ = cx.bounded(consumer.detach()).await; // it ends by itself otherwise
}

/// Long requests at once: messages with headers as long as they may be, and transactions with values as long as they may be.
async fn long(cx: &Cx, plan: &CrowdPlan, rng: &mut Rng) {
    create(cx, SubscriptionSettings::default()).await;
    let value = Bytes::from(vec![b'v'; LONG]);
    let transactions = (0..rng.between(1, plan.long_max)).map(|nth| {
        let parts = rng.between(1, plan.long_max);
        let queue = cx.client.raw_queue(QUEUE);
        let transaction = (0..parts).fold(cx.client.transaction(), |transaction, part| match part % 2 {
            0 => transaction.put(&format!("long/{}", (nth + part) % PLACES), value.clone()),
            _ => transaction
                .publish(&queue, Message::new(Bytes::from_static(b"long")).header("h", value.clone())),
        });
        transact::call(cx, transaction)
    });
    let transactions: Vec<_> = transactions.collect();
    let opening = cx.client.raw_queue(QUEUE).producer().batch_messages(1).window(1024).open();
    let sends = async {
        let Ok(producer) = cx.bounded(opening).await else { return };
        for _ in 0..2 * plan.long_max {
            let message = Message::new(Bytes::from_static(b"long")).header("h", value.clone());
            if cx.bounded(producer.send(message)).await.is_err() {
                return;
            }
        }
        let _ = cx.bounded(producer.close()).await; // the replay knows what came of it
    };
    futures::join!(join_all(transactions), sends);
    drop(purge::call(cx, QUEUE).await);
}
