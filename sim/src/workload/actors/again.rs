//! Queues that are deleted and made again under their names, while others publish to them, hold messages of them and settle late, alone or
//! in transactions. All of it is in the history, transactions with what is in them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::{Without, fill, next};
use crate::history::Answer;
use crate::seed::Rng;
use crate::workload::cx::Cx;
use crate::workload::outbox::Outbox;
use crate::workload::plan::{AgainPlan, ProducerPlan, QueuePlan, TTL_LONG_MS};
use crate::workload::verbs::open_producer::Open;
use crate::workload::verbs::{
    Consumer, Delivery, ack, attach, create_queue, delete_queue, detach, extend, open_producer, publish,
    release, retry, transact,
};

/// Deleted and made again.
const MADE_AGAIN: [&str; 2] = ["again-1", "keyed-1"];
/// Lasts for the whole run, and so does what transactions bring into it.
const LASTING: &str = "again-out";
const ALL: [&str; 4] = [MADE_AGAIN[0], MADE_AGAIN[1], LASTING, LASTING];
/// Nobody writes it: a requirement of another version than 0 is never met.
const NEVER_WRITTEN: &str = "again/never";

const WAIT: Duration = Duration::from_millis(300);
const LEASE_MS: u64 = 1500;
const BACKOFF_MS: (u64, u64) = (50, 200);
const CREDIT: u32 = 8;
const SESSION_TIMEOUT_MS: u64 = 3000;

