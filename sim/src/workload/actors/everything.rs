//! Uses everything there is, on a queue of its own: subscriptions of any kind, keys, delays, times to live, priorities, parking, pauses,
//! moves. What it sees is not in the history: the replay of the log, entry by entry against the model, is the judge.

use std::time::Duration;

use bytes::Bytes;
use quorate_client::{
    Filter, Message, OnExhausted, OnFull, Order, Outcome, QueueSettings, Raw, Retain, Selector,
    SubscriptionSettings, Which,
};

use super::transacting;
use crate::history::Answer;
use crate::seed::Rng;
use crate::workload::cx::Cx;
use crate::workload::plan::EverythingPlan;
use crate::workload::verbs::{
    Consumer, Delivery, create_subscription, delete_queue, delete_subscription, explain, list_producers,
    list_subscriptions, park, pause, purge, read, reschedule, seek, unpark, update_queue,
    update_subscription,
};

const WAIT: Duration = Duration::from_millis(200);
const SUBS: [&str; 3] = ["default", "one", "two"];
const KEYS: [&str; 3] = ["", "red", "green"];

/// Whether a queue is one of this actor's.
pub(super) fn is_everything(queue: &str) -> bool {
    queue.starts_with("model-")
}

pub(super) async fn run(cx: Cx, plan: EverythingPlan, mut rng: Rng) {
    let queue = plan.queue.as_str();
    let mut producer = None;
    while !cx.stopping() {
        // What a call answers stands in the history.
        match rng.below(40) {
            0 | 1 => drop(create(&cx, &mut rng, queue).await),
            2 if rng.percent(20) => drop(delete_queue::call(&cx, queue).await),
            2..=4 => {
                let (name, settings) = (some_sub(&mut rng), settings(&mut rng));
                drop(create_subscription::call(&cx, queue, name, &settings).await);
            }
            5 => match rng.below(4) {
                0 => drop(list_subscriptions::call(&cx, queue).await),
                1 => drop(list_producers::call(&cx).await),
                2 => drop(explain::call(&cx, queue, some_sub(&mut rng)).await),
                _ => drop(read::call(&cx, queue, rng.between(1, 40), rng.between(0, 20)).await),
            },
            6 => {
                let lease_ms = rng.magnitude(100, 5000);
                drop(update_subscription::call(&cx, queue, some_sub(&mut rng), lease_ms).await);
            }
            7 => drop(delete_subscription::call(&cx, queue, some_sub(&mut rng)).await),
            8 | 9 => drop(pause::call(&cx, queue, some_sub(&mut rng), rng.percent(30)).await),
            10 => drop(seek::call(&cx, queue, some_sub(&mut rng)).await),
            11 => {
                let ttl_ms = if rng.percent(50) { 0 } else { rng.magnitude(100, 8000) };
                let retain = rng.percent(50).then(|| retain(&mut rng));
                drop(update_queue::call(&cx, queue, ttl_ms, retain).await);
            }
            12 if rng.percent(30) => drop(purge::call(&cx, queue).await),
            12..=15 => {
                let in_ms = rng.percent(60).then(|| rng.magnitude(1, 4000));
                let message = match rng.percent(30) {
                    true => Which::Id(id(&mut rng)),
                    false => Which::At(rng.between(1, 60)),
                };
                drop(reschedule::call(&cx, queue, message, in_ms).await);
            }
            16..=19 => {
                let (which, how) = (which(&mut rng), (rng.percent(70), 0));
                drop(unpark::call(&cx, queue, some_sub(&mut rng), &which, how).await);
            }
            20 | 21 => transacting::look(&cx, &mut rng).await,
            22..=25 => transacting::run(&cx, &mut rng, queue, &[]).await,
            26..=32 => publish(&cx, &mut rng, queue, &mut producer).await,
            _ => work(&cx, &mut rng, queue).await,
        }
        cx.think(&mut rng, plan.every_ms).await;
    }
}

fn some_sub(rng: &mut Rng) -> &'static str {
    SUBS[rng.below(SUBS.len() as u64) as usize]
}

