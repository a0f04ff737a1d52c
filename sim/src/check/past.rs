//! The history, put in order for the checks: operations with their answers, and what each queue saw.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::history::{Acked, Answer, Call, Event, How, OpId, Sent, What, Who, is_keyed};

/// An operation.
#[derive(Debug, Clone)]
pub(super) struct Op<'a> {
    pub(super) id: OpId,
    pub(super) who: Who,
    pub(super) call: &'a Call,
    /// Place of its invocation among the events.
    pub(super) invoked: usize,
    pub(super) invoked_at: Duration,
    /// Place, time and answer; nothing if it never returned.
    pub(super) returned: Option<(usize, Duration, &'a Answer)>,
}

/// A delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivery<'a> {
    pub(super) event: usize,
    pub(super) at: Duration,
    pub(super) who: Who,
    pub(super) queue: &'a str,
    pub(super) position: u64,
    pub(super) token: u64,
    pub(super) attempt: u32,
    pub(super) body: u64,
    pub(super) bytes: usize,
}

/// What is known of an effect from its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It happened.
    Happened,
    /// It did not.
    Absent,
    /// Who knows.
    Unknown,
}

/// A publish.
#[derive(Debug, Clone, Copy)]
pub(super) struct Send<'a> {
    pub(super) op: OpId,
    pub(super) who: Who,
    pub(super) session: &'a str,
    pub(super) body: u64,
    pub(super) bytes: usize,
    pub(super) invoked: usize,
    pub(super) returned: Option<usize>,
    /// When it was over, or began if it never was.
    pub(super) at: Duration,
    /// From the receipt.
    pub(super) position: Option<u64>,
    pub(super) fate: Fate,
}

/// A settle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settle {
    pub(super) op: OpId,
    pub(super) position: u64,
    pub(super) token: u64,
    pub(super) how: How,
    pub(super) invoked: usize,
    pub(super) returned: Option<usize>,
    pub(super) at: Duration,
    pub(super) fate: Fate,
}

/// A transaction whose contents the history has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transaction<'a> {
    pub(super) op: OpId,
    pub(super) acks: &'a [Acked],
    pub(super) sends: &'a [Sent],
    pub(super) returned: Option<usize>,
    pub(super) at: Duration,
    pub(super) answer: Option<&'a Answer>,
    pub(super) fate: Fate,
}

/// What the clients did to the queues of a name, one after the other, and saw of them.
#[derive(Debug, Default)]
pub(super) struct QueuePast<'a> {
    pub(super) name: &'a str,
    pub(super) total: bool,
    /// It orders by key.
    pub(super) keyed: bool,
    /// When a queue of the name may have been deleted: the places of the call's beginning and end among the events.
    pub(super) deletes: Vec<(usize, usize)>,
    pub(super) sends: Vec<Send<'a>>,
    pub(super) settles: Vec<Settle>,
    pub(super) deliveries: Vec<Delivery<'a>>,
    /// Stats that were answered.
    pub(super) stats: Vec<(Op<'a>, &'a quorate_proto::v1::StatResponse)>,
    /// When consumers ended their sessions in good order: place among the events, and who.
    pub(super) detached: Vec<(usize, Who)>,
}

impl QueuePast<'_> {
    /// Whether a queue of the name may have been deleted.
    pub(super) fn was_deleted(&self) -> bool {
        !self.deletes.is_empty()
    }

    /// Whether a stat saw it empty after all receipts had been given, and when that stat returned.
    pub(super) fn drained(&self) -> Option<usize> {
        let last =
            self.sends.iter().filter(|send| send.position.is_some()).filter_map(|send| send.returned).max();
        let empty = self
            .stats
            .iter()
            .find(|(op, stat)| stat.length == 0 && last.is_none_or(|last| last < op.invoked))?;
        empty.0.returned.map(|(place, ..)| place)
    }
}

/// See the module.
pub(super) struct Past<'a> {
    pub(super) events: &'a [Event],
    /// In the order of their invocations.
    pub(super) ops: BTreeMap<OpId, Op<'a>>,
    pub(super) deliveries: Vec<Delivery<'a>>,
    /// Names that a call to delete mentions.
    pub(super) deleted: BTreeSet<&'a str>,
}

impl<'a> Past<'a> {
    pub(super) fn of(events: &'a [Event]) -> Self {
        let mut past =
            Past { events, ops: BTreeMap::new(), deliveries: Vec::new(), deleted: BTreeSet::new() };
        for (place, event) in events.iter().enumerate() {
            past.take(place, event);
        }
        past
    }

