//! P5: a publish enters once, however often it is sent, and gets its positions back.

mod common;

use common::{World, publish};
use quorate_machine::command::{CloseProducer, Order, Publish, Verb};
use quorate_machine::limits::{PRODUCER_UNACKED_MAX, PUBLISH_MESSAGES_MAX};
use quorate_machine::reply::{Outcome, PositionRun, ProducerOpened, Refusal, Reply};

/// The first `duplicates` messages were known, the others are new.
fn published(runs: &[(u64, u32)], duplicates: u32) -> Outcome {
    let mut positions: Vec<PositionRun> = Vec::new();
    for (first_position, count) in runs {
        let known = duplicates.saturating_sub(positions.iter().map(|run| run.count).sum()).min(*count);
        let part = |first_position, count, duplicate| PositionRun { first_position, count, duplicate };
        let parts = [
            part(*first_position, known, true),
            part(first_position + u64::from(known), count - known, false),
        ];
        positions.extend(parts.into_iter().filter(|part| part.count > 0));
    }
    Ok(Reply::Published { positions })
}

fn send(world: &mut World, session: (u64, u64), first_seq: u64, bodies: &[&str]) -> Outcome {
    world.one(Verb::Publish(publish("jobs", session, first_seq, bodies)))
}

fn world() -> (World, (u64, u64)) {
    let mut world = World::with_queue(Order::None);
    let opened = world.open("billing");
    assert_eq!((opened.epoch, opened.last_seq), (1, 0));
    (world, (opened.producer, opened.epoch))
}

#[test]
fn a_repeat_gets_its_positions_back() {
    let (mut world, session) = world();
    assert_eq!(send(&mut world, session, 1, &["a", "b"]), published(&[(1, 2)], 0));
    world.publish(&["someone else's"]);
    assert_eq!(send(&mut world, session, 3, &["c"]), published(&[(4, 1)], 0));
    assert_eq!(send(&mut world, session, 1, &["a", "b"]), published(&[(1, 2)], 2));
    assert_eq!(send(&mut world, session, 2, &["b", "c", "d"]), published(&[(2, 1), (4, 2)], 2));
    assert_eq!(world.stat().last_position, 5, "of the last batch only d was new");
}

#[test]
fn a_gap_is_refused_and_what_is_missing_can_still_come() {
    let (mut world, session) = world();
    assert_eq!(send(&mut world, session, 2, &["b"]), Err(Refusal::SequenceGap { given: 2, last: 0 }));
    assert_eq!(world.stat().length, 0);
    assert_eq!(send(&mut world, session, 1, &["a"]), published(&[(1, 1)], 0));
    assert_eq!(send(&mut world, session, 2, &["b"]), published(&[(2, 1)], 0));
}

#[test]
fn receipts_are_kept_until_they_are_acknowledged() {
    let (mut world, session) = world();
    assert_eq!(send(&mut world, session, 1, &["a", "b"]), published(&[(1, 2)], 0));
    let acks = Publish { acked_seq: 1, ..publish("jobs", session, 3, &["c"]) };
    assert_eq!(world.one(Verb::Publish(acks)), published(&[(3, 1)], 0));
    let forgotten = Err(Refusal::ReceiptForgotten { given: 1, acked: 1 });
    assert_eq!(send(&mut world, session, 1, &["a", "b"]), forgotten);
    assert_eq!(send(&mut world, session, 2, &["b"]), published(&[(2, 1)], 1));
    let ahead = Publish { acked_seq: 4, ..publish("jobs", session, 4, &["d"]) };
    let refused = world.one(Verb::Publish(ahead));
    assert!(matches!(refused, Err(Refusal::Invalid { field: "acked_seq", .. })), "{refused:?}");
}

#[test]
fn a_new_holder_fences_the_old_one_and_knows_where_it_was() {
    let (mut world, old) = world();
    assert_eq!(send(&mut world, old, 1, &["a"]), published(&[(1, 1)], 0));
    let opened = world.open("billing");
    assert_eq!((opened.producer, opened.epoch, opened.last_seq), (old.0, 2, 1));
    assert_eq!(send(&mut world, old, 2, &["b"]), Err(Refusal::ProducerFenced { given: 1, current: 2 }));
    assert_eq!(send(&mut world, (old.0, 2), 1, &["a"]), published(&[(1, 1)], 1));
}