/// An id that other messages have too.
fn id(rng: &mut Rng) -> String {
    format!("id-{}", rng.below(8))
}

async fn create(cx: &Cx, rng: &mut Rng, queue: &str) -> Result<(), Answer> {
    let priorities = rng.percent(30);
    let default_subscription = match priorities {
        true => SubscriptionSettings::default(),
        false => settings(rng),
    };
    let ttl = rng.percent(30).then(|| Duration::from_millis(rng.magnitude(100, 8000)));
    let max_length = rng.percent(30).then(|| rng.magnitude(3, 60));
    let max_bytes = rng.percent(15).then(|| rng.magnitude(50, 2000));
    let limited = max_length.or(max_bytes).is_some();
    let on_full = limited.then(|| *rng.pick(&[OnFull::Reject, OnFull::DropOldest]));
    let retain = retain(rng);
    let routes =
        if rng.percent(50) { vec![(*rng.pick(&["work.>", "work.*", "*"])).to_owned()] } else { Vec::new() };
    let settings = QueueSettings {
        default_subscription,
        ttl,
        priorities,
        max_length,
        max_bytes,
        on_full,
        retain,
        routes,
    };
    Box::pin(cx.manage(queue, "create_queue", cx.client.queues().create(queue, settings))).await
}

/// Bounds of any kind, alone and together; mostly none.
fn retain(rng: &mut Rng) -> Retain {
    if rng.percent(50) {
        return Retain::default();
    }
    Retain {
        until_done: rng.percent(50),
        age: rng.percent(50).then(|| Duration::from_millis(rng.magnitude(100, 20_000))),
        bytes: rng.percent(20).then(|| rng.magnitude(50, 3000)),
        count: rng.percent(40).then(|| rng.magnitude(1, 60)),
        latest_per_key: rng.percent(25),
    }
}

/// Settings of any kind; some contradict each other, and are refused.
fn settings(rng: &mut Rng) -> SubscriptionSettings {
    let order = *rng.pick(&[Order::None, Order::Total, Order::Key, Order::Key]);
    let first = rng.magnitude(1, 500);
    let max_attempts = rng.percent(60).then(|| rng.between(1, 3) as u32);
    let on_exhausted = max_attempts.is_some().then(|| match order {
        Order::Key => *rng.pick(&[OnExhausted::ParkKey, OnExhausted::Block, OnExhausted::Park]),
        Order::Total => *rng.pick(&[OnExhausted::Block, OnExhausted::Park, OnExhausted::Discard]),
        Order::None => *rng.pick(&[OnExhausted::Park, OnExhausted::Discard, OnExhausted::Block]),
    });
    let max_lag = rng.percent(20).then(|| rng.magnitude(3, 60));
    let on_lag = max_lag.map(|_| *rng.pick(&[OnFull::Reject, OnFull::DropOldest, OnFull::DropOldest]));
    let filter = rng.percent(30).then(|| Filter { subject: "work.*".into(), headers: Vec::new() });
    SubscriptionSettings {
        order,
        lease: Some(Duration::from_millis(rng.magnitude(100, 5000))),
        backoff: Some((Duration::from_millis(first), Duration::from_millis(first * 4))),
        jitter_percent: rng.percent(50).then_some(50),
        max_attempts,
        on_exhausted,
        per_key_inflight: (order == Order::Key).then(|| rng.between(1, 3) as u32),
        auto_ack: rng.percent(10),
        max_lag,
        on_lag,
        filter,
    }
}

fn which(rng: &mut Rng) -> Selector {
    let mut which = Selector::default();
    match rng.below(4) {
        0 => which.key = Some(Bytes::from(*rng.pick(&KEYS))),
        1 => (which.from_position, which.to_position) = (rng.between(1, 30), rng.between(30, 90)),
        2 => which.filter = Some(Filter { subject: "work.>".into(), headers: Vec::new() }),
        _ => {}
    }
    which
}

type Producer = quorate_client::Producer<Bytes, Raw>;

