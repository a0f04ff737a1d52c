//! Transactions: everything, or nothing (P6).
//!
//! The parts are carried out one after the other, requirements first; what is refused takes back those before it. In a
//! producer session a transaction is carried out once: its receipt stays until the producer has it. Transactions of a session do not depend on each other, so
//! their numbers need not be without gaps; whoever opens the session again fences what is still under way, and what then
//! has no receipt never will.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use quorate_simpoint::{Bug, planted};

use super::append::{self, Messages};
use super::close_producer::current;
use super::ranges::Range;
use super::{Done, Stop, put, require, settle};
use crate::command::{LeaseRange, PublishTo, SettleLease, Transact};
use crate::limits::{COMMAND_ROWS_MAX, TRANSACTION_REACH_MAX, TRANSACTIONS_UNACKED_MAX};
use crate::reply::{Found, Part, Placed, PositionRun, Refusal, Reply, Transacted};
use crate::store::{Read, Store, StoreError};
use crate::subs::runs::{self, State};
use crate::tables::{Key, QueueId, SubId, key, row};
use crate::tx::Tx;
use crate::{names, routes};

pub(crate) fn transact<S: Store>(tx: &mut Tx<'_, S>, command: &Transact) -> Done {
    let namespace = names::namespace(&command.namespace)?;
    let acked_seq = match command.producer | command.epoch | command.seq {
        0 => None,
        _ => Some(check_session(tx, command)?),
    };
    if let Some(receipt) = receipt(tx, command)? {
        return Ok(Reply::Transacted(receipt));
    }
    let done = tx.whole(|tx| {
        let mut bounds = Bounds { begun: tx.rows.touched(), reached: 0 };
        for (nth, condition) in (0..).zip(&command.require) {
            require::require(tx, command, nth, condition)?;
        }
        settle_all(tx, command, &bounds)?;
        let mut done = Transacted::default();
        for (nth, publish) in (0..).zip(&command.publish) {
            publish_to(tx, command, nth, publish, (&mut bounds, &mut done.published))?;
        }
        for put in &command.put {
            done.versions.push(put::put(tx, namespace, put)?);
        }
        Ok(done)
    })?;
    if let Some(acked_seq) = acked_seq {
        keep_receipt(tx, command, acked_seq, &done)?;
    }
    Ok(Reply::Transacted(done))
}

/// What a transaction is bounded by that only the state tells: nothing of it can be left to the next entry.
struct Bounds {
    /// Rows that were touched before it.
    begun: u64,
    /// Subscriptions of the queues that it published to.
    reached: u64,
}

impl Bounds {
    fn check<S: Store>(&self, tx: &Tx<'_, S>) -> Result<(), Stop> {
        if tx.rows.touched() - self.begun <= COMMAND_ROWS_MAX {
            return Ok(());
        }
        let what = "rows that a transaction touches (settle or publish less in it)";
        Err(Refusal::LimitReached { what, limit: COMMAND_ROWS_MAX }.into())
    }

    fn reach<S: Store>(&mut self, tx: &mut Tx<'_, S>, queue: QueueId) -> Result<(), Stop> {
        self.reached += tx.queue(queue)?.subs.len() as u64;
        if self.reached <= TRANSACTION_REACH_MAX {
            return Ok(());
        }
        let what = "subscriptions that the publishes of a transaction reach";
        Err(Refusal::LimitReached { what, limit: TRANSACTION_REACH_MAX }.into())
    }
}

/// Acknowledgements and extensions first, then what goes back or is parked, as [`super::settle()`] does it.
fn settle_all<S: Store>(tx: &mut Tx<'_, S>, command: &Transact, bounds: &Bounds) -> Result<(), Stop> {
    let mut ranges = Vec::with_capacity(command.settle.len());
    for SettleLease { queue, subscription, range } in &command.settle {
        let queue = names::queue(&tx.rows, &command.namespace, queue)?;
        ranges.push((names::sub(&tx.rows, queue, subscription)?, Range::check(range, &command.reasons)?));
    }
    for gives_up in [false, true] {
        for (nth, (sub, range)) in (0..).zip(&ranges).filter(|(_, (_, range))| range.gives_up() == gives_up) {
            let unmet = |position| Refusal::PreconditionFailed {
                part: Part::Settle,
                nth,
                found: Found::NotHeld(position),
            };
            let consumer = holder(tx, *sub, range.first)?.ok_or_else(|| unmet(range.first))?;
            let refused = settle::carry_out(tx, *sub, consumer, range, &command.reasons, &mut Vec::new())?;
            if let Some(position) = refused.iter().map(|part| part.first_position).min() {
                return Err(unmet(position).into());
            }
            tx.touch(*sub);
            bounds.check(tx)?;
        }
    }
    Ok(())
}

/// Who holds a message. Whose session is over holds nothing.
fn holder<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, position: u64) -> Result<Option<u64>, StoreError> {
    let run = runs::at(&tx.rows, sub, position)?;
    match run.map(|run| run.state) {
        Some(State::Leased { consumer, .. }) => Ok(tx.sub_of(consumer)?.map(|_| consumer)),
        _ => Ok(None),
    }
}

