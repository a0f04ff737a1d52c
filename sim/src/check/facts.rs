//! What the entries of the committed log did, by what a client would ask for: the witnesses of its operations.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use quorate_machine::command::{Batch, CreateQueue, Publish, Settings, Settle, Transact, Verb};
use quorate_machine::effect::Effect;
use quorate_machine::message::Message;
use quorate_machine::reply::{Outcome, Refusal, Reply};
use quorate_machine::work::Step;
use quorate_model::naive::{self, Naive};

/// One message of a publish command.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Published {
    pub(super) index: u64,
    pub(super) queue: String,
    /// Name of the producer session, if it was known.
    pub(super) session: Option<String>,
    /// Length of the body.
    pub(super) bytes: usize,
    /// Where it is, or why it was refused.
    pub(super) outcome: Result<Stored, &'static str>,
}

/// A transaction.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Transacted {
    pub(super) index: u64,
    /// What came of it, or why it was refused.
    pub(super) outcome: Result<Happened, &'static str>,
}

/// A transaction that the log says has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Happened {
    /// Of the key that tells it from others.
    pub(super) version: u64,
    /// By an earlier command.
    pub(super) duplicate: bool,
}

/// A message that the log says is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) position: u64,
    /// By an earlier command.
    pub(super) duplicate: bool,
    /// Whether what is at the position is this message.
    pub(super) is_there: bool,
}

/// One message of a settle command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) index: u64,
    /// As the wire has it.
    pub(super) outcome: i32,
    pub(super) delay_ms: u64,
    /// Why it was refused. Unknown where one command named the message twice and only one of the two was refused.
    pub(super) refusal: Option<Option<&'static str>>,
}

/// One lease that an entry gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leased {
    pub(super) index: u64,
    pub(super) consumer: u64,
    pub(super) position: u64,
    pub(super) attempt: u32,
    pub(super) body: Option<u64>,
    /// How long it lasts by replicated time, unless it is extended.
    pub(super) lasts_ms: u64,
}

/// A command and the answer that the model gave.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Done<C> {
    pub(super) index: u64,
    pub(super) command: C,
    pub(super) outcome: Outcome,
}

/// The queues there are, by name: settings of the `default` subscription and time of creation.
pub(super) type Listing = BTreeMap<String, (Option<Settings>, u64)>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// By the number in the body.
    pub(super) publishes: BTreeMap<u64, Vec<Published>>,
    /// By the number in the key that it writes.
    pub(super) transacts: BTreeMap<u64, Vec<Transacted>>,
    /// By queue, position and token.
    pub(super) settles: BTreeMap<(String, u64, u64), Vec<Settled>>,
    /// By queue and token.
    pub(super) leases: BTreeMap<(String, u64), Vec<Leased>>,
    pub(super) creates: BTreeMap<String, Vec<Done<CreateQueue>>>,
    pub(super) deletes: BTreeMap<String, Vec<Done<()>>>,
    /// By session.
    pub(super) opens: BTreeMap<String, Vec<Done<()>>>,
    pub(super) closes: BTreeMap<String, Vec<Done<()>>>,
    /// By queue.
    pub(super) attaches: BTreeMap<String, Vec<Done<()>>>,
    /// Every change of the list of queues, with the index that made it.
    pub(super) listings: Vec<(u64, Listing)>,
    /// What entries got done of what was due, by their index.
    steps: BTreeMap<u64, Vec<Step>>,
    producers: BTreeMap<u64, String>,
    consumers: BTreeMap<u64, String>,
    queues: BTreeMap<u64, String>,
}

impl Facts {
    /// What an entry got done of what was due.
    pub(super) fn steps(&self, index: u64) -> &[Step] {
        self.steps.get(&index).map_or(&[], Vec::as_slice)
    }

    /// Takes note of what an entry got done of what was due.
    pub(super) fn add_steps(&mut self, index: u64, steps: Vec<Step>) {
        if !steps.is_empty() {
            self.steps.insert(index, steps);
        }
    }

    /// Takes up an entry that the model has just applied with these answers.
    pub(super) fn add(&mut self, index: u64, entry: &Batch, answers: &[Outcome], naive: &Naive) {
        for (command, outcome) in entry.commands.iter().zip(answers) {
            if let Some(verb) = &command.verb {
                self.command(index, verb, outcome, naive);
            }
        }
        for (name, queue) in &naive.queues {
            self.queues.entry(queue.id).or_insert_with(|| name.clone());
        }
        self.leased(index, naive);
        let changes = |verb: &Verb| {
            matches!(
                verb,
                Verb::CreateQueue(_)
                    | Verb::DeleteQueue(_)
                    | Verb::CreateSub(_)
                    | Verb::UpdateSub(_)
                    | Verb::DeleteSub(_)
            )
        };
        if entry.commands.iter().filter_map(|command| command.verb.as_ref()).any(changes) {
            let row = |(name, queue): (&String, &quorate_model::naive::Queue)| {
                let settings = queue.subs.get("default").map(|sub| sub.settings);
                (name.clone(), (settings, queue.created_at_ms))
            };
            self.listings.push((index, naive.queues.iter().map(row).collect()));
        }
    }

