use super::*;

type Answer = oneshot::Receiver<Result<(), Error>>;

fn item(position: u64, token: u64, outcome: v1::Outcome) -> (Item, Answer) {
    let (reply, answer) = oneshot::channel();
    let how = How { outcome, delay_ms: 0, reason: String::new() };
    (Item::new((position, token), how, Duration::ZERO, Some(reply)), answer)
}

fn pushed(items: &[(u64, u64, v1::Outcome)]) -> (Settles, Vec<Answer>) {
    let mut settles = Settles::default();
    let mut answers = Vec::new();
    for &(position, token, outcome) in items {
        let (item, answer) = item(position, token, outcome);
        settles.push(item);
        answers.push(answer);
    }
    (settles, answers)
}

fn ranges(settle: &v1::Settle) -> Vec<(u64, u32, u64)> {
    settle.ranges.iter().map(|range| (range.first_position, range.count, range.first_token)).collect()
}

fn stale(position: u64) -> v1::SettleRefused {
    let refusal = v1::Refusal { reason: "STALE_LEASE".into(), ..Default::default() };
    v1::SettleRefused { first_position: position, count: 1, refusal: Some(refusal) }
}

use v1::Outcome::{Ack, Retry};

#[test]
fn acks_merge_where_positions_and_tokens_run_on() {
    let (mut settles, _answers) =
        pushed(&[(3, 13, Ack), (1, 11, Ack), (2, 12, Ack), (5, 14, Ack), (6, 20, Ack)]);
    let settle = settles.next().unwrap();
    assert_eq!(ranges(&settle), [(1, 3, 11), (5, 1, 14), (6, 1, 20)]);
    assert!(settles.next().is_none());
}

#[test]
fn a_mixture_keeps_its_order() {
    let (mut settles, _answers) = pushed(&[(2, 12, Ack), (1, 11, Retry), (3, 13, Ack)]);
    assert_eq!(ranges(&settles.next().unwrap()), [(2, 1, 12), (1, 1, 11), (3, 1, 13)]);
}

#[test]
fn refusals_reach_exactly_those_they_name() {
    let shared = Shared::default();
    let (mut settles, mut answers) = pushed(&[(1, 11, Ack), (2, 12, Ack)]);
    let id = settles.next().unwrap().id;
    assert!(settles.answer(v1::Settled { id, refused: vec![stale(2)], ..Default::default() }, &shared));
    assert!(answers[0].try_recv().unwrap().is_ok());
    assert!(matches!(answers[1].try_recv().unwrap(), Err(Error::StaleLease { position: 2 })));
    assert!(!settles.answer(v1::Settled { id, refused: Vec::new(), ..Default::default() }, &shared));
}

#[test]
fn a_repeated_ack_that_is_stale_is_unknown_unless_the_lease_was_seen_current() {
    let shared = Shared::default();
    shared.synced(Instant::now(), 0);
    let delivery =
        |(position, token)| v1::Delivery { position, token, lease_left_ms: 30_000, ..Default::default() };
    let push = |of: &[(u64, u64)]| {
        let deliveries = of.iter().copied().map(delivery).collect();
        shared.push(v1::Deliveries { deliveries, now_ms: 0 });
    };
    push(&[(1, 11), (2, 12)]);
    shared.pop();
    shared.pop();
    let (mut settles, mut answers) = pushed(&[(1, 11, Ack), (2, 12, Ack)]);
    let first = settles.next().unwrap();
    settles.rewind();
    shared.attached(&v1::Attached { resumed: true, ..Default::default() }, Instant::now());
    push(&[(2, 12)]);
    let again = settles.next().unwrap();
    assert_eq!(ranges(&again), ranges(&first));
    settles.answer(
        v1::Settled { id: again.id, refused: vec![stale(1), stale(2)], ..Default::default() },
        &shared,
    );
    assert!(matches!(answers[0].try_recv().unwrap(), Err(Error::SettleUnknown { position: 1 })));
    assert!(matches!(answers[1].try_recv().unwrap(), Err(Error::StaleLease { position: 2 })));
}

#[test]
fn what_waited_too_long_ends() {
    let shared = Shared::default();
    let (mut settles, mut answers) = pushed(&[(1, 11, Ack)]);
    settles.next();
    let (waiting, mut unsent) = item(2, 12, Ack);
    settles.push(waiting);
    settles.expire(Instant::now(), &|| Error::Closed("consumer"), &shared);
    assert!(matches!(answers[0].try_recv().unwrap(), Err(Error::SettleUnknown { position: 1 })));
    assert!(matches!(unsent.try_recv().unwrap(), Err(Error::Closed(_))));
    assert!(settles.is_empty());
}

/// What was dropped is given back without a word, and on another stream not at all: there it comes again.
#[test]
fn what_is_given_back_quietly_is_told_to_nobody_and_sent_on_one_stream_only() {
    let shared = Shared::default();
    let mut settles = Settles::default();
    settles.push(Item::give_back((1, 11), Duration::from_secs(9)));
    let settle = settles.next().unwrap();
    assert_eq!(settle.ranges[0].outcome(), v1::Outcome::Release);
    settles.answer(v1::Settled { id: settle.id, refused: vec![stale(1)], ..Default::default() }, &shared);
    assert!(shared.take_failures().is_empty());
    settles.push(Item::give_back((2, 12), Duration::from_secs(9)));
    settles.next();
    settles.push(Item::give_back((3, 13), Duration::from_secs(9)));
    settles.rewind();
    assert!(settles.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_time_is_asked_for_only_where_no_other_answer_tells_it() {
    let shared = Shared::default();
    let (mut settles, _answers) = pushed(&[(1, 11, Ack)]);
    settles.ask_for_time();
    let id = settles.next().unwrap().id;
    assert!(!settles.asks() && settles.next().is_none());
    tokio::time::advance(Duration::from_secs(3)).await;
    assert!(settles.answer(v1::Settled { id, now_ms: 7, ..Default::default() }, &shared));
    assert_eq!(shared.unsynced_for(), Duration::from_secs(3), "since it was sent");
    settles.ask_for_time();
    assert!(settles.asks() && settles.is_empty(), "nobody waits for it");
    let asked = settles.next().unwrap();
    assert!(asked.ranges.is_empty() && settles.next().is_none());
    settles.expire(Instant::now(), &|| Error::Closed("consumer"), &shared);
    settles.ask_for_time();
    assert!(!settles.asks(), "it is asked for");
    assert!(settles.answer(v1::Settled { id: asked.id, now_ms: 9, ..Default::default() }, &shared));
    assert_eq!(shared.unsynced_for(), Duration::ZERO);
}
