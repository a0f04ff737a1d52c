//! P12 where it is widest: queues with as many subscriptions as there may be, subscriptions with as many consumers, transactions that reach as many queues, messages that
//! supersede each other. What an entry touches has a bound there as well, and what it leaves is done by the ticks after it.
//! `cargo test --release -p quorate-machine --test bounded_wide -- --ignored --nocapture` prints the CPU time of each.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{World, held_singly, holder};
use prost::Message as _;
use quorate_machine::command::{
    Attach, Condition, CreateQueue, CreateSub, DeleteQueue, DeleteSub, Detach, LeaseRange, OpenProducer,
    Order, Outcome, Publish, PublishTo, Purge, QueueSettings, Require, Retain, Seek, Settings, Settle, Start,
    StartKind, Tick, Transact, Verb,
};
use quorate_machine::limits::{
    CONSUMERS_MAX, CREDIT_MAX, PER_KEY_INFLIGHT_MAX, PUBLISH_MESSAGES_MAX, PURGE_HELD_MAX, SUBSCRIPTIONS_MAX,
    TRANSACTION_MESSAGES_MAX, TRANSACTION_PARTS_MAX, TRANSACTION_REACH_MAX,
};
use quorate_machine::message::{Message, attributes};
use quorate_machine::read;
use quorate_machine::reply::{Refusal, Reply};

/// What a case is called, the state it begins with, the command, and the most rows that it and each tick after it touch.
type Case<'a> = (&'static str, &'a World, Verb, u64);

/// So many of the ticks after each are looked at.
const TICKS: usize = 30;

fn queue() -> String {
    "jobs".to_owned()
}

fn keyed(per_key_inflight: u32) -> Settings {
    let order = Order::Key.into();
    Settings { order, lease_ms: 60_000, per_key_inflight, jitter_percent: Some(0), ..Settings::default() }
}

fn attach(number: u64, subscription: &str, credit: u32) -> Verb {
    Verb::Attach(Attach {
        queue: queue(),
        subscription: subscription.into(),
        session: Bytes::copy_from_slice(&u128::from(number).to_be_bytes()),
        credit,
        session_timeout_ms: 30_000,
        ..Attach::default()
    })
}

fn packed(messages: impl Iterator<Item = Message>) -> (Vec<u32>, Bytes, u32) {
    let messages: Vec<Message> = messages.collect();
    let found = messages.iter().fold(0, |all, message| all | attributes(message));
    let encoded: Vec<Vec<u8>> = messages.iter().map(Message::encode_to_vec).collect();
    let (lengths, messages) = Publish::pack(&encoded);
    (lengths, messages, found)
}

fn publish(messages: impl Iterator<Item = Message>) -> Verb {
    let (lengths, messages, attributes) = packed(messages);
    Verb::Publish(Publish { queue: queue(), lengths, messages, attributes, ..Publish::default() })
}

/// Messages with a key each of so many, and with ids from a number on.
fn messages(from: u64, count: u64, keys: u64) -> impl Iterator<Item = Message> {
    (from..from + count).map(move |number| Message {
        id: format!("id {number}"),
        key: Bytes::from(format!("key {}", number % keys)),
        subject: "orders.created".into(),
        body: Bytes::from_static(b"x"),
        ..Message::default()
    })
}

/// Does whatever is left to do.
fn catch_up(world: &mut World) {
    while world.is_due() {
        world.one(Verb::Tick(Tick {})).expect("a tick is carried out");
    }
}

fn new_world(settings: Settings, of_queue: QueueSettings) -> World {
    let mut world = World { unchecked: true, ..World::new() };
    let create = CreateQueue { name: queue(), settings, queue: of_queue, ..CreateQueue::default() };
    world.one(Verb::CreateQueue(create)).expect("the name is free");
    world
}

fn add_subs(world: &mut World, settings: Settings) {
    for number in 1..SUBSCRIPTIONS_MAX {
        let start = Start { kind: StartKind::Earliest.into(), at: 0 };
        let (queue, name) = (queue(), format!("sub-{number}"));
        let command = CreateSub { queue, name, settings, start, ..CreateSub::default() };
        world.one(Verb::CreateSub(command)).expect("the name is free");
    }
}

