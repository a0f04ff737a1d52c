//! Every verb at its largest lawful size, in a state that makes it as much work as can be: what it touches is bounded (P12). `--nocapture` prints the rows;
//! `cargo test --release -p quorate-machine --test bounded_verbs -- --ignored --nocapture` prints the time that they take.

mod common;

use bytes::Bytes;
use common::{World, attach, held_singly};
use quorate_machine::command::{
    Action, CreateQueue, CreateSub, Credit, DeleteSub, Detach, Order, Outcome, Publish, PublishTo, Purge,
    Put, QueueSettings, Reschedule, Retain, Seek, Selector, Settings, Settle, SettleLease, SettleRange,
    Start, StartKind, Tick, Transact, Unpark, UpdateQueue, Verb,
};
use quorate_machine::limits::{
    CREDIT_MAX, ENTRY_ROWS, PUBLISH_MESSAGES_MAX, TRANSACTION_MESSAGES_MAX, TRANSACTION_PARTS_MAX,
};
use quorate_machine::message::{Message, attributes};

/// The most that an entry has: what it may do before it leaves the rest, and the longest batch that it had begun to delete.
const ROWS_MAX: u64 = 30_000;
/// The most that a command has that is no tick.
const COMMAND_ROWS: u64 = 17_000;
const SUBS: usize = 8;
const BATCHES: u64 = 2;
const SINGLES: u64 = 1500;

fn settings() -> Settings {
    let order = Order::Key.into();
    Settings { order, lease_ms: 60_000, per_key_inflight: 4, jitter_percent: Some(0), ..Settings::default() }
}

/// With everything that a message can have.
fn message(number: u64) -> Message {
    Message {
        id: format!("id {number}"),
        key: Bytes::from(format!("customer {}", number / 3)),
        subject: "orders.created".into(),
        body: Bytes::from_static(b"x"),
        ttl_ms: 1_000_000 + number % 2,
        ..Message::default()
    }
}

fn packed(messages: impl Iterator<Item = Message>) -> (Vec<u32>, Bytes, u32) {
    let messages: Vec<Message> = messages.collect();
    let attributes = messages.iter().fold(0, |all, message| all | attributes(message));
    let encoded: Vec<Vec<u8>> = messages.iter().map(prost::Message::encode_to_vec).collect();
    let (lengths, messages) = Publish::pack(&encoded);
    (lengths, messages, attributes)
}

fn publish(numbers: std::ops::Range<u64>) -> Verb {
    let (lengths, messages, attributes) = packed(numbers.map(message));
    Verb::Publish(Publish { queue: "jobs".into(), lengths, messages, attributes, ..Publish::default() })
}

fn catch_up(world: &mut World) {
    loop {
        world.one(Verb::Tick(Tick {})).expect("a tick is carried out");
        if !world.is_due() {
            return;
        }
    }
}

/// Long batches and short ones in subscriptions with keys, of which one has leased as much as it can.
fn world(leased: u32) -> World {
    let mut world = World { unchecked: true, ..World::new() };
    let routes = vec!["orders.>".into()];
    let create = CreateQueue { name: "jobs".into(), settings: settings(), routes, ..CreateQueue::default() };
    world.one(Verb::CreateQueue(create)).expect("the name is free");
    for number in 1..SUBS {
        let start = Start { kind: StartKind::Earliest.into(), at: 0 };
        let (queue, name) = ("jobs".into(), format!("sub-{number}"));
        let command = CreateSub { queue, name, settings: settings(), start, ..CreateSub::default() };
        world.one(Verb::CreateSub(command)).expect("the name is free");
    }
    if leased > 0 {
        world.one(attach("jobs", 1, leased)).expect("there is room");
    }
    let batch = PUBLISH_MESSAGES_MAX as u64;
    for number in 0..BATCHES {
        world.one(publish(number * batch..(number + 1) * batch)).expect("there is room");
        catch_up(&mut world);
    }
    for number in 0..SINGLES {
        world.one(publish(BATCHES * batch + number..BATCHES * batch + number + 1)).expect("there is room");
    }
    catch_up(&mut world);
    world
}

/// The ranges that settle what the consumer holds, each message by itself.
fn ranges(world: &World, outcome: Outcome) -> Vec<SettleRange> {
    held_singly(&world.store, 1, outcome, u32::from(outcome == Outcome::Retry))
}

fn everything_at_once(world: &World) -> Verb {
    let settle = ranges(world, Outcome::Ack).into_iter().map(|range| SettleLease {
        queue: "jobs".into(),
        subscription: String::new(),
        range,
    });
    let (lengths, messages, attributes) =
        packed((100_000..100_000 + TRANSACTION_MESSAGES_MAX as u64).map(message));
    let put = |number: usize| Put {
        key: format!("key {number}"),
        value: Bytes::from(vec![1; 1024]),
        delete: false,
        ttl_ms: 1_000_000,
    };
    Verb::Transact(Transact {
        settle: settle.collect(),
        publish: vec![PublishTo { queue: String::new(), lengths, messages, attributes }],
        put: (0..TRANSACTION_PARTS_MAX).map(put).collect(),
        ..Transact::default()
    })
}

