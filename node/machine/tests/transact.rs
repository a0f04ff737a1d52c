//! Transactions: bad ones are refused with what is wrong and change nothing, good ones happen once, and whatever the bytes are, `apply` answers.

mod common;

use bytes::Bytes;
use common::{Got, World, publish, range};
use proptest::prelude::*;
use prost::Message as _;
use quorate_machine::check;
use quorate_machine::command::{
    Batch, Command, Condition, CreateQueue, LeaseRange, Order, Outcome as To, Publish, PublishTo, Put,
    QueueSettings, Require, RequireLengthBelow, RequireTail, RequireVersion, SettleLease, Transact, Verb,
};
use quorate_machine::limits::{
    PUBLISH_MESSAGES_MAX, STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX, TRANSACTION_PARTS_MAX,
};
use quorate_machine::read;
use quorate_machine::reply::{Found, Outcome, Part, Refusal, Reply, Transacted};

/// Big enough that a storage would leave it in the log.
const BIG: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A queue with messages of which three are leased, one that is full, and a session.
fn world() -> (World, Vec<Got>) {
    let mut world = World::with_queue(Order::None);
    let queue = QueueSettings { max_length: 1, ..QueueSettings::default() };
    let full = CreateQueue { name: "full".into(), queue, ..CreateQueue::default() };
    world.one(Verb::CreateQueue(full)).expect("the name is free");
    world.one(Verb::Publish(publish("full", (0, 0), 0, &["x"]))).expect("there is room for one");
    world.open("steps");
    world.publish(&["a", BIG, "c"]);
    world.attach(1, 3);
    let got = world.got();
    (world, got)
}

fn ack(got: Got) -> SettleLease {
    SettleLease { queue: "jobs".into(), subscription: String::new(), range: range(got, 1, To::Ack) }
}

fn to(queue: &str, bodies: &[&str]) -> PublishTo {
    let Publish { lengths, messages, attributes, .. } = publish(queue, (0, 0), 0, bodies);
    PublishTo { queue: queue.into(), lengths, messages, attributes }
}

fn put(key: &str, value: &'static str) -> Put {
    Put { key: key.into(), value: value.into(), ..Put::default() }
}

fn require(condition: Condition) -> Vec<Require> {
    vec![Require { condition: Some(condition) }]
}

/// A step: the first message done, the next one published, a key written.
fn step(got: &[Got]) -> Transact {
    Transact {
        producer: 1,
        epoch: 1,
        seq: 1,
        settle: vec![ack(got[0]), ack(got[1])],
        publish: vec![to("jobs", &[BIG])],
        put: vec![put("order/1", "reserved")],
        ..Transact::default()
    }
}

