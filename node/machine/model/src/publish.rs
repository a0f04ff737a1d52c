//! The model's producers.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use quorate_machine::command::{OnFull, OpenProducer, Publish, QueueSettings};
use quorate_machine::effect::Effect;
use quorate_machine::message::{self, PRIORITISED};
use quorate_machine::reply::{Outcome, PositionRun, ProducerOpened, Refusal, Reply};
use quorate_machine::work::{Kind, Step};

use crate::fields;
use crate::naive::{At, Message, Naive, Producer, Queue, Row, Sub, Together, invalid, take_first};

impl Naive {
    pub(crate) fn open(&mut self, command: &OpenProducer) -> Outcome {
        let ttl_ms = fields::open(command)?;
        fields::namespace(&command.namespace)?;
        let name = command.session.as_str();
        let known = self.producers.iter().find(|(_, row)| row.name == name).map(|(id, _)| *id);
        if command.resume > 0 {
            if known != Some(command.resume) {
                return Err(Refusal::UnknownProducer);
            }
            let row = &self.producers[&command.resume];
            if row.holder != command.holder {
                return Err(Refusal::ProducerTaken { epoch: row.epoch });
            }
        }
        let producer = known.unwrap_or_else(|| {
            self.last_producer += 1;
            self.last_producer
        });
        let now_ms = self.now_ms;
        let row = self
            .producers
            .entry(producer)
            .or_insert_with(|| Producer { name: name.into(), ..Producer::default() });
        row.holder = command.holder.clone();
        row.epoch += 1;
        row.ttl_ms = ttl_ms;
        row.used_at_ms = now_ms;
        row.look_at_ms = now_ms + row.ttl_ms;
        Ok(Reply::ProducerOpened(ProducerOpened { producer, epoch: row.epoch, last_seq: row.last_seq }))
    }

    pub(crate) fn close(&mut self, producer: u64, epoch: u64) -> Outcome {
        let row = self.producers.get(&producer).ok_or(Refusal::UnknownProducer)?;
        if row.epoch != epoch {
            return Err(Refusal::ProducerFenced { given: epoch, current: row.epoch });
        }
        self.producers.remove(&producer);
        self.unswept = true;
        Ok(Reply::Done)
    }

    pub(crate) fn publish(&mut self, command: &Publish) -> Outcome {
        fields::messages(&command.lengths, &command.messages)?;
        fields::namespace(&command.namespace)?;
        let Some(queue) = self.queues.get_mut(&command.queue) else {
            return Err(Refusal::UnknownQueue(command.queue.clone()));
        };
        queue.check_messages(&cut(&command.lengths, &command.messages), command.attributes)?;
        let mut without_session = Producer::default();
        let sessionless = command.producer == 0;
        let first_seq = if sessionless { 1 } else { command.first_seq };
        let row = match self.producers.get_mut(&command.producer) {
            _ if sessionless => &mut without_session,
            Some(row) if row.epoch != command.epoch => {
                return Err(Refusal::ProducerFenced { given: command.epoch, current: row.epoch });
            }
            Some(row) => row,
            None => return Err(Refusal::UnknownProducer),
        };
        if command.acked_seq > row.last_seq {
            return Err(invalid("acked_seq"));
        }
        let acked = row.acked_seq.max(command.acked_seq);
        if first_seq <= acked {
            return Err(Refusal::ReceiptForgotten { given: first_seq, acked });
        }
        if first_seq > row.last_seq + 1 {
            return Err(Refusal::SequenceGap { given: first_seq, last: row.last_seq });
        }
        let seqs: Vec<u64> = (first_seq..).take(command.lengths.len()).collect();
        let elsewhere = |seq: &u64| row.receipts.get(seq).is_some_and(|(id, _)| *id != queue.id);
        if seqs.iter().any(elsewhere) {
            return Err(invalid("queue"));
        }

        let messages = cut(&command.lengths, &command.messages);
        let new: Vec<Bytes> = (0..seqs.len())
            .filter(|at| !row.receipts.contains_key(&seqs[*at]))
            .map(|at| messages[at].clone())
            .collect();
        let mut placed = queue.take_in(&new, self.now_ms, &mut self.told, &mut self.effects)?.into_iter();
        let mut positions = Vec::new();
        for seq in seqs {
            let known = row.receipts.get(&seq).map(|(_, at)| PositionRun {
                first_position: *at,
                count: 1,
                duplicate: true,
            });
            let run = known.unwrap_or_else(|| placed.next().expect("as many as are new"));
            row.receipts.insert(seq, (queue.id, run.first_position));
            row.last_seq = row.last_seq.max(seq);
            positions.push(run);
        }
        row.acked_seq = acked;
        row.used_at_ms = self.now_ms;
        Ok(Reply::Published { positions })
    }
}

