//! A consumer: attaches, takes messages by the handful, deals with them as its plan has it, and leaves, in good order or
//! not.

use std::time::Duration;

use super::handful::Handful;
use super::{Without, fill, next};
use crate::history::Answer;
use crate::seed::Rng;
use crate::workload::cx::{Cx, LOOK};
use crate::workload::plan::{ConsumerPlan, QueuePlan};
use crate::workload::verbs::{Consumer, attach, create_queue, credit, detach};

/// How it leaves a session.
enum Left {
    /// With a word, or without.
    ByPlan,
    /// Without a word: what it holds is unclear, or the session is over.
    AtOnce,
}

pub(super) async fn run(cx: Cx, plan: ConsumerPlan, mut rng: Rng) {
    let queue = cx.shared.plan.queues[plan.queue].clone();
    while !cx.stopping() {
        if let Some(mut consumer) = begin(&cx, &queue, &plan, &mut rng).await {
            let left = session(&cx, &queue, &plan, &mut rng, &mut consumer).await;
            if matches!(left, Left::ByPlan) && !rng.percent(plan.abandon_percent) {
                let _ = detach::call(&cx, &queue.name, consumer).await; // the history has it
            }
        }
        cx.think(&mut rng, plan.away_ms).await;
    }
}

/// Attaches. A queue that is not there is created for the next time.
async fn begin(cx: &Cx, queue: &QueuePlan, plan: &ConsumerPlan, rng: &mut Rng) -> Option<Consumer> {
    let timeout_ms = if rng.percent(2) { 1 } else { plan.session_timeout_ms }; // 1 ms is refused
    match attach::call(cx, &queue.name, plan.credit as u32, timeout_ms).await {
        Ok(consumer) => Some(consumer),
        Err(Answer::Refused(reason)) if reason == "UNKNOWN_QUEUE" => {
            let _ = create_queue::call(cx, queue).await; // the next attach tells
            None
        }
        Err(_) => None,
    }
}

async fn session(
    cx: &Cx,
    queue: &QueuePlan,
    plan: &ConsumerPlan,
    rng: &mut Rng,
    consumer: &mut Consumer,
) -> Left {
    let mut stay = rng.between(plan.stay.0, plan.stay.1);
    let mut kept = Vec::new();
    while stay > 0 && !cx.stopping() {
        let mut hand = match next(cx, &queue.name, consumer, LOOK).await {
            Ok(delivery) => vec![delivery],
            Err(Without::Nothing) => {
                cx.think(rng, (0, 0)).await;
                continue;
            }
            Err(Without::Over) => return Left::AtOnce,
        };
        stay -= 1;
        fill(cx, &queue.name, consumer, &mut hand, rng.between(1, plan.hand) as usize);
        cx.think(rng, plan.think_ms).await;
        let mut handful = Handful { cx, queue, mix: plan.mix, rng, consumer, kept: &mut kept };
        if !handful.work(hand).await {
            return Left::AtOnce;
        }
        if rng.percent(plan.credit_percent) {
            change_credit(cx, &queue.name, plan, rng, consumer).await;
        }
    }
    Left::ByPlan
}

/// Asks for another credit. One that stops deliveries is taken back after a while.
async fn change_credit(cx: &Cx, queue: &str, plan: &ConsumerPlan, rng: &mut Rng, consumer: &Consumer) {
    let asked = credit::sample(rng, plan.credit);
    credit::call(cx, queue, consumer, asked);
    if asked == 0 {
        cx.pause(Duration::from_millis(rng.between(100, 3000))).await;
        credit::call(cx, queue, consumer, plan.credit as u32);
    }
}
