//! Settles: those that wait to be sent, those that wait for an answer, and how they merge.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate_proto::v1;
use quorate_simpoint::buggify;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;
use super::outcome::{How, Outcome};
use super::reckoning::Due;
use crate::error::{Error, Reason};
use crate::status::refusal;

/// Most ranges in one settle.
const RANGES_MAX: usize = 512;
/// Most messages in one settle: the server takes no more, and its answers come in steady portions.
const ITEMS_MAX: usize = 512;

/// One message to settle.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) position: u64,
    pub(super) token: u64,
    pub(super) outcome: v1::Outcome,
    pub(super) delay_ms: u64,
    pub(super) reason: String,
    pub(super) deadline: Instant,
    /// It was sent on a stream that was lost before the answer: it may have taken effect.
    pub(super) uncertain: bool,
    /// Who waits for the answer; nobody if it was settled "later".
    pub(super) reply: Option<oneshot::Sender<Result<(), Error>>>,
    /// It was given back without the application's word: that it was not carried out is of interest to nobody, and on another stream
    /// it is not wanted any more, since there the message comes again if it is still leased.
    pub(super) quiet: bool,
    /// When it was asked for.
    asked: Instant,
}

impl Item {
    /// Handed in now.
    pub(super) fn new(
        (position, token): (u64, u64),
        how: How,
        timeout: Duration,
        reply: Option<oneshot::Sender<Result<(), Error>>>,
    ) -> Self {
        let How { outcome, delay_ms, reason } = how;
        let asked = Instant::now();
        let deadline = asked + timeout;
        Self {
            position,
            token,
            outcome,
            delay_ms,
            reason,
            deadline,
            uncertain: false,
            reply,
            quiet: false,
            asked,
        }
    }

    /// Gives back what was dropped.
    pub(super) fn give_back((position, token): (u64, u64), timeout: Duration) -> Self {
        Self { quiet: true, ..Self::new((position, token), Outcome::Release.into(), timeout, None) }
    }

    fn follows(&self, range: &v1::SettleRange) -> bool {
        let count = u64::from(range.count);
        self.position == range.first_position + count
            && self.token == range.first_token + count
            && i32::from(self.outcome) == range.outcome
            && self.delay_ms == range.delay_ms
            && self.reason == range.reason
    }

