//! However much is due at once, an entry touches a bounded number of rows, and the next ones go on (P12).

mod common;

use bytes::Bytes;
use common::{World, attach};
use quorate_machine::command::{
    CreateQueue, CreateSub, OnExhausted, Order, Publish, QueueSettings, Settings, Start, StartKind, Tick,
    Verb,
};
use quorate_machine::limits::{CREDIT_MAX, ENTRY_ROWS};
use quorate_machine::message::{Message, attributes};
use quorate_machine::reply::Reply;
use quorate_machine::work::Kind;
use quorate_machine::{MemoryStore, read};

/// What is begun when an entry is full is gone through with.
const ROWS_MAX: u64 = ENTRY_ROWS + ENTRY_ROWS / 2;
const BATCH: u64 = 4096;
/// Each holds at most 1024 messages where several of a key may be leased.
const CONSUMERS: u8 = 24;

fn keyed() -> Settings {
    Settings { order: Order::Key.into(), lease_ms: 1000, ..Settings::default() }
}

fn publish(messages: impl Iterator<Item = Message>) -> Verb {
    let messages: Vec<Message> = messages.collect();
    let attributes = messages.iter().fold(0, |all, message| all | attributes(message));
    let encoded: Vec<Vec<u8>> = messages.iter().map(prost::Message::encode_to_vec).collect();
    let (lengths, messages) = Publish::pack(&encoded);
    Verb::Publish(Publish { queue: "jobs".into(), lengths, messages, attributes, ..Publish::default() })
}

fn message(number: u64) -> Message {
    Message {
        key: Bytes::from(format!("customer {number}")),
        body: Bytes::from_static(b"x"),
        ..Message::default()
    }
}

fn create(world: &mut World, settings: Settings, queue: QueueSettings) {
    let command = CreateQueue { name: "jobs".into(), settings, queue, ..CreateQueue::default() };
    world.one(Verb::CreateQueue(command)).expect("the name is free");
}

fn subscribe(world: &mut World, name: &str, settings: Settings) {
    let start = Start { kind: StartKind::Latest.into(), at: 0 };
    let (queue, name) = ("jobs".into(), name.into());
    let command = CreateSub { queue, name, settings, start, ..CreateSub::default() };
    world.one(Verb::CreateSub(command)).expect("the name is free");
}

/// Lets time pass until nothing is due any more. Returns how many entries that took; each did something, and none too much.
fn catch_up(world: &mut World) -> u64 {
    for entries in 1.. {
        world.one(Verb::Tick(Tick {})).expect("a tick is carried out");
        let last = world.last.as_ref().expect("an entry was applied");
        assert!(last.rows <= ROWS_MAX, "entry {entries} touched {} rows: {:?}", last.rows, last.steps);
        if last.next_deadline_ms.is_none_or(|due_ms| due_ms > world.clock_ms) {
            return entries;
        }
        assert!(entries < 1_000_000, "it does not come to an end");
    }
    0
}

#[test]
fn a_hundred_thousand_keys_that_are_due_at_once_are_several_entries() {
    let mut world = World { unchecked: true, ..World::new() };
    create(&mut world, keyed(), QueueSettings::default());
    let due_ms = world.clock_ms + 60_000;
    for batch in 0..25 {
        let delayed = |number: u64| Message { deliver_at_ms: due_ms, ..message(number) };
        world.one(publish((batch * BATCH..(batch + 1) * BATCH).map(delayed))).expect("there is room");
    }
    assert_eq!(world.stat().delayed, 25 * BATCH);
    world.after(60_000);
    let entries = catch_up(&mut world);
    assert!(entries > 30, "{entries}");
    assert_eq!((world.stat().ready, world.stat().delayed), (25 * BATCH, 0));
    quorate_machine::check::check(&world.store).expect("the state is sound");
}

#[test]
fn what_is_due_at_once_is_ready_in_its_order_and_nothing_overtakes() {
    for order in [Order::Key, Order::Total, Order::None] {
        let mut world = World { unchecked: true, ..World::new() };
        create(&mut world, Settings { order: order.into(), ..keyed() }, QueueSettings::default());
        let due_ms = world.clock_ms + 1000;
        let delayed = |number: u64| Message { deliver_at_ms: due_ms, ..message(number % 7) };
        world.one(publish((0..3000).map(delayed))).expect("there is room");
        world.one(attach("jobs", 1, 5)).expect("there is room");
        world.after(1000);
        let mut got = Vec::new();
        for _ in 0..100_000 {
            world.one(Verb::Tick(Tick {})).expect("a tick is carried out");
            let mut new = std::collections::VecDeque::from(world.got());
            while let Some(one) = new.pop_front() {
                got.push(one.position);
                world.settle_one(one, quorate_machine::command::Outcome::Ack);
                new.extend(world.got());
            }
            if world.stat().length == 0 {
                break;
            }
        }
        let mut sorted = got.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 3000, "each once, {order:?}");
        let in_order = match order {
            Order::Key => (0..7u64).all(|key| {
                let of_key: Vec<u64> = got.iter().copied().filter(|at: &u64| at % 7 == key).collect();
                of_key.is_sorted()
            }),
            _ => got.is_sorted(),
        };
        assert!(in_order, "{order:?}: {got:?}");
    }
}