impl Queue {
    /// Messages are published together, but for those that the queue has by their ids. Returns where they are.
    pub(crate) fn take_in(
        &mut self,
        messages: &[Bytes],
        now_ms: u64,
        told: &mut Option<Vec<Step>>,
        effects: &mut Vec<Effect>,
    ) -> Result<Vec<PositionRun>, Refusal> {
        let known = self.known_by_id(messages);
        let is_new = |at: &usize| known[*at].is_none();
        let fresh: Vec<u64> =
            (0..messages.len()).filter(is_new).map(|at| messages[at].len() as u64).collect();
        self.check_room(&fresh)?;
        let mut positions = Vec::new();
        for (message, known) in messages.iter().zip(known) {
            let first_position = known.unwrap_or_else(|| self.append(message.clone(), now_ms));
            positions.push(PositionRun { first_position, count: 1, duplicate: known.is_some() });
        }
        self.batch(&positions, now_ms);
        self.leave_unseen(told);
        if !fresh.is_empty() {
            self.make_room(told, effects);
            // Nothing gets too old but in a tick.
            self.retain(0, effects);
        }
        Ok(positions)
    }

    /// What the machine says that subscriptions have not looked at.
    fn leave_unseen(&mut self, told: &mut Option<Vec<Step>>) {
        let (id, next) = (self.id, self.next_position());
        let is_here = |step: &Step| (step.kind, step.queue) == (Kind::Unseen, id) && step.first < next;
        while let Some(step) = take_first(told, is_here) {
            let sub = self.subs.values_mut().find(|sub| sub.id == step.sub);
            let rows = sub.into_iter().flat_map(|sub| sub.rows.iter_mut());
            rows.filter(|row| row.position >= step.first).for_each(|row| row.at = At::Unseen);
        }
    }

    /// What the settings ask of messages.
    pub(crate) fn check_messages(&self, messages: &[Bytes], attributes: u32) -> Result<(), Refusal> {
        if attributes & PRIORITISED != 0 && !self.settings.priorities {
            return Err(invalid("priority"));
        }
        if self.settings.retain.latest_per_key && messages.iter().any(has_no_key) {
            return Err(invalid("key"));
        }
        Ok(())
    }

    /// How many messages a subscription has, and of how many bytes.
    fn size(messages: &[Message], sub: &Sub) -> (u64, u64) {
        let left = || sub.open().filter(|row| row.at != At::Done);
        let bytes = |row: &Row| messages[(row.position - 1 - sub.before) as usize].bytes.len() as u64;
        (left().count() as u64, left().filter(|row| row.at != At::Unseen).map(bytes).sum())
    }

    /// The limits: refuses what does not fit, or could not stay.
    fn check_room(&self, fresh: &[u64]) -> Result<(), Refusal> {
        let QueueSettings { max_length, max_bytes, .. } = self.settings;
        if fresh.is_empty() {
            return Ok(());
        }
        let sizes = || self.subs.values().map(|sub| Self::size(&self.messages, sub));
        let longest = sizes().map(|(length, _)| length).max().unwrap_or(0);
        let biggest = sizes().map(|(_, bytes)| bytes).max().unwrap_or(0);
        let count = fresh.len() as u64;
        if self.settings.on_full() == OnFull::DropOldest {
            let more = fresh.iter().copied().max().unwrap_or(0);
            if max_bytes > 0 && more > max_bytes {
                return Err(Refusal::QueueFull { what: "bytes", holds: biggest, more, limit: max_bytes });
            }
        } else {
            for (what, holds, more, limit) in
                [("messages", longest, count, max_length), ("bytes", biggest, fresh.iter().sum(), max_bytes)]
            {
                if limit > 0 && holds + more > limit {
                    return Err(Refusal::QueueFull { what, holds, more, limit });
                }
            }
        }
        for (name, sub) in &self.subs {
            let (holds, limit) = (Self::size(&self.messages, sub).0, sub.settings.max_lag);
            if limit > 0 && holds + count > limit && sub.settings.on_lag() != OnFull::DropOldest {
                return Err(Refusal::LagReached { subscription: name.clone(), holds, more: count, limit });
            }
        }
        Ok(())
    }