fn done(outcome: Outcome) -> Transacted {
    match outcome {
        Ok(Reply::Transacted(done)) => done,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_step_happens_once_however_often_it_is_sent() {
    let (mut world, got) = world();
    let first = done(world.one(Verb::Transact(step(&got))));
    assert_eq!((first.published[0].positions[0].first_position, &first.versions[..]), (4, &[1][..]));
    for _ in 0..2 {
        let again = done(world.one(Verb::Transact(step(&got))));
        assert_eq!(again, Transacted { duplicate: true, ..first.clone() });
    }
    assert_eq!(world.stat().length, 2);
    // Under another number it is another one, and the leases are gone.
    let stale = world.one(Verb::Transact(Transact { seq: 2, ..step(&got) }));
    let found = Found::NotHeld(1);
    assert_eq!(stale, Err(Refusal::PreconditionFailed { part: Part::Settle, nth: 0, found }));
    // What the producer has the receipts of is forgotten.
    let put = vec![put("order/1", "charged")];
    let later = Transact { producer: 1, epoch: 1, seq: 3, acked_seq: 2, put, ..Transact::default() };
    assert_eq!(done(world.one(Verb::Transact(later))).versions, [2]);
    let forgotten = Err(Refusal::ReceiptForgotten { given: 1, acked: 2 });
    assert_eq!(world.one(Verb::Transact(step(&got))), forgotten);
}

/// What is wrong with each, and the step with that in it.
fn refused(got: &[Got]) -> Vec<(&'static str, Transact)> {
    let good = || step(got);
    let with = |condition| Transact { require: require(condition), ..good() };
    let (queue, subscription) = ("jobs".to_owned(), String::new());
    let stale = LeaseRange {
        queue: queue.clone(),
        subscription: subscription.clone(),
        first_position: 1,
        count: 1,
        first_token: 99,
    };
    let below = RequireLengthBelow { queue: queue.clone(), subscription, length: 3 };
    let many = vec![put("k", ""); TRANSACTION_PARTS_MAX + 1];
    let bodies = vec!["m"; PUBLISH_MESSAGES_MAX];
    let long = Put { value: Bytes::from(vec![0; STATE_VALUE_BYTES_MAX + 1]), ..put("k", "") };
    vec![
        ("version", with(Condition::Version(RequireVersion { key: "k".into(), version: 7 }))),
        ("tail", with(Condition::Tail(RequireTail { queue, position: 2 }))),
        ("length", with(Condition::LengthBelow(below))),
        ("lease", with(Condition::Held(stale))),
        ("no condition", Transact { require: vec![Require::default()], ..good() }),
        ("stale", Transact { settle: vec![ack(got[0]), ack(Got { token: 99, ..got[1] })], ..good() }),
        ("twice", Transact { settle: vec![ack(got[0]), ack(got[0])], ..good() }),
        ("full queue", Transact { publish: vec![to("jobs", &["b"]), to("full", &["b"])], ..good() }),
        ("unknown queue", Transact { publish: vec![to("jobs", &["b"]), to("nowhere", &["b"])], ..good() }),
        ("no route", Transact { publish: vec![to("jobs", &["b"]), to("", &["b"])], ..good() }),
        ("too many messages", Transact { publish: vec![to("jobs", &bodies), to("jobs", &["b"])], ..good() }),
        ("too many keys", Transact { put: many, ..good() }),
        ("long value", Transact { put: vec![put("a", "b"), long], ..good() }),
        ("long key", Transact { put: vec![put(&"k".repeat(STATE_KEY_BYTES_MAX + 1), "")], ..good() }),
        ("no key", Transact { put: vec![put("", "")], ..good() }),
        ("deleted with a value", Transact { put: vec![Put { delete: true, ..put("k", "v") }], ..good() }),
        ("unknown epoch", Transact { epoch: 2, ..good() }),
        ("unknown session", Transact { producer: 9, ..good() }),
        ("no number", Transact { seq: 0, ..good() }),
        ("far ahead", Transact { seq: 5000, ..good() }),
        ("another namespace", Transact { namespace: "elsewhere".into(), ..good() }),
        ("nothing in it", Transact::default()),
    ]
}

#[test]
fn a_refused_transaction_changes_no_row() {
    let (mut world, got) = world();
    world.one(Verb::Tick(quorate_machine::command::Tick {})).expect("time passes");
    let before = world.store.clone();
    for (what, transact) in refused(&got) {
        let outcome = world.one(Verb::Transact(transact));
        assert!(outcome.is_err(), "{what}: {outcome:?}");
        let effects = &world.last.as_ref().expect("an entry was applied").effects;
        assert!(effects.is_empty(), "{what}: {effects:?}");
        assert_eq!(world.store, before, "{what}");
        check::check(&world.store).expect(what);
    }
    // And the step itself is still possible.
    done(world.one(Verb::Transact(step(&got))));
}

#[test]
fn a_message_goes_to_every_queue_with_a_route_for_it() {
    let (mut world, _) = world();
    for (name, route) in [("eu", "orders.eu.*"), ("new", "orders.*.new"), ("all", ">")] {
        let routes = vec![route.to_owned()];
        let queue = CreateQueue { name: name.into(), routes, ..CreateQueue::default() };
        world.one(Verb::CreateQueue(queue)).expect("the name is free");
    }
    let message = |subject: &str| {
        let subject = subject.to_owned();
        quorate_machine::message::Message { subject, body: BIG.into(), ..Default::default() }.encode_to_vec()
    };
    let (lengths, messages) = Publish::pack(&[message("orders.eu.new"), message("bills.eu")]);
    let publish = vec![PublishTo { queue: String::new(), lengths, messages, attributes: 0 }];
    let placed = done(world.one(Verb::Transact(Transact { publish, ..Transact::default() }))).published;
    let counts: Vec<(&str, u32)> = placed
        .iter()
        .map(|one| (one.queue.as_str(), one.positions.iter().map(|run| run.count).sum()))
        .collect();
    assert_eq!(counts, [("all", 2), ("eu", 1), ("new", 1)]);
}

#[test]
fn a_key_of_the_state_goes_when_its_time_is_over() {
    let (mut world, _) = world();
    let put = vec![Put { ttl_ms: 50, ..put("lock", "mine") }];
    done(world.one(Verb::Transact(Transact { put, ..Transact::default() })));
    let keys = ["lock".to_owned()];
    let there = |world: &World| read::state(&world.store, "", &keys).expect("a good key").len();
    assert_eq!(there(&world), 1);
    world.clock_ms += 49;
    world.one(Verb::Tick(quorate_machine::command::Tick {})).expect("time passes");
    assert_eq!(there(&world), 1);
    world.clock_ms += 1;
    world.one(Verb::Tick(quorate_machine::command::Tick {})).expect("time passes");
    assert_eq!(there(&world), 0);
    check::check(&world.store).expect("sound");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn damaged_transactions_are_answered(at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let (mut world, got) = world();
        let mut all: Vec<Command> = refused(&got).into_iter().filter(|(what, _)| !what.starts_with("too many"))
            .map(|(_, transact)| Verb::Transact(transact).into()).collect();
        all.push(Verb::Transact(step(&got)).into());
        let mut bytes = Batch::new(world.clock_ms, all).encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        bytes.truncate(cut.index(bytes.len() * 3).max(1));
        let applied = quorate_machine::apply(&mut world.store, &Bytes::from(bytes));
        prop_assert!(!matches!(applied, Err(quorate_machine::ApplyError::Store(_))), "memory works");
        check::check(&world.store).map_err(TestCaseError::fail)?;
    }
}
