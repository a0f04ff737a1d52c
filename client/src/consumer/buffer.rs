//! What has arrived and what the application holds, and which of it may be handed out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use quorate_proto::v1;
use quorate_simpoint::{Bug, Holding, planted};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::FailedSettle;
use super::reckoning::{Due, Reckoning};
use crate::error::Error;

/// A delivery that has arrived and was not taken.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) delivery: v1::Delivery,
    pub(super) due: Due,
    /// When its lease was last asked to be extended.
    pub(super) extending: Option<Instant>,
    /// In order `key`; else empty.
    pub(super) key: Bytes,
    pub(super) _held: Holding,
}

/// A lease in the application's hands.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) hold: Hold,
    pub(super) position: u64,
    pub(super) key: Bytes,
    pub(super) due: Due,
}

/// What the server has said about it.
#[derive(Debug)]
pub(super) enum Hold {
    Kept,
    /// With those who want to know when it is lost.
    Watched(Vec<oneshot::Sender<()>>),
    /// The server took it back, or the session that had it is over.
    Lost,
}

/// A lease that is over by this process's clock, while the server has not said so.
#[derive(Debug)]
struct Overdue {
    position: u64,
    key: Bytes,
    /// By then the server has ended it, or it was settled behind our back, in a transaction.
    late: Instant,
}

/// A message that goes back. If the answer is that it went, it says what went with it. If the lease was over before, that is told by
/// the news, which may come later than the answer, and behind deliveries that are of no use any more.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) position: u64,
    pub(super) key: Bytes,
    /// The news were here.
    pub(super) is_revoked: bool,
    /// The lease was over, and so long the news are waited for.
    pub(super) refused_until: Option<Instant>,
}