    fn range(&self) -> v1::SettleRange {
        v1::SettleRange {
            first_position: self.position,
            count: 1,
            first_token: self.token,
            outcome: self.outcome.into(),
            delay_ms: self.delay_ms,
            reason: self.reason.clone(),
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Settles {
    waiting: VecDeque<Item>,
    sent: BTreeMap<u64, Sent>,
    next_id: u64,
    /// A settle of nothing, which asks only what time it is: whether it is wanted, and when it was sent under which id.
    ask: bool,
    asked: Option<(u64, Instant)>,
}

/// A settle without an answer.
struct Sent {
    at: Instant,
    items: Vec<Item>,
}

impl Settles {
    pub(super) fn push(&mut self, item: Item) {
        self.waiting.push_back(item);
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }

    /// Asks for the time with the next settle, unless it is asked for already.
    pub(super) fn ask_for_time(&mut self) {
        self.ask = self.asked.is_none();
    }

    pub(super) fn asks(&self) -> bool {
        self.ask
    }

    /// The next settle to send.
    pub(super) fn next(&mut self) -> Option<v1::Settle> {
        if self.waiting.is_empty() {
            return std::mem::take(&mut self.ask).then(|| {
                self.next_id += 1;
                self.asked = Some((self.next_id, Instant::now()));
                v1::Settle { id: self.next_id, ranges: Vec::new() }
            });
        }
        self.ask = false; // the answer to this one tells the time as well
        let most = if buggify("client/settle/one_at_a_time") { 1 } else { ITEMS_MAX };
        let take = self.waiting.len().min(most);
        let mut items: Vec<Item> = self.waiting.drain(..take).collect();
        let first = items.first()?;
        // Acks that workers gave out of order merge once sorted. Other mixtures stay in their order: a retry
        // before an ack may mean something else than after it.
        if first.outcome == v1::Outcome::Ack && items.iter().all(|item| item.outcome == v1::Outcome::Ack) {
            items.sort_by_key(|item| item.token);
        }
        let mut ranges: Vec<v1::SettleRange> = Vec::new();
        let mut merged = 0;
        for item in &items {
            let full = ranges.len() == RANGES_MAX;
            match ranges.last_mut().filter(|range| item.follows(range)) {
                Some(range) => range.count += 1,
                None if full => break,
                None => ranges.push(item.range()),
            }
            merged += 1;
        }
        for item in items.drain(merged..).rev() {
            self.waiting.push_front(item);
        }
        self.next_id += 1;
        self.sent.insert(self.next_id, Sent { at: Instant::now(), items });
        Some(v1::Settle { id: self.next_id, ranges })
    }

    /// Takes an answer. False if it answers nothing that was sent.
    pub(super) fn answer(&mut self, settled: v1::Settled, shared: &Shared) -> bool {
        if let Some((_, at)) = self.asked.take_if(|(id, _)| *id == settled.id) {
            shared.synced(at, settled.now_ms);
            return true;
        }
        let Some(Sent { at, items }) = self.sent.remove(&settled.id) else { return false };
        shared.synced(at, settled.now_ms);
        let over = items.iter().filter(|item| item.outcome != v1::Outcome::Extend);
        let tokens: Vec<u64> = over.map(|item| item.token).collect();
        let (mut done, mut extended) = (0, BTreeMap::new());
        shared.revoke_with(&settled.revoked);
        let refused = refused_of(&items, &settled.refused);
        for item in items {
            let result = match refused.get(&item.position).copied().flatten() {
                Some(refused) => Err(judge(&item, refused.refusal.clone(), shared)),
                None => Ok(()),
            };
            match item.outcome {
                v1::Outcome::Extend if result.is_ok() => {
                    let due = Due::extended(item.asked, Duration::from_millis(item.delay_ms));
                    extended.insert(item.token, (due, item, result));
                    continue;
                }
                v1::Outcome::Extend => {}
                _ => done += u64::from(result.is_ok() && !item.quiet),
            }
            finish(item, result, shared);
        }
        // Who waits for an extension sees it.
        if !extended.is_empty() {
            shared.extended(&extended.iter().map(|(token, (due, ..))| (*token, *due)).collect());
            extended.into_values().for_each(|(_, item, result)| finish(item, result, shared));
        }
        shared.settled(done);
        shared.let_go_all(tokens.into_iter());
        true
    }

    /// The stream is lost: what was sent without an answer goes out again, first and in its order.
    pub(super) fn rewind(&mut self) {
        (self.ask, self.asked) = (false, None);
        let sent: Vec<Item> =
            std::mem::take(&mut self.sent).into_values().flat_map(|sent| sent.items).collect();
        for mut item in sent.into_iter().rev() {
            item.uncertain = true;
            self.waiting.push_front(item);
        }
        self.waiting.retain(|item| !item.quiet);
    }

    /// Ends what has waited too long.
    pub(super) fn expire(&mut self, now: Instant, error: &dyn Fn() -> Error, shared: &Shared) {
        let mut late = Vec::new();
        for Sent { items, .. } in self.sent.values_mut() {
            late.extend(items.extract_if(.., |item| item.deadline <= now).map(|mut item| {
                item.uncertain = true;
                item
            }));
        }
        self.sent.retain(|_, sent| !sent.items.is_empty());
        if self.waiting.iter().any(|item| item.deadline <= now) {
            let (over, waiting) = self.waiting.drain(..).partition(|item| item.deadline <= now);
            self.waiting = waiting;
            let over: VecDeque<Item> = over;
            late.extend(over);
        }
        for item in late {
            fail(item, error, shared);
        }
    }

    /// Ends everything.
    pub(super) fn fail(&mut self, error: &Error, shared: &Shared) {
        self.rewind();
        for item in std::mem::take(&mut self.waiting) {
            fail(item, &|| error.clone(), shared);
        }
    }
}

/// What was refused of the positions of these items. Each range looks for its positions: there may be thousands of either.
fn refused_of<'a>(
    items: &[Item],
    refused: &'a [v1::SettleRefused],
) -> BTreeMap<u64, Option<&'a v1::SettleRefused>> {
    let mut found: BTreeMap<u64, Option<&v1::SettleRefused>> =
        items.iter().map(|item| (item.position, None)).collect();
    for range in refused {
        let end = range.first_position.saturating_add(range.count.into());
        for (_, slot) in found.range_mut(range.first_position..end) {
            slot.get_or_insert(range);
        }
    }
    found
}

fn fail(item: Item, error: &dyn Fn() -> Error, shared: &Shared) {
    let error = match item.uncertain {
        true => Error::SettleUnknown { position: item.position },
        false => error(),
    };
    let token = item.token;
    if item.outcome != v1::Outcome::Extend {
        shared.let_go(token);
    }
    finish(item, Err(error), shared);
}

/// A settle that is repeated meets its own effect as a stale lease, unless the lease was seen current since.
fn judge(item: &Item, wire: Option<v1::Refusal>, shared: &Shared) -> Error {
    let refusal = refusal(wire);
    let position = item.position;
    match refusal.reason {
        Reason::StaleLease | Reason::NeverLeased | Reason::UnknownConsumer
            if item.uncertain && !shared.came_again(item.token) =>
        {
            Error::SettleUnknown { position }
        }
        Reason::StaleLease => Error::StaleLease { position },
        _ => Error::Refused(refusal),
    }
}

fn finish(item: Item, result: Result<(), Error>, shared: &Shared) {
    match &result {
        _ if item.outcome == v1::Outcome::Extend => {}
        Err(Error::StaleLease { .. }) if item.quiet => shared.refused(item.token),
        _ => shared.answered(item.token),
    }
    match (item.reply, result) {
        (Some(reply), result) => drop(reply.send(result)),
        (None, Err(error)) if item.outcome != v1::Outcome::Extend && !item.quiet => {
            shared.failed(item.position, item.token, error);
        }
        (None, _) => {}
    }
}

#[cfg(test)]
#[path = "settle_test.rs"]
mod tests;
