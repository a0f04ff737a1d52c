//! The model's consumers.

use quorate_machine::command::{Attach, Credit, Order};
use quorate_machine::effect::Effect;
use quorate_machine::reply::{Attached, Outcome, Refusal, Reply};
use quorate_machine::work::{Kind, Step};

use crate::fields;
use crate::naive::{At, Consumer, Naive, Sub, invalid, take_first};

/// Largest credit of a consumer whose leases go back together.
const TOTAL_CREDIT_MAX: u32 = 1024;

impl Sub {
    /// The credit of a consumer that asks for so much.
    fn credit(&self, credit: u32) -> u32 {
        let go_back_together = match self.order() {
            Order::Total => true,
            Order::Key => self.settings.per_key_inflight > 1,
            Order::None | Order::Unspecified => false,
        };
        if go_back_together { credit.min(TOTAL_CREDIT_MAX) } else { credit }
    }
}

impl Naive {
    pub(crate) fn attach(&mut self, command: &Attach) -> Outcome {
        let session_timeout_ms = fields::attach(command)?;
        let queue = self.queue(&command.namespace, &command.queue)?;
        let queue_id = queue.id;
        let sub = queue.sub(&command.subscription)?;
        let (sub_id, settings, credit) = (sub.id, sub.settings, sub.credit(command.credit));
        let known = self.consumers.iter().find(|(_, row)| row.session == command.session).map(|(id, _)| *id);
        if known.is_some_and(|id| (self.consumers[&id].queue, self.consumers[&id].sub) != (queue_id, sub_id))
        {
            return Err(invalid("session"));
        }
        // A session whose subscription was deleted ends before it is used again.
        let over = self.ending.iter().find(|(_, row)| row.session == command.session).map(|(id, _)| *id);
        if let Some(consumer) = over {
            self.ending.remove(&consumer);
            self.effects.push(Effect::Ended { consumer });
        }
        let consumer = known.unwrap_or_else(|| {
            self.last_consumer += 1;
            self.last_consumer
        });
        let row = self.consumers.entry(consumer).or_insert(Consumer {
            session: command.session.clone(),
            queue: queue_id,
            sub: sub_id,
            generation: 0,
            credit: 0,
            session_timeout_ms: 0,
        });
        row.generation += 1;
        row.credit = credit;
        row.session_timeout_ms = session_timeout_ms;
        let generation = row.generation;
        self.effects.push(Effect::Attached { consumer, generation, session_timeout_ms });
        let sub = self.sub_of(queue_id, sub_id);
        let leases = sub.held(consumer).into_iter().map(|position| sub.lease(position)).collect();
        Ok(Reply::Attached(Attached { consumer, generation, resumed: known.is_some(), settings, leases }))
    }

    fn holder(&mut self, consumer: u64, generation: u64) -> Result<&mut Consumer, Refusal> {
        let row = self.consumers.get_mut(&consumer).ok_or(Refusal::UnknownConsumer)?;
        if row.generation != generation {
            return Err(Refusal::ConsumerFenced { given: generation, current: row.generation });
        }
        Ok(row)
    }

    pub(crate) fn credit(&mut self, command: &Credit) -> Outcome {
        fields::credit(command.credit)?;
        let row = self.holder(command.consumer, command.generation)?;
        let (queue, sub) = (row.queue, row.sub);
        let credit = self.sub_of(queue, sub).credit(command.credit);
        self.holder(command.consumer, command.generation)?.credit = credit;
        Ok(Reply::Done)
    }

    pub(crate) fn detach(&mut self, consumer: u64, generation: u64) -> Outcome {
        let row = self.holder(consumer, generation)?;
        let (queue, number, now_ms) = (row.queue, row.sub, self.now_ms);
        let sub = self.sub_of(queue, number);
        // Nobody else holds anything in the order domains of these messages: nothing behind them is left to revoke.
        let held = sub.held(consumer);
        let is_left = |step: &Step| step.kind == Kind::Leaving && step.first == consumer;
        let left = take_first(&mut self.told, is_left).map(|step| step.end);
        let sub = self.sub_of(queue, number);
        for position in held.into_iter().filter(|position| left.is_none_or(|left| *position < left)) {
            sub.go_back(position, At::Ready, now_ms);
        }
        if left.is_some() {
            self.leaving.insert(consumer, (queue, number));
        }
        self.sub_of(queue, number).following.remove(&consumer);
        self.consumers.remove(&consumer);
        self.effects.push(Effect::Ended { consumer });
        Ok(Reply::Done)
    }

    /// A tick releases what consumers hold that ended, as far as the machine says. True if nothing of it is left.
    pub(crate) fn release(&mut self) -> bool {
        let (some, mut steps) = (!self.leaving.is_empty(), 0);
        while let Some(step) = take_first(&mut self.told, |step| step.kind == Kind::Released) {
            steps += 1;
            let now_ms = self.now_ms;
            let Some((queue, sub)) = self.leaving.get(&step.first).copied() else { continue };
            let sub = self.sub_of(queue, sub);
            for position in sub.held(step.first).into_iter().filter(|position| *position < step.end) {
                sub.go_back(position, At::Ready, now_ms);
            }
            if sub.held(step.first).is_empty() {
                self.leaving.remove(&step.first);
            }
        }
        if some && steps == 0 {
            self.complain("nothing was released of what ended consumers hold".into());
        }
        self.leaving.is_empty()
    }

    /// What a subscription's former number had is given up, and who was leaving it has left.
    pub(crate) fn forget_leaving(&mut self, queue: u64, sub: u32) {
        self.leaving.retain(|_, place| *place != (queue, sub));
    }
}
