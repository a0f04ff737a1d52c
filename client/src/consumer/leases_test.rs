use super::*;

const LEASE_MS: u64 = 30_000;

fn delivery(position: u64, token: u64) -> v1::Delivery {
    v1::Delivery { position, token, lease_left_ms: LEASE_MS, ..Default::default() }
}

/// On a stream that was attached just now, when it was 0 by the cluster's clock.
fn shared() -> Shared {
    let shared = Shared::default();
    shared.synced(Instant::now(), 0);
    shared
}

fn push(shared: &Shared, deliveries: Vec<v1::Delivery>) {
    shared.push(v1::Deliveries { deliveries, now_ms: 0 });
}

fn attach(shared: &Shared, attached: &v1::Attached) {
    shared.attached(attached, Instant::now());
}

fn pop(shared: &Shared) -> Option<u64> {
    shared.pop().0.map(|delivery| delivery.token)
}

#[test]
fn a_held_token_is_not_shown_twice_and_a_dropped_one_is() {
    let shared = shared();
    push(&shared, vec![delivery(1, 10), delivery(2, 11), delivery(3, 12)]);
    assert_eq!(pop(&shared), Some(10));
    assert_eq!(pop(&shared), Some(11));
    shared.let_go(11);
    shared.lost();
    assert!(pop(&shared).is_none(), "what was not taken is not handed out without a stream");
    attach(&shared, &v1::Attached { resumed: true, ..Default::default() });
    push(&shared, vec![delivery(1, 10), delivery(2, 11), delivery(3, 12)]);
    assert!(shared.came_again(10));
    assert_eq!(pop(&shared), Some(11));
    assert_eq!(pop(&shared), Some(12));
    assert!(pop(&shared).is_none());
}

#[test]
fn what_is_revoked_is_not_handed_out() {
    let shared = shared();
    push(&shared, vec![delivery(1, 10), delivery(2, 11), delivery(3, 12)]);
    shared.revoke(&v1::Revoked { first_position: 2, count: 2, first_token: 11 });
    assert_eq!(pop(&shared), Some(10));
    assert!(pop(&shared).is_none());
}
fn total() -> Shared {
    let shared = shared();
    attach(&shared, &attached(false));
    push(&shared, vec![delivery(1, 10), delivery(2, 11), delivery(3, 12), delivery(4, 13)]);
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
    push(&shared, vec![delivery(2, 14), delivery(3, 15)]);
    assert_eq!(popped(&shared), [14, 15]);
}

#[test]
fn in_order_total_a_message_that_joined_late_stays_when_later_ones_are_revoked() {
    let shared = shared();
    attach(&shared, &attached(false));
    push(&shared, vec![delivery(7, 10), delivery(8, 11), delivery(5, 12)]);
    pop(&shared);
    shared.revoke(&v1::Revoked { first_position: 8, count: 1, first_token: 11 });
    assert_eq!(popped(&shared), [12]);
}

#[test]
fn in_order_total_nothing_behind_a_returned_message_is_handed_out_until_the_answer_comes() {
    let shared = total();
    pop(&shared);
    pop(&shared);
    shared.give_back(2, 11, &Bytes::new());
    assert!(popped(&shared).is_empty(), "3 and 4 are buffered");
    shared.let_go(11);
    push(&shared, vec![delivery(5, 14)]); // was under way
    assert!(popped(&shared).is_empty());
    push(&shared, vec![delivery(2, 15), delivery(3, 16)]);
    let gone = |first_position, count, first_token| v1::Revoked { first_position, count, first_token };
    shared.revoke_with(&[gone(3, 2, 12), gone(5, 1, 14)]);
    shared.answered(11);
    assert_eq!(popped(&shared), [15, 16]);
}

