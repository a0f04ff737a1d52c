//! P11, P12: what no state can make right is refused at once, whoever looks, and changes nothing.

mod common;

use bytes::Bytes;
use common::{World, holder, publish};
use quorate_machine::command::{
    Condition, CreateQueue, CreateSub, DeleteQueue, DeleteSub, Filter, LeaseRange, OpenProducer, Order,
    Outcome, Pause, Publish, PublishTo, Purge, Put, Require, Reschedule, Seek, Settle, SettleLease,
    SettleRange, Start, Transact, Unpark, UpdateQueue, UpdateSub, Verb,
};
use quorate_machine::message::Header;
use quorate_machine::reply::Refusal;
use quorate_machine::{MemoryStore, lawful};

/// Rows but for replicated time and the digest.
fn rows(store: &MemoryStore) -> Vec<(Vec<u8>, Bytes)> {
    let kept = store.rows().filter(|(key, _)| *key != [1, 1] && *key != [1, 3]);
    kept.map(|(key, value)| (key.to_vec(), value.clone())).collect()
}

/// A command of each kind that says something that no state can make right, and the field that it is.
#[allow(clippy::too_many_lines)] // it is a list
fn unlawful() -> Vec<(Verb, &'static str)> {
    let long = || "x".repeat(20_000);
    let queue = || "jobs".to_owned();
    let wide = Filter {
        headers: vec![Header { name: "h".into(), value: vec![0; 5000].into() }],
        ..Filter::default()
    };
    let transact = |part: Transact| Verb::Transact(part);
    let lease = |reason| SettleLease {
        queue: queue(),
        range: SettleRange { count: 1, outcome: Outcome::Retry.into(), reason, ..SettleRange::default() },
        ..SettleLease::default()
    };
    let put = |key: String, value: usize| Put { key, value: vec![0; value].into(), ..Put::default() };
    let settle = |ranges: usize, reasons: Vec<String>| {
        Verb::Settle(Settle { consumer: 1, ranges: vec![SettleRange::default(); ranges], reasons })
    };
    let held = |count| {
        let leases =
            LeaseRange { queue: queue(), first_position: 1, count, first_token: 1, ..LeaseRange::default() };
        Require { condition: Some(Condition::Held(leases)) }
    };
    let batch = |messages| PublishTo { queue: queue(), lengths: vec![0; messages], ..PublishTo::default() };
    let sub = || CreateSub { queue: queue(), name: "s".into(), ..CreateSub::default() };
    vec![
        (Verb::CreateQueue(CreateQueue { name: long(), ..CreateQueue::default() }), "name"),
        (
            Verb::CreateQueue(CreateQueue { namespace: long(), name: queue(), ..CreateQueue::default() }),
            "namespace",
        ),
        (
            Verb::CreateQueue(CreateQueue {
                name: queue(),
                filter: Some(wide.clone()),
                ..CreateQueue::default()
            }),
            "filter",
        ),
        (
            Verb::UpdateQueue(UpdateQueue { name: queue(), routes: vec![long()], ..UpdateQueue::default() }),
            "routes",
        ),
        (Verb::DeleteQueue(DeleteQueue { namespace: String::new(), name: long() }), "name"),
        (Verb::Purge(Purge { namespace: String::new(), name: long() }), "name"),
        (Verb::CreateSub(CreateSub { filter: Some(wide), ..sub() }), "filter"),
        (Verb::CreateSub(CreateSub { start: Start { kind: 77, at: 0 }, ..sub() }), "start"),
        (Verb::UpdateSub(UpdateSub { queue: queue(), name: long(), ..UpdateSub::default() }), "name"),
        (Verb::DeleteSub(DeleteSub { queue: long(), ..DeleteSub::default() }), "queue"),
        (Verb::Pause(Pause { queue: queue(), name: long(), ..Pause::default() }), "name"),
        (Verb::Seek(Seek { queue: queue(), to: Start { kind: -1, at: 0 }, ..Seek::default() }), "start"),
        (Verb::Reschedule(Reschedule { queue: queue(), id: long(), ..Reschedule::default() }), "id"),
        (
            Verb::Reschedule(Reschedule {
                queue: queue(),
                position: 1,
                id: "a".into(),
                ..Reschedule::default()
            }),
            "id",
        ),
        (Verb::Unpark(Unpark { queue: queue(), ..Unpark::default() }), "action"),
        (
            Verb::OpenProducer(OpenProducer {
                session: long(),
                holder: holder(1),
                ..OpenProducer::default()
            }),
            "session",
        ),
        (Verb::OpenProducer(OpenProducer { session: queue(), ..OpenProducer::default() }), "holder"),
        (Verb::Publish(Publish { queue: long(), ..publish("jobs", (0, 0), 0, &["x"]) }), "queue"),
        (Verb::Publish(Publish { lengths: vec![0; 4097], ..publish("jobs", (0, 0), 0, &["x"]) }), "messages"),
        (Verb::Publish(publish("jobs", (1, 1), 0, &["x"])), "first_seq"),
        (settle(513, vec![]), "ranges"),
        (settle(1, vec![String::new(); 513]), "reasons"),
        (settle(1, vec!["r".repeat(257)]), "reason"),
        (transact(Transact { producer: 1, ..Transact::default() }), "seq"),
        (transact(Transact::default()), "transaction"),
        (transact(Transact { put: vec![put(long(), 0)], ..Transact::default() }), "key"),
        (transact(Transact { put: vec![put(queue(), 65_537)], ..Transact::default() }), "value"),
        (transact(Transact { put: vec![put(queue(), 0); 257], ..Transact::default() }), "put"),
        (transact(Transact { settle: vec![lease(1)], ..Transact::default() }), "reason"),
        (transact(Transact { settle: vec![lease(0); 513], ..Transact::default() }), "settle"),
        (transact(Transact { require: vec![Require { condition: None }], ..Transact::default() }), "require"),
        (transact(Transact { require: vec![held(256), held(257)], ..Transact::default() }), "require"),
        (transact(Transact { publish: vec![batch(512), batch(513)], ..Transact::default() }), "publish"),
    ]
}

/// The leader and the machine look at the same, and what is said about it is short.
#[test]
fn what_is_unlawful_is_refused_before_it_is_looked_at_and_when_it_is_applied() {
    for (verb, expected) in unlawful() {
        let refusal = lawful(&verb).expect_err("unlawful");
        assert!(
            matches!(refusal, Refusal::Invalid { field, .. } if field == expected),
            "{refusal} of {expected}"
        );
        assert!(refusal.to_string().len() < 300, "{refusal}");
        let mut world = World::with_queue(Order::None);
        let before = rows(&world.store);
        assert_eq!(world.one(verb.clone()), Err(refusal), "{verb:?}");
        assert!(rows(&world.store) == before, "{verb:?} changed something");
    }
}
