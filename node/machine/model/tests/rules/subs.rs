//! Subscriptions: their settings, where they begin, and what is stored for them.

use quorate_machine::command::{DeleteSub, Filter, Purge, Seek, UpdateQueue, UpdateSub};
use quorate_machine::reply::Refusal;

use super::*;

fn invalid(field: &'static str) -> Outcome {
    Err(Refusal::Invalid { field, problem: String::new().into() })
}

fn seek(world: &mut World, kind: StartKind, at: u64) -> Outcome {
    world.entry(Verb::Seek(Seek {
        namespace: String::new(),
        queue: "q".into(),
        name: String::new(),
        to: Start { kind: kind.into(), at },
    }))
}

#[test]
fn batches_are_stored_until_every_subscription_is_done_with_all_of_them() {
    let mut world = World::new(settings(Order::None));
    world.publish(&keyed("--"));
    world.now_ms += 10;
    world.publish(&keyed("-"));
    world.now_ms += 10;
    world.publish(&keyed("--"));
    let one = world.attach("", 1, 9);
    world.settle(one, &[(To::Ack, 1, 1), (To::Ack, 3, 4)], "");
    assert_eq!((world.queue().first_stored(), world.queue().is_stored(3)), (1, false));
    world.add_sub("late", settings(Order::None), StartKind::Earliest, 0).expect("it is fine");
    // The first is stored still, since the second is; the third is gone.
    assert_eq!(world.states("late"), "rr.rr");
    world.add_sub("since", settings(Order::None), StartKind::Time, 10_010).expect("it is fine");
    assert_eq!(world.states("since"), "...rr");
    world.add_sub("from", settings(Order::None), StartKind::Position, 3).expect("it is fine");
    assert_eq!(world.states("from"), "...rr");
    let refused = world.add_sub("odd", settings(Order::None), StartKind::Position, 7);
    assert_eq!(refused, Err(Refusal::OutOfRange { position: 7, first: 1, next: 6 }));
    world.add_sub("next", settings(Order::None), StartKind::Position, 6).expect("it is fine");
    assert_eq!(world.states("next"), ".....");
}

#[test]
fn a_seek_begins_anew_with_the_tokens_going_on() {
    let mut world = World::new(settings(Order::None));
    world.publish(&keyed("---"));
    let one = world.attach("", 1, 9);
    world.settle_one(one, To::Ack, 1);
    world.settle_one(one, To::Retry, 2);
    assert_eq!(seek(&mut world, StartKind::Position, 2), Ok(Reply::Sought { position: 2 }));
    assert_eq!((world.revoked(), world.assigned()), (vec![3], vec![2, 3]));
    let sub = world.sub("default");
    assert_eq!((sub.last_token, sub.row(2).attempt), (5, 1));
    assert_eq!(seek(&mut world, StartKind::Earliest, 0), Ok(Reply::Sought { position: 1 }));
    assert_eq!(world.states("default"), "111");
    assert_eq!(seek(&mut world, StartKind::Latest, 0), Ok(Reply::Sought { position: 4 }));
    assert_eq!((world.states("default"), world.queue().first_stored()), ("...".into(), 4));
}

#[test]
fn a_filter_takes_what_matches_when_it_is_looked_at() {
    let mut world = World::new(settings(Order::None));
    let subject = |subject: &str| Message { subject: subject.into(), ..Message::default() };
    world.publish(&[subject("a.b"), subject("b")]);
    let update = |subject: &str, revision, order| {
        Verb::UpdateSub(UpdateSub {
            namespace: String::new(),
            queue: "q".into(),
            name: String::new(),
            settings: settings(order),
            filter: Some(Filter { subject: subject.into(), headers: Vec::new() }),
            revision,
        })
    };
    assert_eq!(world.entry(update("", 1, Order::None)), Ok(Reply::Updated { revision: 1 }));
    assert_eq!(world.entry(update("a.>", 1, Order::None)), Ok(Reply::Updated { revision: 2 }));
    let changed = Refusal::RevisionChanged { given: 1, current: 2 };
    assert_eq!(world.entry(update("b", 1, Order::None)), Err(changed));
    assert_eq!(world.entry(update("b", 0, Order::Total)), invalid("order"));
    assert_eq!(world.entry(update("b.", 0, Order::Total)), invalid("filter"));
    world.publish(&[subject("a.b"), subject("b")]);
    assert_eq!((world.states("default"), world.queue().first_stored()), ("rrr.".into(), 1));
}

