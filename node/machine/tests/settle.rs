//! P4, P9: leases, tokens, and what becomes of messages, with order `none`.

mod common;

use common::{BACKOFF_MS, Got, LEASE_MS, World, attach, positions, publish, range, reasons};
use quorate_machine::command::{Order, Outcome, Settle, SettleRange, Verb};
use quorate_machine::limits::SETTLE_RANGES_MAX;
use quorate_machine::read::{self, State};
use quorate_machine::reply::{Refusal, Reply};

fn held_by(got: &[Got], consumer: u64) -> Vec<u64> {
    got.iter().filter(|got| got.consumer == consumer).map(|got| got.position).collect()
}

#[test]
fn an_old_token_settles_nothing() {
    let mut world = World::with_queue(Order::None);
    world.publish(&["a"]);
    let slow = world.attach(1, 1);
    let lost = world.got()[0];
    world.credit(&slow, 0).expect("it is attached");
    world.after(LEASE_MS).tick();
    assert_eq!(world.lost(), [lost]);
    let fast = world.attach(2, 1);
    let current = world.got()[0];
    assert_eq!((current.position, current.attempt), (1, 2));
    assert!(current.token > lost.token);
    for outcome in [Outcome::Ack, Outcome::Retry, Outcome::Release, Outcome::Extend] {
        let refused = world.settle(slow.consumer, vec![range(lost, 1, outcome)]);
        assert_eq!(reasons(&refused), [(1, Refusal::StaleLease)]);
        let stolen = Got { consumer: fast.consumer, ..lost };
        let refused = world.settle(fast.consumer, vec![range(stolen, 1, outcome)]);
        assert_eq!(reasons(&refused), [(1, Refusal::StaleLease)]);
    }
    assert_eq!(world.stat().leased, 1);
    world.settle_one(current, Outcome::Ack);
    assert_eq!(world.stat().length, 0);
}