#[test]
fn a_batch_that_expires_in_many_subscriptions_is_several_entries() {
    let mut world = World { unchecked: true, ..World::new() };
    create(&mut world, keyed(), QueueSettings { ttl_ms: 5000, ..QueueSettings::default() });
    for number in 0..8 {
        let settings =
            Settings { order: if number % 2 == 0 { Order::Key } else { Order::None }.into(), ..keyed() };
        subscribe(&mut world, &format!("sub-{number}"), settings);
    }
    for _ in 0..3 {
        world.one(publish((0..BATCH).map(message))).expect("there is room");
        catch_up(&mut world); // what they have not looked at yet
    }
    world.after(5000);
    let entries = catch_up(&mut world);
    assert!(entries > 20, "{entries}");
    for sub in ["default", "sub-0", "sub-1", "sub-7"] {
        let stat = read::stat(&world.store, "default", "jobs", sub).expect("it is there");
        assert_eq!((stat.length, stat.expired, stat.bytes), (0, 3 * BATCH, 0), "{sub}");
    }
    quorate_machine::check::check(&world.store).expect("the state is sound");
}

#[test]
fn leases_of_many_keys_that_end_at_once_are_several_entries() {
    for on_exhausted in [OnExhausted::Unspecified, OnExhausted::ParkKey] {
        let mut world = World { unchecked: true, ..World::new() };
        let max_attempts = u32::from(on_exhausted == OnExhausted::ParkKey);
        let settings =
            Settings { max_attempts, on_exhausted: on_exhausted.into(), per_key_inflight: 4, ..keyed() };
        create(&mut world, settings, QueueSettings::default());
        for consumer in 1..=CONSUMERS {
            world.one(attach("jobs", consumer, CREDIT_MAX)).expect("there is room");
        }
        for _ in 0..4 {
            world.one(publish((0..BATCH).map(message))).expect("there is room");
            catch_up(&mut world);
        }
        assert_eq!(world.stat().leased, 4 * BATCH);
        for consumer in 1..=CONSUMERS {
            let consumer = consumer.into();
            let credit = quorate_machine::command::Credit { consumer, generation: 1, credit: 0 };
            world.one(Verb::Credit(credit)).expect("it is attached");
        }
        world.after(1000);
        let entries = catch_up(&mut world);
        assert!(entries > 10, "{entries}");
        let stat = world.stat();
        assert_eq!((stat.leased, stat.ready + stat.parked), (0, 4 * BATCH), "{on_exhausted:?}");
        quorate_machine::check::check(&world.store).expect("the state is sound");
    }
}

#[test]
fn a_tick_says_what_it_did_in_the_order_of_what_was_due() {
    let mut world = World { unchecked: true, ..World::new() };
    create(&mut world, keyed(), QueueSettings::default());
    let start_ms = world.clock_ms;
    let delayed = |number: u64| Message { deliver_at_ms: start_ms + 10 + number % 2, ..message(number) };
    world.one(publish((0..2000).map(delayed))).expect("there is room");
    world.after(1000);
    let mut steps = Vec::new();
    while world.last.as_ref().is_some_and(|last| last.next_deadline_ms.is_some()) {
        assert_eq!(world.one(Verb::Tick(Tick {})), Ok(Reply::Done));
        let last = world.last.as_ref().expect("an entry was applied");
        assert_eq!(last.steps[0].kind, Kind::Tick);
        steps.extend(last.steps[1..].iter().map(|step| (step.time_ms, step.first, step.end)));
    }
    assert!(steps.is_sorted(), "{steps:?}");
    let done: u64 = steps.iter().map(|(_, first, end)| end - first).sum();
    assert_eq!((done, world.stat().ready), (2000, 2000));
    assert_ne!(world.store, MemoryStore::new());
}

/// What a consumer holds of a key that ended is not released yet, so nobody gets more of the key; least of all itself.
#[test]
fn who_ended_gets_no_more_of_the_keys_that_it_held() {
    let mut world = World { rows_max: Some(1), ..World::new() };
    create(&mut world, Settings { per_key_inflight: 2, ..keyed() }, QueueSettings::default());
    world.one(attach("jobs", 1, 2)).expect("there is room");
    let of_key =
        |key: &'static str| Message { key: Bytes::from_static(key.as_bytes()), ..Message::default() };
    world.one(publish(["a", "b"].into_iter().map(of_key))).expect("there is room");
    catch_up(&mut world);
    world.one(publish(["b"].into_iter().map(of_key))).expect("there is room");
    catch_up(&mut world);
    assert_eq!(world.stat().leased, 2, "it has no credit left for the second message of a key");
    let detach = quorate_machine::command::Detach { consumer: 1, generation: 1 };
    world.one(Verb::Detach(detach)).expect("it is attached");
    assert_eq!(world.stat().leased, 1, "one is released, and the other has to wait");
    world.one(attach("jobs", 2, 9)).expect("there is room");
    catch_up(&mut world);
    assert_eq!((world.stat().leased, world.stat().ready), (3, 0));
}
