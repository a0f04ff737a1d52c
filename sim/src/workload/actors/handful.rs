//! What a consumer does with the messages in its hand.
//!
//! In a queue of order `total` it goes by the order itself: it never acknowledges a message while it cannot tell what
//! became of an earlier one. It does try after an earlier one was retried, released or found stale, which the product
//! must refuse. Elsewhere anything goes.

use std::time::Duration;

use futures::future::join_all;

use crate::history::Answer;
use crate::seed::Rng;
use crate::workload::cx::Cx;
use crate::workload::plan::{Mix, QueuePlan};
use crate::workload::settle::{is_certain, settled};
use crate::workload::verbs::{Consumer, Delivery, ack, extend, release, retry};

/// A lease longer than this is not waited out.
const LATE_MAX: Duration = Duration::from_secs(8);
/// How many deliveries that are never settled are held at most; others are dropped.
const KEPT_MAX: usize = 32;

/// What becomes of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Ack,
    Retry,
    Release,
    Extend,
    Late,
    Never,
}

/// See the module.
pub(super) struct Handful<'a> {
    pub(super) cx: &'a Cx,
    pub(super) queue: &'a QueuePlan,
    pub(super) mix: Mix,
    pub(super) rng: &'a mut Rng,
    pub(super) consumer: &'a Consumer,
    /// Never settled, and held until the session ends.
    pub(super) kept: &'a mut Vec<Delivery>,
}

impl Handful<'_> {
    /// Deals with all of them. False if the session must be left, for its order is not to be kept otherwise.
    pub(super) async fn work(&mut self, mut hand: Vec<Delivery>) -> bool {
        if self.queue.total {
            return match self.rng.below(2) {
                0 => self.in_order(hand).await,
                _ => self.later_in_order(hand).await,
            };
        }
        if self.rng.percent(40) {
            self.rng.shuffle(&mut hand);
        }
        match self.rng.below(5) {
            0 | 1 => {
                for delivery in hand {
                    self.one(delivery).await;
                }
            }
            2 | 3 => self.later(hand).await,
            _ => self.together(hand).await,
        }
        true
    }

    fn fate(&mut self, delivery: &Delivery) -> Fate {
        let Mix { retry, release, extend, late, never } = self.mix;
        let shares = [
            (retry, Fate::Retry),
            (release, Fate::Release),
            (extend, Fate::Extend),
            (late, Fate::Late),
            (never, Fate::Never),
        ];
        let mut drawn = self.rng.below(100);
        for (share, fate) in shares {
            if drawn < share {
                let too_long = fate == Fate::Late && delivery.lease_left() > LATE_MAX;
                return if too_long { Fate::Ack } else { fate };
            }
            drawn -= share;
        }
        Fate::Ack
    }

    /// One after the other, as long as it can be told what became of each.
    async fn in_order(&mut self, hand: Vec<Delivery>) -> bool {
        for delivery in hand {
            match self.one(delivery).await {
                Some(answer) if is_certain(&answer) => {}
                _ => return false,
            }
        }
        true
    }

    /// Acknowledges up to the first that is to fare otherwise, then that one.
    async fn later_in_order(&mut self, hand: Vec<Delivery>) -> bool {
        let mut laters = Vec::new();
        let mut rest = hand.into_iter();
        let mut other = None;
        for delivery in rest.by_ref() {
            match self.fate(&delivery) {
                Fate::Ack => laters.push(ack::later(self.cx, &self.queue.name, delivery)),
                fate => {
                    other = Some((delivery, fate));
                    break;
                }
            }
        }
        if !settled(self.cx, self.consumer, laters).await {
            return false;
        }
        if let Some((delivery, fate)) = other {
            match self.carry_out(delivery, fate).await {
                Some(answer) if is_certain(&answer) => {}
                _ => return false,
            }
        }
        self.in_order(rest.collect()).await
    }

    /// All at once, so that they travel in ranges.
    async fn later(&mut self, hand: Vec<Delivery>) {
        let (mut laters, mut others) = (Vec::new(), Vec::new());
        let queue = &self.queue.name;
        for delivery in hand {
            match self.fate(&delivery) {
                Fate::Ack => laters.push(ack::later(self.cx, queue, delivery)),
                Fate::Retry => {
                    let after_ms = retry::sample(self.rng);
                    laters.push(retry::later(self.cx, queue, delivery, after_ms));
                }
                Fate::Release => laters.push(release::later(self.cx, queue, delivery)),
                fate => others.push((delivery, fate)),
            }
        }
        settled(self.cx, self.consumer, laters).await;
        for (delivery, fate) in others {
            self.carry_out(delivery, fate).await;
        }
    }

    /// Acknowledges all of them, each waited for by a worker of its own.
    async fn together(&mut self, hand: Vec<Delivery>) {
        let workers = hand.into_iter().map(|delivery| ack::call(self.cx, &self.queue.name, delivery));
        join_all(workers).await;
    }

    async fn one(&mut self, delivery: Delivery) -> Option<Answer> {
        let fate = self.fate(&delivery);
        self.carry_out(delivery, fate).await
    }

    /// The answer that ended the lease, if one did.
    async fn carry_out(&mut self, delivery: Delivery, fate: Fate) -> Option<Answer> {
        let (cx, queue) = (self.cx, &self.queue.name);
        match fate {
            Fate::Ack => Some(ack::call(cx, queue, delivery).await),
            Fate::Retry => {
                let after_ms = retry::sample(self.rng);
                Some(retry::call(cx, queue, delivery, after_ms).await)
            }
            Fate::Release => Some(release::call(cx, queue, delivery).await),
            Fate::Extend => {
                let by_ms = extend::sample(self.rng);
                extend::call(cx, queue, &delivery, by_ms).await;
                cx.think(self.rng, (0, 300)).await;
                Some(ack::call(cx, queue, delivery).await)
            }
            Fate::Late => {
                let more = Duration::from_millis(self.rng.between(1, 1000));
                cx.pause(delivery.lease_left() + more).await;
                Some(ack::call(cx, queue, delivery).await)
            }
            Fate::Never => {
                if self.kept.len() < KEPT_MAX && self.rng.percent(50) {
                    self.kept.push(delivery);
                }
                None
            }
        }
    }
}
