//! What was handed in and has no answer yet, in order, with its sequence numbers. Pure bookkeeping: no I/O.

use std::collections::VecDeque;
use std::mem::size_of;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::v1;
use quorate_simpoint::{Bug, buggify, planted};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Receipt;
use crate::error::Error;

/// A message that was handed in.
pub(super) struct Item {
    /// Encoded.
    pub(super) message: Bytes,
    /// Permits of the byte window that it holds.
    pub(super) share: u32,
    pub(super) handed_in: Instant,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Result<Receipt, Error>>,
}

impl Item {
    /// What it takes in memory and on the wire, in bytes.
    pub(super) fn bytes(&self) -> usize {
        bytes(&self.message)
    }
}

/// See [`Item::bytes`].
pub(super) fn bytes(message: &Bytes) -> usize {
    size_of::<Item>() + message.len()
}

/// Room of the window that became free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Freed {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Freed {
    fn add(&mut self, item: &Item) {
        self.messages += 1;
        self.bytes += item.share as usize;
    }
}

/// Consecutive messages that travel, and are answered, together. Once cut, a batch stays as it is: it is sent
/// again whole.
struct Batch {
    first_seq: u64,
    items: Vec<Item>,
    /// Sent since the session was last opened: it may have been stored. What was sent before that was stored, or
    /// was not: see [`Ledger::stored`].
    ever_sent: bool,
    /// Refused on this stream because of a gap before it; stays for the next stream.
    gap: bool,
}

impl Batch {
    fn end_seq(&self) -> u64 {
        self.first_seq + self.items.len() as u64
    }
}

/// See the module.
pub(super) struct Ledger {
    batches: VecDeque<Batch>,
    /// Handed in, not yet cut into batches.
    waiting: VecDeque<Item>,
    /// How many of `batches`, from the front, were sent on this stream.
    sent: usize,
    /// How many of those have no answer.
    unanswered: usize,
    /// Highest sequence number with a receipt.
    confirmed: u64,
    /// Highest sequence number that was stored when the session was last opened. What has no receipt up to here was
    /// stored all the same; what is above was not, nor will be, since the new epoch fences whatever still travels.
    stored: u64,
    cutting: Cutting,
    /// Of what is waiting: in bytes, and how many of it, from the front, somebody waits for.
    waiting_bytes: usize,
    hurried: usize,
}

/// When batches are cut.
#[derive(Clone, Copy)]
pub(super) struct Cutting {
    /// The longest batch.
    pub(super) messages: usize,
    /// The largest batch.
    pub(super) bytes: usize,
    /// A batch that is smaller waits so long for more.
    pub(super) linger: Duration,
    /// As much as is handed in before somebody has to wait for room: there is no use in waiting for more.
    pub(super) window: (usize, usize),
}

impl Ledger {
    pub(super) fn new(last_seq: u64, cutting: Cutting) -> Self {
        Self {
            batches: VecDeque::new(),
            waiting: VecDeque::new(),
            sent: 0,
            unanswered: 0,
            confirmed: last_seq,
            stored: last_seq,
            cutting,
            waiting_bytes: 0,
            hurried: 0,
        }
    }

    pub(super) fn push(&mut self, item: Item) {
        self.waiting_bytes += item.bytes();
        self.waiting.push_back(item);
    }

    /// What is there now is not to wait for more.
    pub(super) fn hurry(&mut self) {
        self.hurried = self.waiting.len();
    }

    /// Until when the next batch waits for more messages; `None` if it does not.
    pub(super) fn lingers_until(&self) -> Option<Instant> {
        let Cutting { messages, bytes, linger, window } = self.cutting;
        if linger.is_zero() || self.hurried > 0 || self.sent < self.batches.len() {
            return None;
        }
        let full = self.waiting.len() >= messages.min(window.0) || self.waiting_bytes >= bytes.min(window.1);
        self.waiting.front().filter(|_| !full).map(|oldest| oldest.handed_in + linger)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.batches.len() || !self.waiting.is_empty()
    }