/// One subscription with keys has as many consumers as it may, of which each holds some messages; and the first consumer a great many.
fn with_consumers() -> World {
    let mut world = new_world(keyed(1), QueueSettings::default());
    for number in 0..10 {
        world.one(publish(messages(number * 4096, 4096, u64::MAX))).expect("there is room");
        catch_up(&mut world);
    }
    world.one(attach(1, "", 20_000)).expect("there is room");
    catch_up(&mut world);
    for number in 2..=u64::from(CONSUMERS_MAX) {
        world.one(attach(number, "", 4)).expect("there is room");
    }
    catch_up(&mut world);
    world
}

/// A queue with as many subscriptions as there may be, of which all but the last are done with what was published, and each has consumers.
fn with_subs() -> World {
    let settings = keyed(1);
    let mut world = new_world(Settings { auto_ack: false, ..settings }, QueueSettings::default());
    add_subs(&mut world, settings);
    world.one(publish(messages(0, 512, u64::MAX))).expect("there is room");
    catch_up(&mut world);
    for number in 0..SUBSCRIPTIONS_MAX as u64 {
        let sub = if number == 0 { "default".into() } else { format!("sub-{number}") };
        world.one(attach(number * 20 + 1, &sub, 1024)).expect("there is room");
        catch_up(&mut world);
        let consumer = world_consumer(&world, number);
        if number < SUBSCRIPTIONS_MAX as u64 - 1 {
            settle_all(&mut world, consumer);
        }
        for other in 2..18 {
            world.one(attach(number * 20 + other, &sub, 1)).expect("there is room");
        }
    }
    catch_up(&mut world);
    world
}

/// The consumer that was attached first of those of a subscription.
fn world_consumer(world: &World, number: u64) -> u64 {
    let all = read::consumers(&world.store).expect("memory works");
    let session = Bytes::copy_from_slice(&u128::from(number * 20 + 1).to_be_bytes());
    all.iter().find(|row| row.session == session).expect("it was attached").consumer
}

/// What settles what a consumer holds, message by message.
fn settle(world: &World, consumer: u64, outcome: Outcome) -> Verb {
    let ranges = held_singly(&world.store, consumer, outcome, 0);
    Verb::Settle(Settle { consumer, ranges, ..Settle::default() })
}

/// The same without every second message: what continues each other would count as one range.
fn every_second(verb: Verb) -> Verb {
    let Verb::Settle(Settle { consumer, ranges, reasons }) = verb else { return verb };
    let ranges = ranges.into_iter().step_by(2).collect();
    Verb::Settle(Settle { consumer, ranges, reasons })
}

fn settle_all(world: &mut World, consumer: u64) {
    let verb = settle(world, consumer, Outcome::Ack);
    world.one(verb).expect("it holds them");
    catch_up(world);
}

/// One consumer holds all that may go back with the first message of a key, of several keys.
fn with_many_of_a_key() -> World {
    let mut world = new_world(keyed(PER_KEY_INFLIGHT_MAX), QueueSettings::default());
    for number in 0..2 {
        world.one(publish(messages(number * 4096, 4096, 32))).expect("there is room");
        catch_up(&mut world);
    }
    world.one(attach(1, "", CREDIT_MAX)).expect("there is room");
    catch_up(&mut world);
    world
}

/// A log of the latest message of each key, which nobody has to be done with, in as many subscriptions as there may be.
fn with_latest() -> World {
    let retain = Retain { latest_per_key: true, until_done: false, ..Retain::default() };
    let mut world = new_world(keyed(1), QueueSettings { retain, ..QueueSettings::default() });
    add_subs(&mut world, keyed(1));
    world.one(publish(messages(0, PUBLISH_MESSAGES_MAX as u64, u64::MAX))).expect("there is room");
    catch_up(&mut world);
    world
}

/// As many queues as a transaction reaches, and some more, with a route for the same subject; somebody waits at each of them.
fn with_routes() -> World {
    let mut world = new_world(keyed(1), QueueSettings::default());
    for number in 0..=TRANSACTION_REACH_MAX {
        let routes = vec![if number == 0 { "all.>".into() } else { "orders.>".into() }, "some.>".into()];
        let routes = if number == TRANSACTION_REACH_MAX { vec!["some.>".into()] } else { routes };
        let name = format!("queue-{number}");
        let create = CreateQueue { name: name.clone(), settings: keyed(1), routes, ..CreateQueue::default() };
        world.one(Verb::CreateQueue(create)).expect("the name is free");
        let Verb::Attach(waits) = attach(1000 + number, "", 8) else { unreachable!() };
        world.one(Verb::Attach(Attach { queue: name, ..waits })).expect("there is room");
    }
    world
}