    fn command(&mut self, index: u64, verb: &Verb, outcome: &Outcome, naive: &Naive) {
        let done = || Done { index, command: (), outcome: outcome.clone() };
        match verb {
            Verb::CreateQueue(command) => {
                let done = Done { index, command: command.clone(), outcome: outcome.clone() };
                self.creates.entry(command.name.clone()).or_default().push(done);
            }
            Verb::DeleteQueue(command) => {
                self.deletes.entry(command.name.clone()).or_default().push(done());
            }
            Verb::OpenProducer(command) => {
                if let Ok(Reply::ProducerOpened(opened)) = outcome {
                    self.producers.insert(opened.producer, command.session.clone());
                }
                self.opens.entry(command.session.clone()).or_default().push(done());
            }
            Verb::CloseProducer(command) => {
                if let Some(session) = self.producers.get(&command.producer) {
                    self.closes.entry(session.clone()).or_default().push(done());
                }
            }
            Verb::Publish(command) => self.publish(index, command, outcome, naive),
            Verb::Attach(command) => {
                if let Ok(Reply::Attached(attached)) = outcome {
                    self.consumers.insert(attached.consumer, command.queue.clone());
                }
                self.attaches.entry(command.queue.clone()).or_default().push(done());
            }
            Verb::Settle(command) => self.settle(index, command, outcome),
            Verb::Transact(command) => self.transact(index, command, outcome),
            Verb::Credit(_)
            | Verb::Detach(_)
            | Verb::Tick(_)
            | Verb::GiveNodeIds(_)
            | Verb::RaiseVersion(_) => {}
            // No client of a run asks for these yet.
            Verb::UpdateQueue(_)
            | Verb::Purge(_)
            | Verb::CreateSub(_)
            | Verb::UpdateSub(_)
            | Verb::DeleteSub(_)
            | Verb::Pause(_)
            | Verb::Seek(_)
            | Verb::Reschedule(_)
            | Verb::Unpark(_) => {}
        }
    }

    fn transact(&mut self, index: u64, command: &Transact, outcome: &Outcome) {
        let number = |key: &str| key.strip_prefix("t-").and_then(|number| number.parse().ok());
        let found = command.put.iter().enumerate().find_map(|(at, put)| Some((at, number(&put.key)?)));
        let Some((at, number)) = found else { return };
        let outcome = match outcome {
            Ok(Reply::Transacted(done)) => {
                let version = done.versions.get(at).copied().unwrap_or_default();
                Ok(Happened { version, duplicate: done.duplicate })
            }
            Ok(_) => Err("NO_TRANSACTION"),
            Err(refusal) => Err(reason(refusal)),
        };
        self.transacts.entry(number).or_default().push(Transacted { index, outcome });
    }

    fn publish(&mut self, index: u64, command: &Publish, outcome: &Outcome, naive: &Naive) {
        let session = self.producers.get(&command.producer).cloned();
        let stored = naive.queues.get(&command.queue);
        let mut positions = match outcome {
            Ok(Reply::Published { positions, .. }) => positions
                .iter()
                .flat_map(|run| (run.first_position..).take(run.count as usize).map(|at| (at, run.duplicate)))
                .collect::<Vec<_>>()
                .into_iter(),
            _ => Vec::new().into_iter(),
        };
        let mut offset = 0usize;
        for length in &command.lengths {
            let end = (offset + *length as usize).min(command.messages.len());
            let bytes = command.messages.slice(offset..end);
            offset = end;
            let outcome = match outcome {
                Ok(Reply::Published { .. }) => {
                    positions.next().ok_or("NO_POSITION").map(|(position, duplicate)| {
                        let there = stored.and_then(|queue| queue.find(position));
                        // A queue that is gone after the same entry has nothing to compare with.
                        let is_there = there.is_none_or(|row| is_same(row, &bytes, duplicate));
                        Stored { position, duplicate, is_there }
                    })
                }
                Ok(_) => Err("NOT_A_RECEIPT"),
                Err(refusal) => Err(reason(refusal)),
            };
            let Some((number, length)) = body(&bytes) else { continue };
            let (queue, session) = (command.queue.clone(), session.clone());
            let published = Published { index, queue, session, bytes: length, outcome };
            self.publishes.entry(number).or_default().push(published);
        }
    }

