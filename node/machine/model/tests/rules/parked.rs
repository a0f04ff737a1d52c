//! Exhausted messages, and what becomes of them.

use super::*;

fn parking_keys(max_attempts: u32) -> Settings {
    Settings { per_key_inflight: 3, ..exhausting(Order::Key, max_attempts, OnExhausted::ParkKey) }
}

#[test]
fn the_last_attempt_parks_with_its_reasons() {
    let mut world = World::new(exhausting(Order::None, 2, OnExhausted::Park));
    world.publish(&keyed("-"));
    let one = world.attach("", 1, 9);
    world.settle(one, &[(To::Retry, 1, 1)], "no luck");
    world.tick_after(100);
    world.tick_after(1000);
    assert_eq!(world.states("default"), "p");
    let row = world.sub("default").row(1);
    let said: Vec<_> =
        row.failures.iter().map(|one| (one.time_ms, one.attempt, one.reason.as_str())).collect();
    assert_eq!((row.attempt, said), (2, vec![(10_000, 1, "no luck"), (11_100, 2, "lease expired")]));
    assert_eq!(world.unpark(Action::Redrive, Selector::default()), 1);
    let row = world.sub("default").row(1);
    assert_eq!((world.states("default"), row.attempt, row.failures.len()), ("1".into(), 1, 2));
}

#[test]
fn only_the_last_eight_reasons_are_kept() {
    let mut world = World::new(settings(Order::None));
    world.publish(&keyed("-"));
    let one = world.attach("", 1, 9);
    for at in 0..10 {
        world.settle(one, &[(To::Retry, 1, 1)], if at == 5 { "" } else { "so" });
        world.tick_after(350);
    }
    let attempts: Vec<u32> = world.sub("default").row(1).failures.iter().map(|one| one.attempt).collect();
    assert_eq!(attempts, [2, 3, 4, 5, 7, 8, 9, 10]);
}

#[test]
fn a_parked_key_keeps_what_is_before_the_message_and_parks_the_rest() {
    let mut world = World::new(parking_keys(1));
    world.publish(&keyed("aaab"));
    let one = world.attach("", 1, 9);
    assert_eq!(world.states("default"), "1111");
    world.settle_one(one, To::Retry, 2);
    assert_eq!((world.states("default"), world.revoked()), ("1pp1".into(), vec![3]));
    world.publish(&keyed("a"));
    assert_eq!(world.states("default"), "1pp1p");
    let stat = world.stat("default");
    assert_eq!((stat.parked, stat.ready, stat.length), (3, 0, 5));
    // What was before it goes on, and comes back to a parked key.
    world.settle_one(one, To::Release, 1);
    assert_eq!((world.states("default"), world.sub("default").row(1).attempt), ("ppp1p".into(), 1));
    assert_eq!(world.unpark(Action::Redrive, of_key("a")), 4);
    assert_eq!(world.states("default"), "1111r");
}

#[test]
fn redriving_one_message_of_a_parked_key_ends_its_parking() {
    let mut world = World::new(parking_keys(1));
    world.publish(&keyed("aaa"));
    let one = world.attach("", 1, 9);
    world.settle(one, &[(To::Retry, 1, 2)], "");
    assert_eq!(world.states("default"), "ppp");
    // The first was parked itself, and so was the second.
    assert_eq!(world.unpark(Action::Redrive, at(2)), 2);
    assert_eq!((world.states("default"), world.assigned()), ("p11".into(), vec![2, 3]));
    assert_eq!(world.unpark(Action::Redrive, at(3)), 0);
}

#[test]
fn discarding_one_message_leaves_its_key_parked_and_discarding_the_key_ends_that() {
    let mut world = World::new(parking_keys(1));
    world.publish(&keyed("aab"));
    let one = world.attach("", 1, 9);
    world.settle_one(one, To::Park, 1);
    assert_eq!(world.states("default"), "pp1");
    assert_eq!(world.unpark(Action::Discard, at(1)), 1);
    assert_eq!(world.states("default"), ".p1");
    assert_eq!(world.unpark(Action::Discard, at(2)), 0);
    assert_eq!(world.unpark(Action::Discard, of_key("a")), 1);
    assert_eq!((world.states("default"), world.stat("default").discarded), ("..1".into(), 2));
    world.publish(&keyed("a"));
    assert_eq!(world.states("default"), "..11");
}

