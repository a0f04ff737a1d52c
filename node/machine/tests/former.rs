//! Positions and tokens of a name are never used again, whatever is deleted and made again: what is late names nothing
//! (P2, P4, P9).

mod common;

use bytes::Bytes;
use common::{Got, World, publish, range};
use quorate_machine::command::{
    Attach, Condition, CreateQueue, CreateSub, DeleteQueue, DeleteSub, LeaseRange, Order, Outcome as To, Put,
    Require, RequireTail, Reschedule, Seek, SettleLease, Start, StartKind, Tick, Transact, Verb,
};
use quorate_machine::limits::FORMER_NAMES_MAX;
use quorate_machine::read;
use quorate_machine::reply::{Found, Outcome, Part, Refusal, Reply};

/// Creates, publishes and leases three messages, and deletes; then the same name again, with a message that another holds.
fn made_again() -> (World, Vec<Got>, Got) {
    let mut world = World::with_queue(Order::None);
    world.publish(&["a", "b", "c"]);
    world.attach(1, 3);
    let old = world.got();
    assert_eq!(old.len(), 3);
    world.delete("jobs").expect("it is there");
    world.create("jobs", Order::None).expect("the name is free");
    world.publish(&["new"]);
    world.attach(2, 3);
    let new = world.got()[0];
    (world, old, new)
}

fn lease(got: Got, subscription: &str) -> SettleLease {
    SettleLease { queue: "jobs".into(), subscription: subscription.into(), range: range(got, 1, To::Ack) }
}

fn transact(world: &mut World, transact: Transact) -> Outcome {
    world.one(Verb::Transact(transact))
}

fn put() -> Vec<Put> {
    vec![Put { key: "result".into(), value: "of the old worker".into(), ..Put::default() }]
}

fn start(at: u64) -> Start {
    Start { kind: StartKind::Position.into(), at }
}

#[test]
fn positions_and_tokens_go_on_when_a_queue_is_made_again() {
    let (mut world, old, new) = made_again();
    assert_eq!((new.position, new.token), (4, 4));
    for times in 1..4 {
        world.delete("jobs").expect("it is there");
        world.create("jobs", Order::Total).expect("the name is free");
        assert_eq!(world.stat().last_position, 3 + times);
        assert_eq!(world.publish(&["x"])[0].first_position, 4 + times);
        world.attach(3 + times as u8, 1);
        assert_eq!(world.got()[0].token, 4 + times);
    }
    assert!(old.iter().all(|got| got.token < new.token));
    // Another name is another matter, and so is one that gave nothing out.
    world.create("other", Order::None).expect("the name is free");
    world.delete("other").expect("it is there");
    world.create("other", Order::None).expect("the name is free");
    let first = world.one(Verb::Publish(publish("other", (0, 0), 0, &["x"])));
    let Ok(Reply::Published { positions }) = first else { panic!("{first:?}") };
    assert_eq!(positions[0].first_position, 1);
}

#[test]
fn a_late_transaction_of_a_deleted_queue_changes_nothing() {
    let (mut world, old, new) = made_again();
    world.one(Verb::Tick(Tick {})).expect("time passes");
    let before = world.store.clone();
    for got in &old {
        let late = Transact { settle: vec![lease(*got, "")], put: put(), ..Transact::default() };
        let found = Found::NotHeld(got.position);
        let refusal = Refusal::PreconditionFailed { part: Part::Settle, nth: 0, found };
        assert_eq!(transact(&mut world, late), Err(refusal));
        let held = LeaseRange {
            queue: "jobs".into(),
            subscription: String::new(),
            first_position: got.position,
            count: 1,
            first_token: got.token,
        };
        let require = vec![Require { condition: Some(Condition::Held(held)) }];
        let refusal = Refusal::PreconditionFailed { part: Part::Require, nth: 0, found };
        let late = Transact { require, put: put(), ..Transact::default() };
        assert_eq!(transact(&mut world, late), Err(refusal));
    }
    // Its tail was at 3 when the old worker looked.
    let tail = RequireTail { queue: "jobs".into(), position: 3 };
    let require = vec![Require { condition: Some(Condition::Tail(tail)) }];
    let refusal = Refusal::PreconditionFailed { part: Part::Require, nth: 0, found: Found::Tail(4) };
    assert_eq!(transact(&mut world, Transact { require, put: put(), ..Transact::default() }), Err(refusal));
    assert_eq!(world.store, before);
    // Whoever holds the new message settles it.
    let settle = Transact { settle: vec![lease(new, "")], put: put(), ..Transact::default() };
    assert!(transact(&mut world, settle).is_ok());
    assert_eq!(world.stat().length, 0);
}

#[test]
fn what_names_a_position_of_a_deleted_queue_finds_nothing() {
    let (mut world, old, _) = made_again();
    let reschedule = Reschedule { queue: "jobs".into(), position: old[0].position, ..Reschedule::default() };
    assert_eq!(world.one(Verb::Reschedule(reschedule)), Err(Refusal::UnknownMessage(1)));
    let seek = |at| Verb::Seek(Seek { queue: "jobs".into(), to: start(at), ..Seek::default() });
    let below = Refusal::OutOfRange { position: 3, first: 4, next: 5 };
    assert_eq!(world.one(seek(3)), Err(below));
    assert_eq!(world.one(seek(4)), Ok(Reply::Sought { position: 4 }));
    let page = read::messages(&world.store, "", "jobs", &start(1), 10).expect("not beyond the end");
    assert_eq!((page.missing, page.messages[0].position, page.end), (vec![(1, 4)], 4, 5));
}

