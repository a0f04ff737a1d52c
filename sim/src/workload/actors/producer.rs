//! A producer: bursts of messages under one session, which it opens again when it fails, when its process died, and now
//! and then for no reason. What had no answer then is settled by `last_seq`, and sent again if it is not stored.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::history::What;
use crate::seed::Rng;
use crate::workload::cx::Cx;
use crate::workload::outbox::{Letter, Outbox, Told};
use crate::workload::plan::{ProducerPlan, QueuePlan, TTL_LONG_MS};
use crate::workload::verbs::open_producer::Open;
use crate::workload::verbs::{close_producer, create_queue, open_producer, publish};

/// How often it tries to resolve what is open once the work is over.
const LAST_TRIES: u32 = 10;

/// Why it left a session.
enum Left {
    /// The producer failed.
    Failed,
    /// The plan has it begin again.
    Anew,
    /// The work is over.
    Over,
}

struct Producer {
    cx: Cx,
    plan: ProducerPlan,
    queue: QueuePlan,
    outbox: Rc<RefCell<Outbox>>,
    rng: Rng,
    /// In this life.
    created: bool,
    /// Whether `last_seq` tells what became of its own messages.
    resolves: bool,
}

pub(super) async fn run(cx: Cx, plan: ProducerPlan, outbox: Rc<RefCell<Outbox>>, rng: Rng) {
    let queue = cx.shared.plan.queues[plan.queue].clone();
    let resolves = plan.session.is_some() && !plan.shared_session && plan.ttl_ms == TTL_LONG_MS;
    let mut producer = Producer { cx, plan, queue, outbox, rng, created: false, resolves };
    let mut last_tries = 0;
    loop {
        if producer.cx.stopping() {
            if !producer.has_open() || last_tries == LAST_TRIES {
                return;
            }
            last_tries += 1;
        }
        match producer.open().await {
            Some((open, again)) => {
                let left = producer.work(&open, again).await;
                producer.leave(open, left).await;
            }
            None => tokio::time::sleep(Duration::from_millis(producer.rng.between(50, 1000))).await,
        }
    }
}

impl Producer {
    /// Whether it has messages whose fate it can still learn.
    fn has_open(&self) -> bool {
        self.resolves && self.outbox.borrow().has_open()
    }

    /// Opens the session. Also returns what is to be sent again.
    async fn open(&mut self) -> Option<(Open, Vec<Letter>)> {
        if !self.created {
            create_queue::call(&self.cx, &self.queue).await.ok()?;
            self.created = true;
        }
        if !self.resolves {
            self.outbox.borrow_mut().closed();
        }
        let open = open_producer::call(&self.cx, &self.queue.name, &self.plan).await.ok()?;
        let told = self.outbox.borrow_mut().opened(open.producer.last_seq());
        let again = match told {
            Told::Resolved { stored, again } => {
                if !stored.is_empty() || !again.is_empty() {
                    let bodies = |letters: &[Letter]| letters.iter().map(|l| l.body).collect::<Vec<_>>();
                    let (stored, again) = (bodies(&stored), bodies(&again));
                    self.note(format!("last_seq tells: stored {stored:?}, to be sent again {again:?}"));
                }
                again
            }
            Told::Foreign => {
                self.note("last_seq is not that of the session that was left".into());
                Vec::new()
            }
        };
        Some((open, again))
    }

    fn note(&self, note: String) {
        self.cx.saw(What::Note(note));
    }

    /// Publishes until something ends it.
    async fn work(&mut self, open: &Open, again: Vec<Letter>) -> Left {
        for letter in again {
            if publish::call(&self.cx, open, letter, &self.outbox).await.is_err() {
                return Left::Failed;
            }
        }
        loop {
            let burst = self.rng.between(self.plan.burst.0, self.plan.burst.1);
            for _ in 0..burst {
                if self.cx.stopping() {
                    return Left::Over;
                }
                let letter = publish::sample(&self.cx, &mut self.rng, self.plan.bytes);
                if publish::call(&self.cx, open, letter, &self.outbox).await.is_err() {
                    return Left::Failed;
                }
            }
            if self.rng.percent(self.plan.flush_percent)
                && self.cx.bounded(open.producer.flush()).await.is_err()
            {
                return Left::Failed;
            }
            if self.rng.percent(self.plan.reopen_percent) {
                return Left::Anew;
            }
            self.cx.think(&mut self.rng, self.plan.every_ms).await;
        }
    }

    async fn leave(&mut self, open: Open, left: Left) {
        match left {
            Left::Failed => drop(open),
            Left::Anew if self.rng.percent(50) => drop(open), // with whatever is under way
            Left::Anew => self.close(open).await,
            Left::Over => {
                let flushed = self.cx.bounded(open.producer.flush()).await.is_ok();
                if flushed && self.rng.percent(50) {
                    self.close(open).await;
                }
            }
        }
        let most = if self.plan.shared_session { 4000 } else { 500 };
        let pause = Duration::from_millis(self.rng.between(10, most));
        // The receipts that were under way get their answers from the drop; let them be written down.
        if self.cx.stopping() { tokio::time::sleep(pause).await } else { self.cx.pause(pause).await }
    }

    async fn close(&mut self, open: Open) {
        if close_producer::call(&self.cx, open).await.is_ok() {
            self.outbox.borrow_mut().closed();
        }
    }
}