#[test]
fn each_message_of_a_range_is_judged_on_its_own() {
    let mut world = World::with_queue(Order::None);
    world.publish(&["a", "b", "c", "d", "e"]);
    let session = world.attach(1, 4);
    let got = world.got();
    world.settle_one(got[1], Outcome::Ack);
    let refused = world.settle(session.consumer, vec![range(got[0], 6, Outcome::Ack)]);
    // 5 was leased meanwhile, but as token 5; 6 does not exist.
    assert_eq!(reasons(&refused), [(2, Refusal::StaleLease), (6, Refusal::NeverLeased)]);
    assert_eq!(world.stat().length, 0);
    let odd = vec![
        SettleRange { count: 0, ..range(got[0], 1, Outcome::Ack) },
        SettleRange { outcome: 77, ..range(got[0], 1, Outcome::Ack) },
        SettleRange { first_position: u64::MAX, ..range(got[0], 2, Outcome::Ack) },
        SettleRange { first_position: 0, first_token: 0, ..range(got[0], 2, Outcome::Ack) },
    ];
    let refused = world.settle(session.consumer, odd);
    let fields: Vec<_> = refused
        .iter()
        .map(|part| match &part.refusal {
            Refusal::Invalid { field, .. } => *field,
            Refusal::NeverLeased => "never leased",
            Refusal::StaleLease => "stale",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(fields, ["count", "outcome", "first_position", "never leased", "stale"]);
}

#[test]
fn the_backoff_doubles_up_to_its_bound_and_a_delay_overrides_it() {
    let mut world = World::with_queue(Order::None);
    world.publish(&["a"]);
    world.attach(1, 1);
    for (attempt, wait_ms) in
        [(1, 1), (2, 2), (3, 4), (4, 4), (5, 4)].map(|(a, times)| (a, times * BACKOFF_MS))
    {
        let got = world.got()[0];
        assert_eq!(got.attempt, attempt);
        world.settle_one(got, Outcome::Retry);
        assert_eq!(world.last.as_ref().unwrap().next_deadline_ms, Some(world.clock_ms + wait_ms));
        world.after(wait_ms - 1).tick();
        assert_eq!(world.got(), []);
        world.after(1).tick();
    }
    let got = world.got()[0];
    let delayed = SettleRange { delay_ms: 7, ..range(got, 1, Outcome::Retry) };
    assert_eq!(world.settle(got.consumer, vec![delayed]), []);
    world.after(7).tick();
    assert_eq!(world.got()[0].attempt, 7);
}

#[test]
fn an_extension_moves_the_deadline_only() {
    let mut world = World::with_queue(Order::None);
    world.publish(&["a", "b", "c"]);
    let session = world.attach(1, 3);
    let got = world.got();
    world.after(LEASE_MS - 1);
    world.settle_one(got[1], Outcome::Extend);
    world.after(1).tick();
    assert_eq!(positions(&world.lost()), [1, 3]);
    let long = SettleRange { delay_ms: 1, ..range(got[1], 1, Outcome::Extend) };
    let refused = world.settle(session.consumer, vec![long]);
    assert!(matches!(refused[0].refusal, Refusal::Invalid { field: "delay_ms", .. }));
    world.after(LEASE_MS - 2).tick();
    assert_eq!(world.lost(), []);
    world.settle_one(got[1], Outcome::Ack);
}

#[test]
fn waiting_consumers_take_turns() {
    let mut world = World::with_queue(Order::None);
    let (first, second) = (world.attach(1, 10).consumer, world.attach(2, 10).consumer);
    let mut turns = Vec::new();
    for _ in 0..4 {
        world.publish(&["a"]);
        turns.push(world.got()[0].consumer);
    }
    assert_eq!(turns, [first, second, first, second]);
}

#[test]
fn a_large_credit_does_not_take_a_small_backlog_from_the_others() {
    let mut world = World::with_queue(Order::None);
    let greedy = world.attach(1, 60_000).consumer;
    let modest = world.attach(2, 1).consumer;
    let third = world.attach(3, 100).consumer;
    world.publish(&["x"; 9]);
    let got = world.got();
    assert_eq!(held_by(&got, modest).len(), 1, "all that it can hold");
    assert_eq!(held_by(&got, greedy).len() + held_by(&got, third).len(), 8);
    assert!(held_by(&got, third).len() >= 3, "its share of the nine");
}

#[test]
fn what_came_back_goes_out_before_what_is_new() {
    let mut world = World::with_queue(Order::None);
    world.publish(&["a", "b", "c", "d"]);
    let first = world.attach(1, 3);
    let got = world.got();
    world.credit(&first, 0).expect("it is attached");
    world.settle_one(got[2], Outcome::Release);
    world.settle_one(got[0], Outcome::Release);
    world.attach(2, 3);
    assert_eq!(positions(&world.got()), [1, 3, 4]);
}

#[test]
fn a_resumed_session_gets_its_leases_again_with_the_same_tokens() {
    let mut world = World::with_queue(Order::None);
    world.publish(&["a", "b", "c"]);
    let old = world.attach(1, 2);
    let got = world.got();
    let new = world.attach(1, 3);
    assert!(new.resumed && new.consumer == old.consumer && new.generation > old.generation);
    assert_eq!(new.leases.len(), 1);
    assert_eq!(
        (new.leases[0].first_position, new.leases[0].count, new.leases[0].first_token),
        (1, 2, got[0].token)
    );
    assert_eq!(positions(&world.got()), [3], "the new lease comes as an effect");
    let fenced = Refusal::ConsumerFenced { given: old.generation, current: new.generation };
    assert_eq!(world.detach(&old), Err(fenced.clone()), "a late end of the old stream ends nothing");
    assert_eq!(world.credit(&old, 9), Err(fenced));
    world.create("other", Order::None).expect("the name is free");
    let elsewhere = world.one(attach("other", 1, 1));
    assert!(matches!(elsewhere, Err(Refusal::Invalid { field: "session", .. })), "{elsewhere:?}");
}

#[test]
fn deliveries_coalesce_over_an_entry() {
    let mut world = World::with_queue(Order::None);
    world.attach(1, 100);
    let one = || Verb::Publish(publish("jobs", (0, 0), 0, &["x"]));
    world.entry(vec![one(), one(), one()]);
    assert_eq!(positions(&world.got()), [1, 2, 3]);
    assert_eq!(world.last.as_ref().unwrap().effects.len(), 1, "one lease");
}

#[test]
fn a_message_is_kept_until_its_whole_chunk_is_done() {
    let mut world = World::with_queue(Order::None);
    let empty = world.store.len();
    world.publish(&["a", "bb", "ccc"]);
    assert_eq!(world.store.len(), empty + 2, "a chunk and its body");
    let session = world.attach(1, 3);
    let got = world.got();
    let whole = world.stat().bytes;
    assert_eq!(world.settle(session.consumer, vec![range(got[0], 2, Outcome::Ack)]), []);
    assert!(world.stat().bytes < whole && world.stat().bytes > 0);
    let peek = |world: &World, state| read::peek(&world.store, "default", "jobs", "", 0, 0, state).unwrap().0;
    assert_eq!(peek(&world, None).iter().map(|row| row.position).collect::<Vec<_>>(), [3]);
    let done = peek(&world, Some(State::Done));
    assert_eq!(
        done.iter().map(|row| row.position).collect::<Vec<_>>(),
        [1, 2],
        "their bytes are still there"
    );
    world.settle_one(got[2], Outcome::Ack);
    assert_eq!((world.stat().length, world.stat().bytes, world.stat().first_position), (0, 0, 0));
    assert_eq!(peek(&world, Some(State::Done)), []);
    world.detach(&session).expect("it is attached");
    // Left is only the counter of consumers' ids, which the queue's own creation had written.
    assert_eq!(world.store.len(), empty);
}

#[test]
fn a_settle_is_bounded() {
    let mut world = World::with_queue(Order::None);
    let session = world.attach(1, 1);
    let got = Got { consumer: session.consumer, position: 1, token: 1, attempt: 1 };
    let settle = |ranges| Verb::Settle(Settle { consumer: session.consumer, ranges, ..Settle::default() });
    let many = world.one(settle(vec![range(got, 1, Outcome::Ack); SETTLE_RANGES_MAX + 1]));
    assert!(matches!(many, Err(Refusal::Invalid { field: "ranges", .. })), "{many:?}");
    let wide = world.one(settle(vec![range(got, u32::MAX, Outcome::Ack); 2]));
    assert!(matches!(wide, Err(Refusal::Invalid { field: "ranges", .. })), "{wide:?}");
    assert_eq!(world.one(settle(vec![])), Ok(Reply::Settled(Default::default())));
    let nobody = world.one(Verb::Settle(Settle { consumer: 99, ranges: vec![], ..Settle::default() }));
    assert_eq!(nobody, Err(Refusal::UnknownConsumer));
}
