//! P2, P3: order `total`. One consumer is active, and nothing overtakes, whatever goes wrong.

mod common;

use common::{BACKOFF_MS, LEASE_MS, World, positions, range};
use quorate_machine::command::{Order, Outcome, SettleRange};
use quorate_machine::reply::{PositionRun, Refusal};

fn five() -> World {
    let mut world = World::with_queue(Order::Total);
    let first = world.publish(&["a", "b", "c"]);
    let second = world.publish(&["d", "e"]);
    assert_eq!(first, [PositionRun { first_position: 1, count: 3, duplicate: false }]);
    assert_eq!(second, [PositionRun { first_position: 4, count: 2, duplicate: false }]);
    world
}

#[test]
fn only_the_first_of_the_attached_is_active() {
    let mut world = five();
    let first = world.attach(1, 2);
    assert_eq!(positions(&world.got()), [1, 2]);
    let second = world.attach(2, 10);
    assert_eq!(world.got(), [], "a standby gets nothing, though the active one has no credit left");
    world.detach(&first).expect("it is attached");
    let got = world.got();
    assert_eq!(positions(&got), [1, 2, 3, 4, 5], "the next one begins where the first one was");
    assert!(got.iter().all(|got| got.consumer == second.consumer && got.attempt == 1));
    assert!(got[0].token > 2, "tokens only grow");
}

#[test]
fn a_retry_holds_up_what_is_behind_it() {
    let mut world = five();
    world.attach(1, 10);
    let got = world.got();
    assert_eq!(positions(&got), [1, 2, 3, 4, 5]);
    world.settle_one(got[3], Outcome::Ack);
    world.settle_one(got[1], Outcome::Retry);
    assert_eq!(positions(&world.lost()), [3, 5], "4 is done already and stays so; 1 lies before");
    assert_eq!(world.got(), []);
    assert_eq!(world.stat().retrying, 1);
    world.publish(&["f"]);
    assert_eq!(world.got(), [], "a new message does not overtake either");
    world.after(BACKOFF_MS - 1).tick();
    assert_eq!(world.got(), []);
    world.after(1).tick();
    let again = world.got();
    assert_eq!(positions(&again), [2, 3, 5, 6]);
    assert_eq!(again.iter().map(|got| got.attempt).collect::<Vec<_>>(), [2, 1, 1, 1]);
    assert!(again[0].token > got[4].token);
}

#[test]
fn a_release_goes_out_again_before_all_others() {
    let mut world = five();
    world.attach(1, 3);
    let got = world.got();
    world.settle_one(got[0], Outcome::Release);
    assert_eq!(positions(&world.lost()), [2, 3]);
    assert_eq!(positions(&world.got()), [1, 2, 3]);
    assert!(world.got().iter().all(|got| got.attempt == 1));
}

#[test]
fn an_expired_lease_takes_the_later_ones_with_it() {
    let mut world = five();
    let session = world.attach(1, 2);
    let early = world.got();
    world.after(LEASE_MS / 2).credit(&session, 5).expect("it is attached");
    let late = world.got();
    assert_eq!(positions(&late), [3, 4, 5]);
    world.after(LEASE_MS / 2).tick();
    assert_eq!(positions(&world.lost()), [1, 2, 3, 4, 5]);
    let again = world.got();
    assert_eq!(positions(&again), [1, 2, 3, 4, 5]);
    let attempts: Vec<u32> = again.iter().map(|got| got.attempt).collect();
    assert_eq!(attempts, [2, 2, 1, 1, 1], "only what was over counts an attempt");
    let refused = world.settle(session.consumer, vec![range(early[0], 2, Outcome::Ack)]);
    assert_eq!(common::reasons(&refused), [(1, Refusal::StaleLease), (2, Refusal::StaleLease)]);
}

#[test]
fn an_extended_lease_before_an_expired_one_stays() {
    let mut world = five();
    let session = world.attach(1, 5);
    let got = world.got();
    world.after(LEASE_MS - 1).settle(session.consumer, vec![range(got[0], 2, Outcome::Extend)]);
    world.after(1).tick();
    assert_eq!(positions(&world.lost()), [3, 4, 5]);
    assert_eq!(positions(&world.got()), [3, 4, 5]);
    assert_eq!(world.settle(session.consumer, vec![range(got[0], 2, Outcome::Ack)]), []);
}

#[test]
fn a_settle_acknowledges_before_it_gives_back() {
    let mut world = five();
    let session = world.attach(1, 5);
    let got = world.got();
    let ranges: Vec<SettleRange> = vec![
        range(got[1], 1, Outcome::Retry),
        range(got[3], 1, Outcome::Release),
        range(got[2], 1, Outcome::Ack),
    ];
    let refused = world.settle(session.consumer, ranges);
    assert_eq!(common::reasons(&refused), [(4, Refusal::StaleLease)], "the retry had revoked it");
    assert_eq!(positions(&world.lost()), [4, 5], "3 was acknowledged before");
}

#[test]
fn a_range_that_fails_as_a_whole_counts_for_all_of_it() {
    let mut world = five();
    let session = world.attach(1, 5);
    let got = world.got();
    let singly = got[1..4].iter().map(|got| range(*got, 1, Outcome::Retry)).collect();
    assert_eq!(world.settle(session.consumer, singly), [], "ranges that continue each other count as one");
    assert_eq!(positions(&world.lost()), [5]);
    world.after(BACKOFF_MS).tick();
    let attempts: Vec<u32> = world.got().iter().map(|got| got.attempt).collect();
    assert_eq!(attempts, [2, 2, 2, 1]);
}
