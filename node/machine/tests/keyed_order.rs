//! Order `key` at work: ten thousand keys, thirty-two consumers that fail, give back, dawdle and die, and for every key the first
//! acknowledgements come in the order of publishing.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use common::{Got, World, attach, range};
use prost::Message as _;
use quorate_machine::command::{Detach, Order, Outcome, Publish, Settings, Settle, Verb};
use quorate_machine::effect::Effect;
use quorate_machine::message::{KEYED, Message};
use quorate_machine::read;
use quorate_machine::reply::Reply;

const KEYS: u64 = 10_000;
const ROUNDS: u64 = 3;
const BATCH: u64 = 500;
const CONSUMERS: u8 = 32;
const CREDIT: u32 = 64;

/// Numbers that are the same every time (Marsaglia's xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// The message at position p has the key number (p - 1) % KEYS.
fn key_of(position: u64) -> u64 {
    (position - 1) % KEYS
}

fn batch(from: u64) -> Verb {
    let message = |number: u64| {
        let key = Bytes::from((number % KEYS).to_string());
        Message { key, body: Bytes::from_static(b"x"), ..Message::default() }.encode_to_vec()
    };
    let encoded: Vec<Vec<u8>> = (from..from + BATCH).map(message).collect();
    let (lengths, messages) = Publish::pack(&encoded);
    Verb::Publish(Publish {
        queue: "jobs".into(),
        lengths,
        messages,
        attributes: KEYED,
        ..Publish::default()
    })
}

/// What is known from the outside.
#[derive(Default)]
struct Watched {
    /// Who holds a position, under which token.
    held: BTreeMap<u64, Got>,
    /// For each key the positions that were acknowledged, in the order in which they first were.
    acknowledged: BTreeMap<u64, Vec<u64>>,
    most_keys_at_once: usize,
    failures: u64,
    revoked: u64,
}

impl Watched {
    fn look(&mut self, world: &World) {
        for lost in world.lost() {
            assert!(self.held.remove(&lost.position).is_some(), "{lost:?} was revoked and not held");
            self.revoked += 1;
        }
        for got in world.got() {
            let key = key_of(got.position);
            let done = self.acknowledged.get(&key).map_or(0, Vec::len) as u64;
            let first_open = key + 1 + done * KEYS;
            assert_eq!(got.position, first_open, "the lowest of its key goes first");
            assert_eq!(self.held.insert(got.position, got), None, "one holder at a time");
        }
        let keys: BTreeSet<u64> = self.held.keys().map(|position| key_of(*position)).collect();
        assert_eq!(keys.len(), self.held.len(), "one message of a key at a time");
        self.most_keys_at_once = self.most_keys_at_once.max(keys.len());
    }

    /// Some of what a consumer holds.
    fn some_of(&self, consumer: u64, numbers: &mut Numbers) -> Vec<Got> {
        let all = self.held.values().filter(|got| got.consumer == consumer);
        all.filter(|_| numbers.below(3) > 0).copied().collect()
    }
}

#[test]
fn for_every_key_the_first_acknowledgements_come_in_the_order_of_publishing() {
    let mut world = World::new();
    world.unchecked = true;
    let settings = Settings {
        order: Order::Key.into(),
        lease_ms: 1000,
        backoff_first_ms: 50,
        backoff_last_ms: 400,
        ..Settings::default()
    };
    world.create_with("jobs", settings).expect("the name is free");
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut watched = Watched::default();
    let mut consumers: Vec<(u64, u64)> = Vec::new();
    let mut lives = 0u8;
    let total = KEYS * ROUNDS;
    let mut published = 0;
    while (watched.acknowledged.values().map(Vec::len).sum::<usize>() as u64) < total {
        if published < total {
            world.one(batch(published)).expect("there is room");
            published += BATCH;
            watched.look(&world);
        }
        while consumers.len() < usize::from(CONSUMERS) {
            lives = lives.wrapping_add(1);
            let Ok(Reply::Attached(attached)) = world.one(attach("jobs", lives, CREDIT)) else {
                panic!("it attaches")
            };
            consumers.push((attached.consumer, attached.generation));
            watched.look(&world);
        }
        let at = numbers.below(u64::from(CONSUMERS)) as usize;
        step(&mut world, &mut numbers, &mut watched, &mut consumers, at);
        let pause_ms = numbers.below(60);
        world.after(pause_ms).tick();
        watched.failures += world.lost().len() as u64;
        watched.look(&world);
    }
    for (key, positions) in &watched.acknowledged {
        let expected: Vec<u64> = (0..ROUNDS).map(|round| key + 1 + round * KEYS).collect();
        assert_eq!(*positions, expected, "key {key}");
    }
    assert_eq!(watched.acknowledged.len() as u64, KEYS);
    assert!(watched.most_keys_at_once >= 1000, "{} keys in flight at once", watched.most_keys_at_once);
    assert!(watched.failures > 1000 && watched.revoked > 1000, "there was trouble");
    let stat = read::stat(&world.store, "default", "jobs", "").expect("the queue is there");
    assert_eq!((stat.length, stat.ready, stat.leased), (0, 0, 0));
    quorate_machine::check::check(&world.store).expect("the state is sound");
}

/// One consumer acknowledges, fails, gives back, or dies.
fn step(
    world: &mut World,
    numbers: &mut Numbers,
    watched: &mut Watched,
    consumers: &mut Vec<(u64, u64)>,
    at: usize,
) {
    let (consumer, generation) = consumers[at];
    if numbers.below(40) == 0 {
        world.one(Verb::Detach(Detach { consumer, generation })).expect("it is attached");
        consumers.swap_remove(at);
        watched.held.retain(|_, got| got.consumer != consumer);
        let ended = |effect: &Effect| *effect == Effect::Ended { consumer };
        assert!(world.last.as_ref().is_some_and(|last| last.effects.iter().any(ended)));
        return watched.look(world);
    }
    let mut ranges = Vec::new();
    let mut acknowledged = Vec::new();
    for got in watched.some_of(consumer, numbers) {
        let outcome = match numbers.below(10) {
            0 => Outcome::Retry,
            1 => Outcome::Release,
            2 => continue, // its lease will end by time
            _ => {
                acknowledged.push(got.position);
                Outcome::Ack
            }
        };
        watched.failures += u64::from(outcome == Outcome::Retry);
        watched.held.remove(&got.position);
        ranges.push(range(got, 1, outcome));
    }
    let settle = Settle { consumer, ranges, ..Settle::default() };
    let Ok(Reply::Settled(settled)) = world.one(Verb::Settle(settle)) else { panic!("it is attached") };
    assert_eq!(settled.refused, [], "what is held can be settled");
    for position in acknowledged {
        watched.acknowledged.entry(key_of(position)).or_default().push(position);
    }
    watched.look(world);
}
