//! What a queue retains: in bounded steps, without a trace, and never so little that what was just published is gone.

mod common;

use bytes::Bytes;
use common::{World, positions};
use prost::Message as _;
use quorate_machine::command::{
    CreateQueue, CreateSub, Publish, Purge, QueueSettings, Retain, Settings, Start, StartKind, UpdateQueue,
    Verb,
};
use quorate_machine::limits::PUBLISH_MESSAGES_MAX;
use quorate_machine::message::{Message, attributes};
use quorate_machine::read;
use quorate_machine::reply::{Outcome, Refusal, Reply};
use quorate_machine::tables::Table;

const NONE: Retain = Retain { until_done: false, for_ms: 0, bytes: 0, count: 0, latest_per_key: false };
/// An entry of these tests leaves the rest when it has touched so many rows.
const ROWS: u64 = 4000;
const MANY: u64 = 1500;

fn create(retain: Retain) -> World {
    let mut world = World::new();
    let queue = QueueSettings { retain, ..QueueSettings::default() };
    let settings = Settings { lease_ms: 60_000, ..Settings::default() };
    let create = CreateQueue { name: "jobs".into(), queue, settings, ..CreateQueue::default() };
    world.one(Verb::CreateQueue(create)).expect("the name is free");
    world
}

fn update(world: &mut World, retain: Retain) {
    let queue = QueueSettings { retain, ..QueueSettings::default() };
    let command = UpdateQueue { name: "jobs".into(), queue, ..UpdateQueue::default() };
    world.one(Verb::UpdateQueue(command)).expect("it is allowed");
}

/// So many batches of one message.
fn publish_singly(world: &mut World, count: u64) {
    world.unchecked = true;
    for _ in 0..count {
        world.publish(&["m"]);
    }
    world.unchecked = false;
}

fn publish_keys(world: &mut World, keys: &[String]) -> Outcome {
    let message = |key: &String| Message { key: Bytes::from(key.clone()), ..Message::default() };
    let messages: Vec<Message> = keys.iter().map(message).collect();
    let encoded: Vec<Vec<u8>> = messages.iter().map(Message::encode_to_vec).collect();
    let (lengths, packed) = Publish::pack(&encoded);
    let attributes = messages.iter().fold(0, |all, one| all | attributes(one));
    let queue = "jobs".into();
    world.one(Verb::Publish(Publish { queue, lengths, messages: packed, attributes, ..Publish::default() }))
}

fn page(world: &World, from: u64) -> read::Page {
    let start = Start { kind: StartKind::Position.into(), at: from };
    read::messages(&world.store, "default", "jobs", &start, 5).expect("it is there")
}

/// The first position that is stored.
fn first(world: &World) -> u64 {
    page(world, 1).messages.first().map_or(0, |stored| stored.position)
}

fn is_due(world: &World) -> bool {
    let next = world.last.as_ref().and_then(|applied| applied.next_deadline_ms);
    next.is_some_and(|due_ms| due_ms <= world.clock_ms)
}

fn rows_of(world: &World, table: Table) -> usize {
    world.store.rows().filter(|(key, _)| key[0] == table as u8).count()
}

/// Goes on until nothing is due, in several entries that each let something go. Returns how many those were.
fn let_go(world: &mut World) -> u64 {
    let (mut ticks, mut last) = (0, first(world));
    while is_due(world) {
        world.tick();
        assert!(world.rows() < ROWS + ROWS / 2, "{} rows", world.rows());
        let now = first(world);
        assert!(now == 0 || now > last || !is_due(world), "a tick gets on from {last}");
        last = now;
        ticks += 1;
    }
    ticks
}

#[test]
fn a_new_bound_lets_go_in_bounded_steps() {
    for until_done in [false, true] {
        let mut world = create(Retain { for_ms: 1_000_000, ..NONE });
        publish_singly(&mut world, MANY);
        if until_done {
            world.attach(1, 10_000);
            let all: Vec<_> = world.got();
            for got in all {
                world.unchecked = true;
                world.settle_one(got, quorate_machine::command::Outcome::Ack);
            }
            world.unchecked = false;
        }
        world.rows_max = Some(ROWS);
        update(&mut world, Retain { until_done, count: 10, ..NONE });
        assert!(world.rows() < ROWS + ROWS / 2, "{} rows", world.rows());
        assert!((2..MANY - 9).contains(&first(&world)), "as many as an entry may let go");
        assert!(is_due(&world), "ticks carry on");
        let_go(&mut world);
        assert_eq!(first(&world), MANY - 9);
        assert_eq!(page(&world, 3).missing, [(3, MANY - 9)]);
    }
}

