//! Random transactions: mostly of what is possible, and now and then of one thing that is not.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_machine::command::{
    Condition, LeaseRange, PublishTo, Put, Require, RequireLengthBelow, RequireTail, RequireVersion,
    SettleLease, Transact, Verb,
};
use quorate_machine::reply::{Found, Outcome, Part, Refusal, Reply, Transacted};
use quorate_model::naive::{At, Naive};

use crate::ops::{Place, QUEUES, find, namespace, place, queue, share_of, sub_name};
use crate::publish::{self, Publishing, known_producer};
use crate::settle::{self, Pick};

const KEYS: [&str; 4] = ["order/1", "order/2", "stock", ""];

#[derive(Clone, Debug)]
pub struct Transacting {
    producer: u8,
    twist: Twist,
    acks: u64,
    require: Vec<Wanted>,
    settle: Vec<(u8, Pick)>,
    /// Which of them are routed by their subjects.
    publish: Vec<(bool, Publishing)>,
    put: Vec<Putting>,
}

#[derive(Clone, Copy, Debug)]
enum Twist {
    Next,
    /// With a gap in the numbers.
    Later,
    NoSession,
    Repeat,
    Forgotten,
    OldEpoch,
    TooFar,
    NoNumber,
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    Version { key: usize, off: u64 },
    Tail { queue: usize, off: u64 },
    LengthBelow { place: Place, more: u64 },
    Held { share: u8, count: u32, off: u64 },
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct Putting {
    key: usize,
    length: usize,
    delete: bool,
    ttl_ms: u64,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let off = || prop_oneof![9 => Just(0u64), 1 => 1u64..4];
    prop_oneof![
        6 => (0usize..4, off()).prop_map(|(key, off)| Wanted::Version { key, off }),
        3 => (queue(), off()).prop_map(|(queue, off)| Wanted::Tail { queue, off }),
        3 => (place(), 0u64..12).prop_map(|(place, more)| Wanted::LengthBelow { place, more }),
        3 => (any::<u8>(), 0u32..4, off())
            .prop_map(|(share, count, off)| Wanted::Held { share, count, off }),
        1 => Just(Wanted::Nothing),
    ]
}

fn putting() -> impl Strategy<Value = Putting> {
    let length = prop_oneof![20 => 0usize..9, 1 => Just(65_537usize)];
    let ttl_ms = prop_oneof![3 => Just(0u64), 1 => 1u64..900];
    let key = prop_oneof![30 => 0usize..3, 1 => Just(3usize)];
    (key, length, prop::bool::weighted(0.2), ttl_ms).prop_map(|(key, length, delete, ttl_ms)| {
        // Now and then what is deleted has a value.
        let (length, ttl_ms) = if delete && length != 7 { (0, 0) } else { (length, ttl_ms) };
        Putting { key, length, delete, ttl_ms }
    })
}

pub fn transacting() -> impl Strategy<Value = Transacting> {
    let twist = prop_oneof![
        20 => Just(Twist::Next),
        2 => Just(Twist::Later),
        5 => Just(Twist::NoSession),
        4 => Just(Twist::Repeat),
        1 => Just(Twist::Forgotten),
        1 => Just(Twist::OldEpoch),
        1 => Just(Twist::TooFar),
        1 => Just(Twist::NoNumber),
    ];
    let require = prop_oneof![2 => Just(Vec::new()), 3 => prop::collection::vec(wanted(), 1..3)];
    let settle = prop::collection::vec((any::<u8>(), settle::pick()), 0..3);
    let publish = prop::collection::vec((prop::bool::weighted(0.3), publish::publishing()), 0..3);
    let put = prop::collection::vec(putting(), 0..4);
    (0u8..3, twist, 0u64..3, require, settle, publish, put).prop_map(
        |(producer, twist, acks, require, settle, publish, put)| Transacting {
            producer,
            twist,
            acks,
            require,
            settle,
            publish,
            put,
        },
    )
}

/// A lease that somebody holds: queue, subscription, position, token.
fn some_lease(naive: &Naive, share: u8) -> Option<(String, String, u64, u64)> {
    let mut held = Vec::new();
    for (queue_name, queue) in &naive.queues {
        for (sub_name, sub) in &queue.subs {
            for row in sub.open() {
                if let At::Leased { token, .. } = row.at {
                    held.push((queue_name.clone(), sub_name.clone(), row.position, token));
                }
            }
        }
    }
    share_of(&held, share.into()).cloned()
}

impl Wanted {
    fn resolve(self, naive: &Naive) -> Require {
        let condition = match self {
            Wanted::Version { key, off } => {
                let version = naive.state.get(KEYS[key]).map_or(0, |kept| kept.version) + off;
                Condition::Version(RequireVersion { key: KEYS[key].into(), version })
            }
            Wanted::Tail { queue, off } => {
                let last = naive.queues.get(QUEUES[queue]).map_or(0, |queue| queue.next_position() - 1);
                Condition::Tail(RequireTail { queue: QUEUES[queue].into(), position: last + off })
            }
            Wanted::LengthBelow { place, more } => {
                let length =
                    |sub: &quorate_model::naive::Sub| sub.open().filter(|row| row.at != At::Done).count();
                let length = find(naive, place).map_or(0, |(_, sub)| length(sub)) as u64;
                let subscription = sub_name(place.1, more % 2 == 0);
                let length = (length + more).saturating_sub(1);
                Condition::LengthBelow(RequireLengthBelow {
                    queue: QUEUES[place.0].into(),
                    subscription,
                    length,
                })
            }
            Wanted::Held { share, count, off } => {
                let (queue, subscription, first_position, token) =
                    some_lease(naive, share).unwrap_or_else(|| (QUEUES[0].into(), String::new(), 1, 1));
                let first_token = token + off;
                Condition::Held(LeaseRange { queue, subscription, first_position, count, first_token })
            }
            Wanted::Nothing => return Require { condition: None },
        };
        Require { condition: Some(condition) }
    }
}

impl Transacting {
    pub fn resolve(&self, naive: &Naive) -> Verb {
        let (mut producer, mut epoch, ..) = known_producer(naive, self.producer);
        let row = naive.producers.get(&producer);
        let last = row.and_then(|row| row.transactions.keys().last().copied()).unwrap_or(0);
        let acked = row.map_or(0, |row| row.transactions_acked);
        let (mut seq, mut acked_seq) = (last.max(acked) + 1, (acked + self.acks).min(last));
        match self.twist {
            Twist::Next => {}
            Twist::Later => seq += 3,
            Twist::NoSession => (producer, epoch, seq, acked_seq) = (0, 0, 0, 0),
            Twist::Repeat => (seq, acked_seq) = (last.max(1), acked),
            Twist::Forgotten => (seq, acked_seq) = (last.max(1), last.max(1)),
            Twist::OldEpoch => epoch += 1,
            Twist::TooFar => seq = acked_seq + 4097,
            Twist::NoNumber => seq = 0,
        }
        let mut settle = Vec::new();
        let mut reasons = Vec::new();
        for (share, pick) in &self.settle {
            let verb = settle::resolve(naive, (*share).into(), 1, std::slice::from_ref(pick));
            let Verb::Settle(command) = verb else { panic!("a settle") };
            let sub = settle::sub_of(naive, command.consumer);
            let (queue, subscription) =
                sub.map_or_else(Default::default, |sub| names_of(naive, sub.queue, sub.id));
            reasons = command.reasons;
            let lease =
                |range| SettleLease { queue: queue.clone(), subscription: subscription.clone(), range };
            settle.extend(command.ranges.into_iter().map(lease));
        }
        let full = naive.queues.iter().find(|(_, row)| row.settings.max_length > 0).map(|(name, _)| name);
        let publish = self.publish.iter().map(|(is_routed, publishing)| {
            let publish = publish_to(publishing.resolve(naive));
            let queue = match (is_routed, full) {
                (true, _) => String::new(),
                // Where there may be no room.
                (false, Some(name)) if self.acks == 2 => name.clone(),
                _ => publish.queue.clone(),
            };
            PublishTo { queue, ..publish }
        });
        Verb::Transact(Transact {
            namespace: namespace(),
            producer,
            epoch,
            seq,
            acked_seq,
            require: self.require.iter().map(|wanted| wanted.resolve(naive)).collect(),
            settle,
            publish: publish.collect(),
            put: self.put.iter().map(Putting::put).collect(),
            reasons,
        })
    }
}

impl Putting {
    fn put(&self) -> Put {
        let value = Bytes::from(vec![self.length as u8; self.length]);
        Put { key: KEYS[self.key].into(), value, delete: self.delete, ttl_ms: self.ttl_ms }
    }
}

fn publish_to(verb: Verb) -> PublishTo {
    let Verb::Publish(command) = verb else { panic!("a publish") };
    let quorate_machine::command::Publish { queue, lengths, messages, attributes, .. } = command;
    PublishTo { queue, lengths, messages, attributes }
}

fn names_of(naive: &Naive, queue: u64, sub: u32) -> (String, String) {
    let named = naive.queues.iter().find(|(_, row)| row.id == queue);
    named.map_or_else(Default::default, |(name, row)| {
        let sub = row.subs.iter().find(|(_, row)| row.id == sub);
        (name.clone(), sub.map_or_else(String::new, |(name, _)| name.clone()))
    })
}

/// What came of a transaction, for the tally.
pub fn case(command: &Transact, answer: &Outcome) -> &'static str {
    let is_step = !command.settle.is_empty() && !command.publish.is_empty() && !command.put.is_empty();
    match answer {
        Ok(Reply::Transacted(Transacted { duplicate: true, .. })) => "transaction known",
        Ok(Reply::Transacted(done)) if done.published.len() > command.publish.len() => {
            "routed to several queues"
        }
        Ok(_) if command.publish.iter().any(|publish| publish.queue.is_empty()) => "routed",
        Err(Refusal::Unroutable(_)) => "unroutable",
        Ok(_) if is_step => "transaction of all kinds",
        Ok(_) if command.producer == 0 => "transaction without a session",
        Ok(_) => "transaction",
        Err(Refusal::PreconditionFailed { part: Part::Require, found, .. }) => match found {
            Found::Version(_) => "another version",
            Found::Tail(_) => "another tail",
            Found::Length(_) => "not below a length",
            Found::NotHeld(_) => "lease not held",
        },
        Err(Refusal::PreconditionFailed { nth: 0, .. }) => "first settle not possible",
        Err(Refusal::PreconditionFailed { .. }) => "settle taken back",
        Err(Refusal::QueueFull { .. } | Refusal::LagReached { .. })
            if command.settle.len() + command.publish.len() > 1 =>
        {
            "taken back for a full queue"
        }
        Err(Refusal::Invalid { field: "value" | "key" | "delete", .. }) if !command.publish.is_empty() => {
            "publish taken back"
        }
        Err(_) => "transaction refused",
    }
}