/// Each verb with what it does to a world of its own.
fn cases(world: &World) -> Vec<(&'static str, Verb)> {
    let (name, queue) = (|| "jobs".to_owned(), || "jobs".to_owned());
    let earliest = || Start { kind: StartKind::Earliest.into(), at: 0 };
    let settle = |outcome| {
        let (ranges, reasons) = (ranges(world, outcome), vec!["no luck".into()]);
        Verb::Settle(Settle { consumer: 1, ranges, reasons })
    };
    let unpark = |action: Action| {
        let selector = Selector::default();
        Verb::Unpark(Unpark { queue: "jobs".into(), action: action.into(), selector, ..Unpark::default() })
    };
    let retain = Retain { count: 1, ..Retain::default() };
    let bounds = QueueSettings { retain, ..QueueSettings::default() };
    vec![
        ("publish", publish(200_000..200_000 + PUBLISH_MESSAGES_MAX as u64)),
        ("publish what is there", publish(0..PUBLISH_MESSAGES_MAX as u64)),
        ("acknowledge", settle(Outcome::Ack)),
        ("retry", settle(Outcome::Retry)),
        ("release", settle(Outcome::Release)),
        ("park", settle(Outcome::Park)),
        ("extend", settle(Outcome::Extend)),
        ("transact", everything_at_once(world)),
        ("attach", attach("jobs", 2, CREDIT_MAX)),
        ("credit", Verb::Credit(Credit { consumer: 1, generation: 1, credit: CREDIT_MAX })),
        ("detach", Verb::Detach(Detach { consumer: 1, generation: 1 })),
        ("redrive", unpark(Action::Redrive)),
        ("discard", unpark(Action::Discard)),
        ("reschedule", Verb::Reschedule(Reschedule { queue: queue(), position: 1, ..Reschedule::default() })),
        ("retain", Verb::UpdateQueue(UpdateQueue { name: name(), queue: bounds, ..UpdateQueue::default() })),
        (
            "create a subscription",
            Verb::CreateSub(CreateSub {
                queue: queue(),
                name: "new".into(),
                settings: settings(),
                start: earliest(),
                ..CreateSub::default()
            }),
        ),
        (
            "seek",
            Verb::Seek(Seek { queue: queue(), name: "sub-1".into(), to: earliest(), ..Seek::default() }),
        ),
        ("purge", Verb::Purge(Purge { name: name(), ..Purge::default() })),
        (
            "delete a subscription",
            Verb::DeleteSub(DeleteSub { queue: queue(), name: "sub-1".into(), ..DeleteSub::default() }),
        ),
        (
            "delete",
            Verb::DeleteQueue(quorate_machine::command::DeleteQueue { name: name(), ..Default::default() }),
        ),
    ]
}

/// Applies each verb to a copy of the state, and the ticks that follow; calls with the name and the rows of each entry.
fn apply_all(times: usize, mut each: impl FnMut(&str, u64, std::time::Duration)) {
    let held = world(4096);
    let mut parked = world(4096);
    for _ in 0..2 {
        let (consumer, ranges) = (1, ranges(&parked, Outcome::Park));
        let _ = parked.one(Verb::Settle(Settle { consumer, ranges, ..Settle::default() }));
    }
    for (name, verb) in cases(&held) {
        let mut world = if matches!(verb, Verb::Unpark(_)) { &parked } else { &held }.again();
        let (_, time) = world.measured(verb, times);
        each(name, world.rows(), time);
        if name == "retry" || name == "release" {
            world.after(2_000_000); // everything is due: backoffs, leases and expiries
        }
        while world.is_due() {
            let (_, time) = world.measured(Verb::Tick(Tick {}), times);
            each("a tick after it", world.rows(), time);
        }
    }
}

#[test]
fn no_verb_touches_more_rows_than_an_entry_may() {
    let (mut most, mut verb) = (0, String::new());
    apply_all(1, |name, rows, _| {
        if name != "a tick after it" {
            verb = name.into();
            println!("{name}: {rows} rows");
            assert!((1..=COMMAND_ROWS).contains(&rows), "{name}: {rows} rows");
        }
        most = most.max(rows);
        assert!(rows <= ROWS_MAX, "{verb}, {name}: {rows} rows");
    });
    assert!(most > ENTRY_ROWS, "it was not much: {most}");
}

/// How long it takes: figures for the documents, and of a release build a verdict.
#[test]
#[ignore = "a measurement, of a release build"]
fn how_long_a_row_takes() {
    let (mut rows_all, mut time_all, mut longest) = (0, std::time::Duration::ZERO, std::time::Duration::ZERO);
    apply_all(4, |name, rows, time| {
        if name != "a tick after it" || time.as_millis() >= 12 {
            println!("{name}: {rows} rows in {time:?}");
        }
        (rows_all, time_all, longest) = (rows_all + rows, time_all + time, longest.max(time));
    });
    println!("{} ns a row, the longest entry {longest:?}", time_all.as_nanos() / u128::from(rows_all.max(1)));
    assert!(longest.as_millis() < 20, "{longest:?}");
}