/// What an actor has open, by the names of the queues.
#[derive(Default)]
struct Own {
    producers: Vec<Open>,
    consumer: Option<(&'static str, Consumer)>,
    hand: Vec<(&'static str, Delivery)>,
}

pub(super) async fn run(cx: Cx, plan: AgainPlan, mut rng: Rng) {
    let mut own = Own::default();
    while !cx.stopping() {
        let queue = *rng.pick(&ALL);
        if rng.percent(plan.delete_percent) {
            make_again(&cx, &mut rng).await;
        }
        match rng.below(10) {
            0..=3 => send(&cx, &mut rng, queue, &mut own).await,
            4..=6 => take(&cx, &mut rng, queue, plan.keep as usize, &mut own).await,
            7 => step(&cx, &mut rng, &mut own).await,
            8 => settle(&cx, &mut rng, &mut own).await,
            _ => leave(&cx, &mut rng, &mut own).await,
        }
        cx.think(&mut rng, plan.every_ms).await;
    }
}

async fn create(cx: &Cx, name: &str) {
    let (lease_ms, backoff_ms) = (LEASE_MS, BACKOFF_MS);
    let queue = QueuePlan { name: name.to_owned(), total: false, lease_ms, backoff_ms };
    let _ = create_queue::call(cx, &queue).await; // the history has it
}

/// Deletes a queue and makes it again, at once or when somebody misses it.
async fn make_again(cx: &Cx, rng: &mut Rng) {
    let queue = *rng.pick(&MADE_AGAIN);
    let _ = delete_queue::call(cx, queue).await; // the history has it
    if rng.percent(60) {
        create(cx, queue).await;
    }
}

/// Publishes a few messages. A session lasts over the lives of its queue.
async fn send(cx: &Cx, rng: &mut Rng, queue: &'static str, own: &mut Own) {
    if !own.producers.iter().any(|open| open.queue == queue) {
        let Some(open) = open(cx, queue).await else { return };
        own.producers.push(open);
    }
    let outbox: Rc<RefCell<Outbox>> = Rc::default(); // nobody comes back for these
    let mut failed = None;
    if let Some(open) = own.producers.iter().find(|open| open.queue == queue) {
        for _ in 0..rng.between(1, 5) {
            let letter = publish::sample(cx, rng, (16, 100));
            failed = publish::call(cx, open, letter, &outbox).await.err();
        }
    }
    if failed.is_some() || rng.percent(10) {
        own.producers.retain(|open| open.queue != queue);
        create(cx, queue).await;
    }
}

async fn open(cx: &Cx, queue: &str) -> Option<Open> {
    let plan = ProducerPlan {
        queue: 0, // not one of the plan's
        session: None,
        shared_session: false,
        ttl_ms: TTL_LONG_MS,
        window: 64,
        batch_messages: 4,
        bytes: (16, 100),
        burst: (1, 1),
        every_ms: (0, 0),
        flush_percent: 0,
        reopen_percent: 0,
    };
    match open_producer::call(cx, queue, &plan).await {
        Ok(open) => Some(open),
        Err(_) => {
            create(cx, queue).await;
            None
        }
    }
}

/// Takes a few messages, and settles some of them.
async fn take(cx: &Cx, rng: &mut Rng, queue: &'static str, keep: usize, own: &mut Own) {
    if own.consumer.is_none() {
        match attach::call(cx, queue, CREDIT, SESSION_TIMEOUT_MS).await {
            Ok(consumer) => own.consumer = Some((queue, consumer)),
            Err(Answer::Refused(_)) => return create(cx, queue).await,
            Err(_) => return,
        }
    }
    let Some((queue, consumer)) = &mut own.consumer else { return };
    let queue = *queue;
    let mut got = match next(cx, queue, consumer, WAIT).await {
        Ok(delivery) => vec![delivery],
        Err(Without::Nothing) => Vec::new(),
        Err(Without::Over) => {
            own.consumer = None;
            return;
        }
    };
    if !got.is_empty() {
        fill(cx, queue, consumer, &mut got, rng.between(1, 6) as usize);
    }
    for delivery in got {
        if rng.percent(40) && own.hand.len() < keep {
            own.hand.push((queue, delivery));
        } else {
            settle_one(cx, rng, queue, delivery).await;
        }
    }
}

async fn settle_one(cx: &Cx, rng: &mut Rng, queue: &str, delivery: Delivery) {
    match rng.below(10) {
        0..=4 => drop(ack::call(cx, queue, delivery).await),
        5 | 6 => drop(retry::call(cx, queue, delivery, None).await),
        7 => drop(release::call(cx, queue, delivery).await),
        8 => {
            extend::call(cx, queue, &delivery, None).await;
            drop(ack::call(cx, queue, delivery).await);
        }
        _ => {} // its lease ends
    }
}

/// Settles what it has had in hand for a while.
async fn settle(cx: &Cx, rng: &mut Rng, own: &mut Own) {
    if !own.hand.is_empty() {
        let at = rng.below(own.hand.len() as u64) as usize;
        let (queue, delivery) = own.hand.swap_remove(at);
        settle_one(cx, rng, queue, delivery).await;
    }
}

/// A step of a workflow: some of what is in hand done, and messages for other queues; now and then under a requirement that is never met, or
/// for a queue that is not there.
async fn step(cx: &Cx, rng: &mut Rng, own: &mut Own) {
    let some = rng.below(own.hand.len() as u64 + 1).min(3) as usize;
    let hand: Vec<(&'static str, Delivery)> = own.hand.drain(..some).collect();
    let mut queues = Vec::new();
    for _ in 0..rng.between(1, 2) {
        queues.push(*rng.pick(&ALL));
    }
    let mut transaction = cx.client.transaction();
    if rng.percent(10) {
        transaction = transaction.require_version(NEVER_WRITTEN, 7);
    }
    let held: Vec<(&str, &Delivery)> = hand.iter().map(|(queue, delivery)| (*queue, delivery)).collect();
    let done = transact::whole(cx, rng, transaction, &held, &queues).await;
    // What became of them is known, or their leases end.
    if matches!(done, Err(Answer::Refused(_))) && rng.percent(50) {
        own.hand.extend(hand);
    }
}

/// Leaves the session, in good order or not.
async fn leave(cx: &Cx, rng: &mut Rng, own: &mut Own) {
    if let Some((queue, consumer)) = own.consumer.take()
        && rng.percent(60)
    {
        let _ = detach::call(cx, queue, consumer).await; // the history has it
    }
}