#[test]
fn one_publish_that_lets_go_of_many_batches_does_so_in_bounded_steps() {
    let mut world = create(Retain { count: MANY, ..NONE });
    publish_singly(&mut world, MANY);
    assert_eq!(first(&world), 1);
    world.rows_max = Some(ROWS);
    world.publish(&vec!["m"; MANY as usize - 100]);
    assert!((2..MANY - 99).contains(&first(&world)));
    assert!(let_go(&mut world) >= 1);
    assert_eq!(first(&world), MANY - 99);
    assert_eq!(world.stat().dropped, MANY - 100);
}

#[test]
fn what_gets_too_old_at_once_leaves_in_bounded_steps() {
    let mut world = create(Retain { for_ms: 1_000, ..NONE });
    publish_singly(&mut world, MANY);
    world.rows_max = Some(ROWS);
    world.after(999).tick();
    assert_eq!(first(&world), 1, "not a moment too early");
    world.after(1);
    assert!(let_go(&mut world) > 2);
    assert_eq!((first(&world), is_due(&world)), (0, false));
    assert_eq!(page(&world, 1).missing, [(1, MANY + 1)], "what is missing to the end is said as well");
}

#[test]
fn a_long_batch_of_keys_that_is_too_old_leaves_in_bounded_steps() {
    let mut world = World::new();
    let retain = Retain { for_ms: 1_000, ..NONE };
    let queue = QueueSettings { retain, ..QueueSettings::default() };
    let order = quorate_machine::command::Order::Key.into();
    let settings = Settings { lease_ms: 60_000, order, ..Settings::default() };
    let create = CreateQueue { name: "jobs".into(), queue, settings, ..CreateQueue::default() };
    world.one(Verb::CreateQueue(create)).expect("the name is free");
    let keys: Vec<String> = (0..1000).map(|key| key.to_string()).collect();
    publish_keys(&mut world, &keys).expect("there is room");
    world.attach(1, 100);
    world.rows_max = Some(ROWS);
    world.after(1_000);
    let mut ticks = 0;
    while is_due(&world) {
        world.tick();
        assert!(world.rows() < ROWS + ROWS / 2, "{} rows", world.rows());
        ticks += 1;
    }
    assert!(ticks > 1, "{ticks}");
    let stat = world.stat();
    assert_eq!((stat.length, stat.dropped, first(&world)), (0, 1000, 0));
}

#[test]
fn the_newest_batch_stays_whatever_the_size_and_number() {
    let mut world = create(Retain { bytes: 1, count: 1, ..NONE });
    world.publish(&["a", "b", "c"]);
    assert_eq!(first(&world), 1);
    world.publish(&["d", "e"]);
    assert_eq!(first(&world), 4);
    assert_eq!(world.stat().length, 2);
    update(&mut world, Retain { bytes: 1, until_done: true, ..NONE });
    world.publish(&["f"]);
    assert_eq!((first(&world), world.stat().length), (4, 3), "nothing leaves now that is not done");
}

#[test]
fn a_lease_of_what_leaves_is_revoked() {
    let mut world = create(Retain { count: 2, ..NONE });
    let session = world.attach(1, 2);
    world.publish(&["a", "b", "c"]);
    assert_eq!(positions(&world.got()), [1, 2]);
    world.publish(&["d", "e"]);
    assert_eq!(positions(&world.lost()), [1, 2]);
    assert_eq!(positions(&world.got()), [4, 5], "what is left goes to whom that made free");
    assert_eq!(world.stat().dropped, 3);
    assert_eq!(world.detach(&session), Ok(Reply::Done));
}

#[test]
fn the_index_of_the_latest_is_as_large_as_there_are_keys_stored() {
    let mut world = create(Retain { latest_per_key: true, count: 50, ..NONE });
    for round in 0..300u32 {
        let keys: Vec<String> = (0..4).map(|at| format!("k{}", (round * 3 + at) % 40)).collect();
        publish_keys(&mut world, &keys).expect("all have keys");
    }
    let many = rows_of(&world, Table::Latest);
    assert!((30..=40).contains(&many), "{many} rows for 40 keys");
    let refused = publish_keys(&mut world, &["a".into(), String::new()]);
    assert!(matches!(refused, Err(Refusal::Invalid { field: "key", .. })), "{refused:?}");
    world.delete("jobs").expect("it is there");
    while is_due(&world) {
        world.tick();
    }
    for table in [Table::Latest, Table::LatestIn, Table::Chunk, Table::Body, Table::Deadline, Table::Garbage]
    {
        assert_eq!(rows_of(&world, table), 0, "{table:?}");
    }
}

