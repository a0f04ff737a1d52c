//! Deleting a queue: the name is free at once, the sessions end, and ticks sweep the rest, a bounded part each.

mod common;

use bytes::Bytes;
use common::{LEASE_MS, World, attach, positions, range};
use quorate_machine::command::{Order, Outcome, Settle, Verb};
use quorate_machine::effect::Effect;
use quorate_machine::read;
use quorate_machine::reply::{Refusal, Reply};
use quorate_machine::store::Read;
use quorate_machine::tables::Table;

#[test]
fn a_deleted_queue_ends_its_sessions_and_frees_its_name() {
    let mut world = World::with_queue(Order::None);
    world.publish(&["a", "b", "c"]);
    let session = world.attach(1, 2);
    let got = world.got();
    world.settle_one(got[0], Outcome::Retry);
    assert_eq!(world.delete("jobs"), Ok(Reply::Done));
    let applied = world.last.clone().unwrap();
    assert_eq!(applied.effects, [Effect::Ended { consumer: session.consumer }]);
    assert_eq!(applied.next_deadline_ms, Some(world.clock_ms), "there is something to sweep");
    let late = Settle {
        consumer: session.consumer,
        ranges: vec![range(got[1], 1, Outcome::Ack)],
        ..Settle::default()
    };
    assert_eq!(world.one(Verb::Settle(late)), Err(Refusal::UnknownConsumer));
    assert_eq!(world.delete("jobs"), Err(Refusal::UnknownQueue("jobs".into())));

    world.create("jobs", Order::Total).expect("the name is free");
    let nothing = read::Stat { last_position: 3, ..read::Stat::default() };
    assert_eq!(
        world.stat(),
        nothing,
        "nothing of the old queue shows in the new one, and no position is used again"
    );
    assert_eq!(world.publish(&["x"])[0].first_position, 4);
    assert!(world.one(attach("jobs", 1, 5)).is_ok(), "the session's name is free too");
    assert_eq!(positions(&world.got()), [4]);
}

#[test]
fn ticks_sweep_everything_in_bounded_steps() {
    let mut world = World::new();
    world.create("jobs", Order::None).expect("the name is free");
    world.delete("jobs").expect("it is there");
    world.tick();
    let clean = world.store.len();

    world.create("jobs", Order::None).expect("the name is free");
    world.unchecked = true;
    for _ in 0..1024 {
        world.publish(&["a", "b", "c"]);
    }
    world.attach(1, 1000);
    let got = world.got();
    for at in (0..300).step_by(3) {
        world.settle_one(got[at], if at % 2 == 0 { Outcome::Retry } else { Outcome::Release });
    }
    world.unchecked = false;
    world.after(LEASE_MS * 10);
    world.delete("jobs").expect("it is there");
    world.rows_max = Some(2048);
    let (mut ticks, mut progress) = (0, Vec::new());
    while world.last.as_ref().unwrap().next_deadline_ms.is_some() {
        world.tick();
        assert_eq!(world.lost(), [], "leases of a deleted queue do not expire, they are gone");
        assert!(world.rows() < 2048 + 256, "{} rows in one tick", world.rows());
        ticks += 1;
        // Where the sweep goes on: behind what it has removed, so that it never wades through that again.
        let is_garbage = |(key, _): &(&[u8], &Bytes)| key[0] == Table::Garbage as u8;
        if let Some((_, at)) = world.store.rows().find(is_garbage) {
            assert!(at[..] > progress[..], "tick {ticks} went on from {at:?}");
            progress = at.to_vec();
        }
    }
    assert!(ticks > 2, "{ticks}");
    // The last consumer's id is remembered in a row that was there before; nothing else is left but where the name goes on.
    assert_eq!(world.store.len(), clean + 2);
}

#[test]
fn deadlines_are_carried_out_in_bounded_steps() {
    let mut world = World::with_queue(Order::None);
    world.unchecked = true;
    const MESSAGES: usize = 300;
    for _ in 0..MESSAGES {
        world.publish(&["a"]);
    }
    // Two consumers in turns, so that no two messages share a run.
    let sessions = [world.attach(1, 0), world.attach(2, 0)];
    for at in 0..MESSAGES {
        for (index, session) in sessions.iter().enumerate() {
            let credit = if index == at % 2 { (at / 2 + 1) as u32 } else { 0 };
            world.credit(session, credit).expect("it is attached");
        }
    }
    world.unchecked = false;
    assert_eq!(world.stat().leased, MESSAGES as u64);
    for session in &sessions {
        world.credit(session, 0).expect("it is attached");
    }
    world.rows_max = Some(1000);
    world.after(LEASE_MS);
    let (mut lost, mut ticks) = (Vec::new(), 0);
    while lost.len() < MESSAGES {
        world.tick();
        assert!(world.rows() < 1300, "{} rows", world.rows());
        let some = positions(&world.lost());
        assert!(!some.is_empty(), "a tick gets on");
        lost.extend(some);
        ticks += 1;
    }
    assert!(ticks > 3, "{ticks}");
    assert_eq!(lost, (1..=MESSAGES as u64).collect::<Vec<u64>>(), "in their order");
    assert_eq!(world.last.as_ref().unwrap().next_deadline_ms, None);
}

#[test]
fn bodies_are_slices_of_the_entry() {
    use quorate_machine::command::{Batch, Command};
    let mut world = World::with_queue(Order::None);
    let publish = Verb::Publish(common::publish("jobs", (0, 0), 0, &["some body", "another"]));
    let entry: Bytes = Batch::new(world.clock_ms, vec![Command::from(publish)]).encode();
    quorate_machine::apply(&mut world.store, &entry).expect("memory works");
    let within = entry.as_ptr_range();
    let (_, body) = world.store.rows().find(|(key, _)| key[0] == 8).expect("the body's row is there");
    assert!(within.contains(&body.as_ptr()), "the body was copied");
    assert!(world.store.get(&[9, 9]).expect("memory works").is_none());
}
