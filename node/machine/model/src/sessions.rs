//! The model's consumers.

use quorate_machine::command::{Attach, Credit};
use quorate_machine::effect::Effect;
use quorate_machine::reply::{Attached, Outcome, Refusal, Reply};

use crate::fields;
use crate::naive::{At, Consumer, Naive, invalid};

impl Naive {
    pub(crate) fn attach(&mut self, command: &Attach) -> Outcome {
        let session_timeout_ms = fields::attach(command)?;
        let queue = self.queue(&command.namespace, &command.queue)?;
        let queue_id = queue.id;
        let sub = queue.sub(&command.subscription)?;
        let (sub_id, settings) = (sub.id, sub.settings);
        let known = self.consumers.iter().find(|(_, row)| row.session == command.session).map(|(id, _)| *id);
        if known.is_some_and(|id| (self.consumers[&id].queue, self.consumers[&id].sub) != (queue_id, sub_id))
        {
            return Err(invalid("session"));
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
        row.credit = command.credit;
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
        self.holder(command.consumer, command.generation)?.credit = command.credit;
        Ok(Reply::Done)
    }

    pub(crate) fn detach(&mut self, consumer: u64, generation: u64) -> Outcome {
        let row = self.holder(consumer, generation)?;
        let (queue, sub, now_ms) = (row.queue, row.sub, self.now_ms);
        let sub = self.sub_of(queue, sub);
        // Nobody else holds anything in the order domains of these messages: nothing behind them is left to revoke.
        for position in sub.held(consumer) {
            sub.go_back(position, At::Ready, now_ms);
        }
        self.consumers.remove(&consumer);
        self.effects.push(Effect::Ended { consumer });
        Ok(Reply::Done)
    }
}
