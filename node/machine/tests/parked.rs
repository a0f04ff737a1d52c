//! Parked messages that are redriven or discarded by a job, at a rate or in bounded steps.

mod common;

use common::{World, positions};
use quorate_machine::command::{Action, Order, Outcome, Selector, Unpark, Verb};
use quorate_machine::reply::Reply;

fn unpark(world: &mut World, action: Action, per_second: u32) -> (u64, u64) {
    let command = Unpark {
        queue: "jobs".into(),
        action: action.into(),
        selector: Selector::default(),
        per_second,
        ..Unpark::default()
    };
    match world.one(Verb::Unpark(command)) {
        Ok(Reply::Unparked { messages, job }) => (messages, job),
        other => panic!("{other:?}"),
    }
}

/// A queue whose messages are all parked, and a consumer that would take each of them.
fn parked(bodies: &[&str]) -> World {
    parked_in(Order::None, bodies)
}

fn parked_in(order: Order, bodies: &[&str]) -> World {
    let mut world = World::with_queue(order);
    world.unchecked = true;
    for some in bodies.chunks(256) {
        world.publish(some);
    }
    world.attach(1, 10_000);
    let mut got = world.got();
    while let Some(one) = got.pop() {
        world.settle_one(one, Outcome::Park);
        got.extend(world.got());
    }
    world.unchecked = false;
    assert_eq!(world.stat().parked, bodies.len() as u64);
    world
}

#[test]
fn a_redrive_with_a_rate_is_never_ahead_of_it() {
    let mut world = parked(&["a", "b", "c", "d", "e"]);
    assert_eq!(unpark(&mut world, Action::Redrive, 4), (1, 1), "one at once, the others as a job");
    assert_eq!(positions(&world.got()), [1]);
    for (ms, redriven) in [(249, &[][..]), (1, &[2]), (249, &[]), (251, &[3, 4]), (249, &[])] {
        world.after(ms).tick();
        assert_eq!(positions(&world.got()), redriven, "what a late tick owes is made up for");
    }
    world.after(1).tick();
    assert_eq!(positions(&world.got()), [1, 5], "the last one, and the first one's lease is over");
    assert_eq!(world.stat().parked, 0);
}

#[test]
fn a_job_leaves_alone_what_was_published_after_it() {
    let mut world = parked(&["a", "b"]);
    assert_eq!(unpark(&mut world, Action::Discard, 1), (1, 1));
    world.publish(&["later"]);
    let later = world.got();
    assert_eq!(positions(&later), [3]);
    world.settle_one(later[0], Outcome::Park);
    world.after(60_000).tick();
    let stat = world.stat();
    assert_eq!((stat.parked, stat.discarded, stat.length), (1, 2, 1));
    world.after(60_000).tick();
    assert_eq!(world.stat().parked, 1, "the job is over");
}

/// What it redrove is parked again before it is over, and is one run with what lies behind its end.
#[test]
fn a_job_ends_where_it_was_to_end_whatever_is_parked_again() {
    let mut world = parked(&["a", "b"]);
    let command = Unpark {
        queue: "jobs".into(),
        action: Action::Redrive.into(),
        selector: Selector { to_position: 1, ..Selector::default() },
        per_second: 1,
        ..Unpark::default()
    };
    let redriven = world.one(Verb::Unpark(command));
    assert_eq!(redriven, Ok(Reply::Unparked { messages: 1, job: 1 }));
    let again = world.got();
    assert_eq!(positions(&again), [1]);
    world.settle_one(again[0], Outcome::Park);
    world.after(1000).tick();
    assert_eq!(world.stat().parked, 2);
    assert!(!world.is_due(), "the job is over");
}

#[test]
fn a_large_redrive_goes_on_in_bounded_steps() {
    for (order, action) in [
        (Order::None, Action::Redrive),
        (Order::Key, Action::Redrive),
        (Order::Key, Action::Discard),
        (Order::Total, Action::Discard),
    ] {
        let mut world = parked_in(order, &["m"; 3000]);
        world.unchecked = true;
        world.rows_max = Some(1000);
        let (at_once, job) = unpark(&mut world, action, 0);
        assert!((1..3000).contains(&at_once), "{at_once}");
        assert_eq!(job, 1);
        let mut ticks = 0;
        while world.is_due() {
            world.tick();
            assert!(world.rows() < 1300, "{} rows", world.rows());
            ticks += 1;
        }
        assert!(ticks > 0, "{ticks}");
        world.unchecked = false;
        world.tick();
        let stat = world.stat();
        assert_eq!(stat.parked, 0, "{order:?} {action:?}");
        let discarded = if action == Action::Discard { 3000 } else { 0 };
        assert_eq!((stat.discarded, stat.length), (discarded, 3000 - discarded));
    }
}
