//! An admin: makes, uses and deletes scratch queues, and looks at the cluster. Nobody deletes any other queue.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::next;
use crate::history::Answer;
use crate::seed::Rng;
use crate::workload::cx::Cx;
use crate::workload::outbox::Outbox;
use crate::workload::plan::{AdminPlan, ProducerPlan, QueuePlan};
use crate::workload::verbs::open_producer::Open;
use crate::workload::verbs::{
    Consumer, ack, attach, close_producer, create_queue, delete_queue, detach, list_queues, members,
    open_producer, publish, raise_version, remove_member, show_queue, status, version,
};

const WAIT: Duration = Duration::from_millis(300);

pub(super) async fn run(cx: Cx, plan: AdminPlan, mut rng: Rng) {
    while !cx.stopping() {
        let name = format!("scratch-{}", rng.between(1, plan.scratch));
        // What a call answers stands in the history.
        match rng.below(13) {
            0 => {
                drop(members::call(&cx).await);
                drop(version::call(&cx).await);
            }
            1 => drop(status::call(&cx).await),
            2 => drop(list_queues::call(&cx).await),
            3 => drop(show_queue::call(&cx, &name).await),
            4 => drop(create_queue::call(&cx, rng.pick(&cx.shared.plan.queues)).await), // idempotent
            5 => drop(create_queue::call(&cx, &create_queue::sample(&mut rng, "-no-name")).await),
            6 | 7 => drop(create_queue::call(&cx, &create_queue::sample(&mut rng, &name)).await),
            8 => drop(delete_queue::call(&cx, &name).await),
            9 => {
                drop(remove_member::call(&cx, "nobody").await);
                drop(raise_version::call(&cx).await);
            }
            _ => use_scratch(&cx, &mut rng, &name).await,
        }
        cx.think(&mut rng, plan.every_ms).await;
    }
}

/// A queue's life in short: made, used, and sometimes deleted under whoever uses it.
async fn use_scratch(cx: &Cx, rng: &mut Rng, name: &str) {
    let settings =
        QueuePlan { name: name.to_owned(), total: rng.percent(20), lease_ms: 2000, backoff_ms: (0, 0) };
    let _ = create_queue::call(cx, &settings).await; // it may be there with other settings, which will do
    let plan = ProducerPlan {
        queue: 0, // not one of the plan's
        session: None,
        shared_session: false,
        ttl_ms: 10_000,
        window: 16,
        batch_messages: 4,
        bytes: (16, 200),
        burst: (1, 6),
        every_ms: (0, 0),
        flush_percent: 0,
        reopen_percent: 0,
    };
    let Ok(open) = open_producer::call(cx, name, &plan).await else { return };
    send(cx, rng, &open, &plan).await;
    let mut consumer = match rng.percent(60) {
        true => attach::call(cx, name, 4, 2000).await.ok(),
        false => None,
    };
    let mut in_order = true;
    if let Some(consumer) = &mut consumer {
        in_order = take(cx, rng, name, consumer).await;
    }
    if rng.percent(60) {
        let _ = delete_queue::call(cx, name).await; // the history has it
    }
    if rng.percent(60) {
        send(cx, rng, &open, &plan).await;
    }
    if let Some(mut consumer) = consumer {
        if in_order {
            take(cx, rng, name, &mut consumer).await;
        }
        if rng.percent(50) {
            let _ = detach::call(cx, name, consumer).await;
        }
    }
    if rng.percent(50) {
        let _ = close_producer::call(cx, open).await;
    }
}

async fn send(cx: &Cx, rng: &mut Rng, open: &Open, plan: &ProducerPlan) {
    let outbox: Rc<RefCell<Outbox>> = Rc::default(); // nobody comes back for these
    for _ in 0..rng.between(plan.burst.0, plan.burst.1) {
        let letter = publish::sample(cx, rng, plan.bytes);
        if publish::call(cx, open, letter, &outbox).await.is_err() {
            return;
        }
    }
}

/// Acknowledges a few, in their order. False if one was left, after which none may be taken: the queue's order may be
/// total.
async fn take(cx: &Cx, rng: &mut Rng, name: &str, consumer: &mut Consumer) -> bool {
    for _ in 0..rng.between(1, 4) {
        let Ok(delivery) = next(cx, name, consumer, WAIT).await else { return true };
        if rng.percent(20) || ack::call(cx, name, delivery).await != Answer::Done {
            return false;
        }
    }
    true
}
