//! The actors: each a loop over verbs, until it is told to stop.

pub(crate) mod drain;

mod admin;
mod again;
mod consumer;
mod crowd;
mod everything;
mod handful;
mod producer;
mod reader;
mod transacting;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use super::body;
use super::cx::Cx;
use super::outbox::Outbox;
use super::plan::Role;
use super::verbs::{Consumer, Delivery};
use crate::history::What;
use crate::seed::Rng;

/// One life of an actor.
pub(crate) fn live(
    cx: Cx,
    role: Role,
    outbox: Rc<RefCell<Outbox>>,
    rng: Rng,
) -> Pin<Box<dyn Future<Output = ()>>> {
    match role {
        Role::Producer(plan) => Box::pin(producer::run(cx, plan, outbox, rng)),
        Role::Consumer(plan) => Box::pin(consumer::run(cx, plan, rng)),
        Role::Reader(plan) => Box::pin(reader::run(cx, plan, rng)),
        Role::Admin(plan) => Box::pin(admin::run(cx, plan, rng)),
        Role::Everything(plan) => Box::pin(everything::run(cx, plan, rng)),
        Role::Again(plan) => Box::pin(again::run(cx, plan, rng)),
        Role::Crowd(plan) => Box::pin(crowd::run(cx, plan, rng)),
    }
}

/// Why a consumer had no delivery for somebody who waited.
enum Without {
    /// None came in time, or the session has trouble that may pass.
    Nothing,
    /// The session is over.
    Over,
}

/// Waits for a delivery, and writes it down before anything is done with it.
async fn next(cx: &Cx, queue: &str, consumer: &mut Consumer, wait: Duration) -> Result<Delivery, Without> {
    match tokio::time::timeout(wait, consumer.next()).await {
        Ok(Some(Ok(delivery))) => {
            saw(cx, queue, &delivery);
            Ok(delivery)
        }
        Ok(None) => Err(Without::Over),
        Err(_) | Ok(Some(Err(_))) => Err(Without::Nothing),
    }
}

/// Takes what has arrived already, until there are `most` in hand.
fn fill(cx: &Cx, queue: &str, consumer: &mut Consumer, hand: &mut Vec<Delivery>, most: usize) {
    while hand.len() < most
        && let Some(Ok(delivery)) = consumer.try_next()
    {
        saw(cx, queue, &delivery);
        hand.push(delivery);
    }
}

fn saw(cx: &Cx, queue: &str, delivery: &Delivery) {
    let (body, bytes) = body::check(queue, &delivery.value, &delivery.meta);
    cx.saw(What::Delivered {
        queue: queue.to_owned(),
        position: delivery.position,
        token: delivery.token,
        attempt: delivery.attempt,
        body,
        bytes,
    });
}