#[test]
fn a_publish_is_not_answered_with_positions_of_a_deleted_queue() {
    let mut world = World::with_queue(Order::None);
    let session = world.open("billing");
    let send = || Verb::Publish(publish("jobs", (session.producer, session.epoch), 1, &["a", "b"]));
    world.one(send()).expect("it is published");
    world.delete("jobs").expect("it is there");
    world.create("jobs", Order::None).expect("the name is free");
    let Err(Refusal::Invalid { field: "queue", problem }) = world.one(send()) else {
        panic!("the retry was answered")
    };
    assert!(problem.to_string().contains("one of this name that was deleted"), "{problem}");
    let more = publish("jobs", (session.producer, session.epoch), 3, &["c"]);
    let Ok(Reply::Published { positions }) = world.one(Verb::Publish(more)) else { panic!("refused") };
    assert_eq!((positions[0].first_position, positions[0].duplicate), (3, false));
}

/// Attaches to a subscription, and takes one message.
fn take(world: &mut World, subscription: &str, name: u8) -> Got {
    let attach = Attach {
        queue: "jobs".into(),
        subscription: subscription.into(),
        session: Bytes::from(vec![name; 16]),
        credit: 1,
        ..Attach::default()
    };
    world.one(Verb::Attach(attach)).expect("there is room");
    world.got()[0]
}

#[test]
fn tokens_go_on_when_a_subscription_is_made_again() {
    let mut world = World::with_queue(Order::None);
    let make = |world: &mut World, name: &str| {
        let (queue, name) = ("jobs".into(), name.into());
        world.one(Verb::CreateSub(CreateSub { queue, name, ..CreateSub::default() })).expect("it is free");
    };
    let drop = |world: &mut World, name: &str| {
        let (queue, name) = ("jobs".into(), name.into());
        world.one(Verb::DeleteSub(DeleteSub { queue, name, ..DeleteSub::default() })).expect("it is there");
    };
    make(&mut world, "w");
    world.publish(&["order"]);
    let old = take(&mut world, "w", 1);
    assert_eq!((old.position, old.token), (1, 1));
    drop(&mut world, "w");
    make(&mut world, "w");
    let new = take(&mut world, "w", 2);
    assert_eq!((new.position, new.token), (1, 2), "the same message, and not the same token");
    let late = Transact { settle: vec![lease(old, "w")], put: put(), ..Transact::default() };
    let refusal =
        Refusal::PreconditionFailed { part: Part::Settle, nth: 0, found: Found::NotHeld(old.position) };
    assert_eq!(transact(&mut world, late), Err(refusal));
    let settle = Transact { settle: vec![lease(new, "w")], ..Transact::default() };
    assert!(transact(&mut world, settle).is_ok());

    // What a subscription that is gone gave out counts when the queue is made again, too.
    drop(&mut world, "w");
    world.delete("jobs").expect("it is there");
    world.create("jobs", Order::None).expect("the name is free");
    world.publish(&["another"]);
    assert_eq!(take(&mut world, "", 3).token, 3);
}

#[test]
fn a_seek_does_not_bring_tokens_back() {
    let (mut world, _, new) = made_again();
    let seek = Seek { queue: "jobs".into(), to: start(new.position), ..Seek::default() };
    world.one(Verb::Seek(seek)).expect("it is stored");
    let again = world.got()[0];
    assert_eq!((again.position, again.token), (new.position, new.token + 1));
}

#[test]
fn names_beyond_the_bound_raise_the_floor_and_are_never_used_again() {
    let mut world = World { unchecked: true, ..World::new() };
    let named = |number: u64| format!("reply-{number}");
    let life = |number: u64, messages: usize| {
        let name = named(number);
        let bodies = vec!["x"; messages];
        let create = CreateQueue { name: name.clone(), ..CreateQueue::default() };
        let delete = DeleteQueue { name: name.clone(), ..DeleteQueue::default() };
        [
            Verb::CreateQueue(create),
            Verb::Publish(publish(&name, (0, 0), 0, &bodies)),
            Verb::DeleteQueue(delete),
        ]
    };
    let begins = |world: &mut World, name: &str| {
        let create = CreateQueue { name: name.into(), ..CreateQueue::default() };
        world.one(Verb::CreateQueue(create)).expect("the name is free");
        let stat = read::stat(&world.store, "", name, "").expect("it is there");
        stat.last_position + 1
    };
    // The oldest has the most.
    let all: Vec<u64> = (0..FORMER_NAMES_MAX).collect();
    for some in all.chunks(1000) {
        let verbs = some.iter().flat_map(|number| life(*number, if *number == 0 { 7 } else { 1 }));
        assert!(world.entry(verbs.collect()).iter().all(Result::is_ok));
        world.tick();
    }
    let formers = |world: &World| world.store.rows().filter(|(key, _)| key[0] == 36).count() as u64;
    assert_eq!(formers(&world), FORMER_NAMES_MAX);
    assert_eq!(begins(&mut world, "fresh"), 1);
    world.entry(life(FORMER_NAMES_MAX, 2).into());
    assert_eq!(formers(&world), FORMER_NAMES_MAX);
    assert_eq!(begins(&mut world, "fresher"), 8, "above the oldest, which is no longer known");
    assert_eq!(begins(&mut world, &named(0)), 8);
    assert_eq!(begins(&mut world, &named(1)), 2, "this one is known");
    assert_eq!(begins(&mut world, &named(FORMER_NAMES_MAX)), 3);
    // What goes on from the floor anyway needs no row.
    world.delete(&named(0)).expect("it is there");
    assert_eq!(formers(&world), FORMER_NAMES_MAX - 2);
    quorate_machine::check::check(&world.store).expect("the state is sound");
}