    fn settle(&mut self, index: u64, command: &Settle, outcome: &Outcome) {
        let Some(queue) = self.consumers.get(&command.consumer).cloned() else { return };
        let mut refusals: BTreeMap<u64, (usize, &'static str)> = BTreeMap::new();
        if let Ok(Reply::Settled(settled)) = outcome {
            for part in &settled.refused {
                for position in (part.first_position..).take(part.count as usize) {
                    refusals.entry(position).or_insert_with(|| (0, reason(&part.refusal))).0 += 1;
                }
            }
        }
        let named = |position: u64| {
            let names = |range: &&quorate_machine::command::SettleRange| {
                (range.first_position..range.first_position + u64::from(range.count)).contains(&position)
            };
            command.ranges.iter().filter(names).count()
        };
        for range in &command.ranges {
            for at in 0..u64::from(range.count) {
                let (position, token) = (range.first_position + at, range.first_token + at);
                let refusal = match (outcome, refusals.get(&position)) {
                    (Err(refusal), _) => Some(Some(reason(refusal))),
                    (Ok(_), None) => Some(None),
                    (Ok(_), Some((count, reason))) if *count >= named(position) => Some(Some(*reason)),
                    (Ok(_), Some(_)) => None,
                };
                let settled = Settled { index, outcome: range.outcome, delay_ms: range.delay_ms, refusal };
                self.settles.entry((queue.clone(), position, token)).or_default().push(settled);
            }
        }
    }

    fn leased(&mut self, index: u64, naive: &Naive) {
        for effect in &naive.effects {
            let Effect::Assigned { consumer, lease } = effect else { continue };
            let Some(name) = self.queues.get(&lease.queue) else { continue };
            let queue = naive.queues.get(name).filter(|queue| queue.id == lease.queue);
            let (position, attempt) = (lease.first_position, lease.attempt);
            let message = queue.and_then(|queue| queue.find(position));
            let body = message.and_then(|message| body(&message.bytes)).map(|(number, _)| number);
            let lasts_ms = lease.deadline_ms.saturating_sub(naive.now_ms);
            let leased = Leased { index, consumer: *consumer, position, attempt, body, lasts_ms };
            self.leases.entry((name.clone(), lease.first_token)).or_default().push(leased);
        }
    }

    /// Whether the list of queues was, at some point from after `from` to after `to`, as asked.
    pub(super) fn listed(&self, from: u64, to: u64, is: impl Fn(&Listing) -> bool) -> bool {
        let begin = self.listings.partition_point(|(index, _)| *index <= from);
        let before = match begin.checked_sub(1) {
            Some(at) => is(&self.listings[at].1),
            None => is(&Listing::new()),
        };
        before || self.listings[begin..].iter().take_while(|(index, _)| *index <= to).any(|(_, row)| is(row))
    }
}

/// The number in a message's body and the body's length; nothing if it has no number.
pub(super) fn body(encoded: &Bytes) -> Option<(u64, usize)> {
    let body = Message::decode(encoded.clone()).ok()?.body;
    let number = body.first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), body.len()))
}

/// The name of a refusal on the wire.
pub(super) fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Invalid { .. } => "INVALID",
        Refusal::UnknownNamespace(_) => "UNKNOWN_NAMESPACE",
        Refusal::UnknownQueue(_) => "UNKNOWN_QUEUE",
        Refusal::UnknownSubscription(_) => "UNKNOWN_SUBSCRIPTION",
        Refusal::QueueExists(_) => "QUEUE_EXISTS",
        Refusal::SubscriptionExists(_) => "SUBSCRIPTION_EXISTS",
        Refusal::RevisionChanged { .. } => "REVISION_CHANGED",
        Refusal::LastSubscription => "LAST_SUBSCRIPTION",
        Refusal::OutOfRange { .. } => "OUT_OF_RANGE",
        Refusal::UnknownMessage(_) | Refusal::UnknownId(_) => "UNKNOWN_MESSAGE",
        Refusal::NotDelayed(_) => "NOT_DELAYED",
        Refusal::LimitReached { .. } => "LIMIT_REACHED",
        Refusal::PreconditionFailed { .. } => "PRECONDITION_FAILED",
        Refusal::Unroutable(_) => "UNROUTABLE",
        Refusal::QueueFull { .. } | Refusal::LagReached { .. } => "QUEUE_FULL",
        Refusal::UnknownProducer => "UNKNOWN_PRODUCER",
        Refusal::ProducerFenced { .. } | Refusal::ProducerTaken { .. } => "PRODUCER_FENCED",
        Refusal::SequenceGap { .. } => "SEQUENCE_GAP",
        Refusal::ReceiptForgotten { .. } => "RECEIPT_FORGOTTEN",
        Refusal::UnknownConsumer => "UNKNOWN_CONSUMER",
        Refusal::ConsumerFenced { .. } => "CONSUMER_FENCED",
        Refusal::StaleLease => "STALE_LEASE",
        Refusal::NeverLeased => "NEVER_LEASED",
    }
}

/// Whether the message with these bytes is the one that is stored where its receipt says: itself, or another that had its id.
fn is_same(stored: &naive::Message, bytes: &Bytes, duplicate: bool) -> bool {
    let id = || Message::decode(bytes.clone()).map(|message| message.id).unwrap_or_default();
    stored.bytes == *bytes || duplicate && !stored.content.id.is_empty() && stored.content.id == id()
}
