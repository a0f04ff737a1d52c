use super::*;

fn delivery(position: u64, token: u64) -> v1::Delivery {
    v1::Delivery { position, token, ..Default::default() }
}

fn pop(shared: &Shared) -> Option<u64> {
    shared.pop().map(|(delivery, _)| delivery.token)
}

#[test]
fn a_held_token_is_not_shown_twice_and_a_dropped_one_is() {
    let shared = Shared::default();
    shared.push(vec![delivery(1, 10), delivery(2, 11), delivery(3, 12)]);
    assert_eq!(pop(&shared), Some(10));
    assert_eq!(pop(&shared), Some(11));
    shared.let_go(11);
    shared.lost();
    assert!(shared.pop().is_none(), "what was not taken is not handed out without a stream");
    shared.attached(&v1::Attached { resumed: true, ..Default::default() });
    shared.push(vec![delivery(1, 10), delivery(2, 11), delivery(3, 12)]);
    assert!(shared.came_again(10));
    assert_eq!(pop(&shared), Some(11));
    assert_eq!(pop(&shared), Some(12));
    assert!(shared.pop().is_none());
}

#[test]
fn what_is_revoked_is_not_handed_out() {
    let shared = Shared::default();
    shared.push(vec![delivery(1, 10), delivery(2, 11), delivery(3, 12)]);
    shared.revoke(&v1::Revoked { first_position: 2, count: 2, first_token: 11 });
    assert_eq!(pop(&shared), Some(10));
    assert!(shared.pop().is_none());
}
fn total() -> Shared {
    let shared = Shared::default();
    shared.attached(&attached(false));
    shared.push(vec![delivery(1, 10), delivery(2, 11), delivery(3, 12), delivery(4, 13)]);
    shared
}

fn attached(resumed: bool) -> v1::Attached {
    v1::Attached { resumed, order: v1::Order::Total.into(), ..Default::default() }
}

fn popped(shared: &Shared) -> Vec<u64> {
    std::iter::from_fn(|| pop(shared)).collect()
}

#[test]
fn in_order_total_a_revocation_takes_what_is_behind_it() {
    let shared = total();
    shared.revoke(&v1::Revoked { first_position: 2, count: 1, first_token: 11 });
    assert_eq!(popped(&shared), [10]);
    shared.push(vec![delivery(2, 14), delivery(3, 15)]);
    assert_eq!(popped(&shared), [14, 15]);
}

#[test]
fn in_order_total_a_message_that_joined_late_stays_when_later_ones_are_revoked() {
    let shared = Shared::default();
    shared.attached(&attached(false));
    shared.push(vec![delivery(7, 10), delivery(8, 11), delivery(5, 12)]);
    shared.pop();
    shared.revoke(&v1::Revoked { first_position: 8, count: 1, first_token: 11 });
    assert_eq!(popped(&shared), [12]);
}

#[test]
fn in_order_total_nothing_behind_a_returned_message_is_handed_out_until_the_answer_comes() {
    let shared = total();
    shared.pop();
    shared.pop();
    shared.give_back(2, 11, &Bytes::new());
    assert!(popped(&shared).is_empty(), "3 and 4 are buffered");
    shared.let_go(11);
    shared.push(vec![delivery(5, 14)]); // was under way
    assert!(popped(&shared).is_empty());
    shared.push(vec![delivery(2, 15), delivery(3, 16)]);
    let gone = |first_position, count, first_token| v1::Revoked { first_position, count, first_token };
    shared.revoke_with(&[gone(3, 2, 12), gone(5, 1, 14)]);
    shared.answered(11);
    assert_eq!(popped(&shared), [15, 16]);
}

#[test]
fn in_order_key_only_what_follows_under_the_same_key_waits() {
    let shared = Shared::default();
    shared.attached(&v1::Attached { order: v1::Order::Key.into(), ..Default::default() });
    let of_key = |position: u64, key: &str| {
        let meta = crate::Message::new(()).key(key.to_owned()).meta;
        let message = crate::message::Encoder::new("").encode(meta, Bytes::new());
        v1::Delivery { message, ..delivery(position, position + 9) }
    };
    shared.push(vec![of_key(1, "a"), of_key(2, "a"), of_key(3, "b")]);
    shared.pop();
    shared.give_back(1, 10, &Bytes::from("a"));
    assert_eq!(popped(&shared), [12], "the one of key b");
    shared.answered(10);
    assert_eq!(popped(&shared), [11]);
}

#[test]
fn what_is_acknowledged_before_it_comes_survives_its_stream_and_is_bounded_here() {
    let shared = Shared::default();
    let attached = v1::Attached { resumed: true, auto_ack: true, ..Default::default() };
    shared.attached(&attached);
    shared.push(vec![delivery(1, 10), delivery(2, 11)]);
    assert!(!shared.has_room(2) && shared.has_room(3));
    shared.lost();
    shared.attached(&attached);
    assert_eq!(popped(&shared), [10, 11]);
    assert!(shared.has_room(2));
}

#[test]
fn what_was_answered_holds_up_nothing() {
    let shared = total();
    shared.pop();
    shared.give_back(1, 10, &Bytes::new());
    assert!(popped(&shared).is_empty());
    shared.answered(10);
    assert_eq!(popped(&shared), [11, 12, 13]);
}

#[test]
fn a_return_under_way_holds_up_what_is_behind_it_on_the_next_stream_of_the_session() {
    for (resumed, settling, handed_out) in [(true, true, 0), (true, false, 2), (false, true, 2)] {
        let shared = total();
        shared.pop();
        shared.give_back(1, 10, &Bytes::new());
        if !settling {
            shared.let_go(10);
        }
        shared.attached(&attached(resumed));
        shared.push(vec![delivery(2, 11), delivery(3, 12)]);
        assert_eq!(popped(&shared).len(), handed_out, "resumed {resumed}, settling {settling}");
    }
}