    /// Batches that were sent on this stream and have no answer.
    pub(super) fn unanswered(&self) -> usize {
        self.unanswered
    }

    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// The oldest message decides, since answers come in order.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let oldest =
            self.batches.front().and_then(|batch| batch.items.first()).or_else(|| self.waiting.front());
        oldest.map(|item| item.deadline)
    }

    /// The next batch to send on this stream; `None` if all were sent.
    pub(super) fn next(&mut self, queue: &str) -> Option<v1::PublishBatch> {
        if self.sent == self.batches.len() {
            let batch = self.cut()?;
            self.batches.push_back(batch);
        }
        let acked_seq = self.acked_seq();
        let batch = self.batches.get_mut(self.sent)?;
        batch.ever_sent = true;
        self.sent += 1;
        self.unanswered += 1;
        Some(v1::PublishBatch {
            queue: queue.to_owned(),
            first_seq: batch.first_seq,
            acked_seq,
            messages: batch.items.iter().map(|item| item.message.clone()).collect(),
            close: false,
        })
    }

    /// Everything up to here has its receipt.
    pub(super) fn acked_seq(&self) -> u64 {
        self.batches.front().map_or(self.confirmed, |batch| batch.first_seq - 1)
    }

    fn cut(&mut self) -> Option<Batch> {
        let first = self.waiting.pop_front()?;
        let mut bytes = first.bytes();
        let mut items = vec![first];
        while items.len() < self.cutting.messages
            && !buggify("client/ledger/small_batch")
            && self.waiting.front().is_some_and(|item| bytes + item.bytes() <= self.cutting.bytes)
        {
            let Some(item) = self.waiting.pop_front() else { break };
            bytes += item.bytes();
            items.push(item);
        }
        self.waiting_bytes -= bytes;
        self.hurried = self.hurried.saturating_sub(items.len());
        let first_seq = self.batches.back().map_or(self.confirmed + 1, Batch::end_seq);
        Some(Batch { first_seq, items, ever_sent: false, gap: false })
    }

    /// A new stream, of a session that has stored everything up to `last_seq`: everything without an answer is to be
    /// sent again. What was stored keeps its number; what follows a refused batch moves up to close the gap.
    pub(super) fn rewind(&mut self, last_seq: u64) {
        self.sent = 0;
        self.unanswered = 0;
        self.stored = last_seq.max(self.confirmed);
        if planted(Bug::ClientForgetsUnanswered) {
            self.batches.retain(|batch| !batch.ever_sent);
        }
        if planted(Bug::ClientReordersOnReconnect) {
            let unstored = self.batches.partition_point(|batch| batch.first_seq <= self.stored);
            self.batches.make_contiguous()[unstored..].reverse();
        }
        let mut next = self.stored + 1;
        for batch in &mut self.batches {
            batch.gap = false;
            batch.ever_sent = batch.first_seq <= self.stored;
            if !batch.ever_sent {
                batch.first_seq = next;
            }
            next = next.max(batch.end_seq());
        }
    }

    /// Whether the batch with this number is stored for certain, though it has no receipt.
    pub(super) fn is_stored(&self, first_seq: u64) -> bool {
        (self.confirmed + 1..=self.stored).contains(&first_seq)
    }

    /// [`Bug::ClientResendsUnderNewSeq`]: as if `stored` were all that ever had a number.
    pub(super) fn renumber_after(&mut self, stored: u64) {
        let mut next = stored + 1;
        for batch in &mut self.batches {
            batch.first_seq = next;
            next = batch.end_seq();
        }
    }

    /// Takes a receipt and answers its messages. `None` if it does not match what was sent; one that was
    /// answered already changes nothing.
    pub(super) fn confirm(&mut self, receipt: &v1::Receipt) -> Option<Freed> {
        let count: u64 = receipt.positions.iter().map(|run| u64::from(run.count)).sum();
        let batches = self.take(receipt.first_seq, count)?;
        let mut positions = receipt.positions.iter().flat_map(|run| {
            (0..u64::from(run.count)).map(move |i| (run.first_position.saturating_add(i), run.duplicate))
        });
        let mut freed = Freed::default();
        let items = batches.into_iter().flat_map(|batch| batch.items);
        for (item, (position, duplicate)) in items.zip(&mut positions) {
            freed.add(&item);
            let _ = item.reply.send(Ok(Receipt { position, duplicate }));
        }
        if freed.messages > 0 {
            self.confirmed = self.confirmed.max(receipt.first_seq + count - 1);
        }
        Some(freed)
    }

    /// The server refused these for good: they end with `error`, and leave a gap until [`Ledger::rewind`]. Only for
    /// what is not [stored](Ledger::is_stored).
    pub(super) fn refuse(&mut self, first_seq: u64, count: u64, error: &Error) -> Option<Freed> {
        let mut freed = Freed::default();
        for item in self.take(first_seq, count)?.into_iter().flat_map(|batch| batch.items) {
            freed.add(&item);
            let _ = item.reply.send(Err(error.clone()));
        }
        Some(freed)
    }

    /// The server refused these because of a gap before them: they wait for the next stream.
    pub(super) fn gap(&mut self, first_seq: u64) {
        if let Some(batch) =
            self.batches.iter_mut().take(self.sent).find(|b| b.first_seq == first_seq && !b.gap)
        {
            batch.gap = true;
            self.unanswered -= 1;
        }
    }

    /// Removes the whole batches that `count` messages from `first_seq` make up.
    fn take(&mut self, first_seq: u64, count: u64) -> Option<Vec<Batch>> {
        if self.batches.front().is_none_or(|batch| first_seq < batch.first_seq) {
            return Some(Vec::new()); // answered before
        }
        let at = self.batches.iter().take(self.sent).position(|batch| batch.first_seq == first_seq)?;
        let (mut end, mut left) = (at, count);
        while left > 0 {
            let batch = self.batches.get(end).filter(|_| end < self.sent)?;
            left = left.checked_sub(batch.items.len() as u64)?;
            end += 1;
        }
        let taken: Vec<Batch> = self.batches.drain(at..end).collect();
        self.sent -= taken.len();
        self.unanswered -= taken.iter().filter(|batch| !batch.gap).count();
        Some(taken)
    }

    /// Ends everything: what was sent is unknown, what was not ends with `error` itself.
    pub(super) fn fail(&mut self, error: &Error) {
        for batch in self.batches.drain(..) {
            let error = match batch.ever_sent {
                true => Error::Unknown { cause: Box::new(error.clone()) },
                false => error.clone(),
            };
            batch.items.into_iter().for_each(|item| drop(item.reply.send(Err(error.clone()))));
        }
        self.waiting.drain(..).for_each(|item| drop(item.reply.send(Err(error.clone()))));
    }
}

#[cfg(test)]
#[path = "ledger_test.rs"]
mod tests;
