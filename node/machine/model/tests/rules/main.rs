//! The rules of `docs/semantics.md` that are easy to get wrong, one by one, in worlds small enough to be read.

mod order;
mod parked;
mod retain;
mod settle;
mod subs;
mod time;

use bytes::Bytes;
use prost::Message as _;
use quorate_machine::command::{
    Action, Attach, Batch, CreateQueue, CreateSub, OnExhausted, Order, Outcome as To, Publish, QueueSettings,
    Selector, Settings, Settle, SettleRange, Start, StartKind, Tick, Unpark, Verb,
};
use quorate_machine::effect::Effect;
use quorate_machine::message::{Message, attributes};
use quorate_machine::read::{Stat, State};
use quorate_machine::reply::{Outcome, Reply, Settled};
use quorate_model::naive::{At, Naive, Queue, Sub};
use quorate_model::view;

/// A world with one queue, `q`.
struct World {
    naive: Naive,
    now_ms: u64,
}

fn settings(order: Order) -> Settings {
    Settings {
        order: order.into(),
        lease_ms: 1000,
        backoff_first_ms: 100,
        backoff_last_ms: 350,
        jitter_percent: Some(0),
        ..Settings::default()
    }
}

fn exhausting(order: Order, max_attempts: u32, on_exhausted: OnExhausted) -> Settings {
    Settings { max_attempts, on_exhausted: on_exhausted.into(), ..settings(order) }
}

/// A message of each key; `-` stands for none.
fn keyed(keys: &str) -> Vec<Message> {
    let key = |key: char| if key == '-' { Bytes::new() } else { Bytes::from(vec![key as u8]) };
    keys.chars().map(|one| Message { key: key(one), ..Message::default() }).collect()
}

impl World {
    fn new(settings: Settings) -> Self {
        Self::with(settings, QueueSettings::default())
    }

    fn with(settings: Settings, queue: QueueSettings) -> Self {
        let mut world = World { naive: Naive::default(), now_ms: 10_000 };
        let (namespace, name) = (String::new(), "q".into());
        world.done(Verb::CreateQueue(CreateQueue {
            namespace,
            name,
            settings,
            queue,
            ..CreateQueue::default()
        }));
        world
    }

    fn queue(&self) -> &Queue {
        &self.naive.queues["q"]
    }

    fn sub(&self, name: &str) -> &Sub {
        &self.queue().subs[name]
    }

    /// An entry of one command.
    fn entry(&mut self, verb: Verb) -> Outcome {
        let mut answers = self.naive.apply(&Batch::new(self.now_ms, vec![verb.into()]));
        answers.remove(0)
    }

    fn done(&mut self, verb: Verb) -> Reply {
        self.entry(verb).expect("it is not refused")
    }

    fn add_sub(&mut self, name: &str, settings: Settings, kind: StartKind, at: u64) -> Outcome {
        let start = Start { kind: kind.into(), at };
        self.entry(Verb::CreateSub(CreateSub {
            namespace: String::new(),
            queue: "q".into(),
            name: name.into(),
            settings,
            filter: None,
            start,
        }))
    }

    fn publish(&mut self, messages: &[Message]) {
        let encoded: Vec<Vec<u8>> = messages.iter().map(|message| message.encode_to_vec()).collect();
        let (lengths, packed) = Publish::pack(&encoded);
        let attributes = messages.iter().map(attributes).fold(0, |all, one| all | one);
        let publish =
            Publish { queue: "q".into(), lengths, messages: packed, attributes, ..Publish::default() };
        self.done(Verb::Publish(publish));
    }

    fn attach(&mut self, sub: &str, session: u8, credit: u32) -> u64 {
        let reply = self.done(Verb::Attach(Attach {
            queue: "q".into(),
            subscription: sub.into(),
            session: vec![session; 16].into(),
            credit,
            ..Attach::default()
        }));
        let Reply::Attached(attached) = reply else { panic!("{reply:?}") };
        attached.consumer
    }

    /// Ranges of the default subscription's leases, each from its first to its last position.
    fn settle(&mut self, consumer: u64, ranges: &[(To, u64, u64)], reason: &str) -> Settled {
        let token = |position: u64| match self.sub("default").row(position).at {
            At::Leased { token, .. } => token,
            at => panic!("{position} is {at:?}"),
        };
        let range = |(outcome, first, last): &(To, u64, u64)| SettleRange {
            first_position: *first,
            count: (last - first + 1) as u32,
            first_token: token(*first),
            outcome: (*outcome).into(),
            delay_ms: 0,
            reason: u32::from(!reason.is_empty()),
        };
        let ranges = ranges.iter().map(range).collect();
        let reply = self.done(Verb::Settle(Settle { consumer, ranges, reasons: vec![reason.into()] }));
        let Reply::Settled(settled) = reply else { panic!("{reply:?}") };
        settled
    }

    fn settle_one(&mut self, consumer: u64, outcome: To, position: u64) {
        assert_eq!(self.settle(consumer, &[(outcome, position, position)], "").refused, []);
    }

    fn tick_after(&mut self, ms: u64) {
        self.now_ms += ms;
        self.done(Verb::Tick(Tick {}));
    }

    fn unpark(&mut self, action: Action, selector: Selector) -> u64 {
        let subscription = String::new();
        let reply = self.done(Verb::Unpark(Unpark {
            namespace: String::new(),
            queue: "q".into(),
            subscription,
            action: action.into(),
            selector,
            per_second: 0,
        }));
        let Reply::Unparked { messages, job: 0 } = reply else { panic!("{reply:?}") };
        messages
    }

    /// Where each message stands: `r`eady, `d`elayed, re`t`rying, `p`arked, done (`.`), or who holds it.
    fn states(&self, sub: &str) -> String {
        let sub = self.sub(sub);
        let state = |row| match view::state_of(sub, row) {
            State::Ready => 'r',
            State::Delayed => 'd',
            State::Retrying => 't',
            State::Parked => 'p',
            State::Done => '.',
            State::Leased => match row.at {
                At::Leased { consumer, .. } => char::from_digit(consumer as u32, 10).expect("a digit"),
                at => panic!("{at:?}"),
            },
        };
        sub.rows.iter().map(state).collect()
    }

    fn stat(&self, sub: &str) -> Stat {
        view::stat(self.queue(), self.sub(sub), &self.naive)
    }

    /// The positions that the last entry assigned, in the order of their tokens.
    fn assigned(&self) -> Vec<u64> {
        let lease = |effect: &Effect| match effect {
            Effect::Assigned { lease, .. } => Some(lease.first_position),
            _ => None,
        };
        self.naive.effects.iter().filter_map(lease).collect()
    }

    /// The positions that the last entry revoked.
    fn revoked(&self) -> Vec<u64> {
        let lease = |effect: &Effect| match effect {
            Effect::Revoked { lease, .. } => Some(lease.first_position),
            _ => None,
        };
        self.naive.effects.iter().filter_map(lease).collect()
    }
}

/// What a key's messages are selected by.
fn of_key(key: &'static str) -> Selector {
    Selector { key: Some(key.into()), ..Selector::default() }
}

/// One position.
fn at(position: u64) -> Selector {
    Selector { from_position: position, to_position: position, ..Selector::default() }
}
