//! Settles: how ranges are joined, in what order they count, and the backoff.

use quorate_machine::reply::{Left, LeftHow, Refusal};
use twox_hash::XxHash3_64;

use super::*;

#[test]
fn a_joined_range_is_judged_before_it_is_carried_out() {
    let mut world = World::new(settings(Order::Total));
    world.publish(&keyed("----"));
    let one = world.attach("", 1, 9);
    // Given one by one, but they continue each other: the first does not revoke the second.
    world.settle(one, &[(To::Retry, 1, 1), (To::Retry, 2, 2)], "");
    assert_eq!((world.states("default"), world.revoked()), ("ttrr".into(), vec![3, 4]));
    let attempts: Vec<u32> = world.sub("default").rows.iter().map(|row| row.attempt).collect();
    assert_eq!(attempts, [2, 2, 1, 1]);
}

#[test]
fn acknowledgements_count_before_what_goes_back() {
    let mut world = World::new(settings(Order::Total));
    world.publish(&keyed("---"));
    let one = world.attach("", 1, 9);
    let refused = world.settle(one, &[(To::Retry, 1, 1), (To::Ack, 3, 3), (To::Park, 2, 2)], "").refused;
    // The retry came before the parking, and had revoked the second by then.
    assert_eq!((refused.len(), refused[0].first_position), (1, 2));
    assert_eq!((refused[0].refusal.clone(), world.states("default")), (Refusal::StaleLease, "tr.".into()));
}

#[test]
fn every_failure_of_a_range_is_judged_by_its_own_attempt() {
    let mut world = World::new(exhausting(Order::Total, 2, OnExhausted::Park));
    world.publish(&keyed("-"));
    let one = world.attach("", 1, 9);
    world.settle_one(one, To::Retry, 1);
    world.publish(&keyed("--"));
    world.tick_after(100);
    assert_eq!(world.states("default"), "111");
    // The first is exhausted and leaves, the second goes back: what is behind that one is revoked.
    let settled = world.settle(one, &[(To::Retry, 1, 2)], "");
    assert_eq!((world.states("default"), world.revoked()), ("ptr".into(), vec![3]));
    assert_eq!(settled.left, [Left { first_position: 1, count: 1, how: LeftHow::Parked }]);
    assert_eq!(settled.revoked.iter().map(|lease| lease.first_position).collect::<Vec<_>>(), [3]);
}

#[test]
fn backoffs_double_up_to_the_last_and_jitter_shortens_them() {
    let at = |world: &World| match world.sub("default").row(1).at {
        At::Retrying { at_ms } => at_ms - world.now_ms,
        at => panic!("{at:?}"),
    };
    let mut world = World::new(settings(Order::None));
    world.publish(&keyed("-"));
    let one = world.attach("", 1, 9);
    for expected in [100, 200, 350, 350] {
        world.settle_one(one, To::Retry, 1);
        assert_eq!(at(&world), expected);
        world.tick_after(350);
    }
    for jitter_percent in [7, 20, 100] {
        let backoff_first_ms = 1_234_567;
        let settings = Settings {
            jitter_percent: Some(jitter_percent),
            backoff_first_ms,
            backoff_last_ms: backoff_first_ms,
            ..settings(Order::None)
        };
        let mut world = World::new(settings);
        world.publish(&keyed("--"));
        let one = world.attach("", 1, 9);
        world.settle(one, &[(To::Retry, 1, 2)], "");
        let mut bytes = [0; 16];
        bytes[7] = 1; // the token of the first
        bytes[8..].copy_from_slice(&10_000u64.to_be_bytes());
        let h = XxHash3_64::oneshot(&bytes) % 1001;
        let less = u128::from(backoff_first_ms) * u128::from(jitter_percent) * u128::from(h) / 100_000;
        assert_eq!(u128::from(at(&world)), u128::from(backoff_first_ms) - less);
        assert!(less > 0);
        let rows = &world.sub("default").rows;
        assert_eq!(rows[0].at, rows[1].at, "the second is of the same range");
    }
}

#[test]
fn a_reason_that_is_not_there_makes_a_range_invalid_and_one_that_is_too_long_the_whole() {
    let mut world = World::new(settings(Order::None));
    world.publish(&keyed("---"));
    let consumer = world.attach("", 1, 9);
    let range = |position, outcome: To, reason| SettleRange {
        first_position: position,
        count: 1,
        first_token: position,
        outcome: outcome.into(),
        delay_ms: 0,
        reason,
    };
    let ranges = vec![range(1, To::Retry, 2), range(2, To::Park, 3), range(3, To::Ack, 3)];
    let reasons = vec!["x".repeat(257)];
    let refused = world.entry(Verb::Settle(Settle { consumer, ranges: ranges.clone(), reasons }));
    assert!(matches!(refused, Err(Refusal::Invalid { field: "reason", .. })), "{refused:?}");
    let reply = world.done(Verb::Settle(Settle { consumer, ranges, reasons: vec!["fine".into()] }));
    let Reply::Settled(Settled { refused, .. }) = reply else { panic!("{reply:?}") };
    let is_reason = |refusal: &Refusal| matches!(refusal, Refusal::Invalid { field: "reason", .. });
    assert!(refused.len() == 2 && refused.iter().all(|part| is_reason(&part.refusal)), "{refused:?}");
    assert_eq!(world.states("default"), "11.");
}