    fn take(&mut self, place: usize, event: &'a Event) {
        let Some(who) = event.who else { return };
        match &event.what {
            What::Invoke(id, call) => {
                if let Call::DeleteQueue { queue } = call {
                    self.deleted.insert(queue);
                }
                let op = Op { id: *id, who, call, invoked: place, invoked_at: event.at, returned: None };
                self.ops.insert(*id, op);
            }
            What::Return(id, answer) => {
                if let Some(op) = self.ops.get_mut(id) {
                    op.returned = Some((place, event.at, answer));
                }
            }
            What::Delivered { queue, position, token, attempt, body, bytes } => {
                self.deliveries.push(Delivery {
                    event: place,
                    at: event.at,
                    who,
                    queue,
                    position: *position,
                    token: *token,
                    attempt: *attempt,
                    body: *body,
                    bytes: *bytes,
                });
            }
            What::Note(_) => {}
        }
    }

    /// The queues, by their names: a name may have had several.
    pub(super) fn queues(&self) -> Vec<QueuePast<'a>> {
        let mut queues: BTreeMap<&'a str, QueuePast<'a>> = BTreeMap::new();
        for op in self.ops.values() {
            self.transacted(op, &mut queues);
            let Some(name) = queue_of(op.call) else { continue };
            let queue = named(&mut queues, name);
            match (op.call, op.returned) {
                (Call::DeleteQueue { .. }, returned) => {
                    let absent = matches!(returned, Some((_, _, Answer::Refused(_) | Answer::NotDone(_))));
                    let end = returned.filter(|(_, _, answer)| **answer == Answer::Done);
                    if !absent {
                        queue.deletes.push((op.invoked, end.map_or(usize::MAX, |(place, ..)| place)));
                    }
                }
                (Call::CreateQueue { total, .. }, Some((_, _, Answer::Created(_)))) => queue.total = *total,
                (Call::Stat { .. }, Some((_, _, Answer::Stat(stat)))) => queue.stats.push((op.clone(), stat)),
                (Call::Detach { .. }, Some((place, _, Answer::Done))) => {
                    queue.detached.push((place, op.who));
                }
                _ => {}
            }
            queue.sends.extend(send(op));
            queue.settles.extend(settle(op));
        }
        for delivery in &self.deliveries {
            named(&mut queues, delivery.queue).deliveries.push(*delivery);
        }
        for queue in queues.values_mut().filter(|queue| self.deleted.contains(queue.name)) {
            queue.doubt_refusals(self);
        }
        queues.into_values().collect()
    }

    /// The transactions, in the order of their invocations.
    pub(super) fn transactions(&self) -> impl Iterator<Item = Transaction<'a>> + '_ {
        self.ops.values().filter_map(transaction)
    }

    /// What is in a transaction, for its queues.
    fn transacted(&self, op: &Op<'a>, queues: &mut BTreeMap<&'a str, QueuePast<'a>>) {
        let Some(transaction) = transaction(op) else { return };
        let Transaction { returned, at, fate, .. } = transaction;
        let (op_id, invoked) = (op.id, op.invoked);
        for Acked { queue, position, token } in transaction.acks {
            let (position, token, how) = (*position, *token, How::Ack);
            let settle = Settle { op: op_id, position, token, how, invoked, returned, at, fate };
            named(queues, queue).settles.push(settle);
        }
        for (nth, Sent { queue, body, bytes }) in transaction.sends.iter().enumerate() {
            let position = match transaction.answer {
                Some(Answer::Transacted { positions, .. }) => positions.get(nth).copied(),
                _ => None,
            };
            let (who, body, bytes) = (op.who, *body, *bytes);
            // Each is a session of its own: transactions are not in the order of anything.
            let session = "";
            named(queues, queue).sends.push(Send {
                op: op_id,
                who,
                session,
                body,
                bytes,
                invoked,
                returned,
                at,
                position,
                fate,
            });
        }
    }
}

impl QueuePast<'_> {
    /// Where queues were deleted, a refusal says nothing of an earlier attempt: that may have been carried out in the life before.
    fn doubt_refusals(&mut self, past: &Past<'_>) {
        let is_refused = |op: &OpId| {
            let op = past.ops.get(op);
            op.is_some_and(|op| {
                let refused = matches!(op.returned, Some((_, _, Answer::Refused(_))));
                refused && !matches!(op.call, Call::Transact { .. })
            })
        };
        for send in self.sends.iter_mut().filter(|send| is_refused(&send.op)) {
            send.fate = Fate::Unknown;
        }
        for settle in self.settles.iter_mut().filter(|settle| is_refused(&settle.op)) {
            settle.fate = Fate::Unknown;
        }
    }
}

