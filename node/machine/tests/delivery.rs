//! What a consumer's stream asks the state for: the leases it takes up, and their messages part by part.

mod common;

use common::World;
use quorate_machine::command::{Order, Outcome};
use quorate_machine::effect::Lease;
use quorate_machine::read::{held, lease_messages, lease_part};

/// A stream that registers and then looks at the state must learn of every lease exactly once: from the look, or
/// from the news of a later entry.
#[test]
fn a_look_and_the_news_after_it_are_complete_and_disjoint() {
    let mut world = World::with_queue(Order::None);
    world.publish(&["a", "b", "c"]);
    let session = world.attach(1, 3);
    let first = world.got();
    world.settle_one(first[1], Outcome::Ack);

    let look = held(&world.store, session.consumer).expect("the store works");
    let at: Vec<(u64, u32)> = look.leases.iter().map(|lease| (lease.first_position, lease.count)).collect();
    assert_eq!(at, [(1, 1), (3, 1)], "what is settled is no longer held");
    assert!(first.iter().all(|got| got.token < look.next_token), "the news of these is old");
    let may_hold: Vec<bool> = first.iter().map(|got| look.may_hold(got.token)).collect();
    assert_eq!(may_hold, [true, false, true], "so is the news of what became of the second");

    world.publish(&["d"]);
    let later = world.got();
    assert_eq!(later.len(), 1);
    assert!(
        later[0].token >= look.next_token && look.may_hold(later[0].token),
        "the news of this one is not"
    );
    assert_eq!(held(&world.store, 77).expect("the store works").leases, [], "no such session holds nothing");
}

#[test]
fn parts_of_a_lease_are_bounded_and_leave_nothing_out() {
    let mut world = World::with_queue(Order::None);
    world.publish(&["aaaaaaaaaa", "b", "c"]);
    world.publish(&["dddd", "e"]);
    let session = world.attach(1, 10);
    let leases = held(&world.store, session.consumer).expect("the store works").leases;
    let whole: Vec<_> =
        leases.iter().flat_map(|l| lease_messages(&world.store, l).expect("it works")).collect();
    assert_eq!(whole.len(), 5);

    for bytes_max in [0, 1, 4, 20, 1000] {
        let mut parts = Vec::new();
        for lease in &leases {
            let mut rest = *lease;
            while rest.count > 0 {
                let (part, looked_at) = lease_part(&world.store, &rest, bytes_max).expect("it works");
                let bytes: usize = part.iter().map(|message| message.message.len()).sum();
                let last = part.last().map_or(0, |message| message.message.len());
                assert!(
                    part.len() == 1 || bytes - last < bytes_max,
                    "{bytes} bytes where {bytes_max} are asked for"
                );
                assert!(looked_at > 0, "it gets on");
                parts.extend(part);
                rest = Lease {
                    first_position: rest.first_position + u64::from(looked_at),
                    first_token: rest.first_token + u64::from(looked_at),
                    count: rest.count - looked_at,
                    ..rest
                };
            }
        }
        assert_eq!(parts, whole, "{bytes_max}");
    }
}

#[test]
fn messages_that_are_gone_are_left_out_of_a_lease() {
    let mut world = World::with_queue(Order::None);
    world.publish(&["a"]);
    world.publish(&["b"]);
    let session = world.attach(1, 2);
    let leases = held(&world.store, session.consumer).expect("the store works").leases;
    let got = world.got();
    world.settle_one(got[0], Outcome::Ack);
    let left: Vec<u64> = leases
        .iter()
        .flat_map(|lease| lease_messages(&world.store, lease).expect("it works"))
        .map(|message| message.position)
        .collect();
    assert_eq!(left, [2]);
}