    /// Drops the oldest of each subscription that has too much.
    fn make_room(&mut self, told: &mut Option<Vec<Step>>, effects: &mut Vec<Effect>) {
        let mut dropped: BTreeMap<u32, u64> = BTreeMap::new();
        while let Some(step) = take_first(told, |step| step.kind == Kind::Dropped && step.queue == self.id) {
            dropped.insert(step.sub, step.end);
        }
        let QueueSettings { max_length, max_bytes, .. } = self.settings;
        let drops = self.settings.on_full() == OnFull::DropOldest;
        for sub in self.subs.values_mut() {
            let max_lag = sub.settings.max_lag;
            let drops_lag = max_lag > 0 && sub.settings.on_lag() == OnFull::DropOldest;
            for _ in 0..dropped.get(&sub.id).copied().unwrap_or(u64::MAX) {
                let (length, bytes) = Self::size(&self.messages, sub);
                let queue_is_full =
                    max_length > 0 && length > max_length || max_bytes > 0 && bytes > max_bytes;
                let has_too_much = drops && queue_is_full || drops_lag && length > max_lag;
                let oldest =
                    sub.open().find(|row| !matches!(row.at, At::Done | At::Unseen)).map(|row| row.position);
                let Some(oldest) = oldest.filter(|_| has_too_much) else { break };
                sub.drop_one(oldest, effects);
            }
        }
    }

    /// The last message with an id, if some subscription is not done with it.
    pub(crate) fn find_id(&self, id: &str) -> Option<u64> {
        let last = self.positions().rev().find(|at| self.message(*at).content.id == id)?;
        // What nobody has looked at leaves with its batch, which a log lets go of without waiting.
        let waits = self.settings.retain.until_done;
        let mut batches = self.batches.iter().filter(|batch| (batch.first..batch.end).contains(&last));
        let stays = batches.any(|batch| waits || self.is_within_bounds(batch));
        let is_left = |at: At| at != At::Done && (at != At::Unseen || stays);
        self.subs.values().any(|sub| is_left(sub.row(last).at)).then_some(last)
    }

    /// Where the queue has these messages already by their ids, if they are published now, one after the other.
    fn known_by_id(&self, messages: &[Bytes]) -> Vec<Option<u64>> {
        let (mut known, mut new): (Vec<Option<u64>>, Vec<String>) = (Vec::new(), Vec::new());
        for bytes in messages {
            let id = message::Message::decode(bytes.clone()).unwrap_or_default().id;
            let with_these = new.iter().position(|one| *one == id).map(|at| self.next_position() + at as u64);
            let at = with_these.or_else(|| self.find_id(&id)).filter(|_| !id.is_empty());
            if at.is_none() {
                new.push(id);
            }
            known.push(at);
        }
        known
    }

    /// Notes which messages were stored together: those that follow each other without another between them in the publish.
    fn batch(&mut self, positions: &[PositionRun], published_at_ms: u64) {
        let mut open = false;
        for run in positions {
            let first = run.first_position;
            match self.batches.last_mut() {
                Some(last) if open && !run.duplicate => last.end = first + 1,
                _ if !run.duplicate => {
                    let end = first + 1;
                    self.batches.push(Together { first, end, published_at_ms, is_past: false });
                }
                _ => {}
            }
            open = !run.duplicate;
        }
    }

    /// A message is published, and every subscription looks at it. Returns its position.
    fn append(&mut self, bytes: Bytes, now_ms: u64) -> u64 {
        let content = message::Message::decode(bytes.clone()).unwrap_or_default();
        let due_ms = now_ms.saturating_add(content.delay_ms).max(content.deliver_at_ms);
        let ttl_ms = if content.ttl_ms == 0 { self.settings.ttl_ms } else { content.ttl_ms };
        let expiry_is_ahead = ttl_ms > 0;
        let message = Message { published_at_ms: now_ms, bytes, content, due_ms, ttl_ms, expiry_is_ahead };
        for sub in self.subs.values_mut() {
            let is_behind = sub.rows.last().is_some_and(|row| row.at == At::Unseen);
            sub.note_new(&message);
            if !is_behind {
                sub.look(&message, sub.before + sub.rows.len() as u64, true, now_ms);
            }
        }
        self.messages.push(message);
        self.next_position() - 1
    }
}

/// The messages of a publish.
pub(crate) fn cut(lengths: &[u32], messages: &Bytes) -> Vec<Bytes> {
    let mut rest = messages.clone();
    lengths.iter().map(|length| rest.split_to(*length as usize)).collect()
}

fn has_no_key(bytes: &Bytes) -> bool {
    message::Message::decode(bytes.clone()).unwrap_or_default().key.is_empty()
}
