//! Expiry, delays and leases that end.

use quorate_machine::command::Reschedule;
use quorate_machine::reply::Refusal;

use super::*;

fn expiring(ttl_ms: u64) -> Message {
    Message { ttl_ms, ..Message::default() }
}

fn reschedule(world: &mut World, position: u64, deliver_at_ms: u64) -> Outcome {
    let namespace = String::new();
    world.entry(Verb::Reschedule(Reschedule {
        namespace,
        queue: "q".into(),
        position,
        deliver_at_ms,
        id: String::new(),
    }))
}

#[test]
fn what_waits_expires_with_a_tick_and_what_is_leased_when_it_goes_back() {
    let mut world =
        World::with(settings(Order::None), QueueSettings { ttl_ms: 150, ..QueueSettings::default() });
    let late = Message { delay_ms: 120, ..Message::default() };
    world.publish(&[expiring(0), expiring(50), late, expiring(9000)]);
    let one = world.attach("", 1, 2);
    assert_eq!(world.states("default"), "11dr");
    world.settle_one(one, To::Retry, 1);
    world.settle_one(one, To::Release, 4);
    assert_eq!(world.states("default"), "t1d1");
    assert_eq!(view::next_deadline(&world.naive), Some(10_050));
    world.tick_after(50);
    // A leased one stays; its expiry has passed, and the next deadline is the retry.
    assert_eq!((world.states("default"), view::next_deadline(&world.naive)), ("t1d1".into(), Some(10_100)));
    world.settle_one(one, To::Release, 2);
    assert_eq!((world.states("default"), world.stat("default").expired), ("t.d1".into(), 1));
}

#[test]
fn an_expired_message_that_goes_back_leaves_the_leases_behind_it() {
    let mut world = World::new(settings(Order::Total));
    world.publish(&[expiring(50), expiring(50), expiring(0)]);
    let one = world.attach("", 1, 9);
    world.tick_after(60);
    world.settle_one(one, To::Retry, 1);
    assert_eq!((world.states("default"), world.revoked()), (".11".into(), vec![]));
    // All three leases end: the second has expired, the third counts its attempt.
    world.tick_after(1000);
    assert_eq!((world.states("default"), world.revoked()), ("..1".into(), vec![2, 3]));
    assert_eq!((world.sub("default").row(3).attempt, world.stat("default").expired), (2, 2));
}

#[test]
fn what_was_parked_never_expires() {
    let mut world = World::new(exhausting(Order::None, 1, OnExhausted::Park));
    world.publish(&[expiring(50)]);
    let one = world.attach("", 1, 9);
    world.settle_one(one, To::Park, 1);
    world.unpark(Action::Redrive, Selector::default());
    world.tick_after(60);
    world.settle_one(one, To::Release, 1);
    world.tick_after(1);
    assert_eq!((world.states("default"), world.stat("default").expired), ("1".into(), 0));
}

#[test]
fn what_is_parked_with_its_key_when_its_time_comes_is_kept() {
    for (wait_ms, states) in [(60, "1r"), (40, "1.")] {
        let mut world = World::new(exhausting(Order::Key, 1, OnExhausted::ParkKey));
        let message = Message { key: "a".into(), ..expiring(50) };
        world.publish(&[message.clone(), message]);
        let one = world.attach("", 1, 9);
        world.settle_one(one, To::Park, 1);
        world.tick_after(wait_ms);
        assert_eq!(world.states("default"), "pp");
        world.unpark(Action::Redrive, Selector::default());
        world.tick_after(20);
        assert_eq!(world.states("default"), states);
    }
}

#[test]
fn a_message_that_would_block_expires_instead() {
    let mut world = World::new(exhausting(Order::Total, 1, OnExhausted::Block));
    world.publish(&[expiring(50), expiring(0)]);
    let one = world.attach("", 1, 9);
    world.now_ms += 50;
    world.settle_one(one, To::Retry, 1);
    assert_eq!((world.states("default"), world.revoked()), (".1".into(), vec![]));
}

#[test]
fn the_queue_s_time_to_live_counts_from_when_a_message_is_due() {
    let mut world =
        World::with(settings(Order::None), QueueSettings { ttl_ms: 100, ..QueueSettings::default() });
    let late = Message { deliver_at_ms: 10_500, ..Message::default() };
    let past = Message { deliver_at_ms: 3, ..Message::default() };
    world.publish(&[late, past]);
    assert_eq!(world.states("default"), "dr");
    let expiries: Vec<_> = world.queue().messages.iter().map(|message| message.expires_ms()).collect();
    assert_eq!(expiries, [Some(10_600), Some(10_100)]);
}

#[test]
fn a_delayed_message_is_moved_cancelled_or_left_alone() {
    let mut world = World::new(settings(Order::None));
    let late = Message { delay_ms: 500, ..expiring(100) };
    world.publish(&[late.clone(), late, Message::default()]);
    world.add_sub("b", settings(Order::None), StartKind::Position, 2).expect("it is fine");
    assert_eq!(reschedule(&mut world, 1, 10_200), Ok(Reply::Done));
    assert_eq!(view::next_deadline(&world.naive), Some(10_200));
    assert_eq!(reschedule(&mut world, 2, 0), Ok(Reply::Done));
    assert_eq!((world.states("default"), world.states("b")), ("d.r".into(), "..r".into()));
    assert_eq!(reschedule(&mut world, 2, 10_900), Err(Refusal::UnknownMessage(2)));
    assert_eq!(reschedule(&mut world, 9, 10_900), Err(Refusal::UnknownMessage(9)));
    assert_eq!(reschedule(&mut world, 3, 10_900), Err(Refusal::NotDelayed(3)));
    // At or before now: due at once, with its whole time to live.
    assert_eq!(reschedule(&mut world, 1, 1), Ok(Reply::Done));
    assert_eq!(world.states("default"), "r.r");
    world.tick_after(99);
    assert_eq!(world.states("default"), "r.r");
    world.tick_after(1);
    assert_eq!(world.states("default"), "..r");
}

#[test]
fn leases_of_a_key_that_are_over_count_and_the_ones_behind_are_revoked() {
    let settings = Settings { per_key_inflight: 9, ..settings(Order::Key) };
    let mut world = World::new(settings);
    let one = world.attach("", 1, 9);
    world.publish(&keyed("aaab"));
    world.now_ms += 500;
    world.settle_one(one, To::Extend, 1);
    world.settle_one(one, To::Extend, 3);
    world.now_ms += 500;
    world.done(Verb::Tick(Tick {}));
    assert_eq!(world.revoked(), [2, 3, 4]);
    let attempts: Vec<u32> = world.sub("default").rows.iter().map(|row| row.attempt).collect();
    // The key that is held goes on before the round.
    assert_eq!((attempts, world.assigned()), (vec![1, 2, 1, 2], vec![2, 3, 4]));
}

#[test]
fn exhausted_by_an_expired_lease_with_block_everything_behind_waits() {
    let mut world = World::new(exhausting(Order::Total, 1, OnExhausted::Block));
    world.attach("", 1, 2);
    world.publish(&keyed("---"));
    world.tick_after(1000);
    assert_eq!((world.states("default"), world.revoked()), ("ppr".into(), vec![1, 2]));
}
