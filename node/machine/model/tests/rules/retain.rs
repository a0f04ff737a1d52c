//! What a queue retains.

use quorate_machine::command::{Retain, UpdateQueue};
use quorate_machine::reply::Refusal;

use super::*;

fn world(retain: Retain) -> World {
    World::with(settings(Order::None), QueueSettings { retain, ..QueueSettings::default() })
}

fn update(world: &mut World, retain: Retain) -> Outcome {
    let queue = QueueSettings { retain, ..QueueSettings::default() };
    world.entry(Verb::UpdateQueue(UpdateQueue { name: "q".into(), queue, ..UpdateQueue::default() }))
}

/// The positions that are stored.
fn stored(world: &World) -> Vec<u64> {
    let queue = world.queue();
    (1..queue.next_position()).filter(|position| queue.is_stored(*position)).collect()
}

const NONE: Retain = Retain { until_done: false, for_ms: 0, bytes: 0, count: 0, latest_per_key: false };

#[test]
fn without_a_rule_a_batch_leaves_when_all_of_it_is_done() {
    let mut world = world(NONE);
    assert_eq!(world.queue().settings.retain, Retain { until_done: true, ..NONE });
    world.publish(&keyed("--"));
    let one = world.attach("", 1, 9);
    world.settle_one(one, To::Ack, 1);
    assert_eq!(stored(&world), [1, 2]);
    world.settle_one(one, To::Ack, 2);
    assert_eq!(stored(&world), []);
}

#[test]
fn a_work_queue_with_a_time_keeps_what_is_done_and_never_loses_what_is_not() {
    let mut world = world(Retain { until_done: true, for_ms: 500, ..NONE });
    world.publish(&keyed("-"));
    world.publish(&keyed("-"));
    let one = world.attach("", 1, 9);
    world.settle_one(one, To::Ack, 1);
    assert_eq!((stored(&world), view::next_deadline(&world.naive)), (vec![1, 2], Some(10_500)));
    world.tick_after(499);
    assert_eq!(stored(&world), [1, 2]);
    world.tick_after(1);
    assert_eq!((stored(&world), world.states("default")), (vec![2], ".1".into()));
    world.settle_one(one, To::Ack, 2);
    assert_eq!((stored(&world), world.stat("default").dropped), (vec![], 0));
}

#[test]
fn a_log_lets_go_whoever_holds_it_and_only_whole_batches() {
    let mut world = world(Retain { count: 2, ..NONE });
    world.publish(&keyed("---"));
    world.attach("", 1, 2);
    world.publish(&keyed("-"));
    assert_eq!((stored(&world), world.states("default")), (vec![1, 2, 3, 4], "11rr".into()));
    world.publish(&keyed("-"));
    assert_eq!((stored(&world), world.states("default")), (vec![4, 5], "...11".into()));
    assert_eq!((world.revoked(), world.stat("default").dropped), (vec![1, 2], 3));
    let refused = world.add_sub("s", settings(Order::None), StartKind::Position, 3);
    assert_eq!(refused, Err(Refusal::OutOfRange { position: 3, first: 4, next: 6 }));
}

#[test]
fn bounds_together_keep_what_all_of_them_keep() {
    let mut world = world(Retain { count: 3, for_ms: 100, ..NONE });
    world.publish(&keyed("-"));
    world.tick_after(60);
    world.publish(&keyed("-"));
    world.tick_after(60);
    assert_eq!(stored(&world), [2], "one is too old");
    world.publish(&keyed("--"));
    world.publish(&keyed("-"));
    assert_eq!(stored(&world), [3, 4, 5], "the other has enough after it");
}

#[test]
fn the_latest_of_each_key_stays_and_what_it_superseded_is_dropped_at_once() {
    let mut world = world(Retain { latest_per_key: true, ..NONE });
    world.publish(&keyed("aba"));
    assert_eq!((stored(&world), world.states("default")), (vec![1, 2, 3], ".rr".into()));
    world.publish(&keyed("a"));
    assert_eq!((stored(&world), world.states("default")), (vec![1, 2, 3, 4], ".r.r".into()));
    world.publish(&keyed("b"));
    assert_eq!((stored(&world), world.states("default")), (vec![4, 5], "...rr".into()));
    assert_eq!(world.stat("default").dropped, 3);
    let keyless = Publish::pack(&[Message::default().encode_to_vec()]);
    let publish =
        Publish { queue: "q".into(), lengths: keyless.0, messages: keyless.1, ..Publish::default() };
    let refused = world.entry(Verb::Publish(publish));
    assert!(matches!(refused, Err(Refusal::Invalid { field: "key", .. })));
    let refused = update(&mut world, Retain { count: 3, ..NONE });
    assert!(matches!(refused, Err(Refusal::Invalid { field: "retain", .. })));
}

#[test]
fn with_until_done_what_is_superseded_is_still_handed_out_but_not_to_those_who_come_later() {
    let mut world = world(Retain { latest_per_key: true, until_done: true, ..NONE });
    world.publish(&keyed("aab"));
    assert_eq!(world.states("default"), "rrr");
    world.add_sub("s", settings(Order::None), StartKind::Earliest, 0).expect("it is stored");
    assert_eq!((world.states("s"), world.stat("s").dropped), (".rr".into(), 0));
    update(&mut world, Retain { latest_per_key: true, ..NONE }).expect("it is of the same kind");
    assert_eq!((world.states("default"), world.stat("default").dropped), (".rr".into(), 1));
}

#[test]
fn an_update_applies_at_once() {
    let mut world = world(Retain { until_done: true, for_ms: 1_000, ..NONE });
    world.publish(&keyed("-"));
    world.publish(&keyed("-"));
    let one = world.attach("", 1, 1);
    world.settle_one(one, To::Ack, 1);
    world.now_ms += 100;
    update(&mut world, Retain { until_done: true, ..NONE }).expect("it may change");
    assert_eq!(stored(&world), [2], "nothing keeps what is done");
    update(&mut world, Retain { for_ms: 100, ..NONE }).expect("it may change");
    assert_eq!((stored(&world), world.states("default")), (vec![], "..".into()));
    assert_eq!(world.revoked(), [2]);
}