fn routed(subject: &str, messages: u64) -> Verb {
    let message = |number| Message { subject: format!("{subject}.{number}"), ..Message::default() };
    let (lengths, messages, attributes) = packed((0..messages).map(message));
    let publish = vec![PublishTo { queue: String::new(), lengths, messages, attributes }];
    Verb::Transact(Transact { publish, ..Transact::default() })
}

/// A producer with receipts that do not continue each other, and the publish that says that it has them.
fn with_receipts() -> (World, Verb) {
    let mut world = new_world(Settings::default(), QueueSettings::default());
    let other = CreateQueue { name: "other".into(), ..CreateQueue::default() };
    world.one(Verb::CreateQueue(other)).expect("the name is free");
    let open = OpenProducer { session: "p".into(), holder: holder(1), ..OpenProducer::default() };
    world.one(Verb::OpenProducer(open)).expect("there is room");
    let one = |seq: u64, acked_seq| {
        let queue = if seq.is_multiple_of(2) { queue() } else { "other".into() };
        let (lengths, messages, attributes) = packed(std::iter::once(Message::default()));
        let session = Publish { producer: 1, epoch: 1, first_seq: seq, acked_seq, ..Publish::default() };
        Verb::Publish(Publish { queue, lengths, messages, attributes, ..session })
    };
    for seq in 1..=20_000 {
        world.one(one(seq, 0)).expect("there is room");
    }
    (world, one(20_001, 20_000))
}

fn required(count: u32) -> Verb {
    let held =
        LeaseRange { queue: queue(), first_position: 1, count, first_token: 1, ..LeaseRange::default() };
    let one = Require { condition: Some(Condition::Held(held)) };
    Verb::Transact(Transact { require: vec![one; TRANSACTION_PARTS_MAX], ..Transact::default() })
}

fn seek(name: &str) -> Verb {
    let to = Start { kind: StartKind::Latest.into(), at: 0 };
    Verb::Seek(Seek { queue: queue(), name: name.into(), to, ..Seek::default() })
}

struct Worlds {
    consumers: World,
    subs: World,
    settled: World,
    many_of_a_key: World,
    latest: World,
    routes: World,
    receipts: World,
    forgets: Verb,
}

impl Worlds {
    fn new() -> Self {
        let (receipts, forgets) = with_receipts();
        let subs = with_subs();
        let mut settled = subs.again();
        let last = world_consumer(&settled, SUBSCRIPTIONS_MAX as u64 - 1);
        settle_all(&mut settled, last);
        Self {
            consumers: with_consumers(),
            settled,
            subs,
            many_of_a_key: with_many_of_a_key(),
            latest: with_latest(),
            routes: with_routes(),
            receipts,
            forgets,
        }
    }

    fn cases(&self) -> Vec<Case<'_>> {
        let name = queue;
        let purge = || Verb::Purge(Purge { name: name(), ..Purge::default() });
        let delete = || Verb::DeleteQueue(DeleteQueue { name: name(), ..DeleteQueue::default() });
        let delete_sub =
            || Verb::DeleteSub(DeleteSub { queue: name(), name: "sub-1".into(), ..DeleteSub::default() });
        let detach = || Verb::Detach(Detach { consumer: 1, generation: 1 });
        let last = world_consumer(&self.subs, SUBSCRIPTIONS_MAX as u64 - 1);
        vec![
            ("seek with consumers", &self.consumers, seek("default"), 18_000),
            ("purge with consumers", &self.consumers, purge(), 2_000),
            ("delete with consumers", &self.consumers, delete(), 15_000),
            ("detach of one with many", &self.consumers, detach(), 10_000),
            ("release", &self.consumers, settle(&self.consumers, 1, Outcome::Release), 10_000),
            ("resume", &self.consumers, attach(1, "", 20_000), 2_000),
            ("seek in many", &self.subs, seek("sub-1"), 1_000),
            ("purge of many", &self.subs, purge(), 15_000),
            ("purge of many that hold nothing", &self.settled, purge(), 15_000),
            ("delete many", &self.subs, delete(), 12_000),
            ("delete one of many", &self.subs, delete_sub(), 1_000),
            (
                "acknowledge what one of many needs",
                &self.subs,
                every_second(settle(&self.subs, last, Outcome::Ack)),
                6_000,
            ),
            ("publish to many", &self.subs, publish(messages(100_000, 4096, u64::MAX)), 15_000),
            ("publish what many are done with", &self.settled, publish(messages(0, 1024, u64::MAX)), 12_000),
            (
                "release of the first of keys",
                &self.many_of_a_key,
                settle(&self.many_of_a_key, 1, Outcome::Release),
                19_000,
            ),
            (
                "supersede",
                &self.latest,
                publish(messages(0, 4096, u64::MAX).map(|one| Message { id: String::new(), ..one })),
                18_500,
            ),
            ("route to as many as may be", &self.routes, routed("orders", 1), 9_000),
            ("route to more", &self.routes, routed("some", 1), 5_000),
            (
                "route to as many by many subjects",
                &self.routes,
                routed("orders", TRANSACTION_MESSAGES_MAX as u64),
                18_500,
            ),
            ("require what is held", &self.consumers, required(2), 3_000),
            ("forget receipts", &self.receipts, self.forgets.clone(), 10_000),
        ]
    }
}