/// The first position of a range that one consumer does not hold, under the tokens that it names.
pub(super) fn not_held<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    leases: &LeaseRange,
) -> Result<Option<u64>, StoreError> {
    let Some(consumer) = holder(tx, sub, leases.first_position)? else {
        return Ok(Some(leases.first_position));
    };
    let (first, mut at) = (leases.first_position, leases.first_position);
    let end = first.saturating_add(leases.count.into());
    for run in runs::held(&tx.rows, sub, consumer, first, end)? {
        let State::Leased { first_token, .. } = run.state else { continue };
        let current = first_token.wrapping_sub(run.first) == leases.first_token.wrapping_sub(first);
        if run.first > at || !current {
            break;
        }
        at = run.end();
    }
    Ok((at < end).then_some(at))
}

/// Publishes a batch to its queue, or to those that its messages are routed to.
fn publish_to<S: Store>(
    tx: &mut Tx<'_, S>,
    command: &Transact,
    nth: u32,
    publish: &PublishTo,
    (bounds, published): (&mut Bounds, &mut Vec<Placed>),
) -> Result<(), Stop> {
    let PublishTo { queue, lengths, messages: bytes, attributes } = publish;
    let messages = Messages { lengths, bytes, attributes: *attributes };
    if queue.is_empty() {
        return route(tx, command, nth, messages, (bounds, published));
    }
    let id = names::queue(&tx.rows, &command.namespace, queue)?;
    let positions = append(tx, id, messages, bounds)?;
    published.push(Placed { queue: queue.clone(), positions, nth });
    Ok(())
}

fn append<S: Store>(
    tx: &mut Tx<'_, S>,
    id: QueueId,
    messages: Messages<'_>,
    bounds: &mut Bounds,
) -> Result<Vec<PositionRun>, Stop> {
    bounds.reach(tx, id)?;
    messages.check_attributes(tx, id)?;
    let positions = append::plan(tx, id, messages)?.carry_out(tx)?;
    bounds.check(tx)?;
    Ok(positions)
}

/// Each message gets into every queue with a route for its subject, and must get into one.
fn route<S: Store>(
    tx: &mut Tx<'_, S>,
    command: &Transact,
    nth: u32,
    messages: Messages<'_>,
    (bounds, published): (&mut Bounds, &mut Vec<Placed>),
) -> Result<(), Stop> {
    let namespace = names::namespace(&command.namespace)?;
    let mut known: BTreeMap<String, BTreeMap<String, QueueId>> = BTreeMap::new();
    let mut queues: BTreeMap<String, (QueueId, Vec<usize>)> = BTreeMap::new();
    for (at, message) in messages.each().enumerate() {
        if !known.contains_key(&message.subject) {
            let found = routes::find(&tx.rows, namespace, &message.subject)?;
            // To match their patterns is as much again as to read them.
            tx.rows.work(found.len() as u64);
            bounds.check(tx)?;
            known.insert(message.subject.clone(), found);
        }
        let found = &known[&message.subject];
        if found.is_empty() {
            return Err(Refusal::Unroutable(message.subject).into());
        }
        for (name, id) in found {
            queues.entry(name.clone()).or_insert_with(|| (*id, Vec::new())).1.push(at);
        }
    }
    let offsets = messages.offsets();
    for (queue, (id, some)) in queues {
        let positions = if some.len() == messages.lengths.len() {
            append(tx, id, messages, bounds)?
        } else {
            let (lengths, bytes, attributes) = messages.some(&some, &offsets);
            append(tx, id, Messages { lengths: &lengths, bytes: &bytes, attributes }, bounds)?
        };
        published.push(Placed { queue, positions, nth });
    }
    Ok(())
}

/// Checks the session and the number. Returns up to where the producer has its receipts.
fn check_session<S: Store>(tx: &mut Tx<'_, S>, command: &Transact) -> Result<u64, Stop> {
    let row = current(tx, command.producer, command.epoch)?;
    let (given, acked) = (command.seq, row.transactions_acked.max(command.acked_seq));
    if given <= acked {
        return Err(Refusal::ReceiptForgotten { given, acked }.into());
    }
    if given - acked > TRANSACTIONS_UNACKED_MAX {
        let what = "transactions without an acknowledged receipt";
        return Err(Refusal::LimitReached { what, limit: TRANSACTIONS_UNACKED_MAX }.into());
    }
    Ok(acked)
}

/// What came of it when it was carried out before.
fn receipt<S: Store>(tx: &Tx<'_, S>, command: &Transact) -> Result<Option<Transacted>, StoreError> {
    if command.producer == 0 || planted(Bug::TransactionRepeated) {
        return Ok(None);
    }
    let found: Option<Transacted> = row::get(&tx.rows, &key::receipt(command.producer, command.seq))?;
    Ok(found.map(|receipt| Transacted { duplicate: true, ..receipt }))
}

fn keep_receipt<S: Store>(
    tx: &mut Tx<'_, S>,
    command: &Transact,
    acked_seq: u64,
    done: &Transacted,
) -> Result<(), Stop> {
    let now_ms = tx.now_ms;
    let row = current(tx, command.producer, command.epoch)?;
    row.used_at_ms = now_ms;
    row.transactions_acked = acked_seq;
    let receipt = Bytes::from(done.encode_to_vec());
    tx.rows.put(&key::receipt(command.producer, command.seq), receipt)?;
    let (from, to) = (key::receipts(command.producer), key::receipt(command.producer, acked_seq).next());
    while let Some((key, value)) = tx.rows.first(&from, &to)? {
        tx.rows.remove(&Key::read(&key)?, &value)?;
    }
    Ok(())
}