#[test]
fn in_order_key_only_what_follows_under_the_same_key_waits() {
    let shared = shared();
    attach(&shared, &v1::Attached { order: v1::Order::Key.into(), ..Default::default() });
    let of_key = |position: u64, key: &str| {
        let meta = crate::Message::new(()).key(key.to_owned()).meta;
        let message = crate::message::Encoder::new("").encode(meta, Bytes::new());
        v1::Delivery { message, ..delivery(position, position + 9) }
    };
    push(&shared, vec![of_key(1, "a"), of_key(2, "a"), of_key(3, "b")]);
    pop(&shared);
    shared.give_back(1, 10, &Bytes::from("a"));
    assert_eq!(popped(&shared), [12], "the one of key b");
    shared.answered(10);
    assert_eq!(popped(&shared), [11]);
}

#[test]
fn what_is_acknowledged_before_it_comes_survives_its_stream_and_is_bounded_here() {
    let shared = shared();
    let attached = v1::Attached { resumed: true, auto_ack: true, ..Default::default() };
    attach(&shared, &attached);
    push(&shared, vec![delivery(1, 10), delivery(2, 11)]);
    assert!(!shared.has_room(2) && shared.has_room(3));
    shared.lost();
    attach(&shared, &attached);
    assert_eq!(popped(&shared), [10, 11]);
    assert!(shared.has_room(2));
}

#[test]
fn what_was_answered_holds_up_nothing() {
    let shared = total();
    pop(&shared);
    shared.give_back(1, 10, &Bytes::new());
    assert!(popped(&shared).is_empty());
    shared.answered(10);
    assert_eq!(popped(&shared), [11, 12, 13]);
}

#[test]
fn a_return_under_way_holds_up_what_is_behind_it_on_the_next_stream_of_the_session() {
    for (resumed, settling, handed_out) in [(true, true, 0), (true, false, 2), (false, true, 2)] {
        let shared = total();
        pop(&shared);
        shared.give_back(1, 10, &Bytes::new());
        if !settling {
            shared.let_go(10);
        }
        attach(&shared, &attached(resumed));
        push(&shared, vec![delivery(2, 11), delivery(3, 12)]);
        assert_eq!(popped(&shared).len(), handed_out, "resumed {resumed}, settling {settling}");
    }
}

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

/// Ten elevenths of it are known to be left; this is a little more.
const KNOWN: std::time::Duration = std::time::Duration::from_millis(LEASE_MS * 10 / 11 + 1);