#[test]
fn a_page_of_superseded_messages_gets_on() {
    let mut world = create(Retain { latest_per_key: true, until_done: true, ..NONE });
    world.unchecked = true;
    for _ in 0..4 {
        publish_keys(&mut world, &vec!["k".to_owned(); PUBLISH_MESSAGES_MAX]).expect("all have keys");
    }
    let (mut at, mut pages, mut found) = (1, 0, Vec::new());
    while at <= 4 * PUBLISH_MESSAGES_MAX as u64 {
        let page = page(&world, at);
        assert!(page.next > at && page.missing.is_empty());
        at = page.next;
        pages += 1;
        found.extend(page.messages.into_iter().map(|stored| stored.position));
    }
    assert_eq!((pages, found), (2, vec![4 * PUBLISH_MESSAGES_MAX as u64]), "no page looks at everything");
}

#[test]
fn a_deleted_queue_leaves_no_deadline() {
    let mut world = create(Retain { for_ms: 5_000, until_done: true, ..NONE });
    world.publish(&["a"]);
    assert_eq!(world.last.as_ref().and_then(|last| last.next_deadline_ms), Some(world.clock_ms + 5_000));
    world.delete("jobs").expect("it is there");
    world.tick();
    assert_eq!(world.last.as_ref().and_then(|last| last.next_deadline_ms), None);
}

/// A subscription that has a long way to go, beside `default`, which has none.
fn looking(world: &mut World, rows_max: u64) {
    world.rows_max = Some(rows_max);
    let (queue, name) = ("jobs".into(), "late".into());
    let start = Start { kind: StartKind::Earliest.into(), at: 0 };
    world
        .one(Verb::CreateSub(CreateSub { queue, name, start, ..CreateSub::default() }))
        .expect("the name is free");
    assert!(late(world).unseen > 0, "it has not seen everything yet");
    world.rows_max = None;
}

fn late(world: &World) -> read::Stat {
    read::stat(&world.store, "default", "jobs", "late").expect("it is there")
}

#[test]
fn what_a_subscription_has_not_looked_at_yet_may_leave_before_it_does() {
    let mut world = create(Retain { for_ms: 1_000_000, ..NONE });
    for _ in 0..3 {
        world.publish(&vec!["m"; 3_000]);
    }
    looking(&mut world, 1);
    update(&mut world, Retain { count: 4_000, ..NONE });
    assert_eq!(first(&world), 3_001);
    world.publish(&["new"]);
    while is_due(&world) {
        world.tick();
    }
    let stat = late(&world);
    assert_eq!((stat.length, stat.unseen, stat.first_position), (6_001, 0, 3_001));
    update(&mut world, Retain { count: 1, ..NONE });
    let stat = late(&world);
    assert_eq!((stat.length, stat.first_position), (1, 9_001));
    assert_eq!(world.stat().dropped, 9_000);
}

#[test]
fn everything_may_leave_that_a_subscription_has_not_looked_at() {
    let mut world = create(Retain { for_ms: 1_000, ..NONE });
    for _ in 0..3 {
        world.publish(&vec!["m"; 3_000]);
    }
    looking(&mut world, 1);
    // The deadline comes before the subscription goes on.
    world.after(1_000).tick();
    let stat = late(&world);
    assert_eq!((stat.length, stat.unseen, first(&world)), (0, 0, 0));
    assert_eq!(stat.dropped, 3_000, "the others were in none of its figures");
}

#[test]
fn what_is_superseded_before_a_subscription_looks_at_it_is_done_for_it() {
    for until_done in [false, true] {
        let mut world = create(Retain { latest_per_key: true, until_done, ..NONE });
        let keys = |from: u64, to: u64| (from..to).map(|key| key.to_string()).collect::<Vec<_>>();
        for from in (0..9_000).step_by(3_000) {
            publish_keys(&mut world, &keys(from, from + 3_000)).expect("all have keys");
        }
        looking(&mut world, 7_000);
        let seen = 9_000 - late(&world).unseen;
        publish_keys(&mut world, &keys(seen - 10, seen + 10)).expect("all have keys");
        while is_due(&world) {
            world.tick();
        }
        let stat = late(&world);
        // Ten were superseded after it had looked at them.
        let superseded = if until_done { 10 } else { 20 };
        assert_eq!((stat.length, stat.dropped), (9_020 - superseded, if until_done { 0 } else { 10 }));
    }
}

#[test]
fn what_waits_to_be_swept_is_not_brought_back_by_new_bounds() {
    let mut world = create(NONE);
    world.publish(&["a", "b"]);
    world.one(Verb::Purge(Purge { name: "jobs".into(), ..Purge::default() })).expect("it is there");
    update(&mut world, Retain { until_done: true, for_ms: 60_000, ..NONE });
    while is_due(&world) {
        world.tick();
    }
    assert_eq!(page(&world, 1).missing, [(1, 3)]);
}