#[test]
fn only_the_last_to_open_a_session_resumes_it() {
    let mut world = World::with_queue(Order::None);
    let first = world.open("billing");
    let opened = |epoch, last_seq| {
        Ok(Reply::ProducerOpened(ProducerOpened { producer: first.producer, epoch, last_seq }))
    };
    assert_eq!(send(&mut world, (first.producer, 1), 1, &["a"]), published(&[(1, 1)], 0));
    assert_eq!(world.open_as("billing", 0, first.producer), opened(2, 1));
    assert_eq!(world.open_as("billing", 9, first.producer), Err(Refusal::ProducerTaken { epoch: 2 }));
    assert_eq!(world.open_as("billing", 9, 0), opened(3, 1), "by its name anybody may take it");
    assert_eq!(world.open_as("billing", 0, first.producer), Err(Refusal::ProducerTaken { epoch: 3 }));
    assert_eq!(world.open_as("billing", 9, first.producer), opened(4, 1));
    assert_eq!(world.open_as("other", 9, first.producer), Err(Refusal::UnknownProducer));
    world.after(5000).tick();
    assert_eq!(world.open_as("billing", 9, first.producer), Err(Refusal::UnknownProducer), "it expired");
    assert_ne!(world.open("billing").producer, first.producer);
    assert_eq!(world.open_as("billing", 0, first.producer), Err(Refusal::UnknownProducer), "a new one began");
}

#[test]
fn a_repeat_aimed_at_another_queue_is_not_taken_for_the_original() {
    let (mut world, session) = world();
    world.create("other", Order::None).expect("the name is free");
    assert_eq!(send(&mut world, session, 1, &["a"]), published(&[(1, 1)], 0));
    let astray = world.one(Verb::Publish(publish("other", session, 1, &["a"])));
    assert!(matches!(astray, Err(Refusal::Invalid { field: "queue", .. })), "{astray:?}");
    let next = world.one(Verb::Publish(publish("other", session, 2, &["b"])));
    assert_eq!(next, published(&[(1, 1)], 0), "one session may publish to many queues");
    let nowhere = world.one(Verb::Publish(publish("nowhere", session, 9, &["x"])));
    assert_eq!(nowhere, Err(Refusal::UnknownQueue("nowhere".into())));
}

#[test]
fn an_idle_session_is_forgotten_and_a_busy_one_is_not() {
    let (mut world, session) = world();
    world.open("idle");
    world.after(4000);
    assert_eq!(send(&mut world, session, 1, &["a"]), published(&[(1, 1)], 0));
    world.after(1000).tick();
    assert_eq!(world.open("idle").epoch, 1, "it was forgotten: this is a new one");
    assert_eq!(send(&mut world, session, 2, &["b"]), published(&[(2, 1)], 0));
    world.after(5000).tick();
    assert_eq!(send(&mut world, session, 3, &["c"]), Err(Refusal::UnknownProducer));
}

#[test]
fn a_closed_session_leaves_nothing() {
    let (mut world, (producer, epoch)) = world();
    let queue_alone = {
        let mut alone = World::with_queue(Order::None);
        alone.tick();
        alone.store.len()
    };
    assert_eq!(send(&mut world, (producer, epoch), 1, &["a"]), published(&[(1, 1)], 0));
    let close = |epoch| Verb::CloseProducer(CloseProducer { producer, epoch });
    assert_eq!(world.one(close(9)), Err(Refusal::ProducerFenced { given: 9, current: 1 }));
    assert_eq!(world.one(close(epoch)), Ok(Reply::Done));
    assert_eq!(world.one(close(epoch)), Err(Refusal::UnknownProducer));
    world.tick();
    // The message's chunk and body, and the last id given out.
    assert_eq!(world.store.len(), queue_alone + 2);
}

#[test]
fn receipts_are_bounded() {
    let (mut world, session) = world();
    let bodies = vec![""; PUBLISH_MESSAGES_MAX];
    let step = PUBLISH_MESSAGES_MAX as u64;
    let mut seq = 1;
    while seq <= PRODUCER_UNACKED_MAX {
        send(&mut world, session, seq, &bodies).expect("there is room");
        seq += step;
    }
    let full = send(&mut world, session, seq, &["one more"]);
    assert!(matches!(full, Err(Refusal::LimitReached { limit: PRODUCER_UNACKED_MAX, .. })), "{full:?}");
    let acks = Publish { acked_seq: 1, ..publish("jobs", session, seq, &["one more"]) };
    assert_eq!(world.one(Verb::Publish(acks)), published(&[(seq, 1)], 0));
}
