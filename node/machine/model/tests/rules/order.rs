//! Who gets what, and what is held up by what.

use super::*;

fn key(per_key_inflight: u32) -> Settings {
    Settings { per_key_inflight, ..settings(Order::Key) }
}

#[test]
fn a_key_is_with_one_consumer_message_by_message() {
    let mut world = World::new(key(1));
    world.publish(&keyed("aabb-a"));
    let (one, two) = (world.attach("", 1, 9), world.attach("", 2, 9));
    // The first consumer came when it was alone; what each key has next waits for its holder to settle.
    assert_eq!(world.states("default"), "1r1r1r");
    world.settle_one(one, To::Ack, 1);
    // Nobody holds anything of `a` now: it is on offer again, and the one after the one served last is served.
    assert_eq!(world.states("default"), ".21r1r");
    world.settle_one(two, To::Release, 2);
    assert_eq!(world.states("default"), ".11r1r");
}

#[test]
fn the_holder_of_a_key_goes_on_with_it_up_to_its_share() {
    let mut world = World::new(key(3));
    world.publish(&keyed("aaaab"));
    let one = world.attach("", 1, 9);
    // First a round: 1 and 5; then the continuations.
    assert_eq!((world.states("default"), world.assigned()), ("111r1".into(), vec![1, 5, 2, 3]));
    world.attach("", 2, 9);
    world.publish(&keyed("ba"));
    // Position 6 follows 5, which the first holds.
    assert_eq!(world.states("default"), "111r11r");
    world.settle_one(one, To::Ack, 2);
    assert_eq!(world.states("default"), "1.1111r");
}

#[test]
fn holders_go_on_one_after_the_other_before_anything_is_dealt() {
    let mut world = World::new(key(3));
    let pause = |paused| {
        let (namespace, queue, name) = (String::new(), "q".into(), String::new());
        Verb::Pause(quorate_machine::command::Pause { namespace, queue, name, paused })
    };
    let holders = [world.attach("", 1, 1), world.attach("", 2, 1)];
    world.publish(&keyed("ab"));
    world.publish(&keyed("cba"));
    assert_eq!(world.states("default"), "12rrr");
    world.done(pause(true));
    for consumer in holders {
        let credit = quorate_machine::command::Credit { consumer, generation: 1, credit: 5 };
        world.done(Verb::Credit(credit));
    }
    world.done(pause(false));
    assert_eq!((world.states("default"), world.assigned()), ("12121".into(), vec![5, 4, 3]));
}

#[test]
fn a_retry_of_a_key_revokes_what_is_behind_it_and_holds_up_nothing_else() {
    let mut world = World::new(key(3));
    world.publish(&keyed("abaab-"));
    let one = world.attach("", 1, 9);
    assert_eq!(world.states("default"), "111111");
    world.settle_one(one, To::Retry, 3);
    assert_eq!((world.states("default"), world.revoked()), ("11tr11".into(), vec![4]));
    // What is before it in the key goes on being leased; the one behind waits for it.
    world.settle_one(one, To::Ack, 1);
    assert_eq!(world.states("default"), ".1tr11");
    world.tick_after(100);
    assert_eq!((world.states("default"), world.assigned()), (".11111".into(), vec![3, 4]));
}

#[test]
fn what_leaves_a_domain_leaves_the_leases_behind_it() {
    let mut world = World::new(exhausting(Order::Key, 1, OnExhausted::Park));
    world.publish(&keyed("--"));
    let one = world.attach("", 1, 9);
    world.settle_one(one, To::Retry, 1);
    assert_eq!((world.states("default"), world.revoked()), ("p1".into(), vec![]));
    let mut world = World::new(exhausting(Order::Total, 1, OnExhausted::Discard));
    world.publish(&keyed("---"));
    let one = world.attach("", 1, 9);
    world.settle_one(one, To::Retry, 2);
    assert_eq!((world.states("default"), world.stat("default").discarded), ("1.1".into(), 1));
}

#[test]
fn a_delayed_message_joins_at_its_place_and_takes_nothing_away() {
    let mut world = World::new(settings(Order::Total));
    let late = Message { delay_ms: 50, ..Message::default() };
    world.publish(&[late, Message::default(), Message::default()]);
    let one = world.attach("", 1, 1);
    assert_eq!(world.states("default"), "d1r");
    world.tick_after(50);
    assert_eq!((world.states("default"), world.revoked()), ("r1r".into(), vec![]));
    world.settle_one(one, To::Ack, 2);
    assert_eq!(world.states("default"), "1.r");
    world.settle_one(one, To::Release, 1);
    assert_eq!((world.states("default"), world.sub("default").last_token), ("1.r".into(), 3));
}

#[test]
fn a_holder_without_credit_keeps_its_key_from_others() {
    let mut world = World::new(key(3));
    let one = world.attach("", 1, 1);
    world.attach("", 2, 5);
    world.publish(&keyed("aa"));
    assert_eq!(world.states("default"), "1r");
    world.settle_one(one, To::Ack, 1);
    assert_eq!(world.states("default"), ".2");
}

#[test]
fn higher_priorities_overtake_and_lower_positions_go_first() {
    let queue = QueueSettings { priorities: true, ..QueueSettings::default() };
    let mut world = World::with(settings(Order::None), queue);
    let messages = [0, 3, 9, 3].map(|priority| Message { priority, ..Message::default() });
    world.publish(&messages);
    world.attach("", 1, 3);
    assert_eq!((world.states("default"), world.assigned()), ("r111".into(), vec![3, 2, 4]));
}

#[test]
fn a_paused_subscription_leases_nothing_until_it_is_resumed() {
    let mut world = World::new(settings(Order::None));
    let pause = |paused| {
        Verb::Pause(quorate_machine::command::Pause {
            namespace: String::new(),
            queue: "q".into(),
            name: String::new(),
            paused,
        })
    };
    world.done(pause(true));
    let one = world.attach("", 1, 9);
    world.publish(&keyed("--"));
    assert_eq!(world.states("default"), "rr");
    world.done(pause(false));
    assert_eq!(world.states("default"), "11");
    world.done(pause(true));
    world.settle_one(one, To::Release, 1);
    assert_eq!(world.states("default"), "r1");
}
