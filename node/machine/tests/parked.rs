//! Parked messages that are redriven or discarded by a job, at a rate or in bounded steps.

mod common;

use common::{World, positions};
use quorate_machine::command::{Action, Order, Outcome, Selector, Unpark, Verb};
use quorate_machine::limits::UNPARK_MESSAGES_MAX;
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
    let mut world = World::with_queue(Order::None);
    for some in bodies.chunks(256) {
        world.publish(some);
    }
    world.attach(1, 10_000);
    for got in world.got() {
        world.settle_one(got, Outcome::Park);
    }
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

#[test]
fn a_large_redrive_goes_on_in_bounded_steps() {
    let count = UNPARK_MESSAGES_MAX as usize + 300;
    let mut world = parked(&vec!["m"; count]);
    let (messages, job) = unpark(&mut world, Action::Redrive, 0);
    assert_eq!((messages, job), (UNPARK_MESSAGES_MAX, 1));
    assert_eq!(world.got().len() as u64, UNPARK_MESSAGES_MAX);
    world.after(1).tick();
    assert_eq!(world.got().len(), 300);
    assert_eq!(world.stat().parked, 0);
}