fn named<'q, 'a>(queues: &'q mut BTreeMap<&'a str, QueuePast<'a>>, name: &'a str) -> &'q mut QueuePast<'a> {
    let queue = queues.entry(name).or_default();
    (queue.name, queue.keyed) = (name, is_keyed(name));
    queue
}

fn transaction<'a>(op: &Op<'a>) -> Option<Transaction<'a>> {
    let Call::Transact { acks, sends, .. } = op.call else { return None };
    let answer = op.returned.map(|(_, _, answer)| answer);
    Some(Transaction {
        op: op.id,
        acks,
        sends,
        returned: op.returned.map(|(place, ..)| place),
        at: op.returned.map_or(op.invoked_at, |(_, at, _)| at),
        answer,
        fate: match answer {
            Some(Answer::Transacted { .. }) => Fate::Happened,
            Some(Answer::Refused(_) | Answer::NotDone(_)) => Fate::Absent,
            _ => Fate::Unknown,
        },
    })
}

/// The queue that a call is about.
pub(super) fn queue_of(call: &Call) -> Option<&str> {
    match call {
        Call::CreateQueue { queue, .. }
        | Call::DeleteQueue { queue }
        | Call::Publish { queue, .. }
        | Call::Attach { queue, .. }
        | Call::Credit { queue, .. }
        | Call::Settle { queue, .. }
        | Call::Detach { queue }
        | Call::Stat { queue }
        | Call::Peek { queue, .. }
        | Call::ShowQueue { queue } => Some(queue),
        Call::OpenProducer { .. }
        | Call::CloseProducer { .. }
        | Call::Transact { .. }
        | Call::GetState { .. }
        | Call::ListQueues
        | Call::Members
        | Call::RemoveMember { .. }
        | Call::Status
        | Call::Version
        | Call::RaiseVersion
        | Call::Manage { .. } => None,
    }
}

/// What an answer says about the effect of a publish.
pub(super) fn fate_of_send(answer: Option<&Answer>) -> Fate {
    match answer {
        Some(Answer::Receipt { .. }) => Fate::Happened,
        // The session was lost, and with it the word on what an earlier attempt did.
        Some(Answer::Refused(reason))
            if ["RECEIPT_FORGOTTEN", "PRODUCER_FENCED", "UNKNOWN_PRODUCER"].contains(&reason.as_str()) =>
        {
            Fate::Unknown
        }
        Some(Answer::Refused(_) | Answer::NotDone(_)) => Fate::Absent,
        _ => Fate::Unknown,
    }
}

/// What an answer says about the effect of a settle.
pub(super) fn fate_of_settle(answer: Option<&Answer>) -> Fate {
    match answer {
        Some(Answer::Done) => Fate::Happened,
        // An earlier attempt may have ended the lease, which makes a later one stale.
        Some(Answer::Refused(reason)) if reason == "STALE_LEASE" => Fate::Unknown,
        Some(Answer::Refused(_) | Answer::NotDone(_)) => Fate::Absent,
        _ => Fate::Unknown,
    }
}

fn send<'a>(op: &Op<'a>) -> Option<Send<'a>> {
    let Call::Publish { session, body, bytes, .. } = op.call else { return None };
    let answer = op.returned.map(|(_, _, answer)| answer);
    let position = match answer {
        Some(Answer::Receipt { position, .. }) => Some(*position),
        _ => None,
    };
    Some(Send {
        op: op.id,
        who: op.who,
        session,
        body: *body,
        bytes: *bytes,
        invoked: op.invoked,
        returned: op.returned.map(|(place, ..)| place),
        at: op.returned.map_or(op.invoked_at, |(_, at, _)| at),
        position,
        fate: fate_of_send(answer),
    })
}

fn settle(op: &Op<'_>) -> Option<Settle> {
    let Call::Settle { position, token, how, .. } = op.call else { return None };
    Some(Settle {
        op: op.id,
        position: *position,
        token: *token,
        how: *how,
        invoked: op.invoked,
        returned: op.returned.map(|(place, ..)| place),
        at: op.returned.map_or(op.invoked_at, |(_, at, _)| at),
        fate: fate_of_settle(op.returned.map(|(_, _, answer)| answer)),
    })
}
