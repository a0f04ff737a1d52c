//! The model's producers.

use bytes::Bytes;
use prost::Message as _;
use quorate_machine::command::{OnFull, OpenProducer, Publish, QueueSettings};
use quorate_machine::effect::Effect;
use quorate_machine::message::{self, PRIORITISED};
use quorate_machine::reply::{Outcome, PositionRun, ProducerOpened, Refusal, Reply};

use crate::fields;
use crate::naive::{At, Message, Naive, Producer, Queue, Sub, Together, invalid};

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
        if command.lengths.is_empty() {
            return Err(invalid("messages"));
        }
        if command.lengths.iter().map(|length| *length as usize).sum::<usize>() != command.messages.len() {
            return Err(invalid("lengths"));
        }
        fields::namespace(&command.namespace)?;
        let Some(queue) = self.queues.get_mut(&command.queue) else {
            return Err(Refusal::UnknownQueue(command.queue.clone()));
        };
        queue.check_messages(command)?;
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

        let is_new = |(seq, _): &(&u64, &u32)| !row.receipts.contains_key(seq);
        let fresh: Vec<u64> =
            seqs.iter().zip(&command.lengths).filter(is_new).map(|(_, length)| u64::from(*length)).collect();
        queue.check_room(&fresh)?;

        let first_new = queue.next_position();
        let (mut positions, mut duplicates, mut offset) = (Vec::new(), 0, 0);
        for (seq, length) in seqs.iter().zip(&command.lengths) {
            let end = offset + *length as usize;
            if row.receipts.contains_key(seq) {
                duplicates += 1;
            } else {
                queue.append(command.messages.slice(offset..end), self.now_ms);
                row.receipts.insert(*seq, (queue.id, queue.messages.len() as u64));
                row.last_seq = *seq;
            }
            positions.push(PositionRun { first_position: row.receipts[seq].1, count: 1 });
            offset = end;
        }
        if queue.next_position() > first_new {
            queue.close_batch(first_new, self.now_ms, &mut self.effects);
        }
        row.acked_seq = acked;
        row.used_at_ms = self.now_ms;
        Ok(Reply::Published { positions, duplicates })
    }
}

impl Queue {
    /// What the settings ask of messages.
    fn check_messages(&self, command: &Publish) -> Result<(), Refusal> {
        if command.attributes & PRIORITISED != 0 && !self.settings.priorities {
            return Err(invalid("priority"));
        }
        if self.settings.retain.latest_per_key && is_any_without_key(command) {
            return Err(invalid("key"));
        }
        Ok(())
    }

    /// How many messages a subscription has, and of how many bytes.
    fn size(messages: &[Message], sub: &Sub) -> (u64, u64) {
        let open: Vec<u64> = sub.open().filter(|row| row.at != At::Done).map(|row| row.position).collect();
        let bytes = open.iter().map(|position| messages[*position as usize - 1].bytes.len() as u64).sum();
        (open.len() as u64, bytes)
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

    /// What was published together is complete: what it leaves no room for goes, and then what it lets the bounds leave behind.
    fn close_batch(&mut self, first: u64, published_at_ms: u64, effects: &mut Vec<Effect>) {
        let end = self.next_position();
        self.batches.push(Together { first, end, published_at_ms, is_past: false });
        self.make_room(effects);
        // Nothing gets too old but in a tick.
        self.retain(0, effects);
    }

    /// Drops the oldest of each subscription that has too much.
    fn make_room(&mut self, effects: &mut Vec<Effect>) {
        let QueueSettings { max_length, max_bytes, .. } = self.settings;
        let drops = self.settings.on_full() == OnFull::DropOldest;
        for sub in self.subs.values_mut() {
            let max_lag = sub.settings.max_lag;
            let drops_lag = max_lag > 0 && sub.settings.on_lag() == OnFull::DropOldest;
            loop {
                let (length, bytes) = Self::size(&self.messages, sub);
                let queue_is_full =
                    max_length > 0 && length > max_length || max_bytes > 0 && bytes > max_bytes;
                let has_too_much = drops && queue_is_full || drops_lag && length > max_lag;
                let oldest = sub.open().find(|row| row.at != At::Done).map(|row| row.position);
                let Some(oldest) = oldest.filter(|_| has_too_much) else { break };
                sub.drop_one(oldest, effects);
            }
        }
    }

    /// A message is published, and every subscription looks at it.
    fn append(&mut self, bytes: Bytes, now_ms: u64) {
        let content = message::Message::decode(bytes.clone()).unwrap_or_default();
        let due_ms = now_ms.saturating_add(content.delay_ms).max(content.deliver_at_ms);
        let ttl_ms = if content.ttl_ms == 0 { self.settings.ttl_ms } else { content.ttl_ms };
        let expiry_is_ahead = ttl_ms > 0;
        let message = Message { published_at_ms: now_ms, bytes, content, due_ms, ttl_ms, expiry_is_ahead };
        for sub in self.subs.values_mut() {
            sub.look(&message, true, now_ms);
        }
        self.messages.push(message);
    }
}

fn is_any_without_key(command: &Publish) -> bool {
    let mut rest = command.messages.clone();
    command.lengths.iter().any(|length| {
        let one = rest.split_to(*length as usize);
        message::Message::decode(one).unwrap_or_default().key.is_empty()
    })
}