/// Applies each case to a copy of its state, and the ticks that follow; calls with its name, whether it is a tick, and the rows, and the time of each entry.
fn apply_all(worlds: &Worlds, times: usize, mut each: impl FnMut(&str, bool, (u64, u64), Duration)) {
    for (name, from, verb, most) in worlds.cases() {
        let mut world = from.again();
        let (outcome, time) = world.measured(verb, times);
        each(name, false, (world.rows(), most), time);
        if let Err(refusal) = outcome {
            println!("    {refusal}");
        }
        for _ in 0..TICKS {
            if !world.is_due() {
                break;
            }
            let (outcome, time) = world.measured(Verb::Tick(Tick {}), times);
            assert_eq!(outcome, Ok(Reply::Done), "{name}");
            each(name, true, (world.rows(), most), time);
        }
    }
}

#[test]
fn no_entry_touches_more_rows_than_it_may_however_wide_it_is() {
    let mut too_many = Vec::new();
    apply_all(&Worlds::new(), 1, |name, is_tick, (rows, most), _| {
        let what = format!("{name}{}: {rows} rows", if is_tick { ", a tick" } else { "" });
        println!("{what}");
        if rows > most {
            too_many.push(what);
        }
    });
    assert!(too_many.is_empty(), "{too_many:?}");
}

/// How long it takes: a figure for the documents, and of a release build a verdict.
#[test]
#[ignore = "a measurement, of a release build"]
fn how_long_the_widest_entries_take() {
    let mut longest = Duration::ZERO;
    apply_all(&Worlds::new(), 4, |name, is_tick, (rows, _), time| {
        if !is_tick || time > Duration::from_millis(8) {
            println!("{name}{}: {rows} rows in {time:?}", if is_tick { ", a tick" } else { "" });
        }
        longest = longest.max(time);
    });
    println!("the longest entry {longest:?}");
    assert!(longest < Duration::from_millis(20), "{longest:?}");
}

#[test]
fn a_purge_is_refused_while_more_is_held_than_can_go_along() {
    let mut world = new_world(keyed(1), QueueSettings::default());
    world.one(publish(messages(0, 4096, u64::MAX))).expect("there is room");
    catch_up(&mut world);
    world.one(attach(1, "", PURGE_HELD_MAX as u32 + 1)).expect("there is room");
    catch_up(&mut world); // they are handed out by several entries
    let purge = || Verb::Purge(Purge { name: queue(), ..Purge::default() });
    let refused = world.one(purge()).expect_err("too much is held");
    assert!(matches!(refused, Refusal::LimitReached { limit: PURGE_HELD_MAX, .. }), "{refused}");
    let Verb::Settle(mut settle) = settle(&world, 1, Outcome::Ack) else { unreachable!() };
    settle.ranges.truncate(1);
    world
        .one(Verb::Credit(quorate_machine::command::Credit { consumer: 1, generation: 1, credit: 0 }))
        .expect("it is attached");
    world.one(Verb::Settle(settle)).expect("it holds it");
    let (outcome, time) = world.measured(purge(), 1);
    assert_eq!(outcome, Ok(Reply::Done));
    println!("a purge with as many as go along: {} rows in {time:?}", world.rows());
    assert!(world.rows() < 30_000, "{} rows", world.rows());
    let held = read::held(&world.store, 1).expect("it is attached");
    assert_eq!(held.leases.iter().map(|lease| u64::from(lease.count)).sum::<u64>(), PURGE_HELD_MAX);
}