#[test]
fn a_key_stays_parked_without_anything_in_it_until_it_is_discarded_as_a_whole() {
    let mut world = World::new(parking_keys(1));
    world.publish(&keyed("a"));
    let one = world.attach("", 1, 9);
    world.settle_one(one, To::Park, 1);
    assert_eq!(world.unpark(Action::Discard, at(1)), 1);
    world.publish(&keyed("a"));
    assert_eq!(world.states("default"), ".p");
    assert_eq!(world.unpark(Action::Discard, Selector::default()), 1);
    world.publish(&keyed("a"));
    assert_eq!(world.states("default"), "..1");
}

#[test]
fn what_was_parked_with_its_key_keeps_its_attempt() {
    let mut world = World::new(parking_keys(3));
    world.publish(&keyed("aa"));
    let one = world.attach("", 1, 9);
    world.tick_after(1000);
    world.settle_one(one, To::Park, 1);
    assert_eq!(world.unpark(Action::Redrive, of_key("a")), 2);
    let attempts: Vec<u32> = world.sub("default").rows.iter().map(|row| row.attempt).collect();
    assert_eq!((world.states("default"), attempts), ("11".into(), vec![1, 2]));
}

#[test]
fn a_message_without_a_key_is_parked_alone() {
    let mut world = World::new(parking_keys(1));
    world.publish(&keyed("--"));
    let one = world.attach("", 1, 9);
    world.settle_one(one, To::Retry, 1);
    world.publish(&keyed("-"));
    assert_eq!(world.states("default"), "p11");
}

#[test]
fn retrying_and_delayed_messages_of_a_parked_key_park_when_their_time_comes() {
    let mut world = World::new(parking_keys(2));
    let late = Message { key: "a".into(), delay_ms: 500, ..Message::default() };
    world.publish(&keyed("aa"));
    world.publish(&[late]);
    let one = world.attach("", 1, 9);
    world.settle_one(one, To::Park, 2);
    world.settle_one(one, To::Retry, 1);
    assert_eq!(world.states("default"), "tpd");
    world.tick_after(100);
    assert_eq!(world.states("default"), "ppd");
    world.tick_after(400);
    assert_eq!((world.states("default"), world.sub("default").row(1).attempt), ("ppp".into(), 2));
}

#[test]
fn a_blocked_message_keeps_its_place_until_it_is_redriven_or_discarded() {
    for (action, states) in [(Action::Redrive, "1111"), (Action::Discard, "1.11")] {
        let mut world = World::new(exhausting(Order::Total, 1, OnExhausted::Block));
        world.publish(&keyed("---"));
        let one = world.attach("", 1, 9);
        world.settle_one(one, To::Retry, 2);
        assert_eq!((world.states("default"), world.revoked()), ("1pr".into(), vec![3]));
        world.publish(&keyed("-"));
        assert_eq!(world.states("default"), "1prr");
        assert_eq!(world.unpark(action, Selector::default()), 1);
        assert_eq!(world.states("default"), states);
    }
}

#[test]
fn a_message_parked_on_demand_is_out_of_the_way_even_where_exhausted_ones_block() {
    let mut world = World::new(exhausting(Order::Total, 1, OnExhausted::Block));
    world.publish(&keyed("---"));
    let one = world.attach("", 1, 9);
    world.settle_one(one, To::Park, 2);
    world.publish(&keyed("-"));
    assert_eq!((world.states("default"), world.revoked()), ("1p11".into(), vec![]));
    // It goes back to its place, and waits for nobody but takes nothing away.
    world.unpark(Action::Redrive, Selector::default());
    assert_eq!((world.states("default"), world.assigned()), ("1111".into(), vec![2]));
}

#[test]
fn a_selector_with_positions_or_a_filter_means_messages_parked_one_by_one() {
    let mut world = World::new(parking_keys(1));
    let message = |key: &'static str, subject: &str| Message {
        key: key.into(),
        subject: subject.into(),
        ..Message::default()
    };
    world.publish(&[message("a", "x"), message("a", "x"), message("b", "y"), message("", "x")]);
    let one = world.attach("", 1, 9);
    for position in [1, 3, 4] {
        world.settle_one(one, To::Park, position);
    }
    assert_eq!(world.states("default"), "pppp");
    let filter = quorate_machine::command::Filter { subject: "x".into(), headers: Vec::new() };
    let of_subject = Selector { filter: Some(filter), ..Selector::default() };
    assert_eq!(world.unpark(Action::Discard, of_subject), 2);
    assert_eq!(world.states("default"), ".pp.");
    assert_eq!(world.unpark(Action::Redrive, Selector::default()), 2);
    assert_eq!(world.states("default"), ".11.");
}
