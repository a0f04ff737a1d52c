//! Random publishes: few keys and subjects, so that messages meet.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use quorate_machine::command::{Publish, Verb};
use quorate_machine::message::{Header, Message, attributes};
use quorate_model::naive::Naive;

use crate::ops::{QUEUES, queue};

pub const KEYS: [&str; 5] = ["", "red", "green", "blue", "grey"];
pub const SUBJECTS: [&str; 5] = ["", "orders", "orders.eu", "orders.eu.new", "bills.eu"];

#[derive(Clone, Debug)]
pub struct Publishing {
    queue: usize,
    producer: u8,
    twist: Twist,
    back: u64,
    acks: u64,
    messages: Vec<Written>,
}

#[derive(Clone, Copy, Debug)]
enum Twist {
    Next,
    NoSession,
    Repeat,
    Forgotten,
    Gap,
    OldEpoch,
    AcksAhead,
    LengthsOff,
    /// Priorities even where there are none.
    Prioritised,
}

/// What is special about a message.
#[derive(Clone, Copy, Debug)]
struct Written {
    id: Id,
    key: usize,
    subject: usize,
    headers: usize,
    time: Time,
    ttl_ms: u64,
    priority: u32,
}

#[derive(Clone, Copy, Debug)]
enum Id {
    None,
    Own,
    /// One that others have too.
    Common(u8),
}

#[derive(Clone, Copy, Debug)]
enum Time {
    AtOnce,
    After(u64),
    /// So much after now, or before.
    At(i64),
}

fn written() -> impl Strategy<Value = Written> {
    let key = prop_oneof![2 => Just(0usize), 4 => 1usize..3, 1 => 3usize..5];
    let time = prop_oneof![
        9 => Just(Time::AtOnce),
        1 => (1u64..500).prop_map(Time::After),
        1 => (-100i64..500).prop_map(Time::At),
    ];
    let ttl_ms = prop_oneof![5 => Just(0u64), 1 => 10u64..700];
    let priority = prop_oneof![3 => Just(0u32), 1 => 1u32..4, 1 => Just(9)];
    let id = prop_oneof![2 => Just(Id::None), 2 => Just(Id::Own), 2 => (0u8..4).prop_map(Id::Common)];
    (id, key, 0usize..5, 0usize..4, time, ttl_ms, priority).prop_map(
        |(id, key, subject, headers, time, ttl_ms, priority)| Written {
            id,
            key,
            subject,
            headers,
            time,
            ttl_ms,
            priority,
        },
    )
}

pub fn publishing() -> impl Strategy<Value = Publishing> {
    let twist = prop_oneof![
        20 => Just(Twist::Next),
        5 => Just(Twist::NoSession),
        8 => Just(Twist::Repeat),
        1 => Just(Twist::Forgotten),
        1 => Just(Twist::Gap),
        1 => Just(Twist::OldEpoch),
        1 => Just(Twist::AcksAhead),
        1 => Just(Twist::LengthsOff),
        1 => Just(Twist::Prioritised),
    ];
    let acks = prop_oneof![4 => Just(0u64), 1 => 1u64..5];
    // Some batches are all plain: those are what the machine is fast at.
    let plain =
        Written { id: Id::None, key: 0, subject: 0, headers: 0, time: Time::AtOnce, ttl_ms: 0, priority: 0 };
    let messages = prop_oneof![
        3 => prop::collection::vec(written(), 1..7),
        1 => prop::collection::vec(Just(plain), 1..7),
    ];
    (queue(), 0u8..3, twist, 0u64..8, acks, messages).prop_map(
        |(queue, producer, twist, back, acks, messages)| Publishing {
            queue,
            producer,
            twist,
            back,
            acks,
            messages,
        },
    )
}

impl Written {
    fn message(&self, own: String, body: Bytes, now_ms: u64, with_priority: bool) -> Message {
        let header = |name: &str, value: &'static str| Header { name: name.into(), value: value.into() };
        let headers = [header("kind", "a"), header("kind", "b"), header("size", "9")];
        let (delay_ms, deliver_at_ms) = match self.time {
            Time::AtOnce => (0, 0),
            Time::After(ms) => (ms, 0),
            Time::At(ms) => (0, now_ms.saturating_add_signed(ms)),
        };
        let id = match self.id {
            Id::None => String::new(),
            Id::Own => own,
            Id::Common(at) => format!("common-{at}"),
        };
        Message {
            id,
            key: KEYS[self.key].into(),
            subject: SUBJECTS[self.subject].into(),
            headers: headers[..self.headers].to_vec(),
            body,
            delay_ms,
            deliver_at_ms,
            ttl_ms: self.ttl_ms,
            priority: if with_priority { self.priority } else { 0 },
            ..Message::default()
        }
    }
}

impl Publishing {
    pub fn resolve(&self, naive: &Naive) -> Verb {
        let (mut producer, mut epoch, last_seq, acked_seq) = known_producer(naive, self.producer);
        let mut first_seq = last_seq + 1;
        let mut acked = (acked_seq + self.acks).min(last_seq);
        let name = QUEUES[self.queue];
        let salt = naive.queues.values().map(|queue| queue.messages.len()).sum::<usize>();
        let has_priorities = naive.queues.get(name).is_some_and(|queue| queue.settings.priorities);
        let with_priority = has_priorities || matches!(self.twist, Twist::Prioritised);
        let body = |at: usize| Bytes::from(vec![at as u8; (salt * 7 + at * 3) % 40]);
        // Mostly all have keys where they need them.
        let need_keys = naive.queues.get(name).is_some_and(|queue| queue.settings.retain.latest_per_key);
        let least_key = usize::from(need_keys && self.back != 7);
        let messages: Vec<Message> = (0..)
            .zip(&self.messages)
            .map(|(at, one)| (at, Written { key: one.key.max(least_key), ..*one }))
            .map(|(at, one)| one.message(format!("{salt}-{at}"), body(at), naive.now_ms, with_priority))
            .collect();
        let encoded: Vec<Vec<u8>> = messages.iter().map(|message| message.encode_to_vec()).collect();
        let (mut lengths, packed) = Publish::pack(&encoded);
        match self.twist {
            Twist::Next | Twist::Prioritised => {}
            Twist::NoSession => (producer, epoch, first_seq, acked) = (0, 0, 0, 0),
            Twist::Repeat => {
                (first_seq, acked) = ((last_seq + 1).saturating_sub(self.back).max(1), acked_seq);
            }
            Twist::Forgotten => (first_seq, acked) = (acked_seq.max(1), acked_seq),
            Twist::Gap => first_seq += 1 + self.back,
            Twist::OldEpoch => epoch = epoch.saturating_sub(1).max(u64::from(epoch == 1) * 7),
            Twist::AcksAhead => acked = last_seq + 1 + self.back,
            Twist::LengthsOff => lengths[0] += 1,
        }
        Verb::Publish(Publish {
            namespace: String::new(),
            queue: name.into(),
            producer,
            epoch,
            first_seq,
            acked_seq: acked,
            lengths,
            messages: packed,
            attributes: messages.iter().map(attributes).fold(0, |all, one| all | one),
        })
    }
}

/// Id, epoch, last and acknowledged sequence number.
pub fn known_producer(naive: &Naive, name: u8) -> (u64, u64, u64, u64) {
    let name = format!("producer-{name}");
    let named = naive.producers.iter().find(|(_, row)| row.name == name);
    let found = named.or_else(|| naive.producers.iter().next());
    found.map_or((777, 1, 0, 0), |(id, row)| (*id, row.epoch, row.last_seq, row.acked_seq))
}