/// Messages with everything that a message may have. Their bodies are too short for a number: nobody looks for them.
async fn publish(cx: &Cx, rng: &mut Rng, queue: &str, open: &mut Option<Producer>) {
    if open.is_none() {
        let opening = cx.client.raw_queue(queue).producer().batch_messages(8).open();
        *open = cx.bounded(opening).await.ok();
    }
    let Some(producer) = open else { return };
    let mut failed = false;
    // A queue that retains the latest of each key takes no others.
    let keys = if rng.percent(50) { &KEYS[1..] } else { &KEYS };
    for _ in 0..rng.between(1, 6) {
        let mut message = Message::new(Bytes::from_static(b"m")).key(*rng.pick(keys));
        if rng.percent(30) {
            message = message.id(id(rng));
        }
        if rng.percent(40) {
            message = message.subject(*rng.pick(&["work.done", "work.done.twice", "play"]));
        }
        if rng.percent(25) {
            message = message.delay(Duration::from_millis(rng.magnitude(1, 5000)));
        }
        if rng.percent(20) {
            message = message.ttl(Duration::from_millis(rng.magnitude(1, 5000)));
        }
        if rng.percent(5) {
            message = message.priority(rng.below(10) as u8);
        }
        let sent = cx.bounded(producer.send(message)).await;
        failed |= match sent {
            Ok(pending) => rng.percent(50) && cx.bounded(pending).await.is_err(),
            Err(_) => true,
        };
    }
    if failed {
        *open = None; // its sequence has a gap, or its session is gone
    }
}

/// Takes a few messages and does anything with them.
async fn work(cx: &Cx, rng: &mut Rng, queue: &str) {
    let attaching = cx
        .client
        .raw_queue(queue)
        .consumer()
        .subscription(some_sub(rng))
        .credit(rng.between(1, 12) as u32)
        .session_timeout(Duration::from_millis(rng.magnitude(1000, 8000)))
        .attach();
    let Ok(mut consumer) = cx.bounded(attaching).await else { return };
    let mut hand = Vec::new();
    for _ in 0..rng.between(1, 20) {
        match tokio::time::timeout(WAIT, consumer.next()).await {
            Ok(Some(Ok(delivery))) => hand.push(delivery),
            _ => break,
        }
        if rng.percent(60) {
            let at = rng.below(hand.len() as u64) as usize;
            settle(cx, rng, queue, hand.swap_remove(at)).await;
        }
    }
    if rng.percent(50) {
        cx.pause(Duration::from_millis(rng.magnitude(1, 3000))).await;
    }
    if rng.percent(60) && !hand.is_empty() {
        let some = rng.below(hand.len() as u64 + 1) as usize;
        let rest = hand.split_off(some);
        transacting::run(cx, rng, queue, &hand).await;
        hand = rest;
    }
    for delivery in hand {
        if rng.percent(70) {
            settle(cx, rng, queue, delivery).await;
        }
    }
    leave(cx, rng, consumer).await;
}

async fn settle(cx: &Cx, rng: &mut Rng, queue: &str, delivery: Delivery) {
    let after = rng.percent(30).then(|| Duration::from_millis(rng.magnitude(1, 1000)));
    // What the answer is, the replay knows better.
    match rng.below(10) {
        0..=2 => drop(cx.bounded(delivery.ack()).await),
        3..=5 => {
            let again = Outcome::Retry { after, reason: "again".into() };
            drop(cx.bounded(delivery.settle(again)).await);
        }
        6 => drop(cx.bounded(delivery.release()).await),
        7 => drop(cx.bounded(delivery.extend(after)).await),
        8 => delivery.settle_later(Outcome::Retry { after, reason: String::new() }),
        _ => drop(park::call(cx, queue, delivery).await),
    }
}

async fn leave(cx: &Cx, rng: &mut Rng, consumer: Consumer) {
    if rng.percent(70) {
        let _ = cx.bounded(consumer.detach()).await; // it ends by itself otherwise
    }
}