fn key(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn of_key(position: u64, key: &str) -> v1::Delivery {
    let meta = crate::Message::new(()).key(key.to_owned()).meta;
    let message = crate::message::Encoder::new("").encode(meta, Bytes::new());
    v1::Delivery { message, ..delivery(position, position + 9) }
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_not_handed_out_and_counted_and_given_back() {
    let shared = shared();
    push(&shared, vec![delivery(1, 10), delivery(2, 11)]);
    tokio::time::advance(KNOWN - SECOND).await;
    assert_eq!(pop(&shared), Some(10));
    tokio::time::advance(SECOND).await;
    let (next, dropped) = shared.pop();
    assert_eq!((next, dropped, shared.lost_count()), (None, vec![(2, 11)], 1));
    push(&shared, vec![v1::Delivery { lease_left_ms: 2 * LEASE_MS, ..delivery(2, 12) }]);
    assert_eq!(pop(&shared), Some(12), "leased again");
}

/// However long it stood in the buffers of the server or the network, or the process was stopped before it was read.
#[tokio::test(start_paused = true)]
async fn what_was_under_way_for_longer_than_its_lease_is_not_handed_out() {
    let shared = shared();
    tokio::time::advance(KNOWN).await;
    push(&shared, vec![delivery(1, 10)]);
    assert_eq!(pop(&shared), None);
    // An answer to what was asked afterwards tells that what follows is newer.
    shared.synced(Instant::now() - SECOND, 27_000);
    shared.push(v1::Deliveries { deliveries: vec![delivery(2, 11)], now_ms: 27_000 });
    assert_eq!(pop(&shared), Some(11));
    let left = KNOWN - shared.left(11);
    assert!(left >= SECOND && left < SECOND * 101 / 100, "since it was asked: {left:?}");
}

#[tokio::test(start_paused = true)]
async fn in_order_total_what_is_behind_what_is_over_goes_with_it() {
    let shared = total();
    push(&shared, vec![v1::Delivery { lease_left_ms: 3 * LEASE_MS, ..delivery(5, 14) }]);
    tokio::time::advance(KNOWN).await;
    let (next, dropped) = shared.pop();
    assert_eq!((next, dropped, shared.lost_count()), (None, vec![(1, 10)], 5), "it takes the others with it");
    push(&shared, vec![v1::Delivery { lease_left_ms: 3 * LEASE_MS, ..delivery(6, 15) }]);
    assert_eq!(pop(&shared), None, "1 is on its way back");
    let gone = |first_position, count, first_token| v1::Revoked { first_position, count, first_token };
    shared.revoke_with(&[gone(2, 4, 11), gone(6, 1, 15)]);
    push(&shared, vec![v1::Delivery { lease_left_ms: 3 * LEASE_MS, ..delivery(1, 16) }]);
    shared.answered(10);
    assert_eq!(popped(&shared), [16]);
}

/// The server's answer to what is given back overtakes its news: that something was leased, and that it was taken back.
#[tokio::test(start_paused = true)]
async fn in_order_total_what_comes_after_a_refused_return_waits_for_the_news() {
    let late = || vec![v1::Delivery { lease_left_ms: 3 * LEASE_MS, ..delivery(6, 15) }];
    let gone = |first_position, count, first_token| v1::Revoked { first_position, count, first_token };
    for news_first in [false, true] {
        let shared = total();
        tokio::time::advance(KNOWN).await;
        assert_eq!(shared.pop(), (None, vec![(1, 10)]));
        if news_first {
            shared.revoke(&gone(1, 4, 10));
            shared.refused(10);
        } else {
            shared.refused(10);
            push(&shared, late());
            assert_eq!(pop(&shared), None, "its lease went with that of 1");
            shared.revoke(&gone(1, 4, 10));
            shared.revoke(&gone(6, 1, 15));
        }
        push(&shared, vec![v1::Delivery { lease_left_ms: 3 * LEASE_MS, ..delivery(1, 16) }]);
        assert_eq!(popped(&shared), [16], "news first: {news_first}");
    }
    let shared = total();
    tokio::time::advance(KNOWN).await;
    shared.pop();
    shared.refused(10);
    push(&shared, late());
    assert!(shared.state.lock().is_overdue(), "whoever waits is to look again");
    tokio::time::advance(NEWS_TIMEOUT).await;
    assert_eq!(pop(&shared), Some(15), "not for ever");
}

#[tokio::test(start_paused = true)]
async fn in_order_key_only_what_is_behind_it_under_its_key_goes_with_what_is_over() {
    let shared = shared();
    attach(&shared, &v1::Attached { order: v1::Order::Key.into(), ..Default::default() });
    let longer = |delivery| v1::Delivery { lease_left_ms: 3 * LEASE_MS, ..delivery };
    push(
        &shared,
        vec![of_key(1, "a"), longer(of_key(2, "a")), longer(of_key(3, "b")), longer(of_key(4, ""))],
    );
    tokio::time::advance(KNOWN).await;
    assert_eq!(popped(&shared), [12, 13]);
    assert_eq!(shared.lost_count(), 2);
}

/// The server takes back what is behind a lease that runs out; this process's clock knows of that first.
#[tokio::test(start_paused = true)]
async fn nothing_is_handed_out_behind_what_the_application_has_let_run_out() {
    let longer = |delivery| v1::Delivery { lease_left_ms: 9 * LEASE_MS, ..delivery };
    type Resolve = fn(&Shared);
    let ways: [(Resolve, &[u64]); 4] = [
        (|_| {}, &[]),
        (|shared| shared.revoke(&v1::Revoked { first_position: 1, count: 1, first_token: 10 }), &[21]),
        (|shared| shared.answered(10), &[21]), // it was settled in time after all
        (
            |shared| {
                let due = Due::extended(Instant::now(), 9 * SECOND);
                shared.extended(&BTreeMap::from([(10, due)]));
            },
            &[21],
        ),
    ];
    for (resolve, handed_out) in ways {
        let shared = shared();
        attach(&shared, &attached(false));
        push(&shared, vec![delivery(1, 10), longer(delivery(2, 11))]);
        assert_eq!(pop(&shared), Some(10));
        tokio::time::advance(KNOWN).await;
        assert_eq!((pop(&shared), shared.lost_count()), (None, 1), "2 goes with it");
        resolve(&shared);
        push(&shared, vec![longer(delivery(2, 21))]);
        assert_eq!(popped(&shared), handed_out);
        // If nobody says anything, it was settled in a transaction.
        tokio::time::advance(SECOND * 10).await;
        assert_eq!(popped(&shared).len(), 1 - handed_out.len());
    }
}

#[tokio::test(start_paused = true)]
async fn an_extension_counts_from_when_it_was_asked_for_and_once_it_is_confirmed() {
    let shared = shared();
    let lease = std::time::Duration::from_millis(LEASE_MS);
    push(&shared, vec![delivery(1, 10), delivery(2, 11)]);
    assert_eq!(pop(&shared), Some(10));
    assert_eq!(shared.renew(lease), []);
    tokio::time::advance(lease / 2).await;
    assert_eq!(shared.renew(lease), [(2, 11)]);
    assert_eq!(shared.renew(lease), [], "it is asked for");
    let due = Due::extended(Instant::now(), lease);
    tokio::time::advance(SECOND).await;
    shared.extended(&BTreeMap::from([(10, due), (11, due)]));
    tokio::time::advance(KNOWN - 2 * SECOND).await;
    assert!(shared.left(10) > SECOND / 2 && shared.left(10) <= SECOND);
    assert_eq!(pop(&shared), Some(11));
    tokio::time::advance(SECOND).await;
    assert_eq!((shared.left(10), shared.left(99)), (std::time::Duration::ZERO, std::time::Duration::ZERO));
}

/// One that was asked for and not confirmed is none.
#[tokio::test(start_paused = true)]
async fn what_is_being_extended_is_over_when_it_was() {
    let shared = shared();
    let lease = std::time::Duration::from_millis(LEASE_MS);
    push(&shared, vec![delivery(1, 10)]);
    tokio::time::advance(lease / 2).await;
    assert_eq!(shared.renew(lease), [(1, 10)]);
    tokio::time::advance(lease / 2).await;
    assert_eq!(pop(&shared), None);
}

#[tokio::test(start_paused = true)]
async fn what_comes_again_on_another_stream_has_the_end_that_is_told_there() {
    let shared = total();
    assert_eq!(pop(&shared), Some(10));
    tokio::time::advance(KNOWN).await;
    assert_eq!((pop(&shared), shared.left(10)), (None, std::time::Duration::ZERO));
    attach(&shared, &attached(true));
    push(&shared, vec![delivery(1, 10), delivery(2, 11)]);
    assert_eq!((popped(&shared), shared.left(10) > 20 * SECOND), (vec![11], true));
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_before_it_comes_is_never_over() {
    let shared = shared();
    attach(&shared, &v1::Attached { auto_ack: true, ..Default::default() });
    push(&shared, vec![delivery(1, 10)]);
    tokio::time::advance(2 * KNOWN).await;
    assert_eq!(pop(&shared), Some(10));
}

#[test]
fn keys_are_read_off_what_is_sent() {
    assert_eq!(Key::decode(of_key(1, "a").message).unwrap().key, key("a"));
}
