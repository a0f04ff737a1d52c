use super::*;

type Answer = oneshot::Receiver<Result<(), Error>>;

fn item(position: u64, token: u64, outcome: v1::Outcome) -> (Item, Answer) {
    let (reply, answer) = oneshot::channel();
    let deadline = Instant::now();
    (
        Item {
            position,
            token,
            outcome,
            delay_ms: 0,
            reason: String::new(),
            deadline,
            uncertain: false,
            reply: Some(reply),
        },
        answer,
    )
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
    shared.push(
        [(1, 11), (2, 12)]
            .map(|(position, token)| v1::Delivery { position, token, ..Default::default() })
            .into(),
    );
    shared.pop();
    shared.pop();
    let (mut settles, mut answers) = pushed(&[(1, 11, Ack), (2, 12, Ack)]);
    let first = settles.next().unwrap();
    settles.rewind();
    shared.attached(&v1::Attached { resumed: true, ..Default::default() });
    shared.push(vec![v1::Delivery { position: 2, token: 12, ..Default::default() }]);
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