#[test]
fn a_batch_that_nobody_takes_is_never_stored() {
    let mut world = World::new(settings(Order::None));
    world.done(Verb::UpdateSub(UpdateSub {
        namespace: String::new(),
        queue: "q".into(),
        name: String::new(),
        settings: settings(Order::None),
        filter: Some(Filter { subject: "a".into(), headers: Vec::new() }),
        revision: 0,
    }));
    let message = Message { ttl_ms: 77, ..Message::default() };
    world.publish(&[message]);
    assert_eq!((world.states("default"), world.queue().first_stored()), (".".into(), 2));
    assert_eq!(view::next_deadline(&world.naive), None);
}

#[test]
fn priorities_and_orders_refuse_each_other() {
    let mut world = World::new(settings(Order::None));
    let update = |priorities| {
        let queue = QueueSettings { priorities, ..QueueSettings::default() };
        Verb::UpdateQueue(UpdateQueue {
            namespace: String::new(),
            name: "q".into(),
            queue,
            revision: 0,
            routes: Vec::new(),
        })
    };
    world.add_sub("t", settings(Order::Total), StartKind::Latest, 0).expect("it is fine");
    assert_eq!(world.entry(update(true)), invalid("priorities"));
    let delete = |name: &str| {
        Verb::DeleteSub(DeleteSub { namespace: String::new(), queue: "q".into(), name: name.into() })
    };
    world.done(delete("t"));
    assert_eq!(world.entry(update(true)), Ok(Reply::Updated { revision: 2 }));
    assert_eq!(world.add_sub("k", settings(Order::Key), StartKind::Latest, 0), invalid("order"));
    assert_eq!(world.entry(delete("default")), Err(Refusal::LastSubscription));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let mut world = World::new(settings(Order::None));
    let mut refused = |settings: Settings, field| {
        assert_eq!(world.add_sub("s", settings, StartKind::Latest, 0), invalid(field), "{settings:?}");
    };
    refused(exhausting(Order::None, 0, OnExhausted::Park), "on_exhausted");
    refused(exhausting(Order::Total, 1, OnExhausted::ParkKey), "on_exhausted");
    refused(exhausting(Order::None, 1, OnExhausted::Block), "on_exhausted");
    refused(Settings { on_exhausted: 9, ..settings(Order::Key) }, "on_exhausted");
    refused(Settings { per_key_inflight: 2, ..settings(Order::Total) }, "per_key_inflight");
    refused(Settings { per_key_inflight: 257, ..settings(Order::Key) }, "per_key_inflight");
    refused(Settings { jitter_percent: Some(101), ..settings(Order::Key) }, "jitter_percent");
    refused(Settings { order: 4, ..settings(Order::Key) }, "order");
}

#[test]
fn defaults_are_filled_in() {
    let mut world = World::new(settings(Order::None));
    let given = Settings { order: Order::Key.into(), max_attempts: 3, ..Settings::default() };
    let reply = world.add_sub("s", given, StartKind::Latest, 0).expect("it is fine");
    let expected = Settings {
        order: Order::Key.into(),
        lease_ms: 30_000,
        backoff_first_ms: 1_000,
        backoff_last_ms: 60_000,
        jitter_percent: Some(20),
        max_attempts: 3,
        on_exhausted: OnExhausted::Park.into(),
        per_key_inflight: 1,
        auto_ack: false,
        max_lag: 0,
        on_lag: 0,
    };
    assert_eq!(reply, Reply::SubCreated { settings: expected, created: true });
    let other = world.add_sub("s", Settings { max_attempts: 0, ..given }, StartKind::Latest, 0);
    assert_eq!(other, Err(Refusal::SubscriptionExists("s".into())));
    assert_eq!(
        world.add_sub("s", expected, StartKind::Position, 99),
        Ok(Reply::SubCreated { settings: expected, created: false })
    );
}

#[test]
fn a_purge_leaves_what_is_leased() {
    let mut world = World::new(exhausting(Order::Key, 1, OnExhausted::ParkKey));
    world.publish(&keyed("abaa"));
    let one = world.attach("", 1, 9);
    world.settle_one(one, To::Park, 1);
    assert_eq!(world.states("default"), "p1pp");
    world.done(Verb::Purge(Purge { namespace: String::new(), name: "q".into() }));
    world.publish(&keyed("a"));
    assert_eq!((world.states("default"), world.stat("default").discarded), (".1..1".into(), 0));
}
