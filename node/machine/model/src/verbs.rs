//! Which command is carried out where.

use quorate_machine::command::{Batch, Verb};
use quorate_machine::reply::{Outcome, Refusal, Reply};
use quorate_machine::work::Step;

use crate::fields;
use crate::lawful::lawful;
use crate::naive::{Naive, Queue, Sub};

impl Naive {
    /// Applies an entry of the log, which the caller could read. Returns an answer for each of its commands; the effects are in
    /// [`Naive::effects`].
    pub fn apply(&mut self, entry: &Batch) -> Vec<Outcome> {
        self.effects.clear();
        self.now_ms = self.now_ms.max(entry.time_ms);
        let mut answers = Vec::new();
        for verb in entry.commands.iter().filter_map(|command| command.verb.as_ref()) {
            answers.push(self.carry_out(verb));
        }
        self.assign_all();
        answers
    }

    /// Applies an entry of the log, of what is due as much as the machine says that it did.
    pub fn follow(&mut self, entry: &Batch, steps: &[Step]) -> Vec<Outcome> {
        self.told = Some(steps.to_vec());
        let answers = self.apply(entry);
        if let Some(step) = self.told.take().and_then(|told| told.first().copied()) {
            self.wrong.get_or_insert_with(|| format!("{step:?} is of no tick"));
        }
        answers
    }

    /// Carries out one command. After the last one of an entry comes [`Naive::assign_all`].
    pub fn carry_out(&mut self, verb: &Verb) -> Outcome {
        lawful(verb)?;
        let answer = match verb {
            Verb::CreateQueue(command) => self.create(command),
            Verb::UpdateQueue(command) => self.update(command),
            Verb::DeleteQueue(command) => self.delete(command),
            Verb::Purge(command) => self.purge(command),
            Verb::CreateSub(command) => self.create_sub(command),
            Verb::UpdateSub(command) => self.update_sub(command),
            Verb::DeleteSub(command) => self.delete_sub(command),
            Verb::Pause(command) => self.pause(command),
            Verb::Seek(command) => self.seek(command),
            Verb::OpenProducer(command) => self.open(command),
            Verb::CloseProducer(command) => self.close(command.producer, command.epoch),
            Verb::Publish(command) => self.publish(command),
            Verb::Attach(command) => self.attach(command),
            Verb::Credit(command) => self.credit(command),
            Verb::Detach(command) => self.detach(command.consumer, command.generation),
            Verb::Settle(command) => self.settle(command),
            Verb::Unpark(command) => self.unpark(command),
            Verb::Transact(command) => self.transact(command),
            Verb::Reschedule(command) => self.reschedule(command),
            Verb::Tick(_) => self.tick(),
            Verb::GiveNodeIds(command) => self.give_node_ids(command.above, command.count),
            Verb::RaiseVersion(command) => {
                self.raised_to = self.raised_to.max(command.to);
                Ok(Reply::VersionActive(self.version()))
            }
        };
        self.queues.values_mut().for_each(Queue::tidy);
        answer
    }

    /// The version that is active.
    pub fn version(&self) -> u32 {
        self.raised_to.max(1)
    }

    /// A queue by name.
    pub(crate) fn queue(&mut self, namespace: &str, name: &str) -> Result<&mut Queue, Refusal> {
        fields::namespace(namespace)?;
        self.queues.get_mut(name).ok_or_else(|| Refusal::UnknownQueue(name.into()))
    }

    /// The subscription of a consumer.
    pub(crate) fn sub_of(&mut self, queue: u64, sub: u32) -> &mut Sub {
        let queue = self.queues.values_mut().find(|row| row.id == queue);
        let sub = queue.and_then(|queue| queue.subs.values_mut().find(|row| row.id == sub));
        sub.expect("consumers end with their subscription")
    }

    fn give_node_ids(&mut self, above: u64, count: u64) -> Outcome {
        let limit = 4_294_967_295;
        let last = u128::from(self.last_node.max(above)) + u128::from(count);
        if last > limit.into() {
            return Err(Refusal::LimitReached { what: "ids of nodes", limit });
        }
        self.last_node = last as u64;
        Ok(Reply::NodeIdsGiven(self.last_node))
    }
}