impl Returned {
    pub(super) fn new(position: u64, key: Bytes) -> Self {
        Self { position, key, is_revoked: false, refused_until: None }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Arrived, not yet taken.
    pub(super) ready: VecDeque<Waiting>,
    /// Tokens that the application holds, or that are being settled.
    pub(super) held: BTreeMap<u64, Lease>,
    /// Tokens that came again on this stream while they were held.
    pub(super) again: BTreeSet<u64>,
    pub(super) order: v1::Order,
    /// Messages are acknowledged before they come: they stay, whatever becomes of the stream.
    pub(super) auto_ack: bool,
    /// Orders `total` and `key`: what was given back, by token, until it is known what went with it. Nothing behind it in its order is
    /// handed out meanwhile.
    pub(super) returned: BTreeMap<u64, Returned>,
    /// The same of leases that the application has let run out: what is behind them is about to be taken back.
    overdue: BTreeMap<u64, Overdue>,
    /// Before this no held lease runs out.
    look_at: Option<Instant>,
    /// Keys (in order `total`, the empty one stands for all) whose next message waits until the work on the one before it is over.
    pub(super) busy: BTreeSet<Bytes>,
    /// What the cluster's time was; known while a stream is there.
    pub(super) reckoning: Option<Reckoning>,
    /// Positions and tokens of what was dropped since its lease was over. The consumer gives them back.
    pub(super) dropped: Vec<(u64, u64)>,
    /// How many messages were dropped so, with what was behind them.
    pub(super) lost_count: u64,
    pub(super) failures: Vec<FailedSettle>,
    pub(super) settled_count: u64,
    /// To be told once.
    pub(super) error: Option<Error>,
    pub(super) ended: bool,
    pub(super) connected: bool,
}

impl State {
    /// The next delivery whose lease is not over. What is over on the way to it is dropped.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        if self.ready.is_empty() {
            return None;
        }
        let now = Instant::now();
        self.look_at_held(now);
        self.returned.retain(|_, returned| returned.refused_until.is_none_or(|until| now < until));
        loop {
            // Of one key there may be something to wait for, and of the next not.
            let looked_at =
                if self.order == v1::Order::Key { self.ready.len() } else { self.ready.len().min(1) };
            let at = (0..looked_at).find(|at| !self.is_held_up(&self.ready[*at]))?;
            let waiting = self.ready.remove(at)?;
            if self.auto_ack {
                return Some(waiting);
            }
            if waiting.due.is_over(now) && !planted(Bug::OverHandedOut) {
                self.drop_over(waiting);
                continue;
            }
            let Waiting { delivery: v1::Delivery { position, token, .. }, due, ref key, .. } = waiting;
            let lease = Lease { hold: Hold::Kept, position, key: key.clone(), due };
            self.held.insert(token, lease);
            self.look_no_later_than(due.early);
            return Some(waiting);
        }
    }

    fn is_ordered(&self) -> bool {
        matches!(self.order, v1::Order::Total | v1::Order::Key)
    }

    /// Whether something was given back, has run out, or is being worked on, that comes before it in its order.
    fn is_held_up(&self, waiting: &Waiting) -> bool {
        let behind = |position: u64, of: &Bytes| position < waiting.delivery.position && *of == waiting.key;
        let alone = self.order == v1::Order::Key && waiting.key.is_empty();
        self.returned.values().any(|returned| behind(returned.position, &returned.key))
            || !alone
                && (self.overdue.values().any(|lease| behind(lease.position, &lease.key))
                    || self.busy.contains(&waiting.key))
    }

    /// Somebody else may have it, or is about to: it goes, and in an order what was leased behind it, which goes back with it.
    fn drop_over(&mut self, waiting: Waiting) {
        let v1::Delivery { position, token, .. } = waiting.delivery;
        self.lost_count += 1;
        self.dropped.push((position, token));
        if self.is_ordered() && !self.is_alone(&waiting.key) {
            self.drop_behind(position, &waiting.key);
            self.returned.insert(token, Returned::new(position, waiting.key));
        }
    }

    fn drop_behind(&mut self, position: u64, key: &Bytes) {
        let before = self.ready.len();
        self.ready.retain(|other| other.delivery.position < position || other.key != *key);
        self.lost_count += (before - self.ready.len()) as u64;
    }

    /// A message without a key is a key of its own.
    fn is_alone(&self, key: &Bytes) -> bool {
        self.order == v1::Order::Key && key.is_empty()
    }

    /// In an order, what is behind a lease that the application has let run out is not handed out either.
    fn look_at_held(&mut self, now: Instant) {
        self.overdue.retain(|_, lease| lease.late > now);
        if !self.is_ordered() || self.auto_ack || self.look_at.is_none_or(|at| now < at) {
            return;
        }
        let mut next: Option<Instant> = None;
        let mut over = Vec::new();
        for (token, lease) in &self.held {
            if !lease.due.is_over(now) {
                next = Some(next.map_or(lease.due.early, |at| at.min(lease.due.early)));
            } else if !matches!(lease.hold, Hold::Lost) && lease.due.late > now && !self.is_alone(&lease.key)
            {
                over.push((*token, lease.position, lease.key.clone(), lease.due.late));
            }
        }
        self.look_at = next;
        for (token, position, key, late) in over {
            self.drop_behind(position, &key);
            self.overdue.insert(token, Overdue { position, key, late });
        }
    }

    pub(super) fn look_no_later_than(&mut self, at: Instant) {
        self.look_at = Some(self.look_at.map_or(at, |before| before.min(at)));
    }

    /// Whether something waits only for the server to say what this process knows already: then time alone may free it.
    pub(super) fn is_overdue(&self) -> bool {
        let is_news_due = self.returned.values().any(|returned| returned.refused_until.is_some());
        (!self.overdue.is_empty() || is_news_due) && !self.ready.is_empty()
    }

    /// A held lease has another end.
    pub(super) fn renewed(&mut self, token: u64, due: Due) {
        if let Some(lease) = self.held.get_mut(&token) {
            lease.due = due;
            self.overdue.remove(&token);
            self.look_no_later_than(due.early);
        }
    }

    /// The server has said what became of it.
    pub(super) fn resolved(&mut self, token: u64) {
        self.overdue.remove(&token);
    }

    /// The application's leases with these tokens are lost, and what they hold up is not held up by them any more.
    pub(super) fn lose(&mut self, tokens: std::ops::Range<u64>) {
        self.overdue.retain(|token, _| !tokens.contains(token));
        for (_, returned) in self.returned.range_mut(tokens.clone()) {
            returned.is_revoked = true;
        }
        self.returned.retain(|_, returned| !(returned.is_revoked && returned.refused_until.is_some()));
        for (_, lease) in self.held.range_mut(tokens) {
            // Who watches is told by the sender's end.
            lease.hold = Hold::Lost;
        }
    }

    /// The stream is another one, or none: whoever is still leased something is told again.
    pub(super) fn forget_overdue(&mut self) {
        self.overdue.clear();
    }
}
