use super::*;
use crate::error::{Reason, Refusal};
use bytes::Bytes;

type Answer = oneshot::Receiver<Result<Receipt, Error>>;

fn cutting(messages: usize, bytes: usize) -> Cutting {
    Cutting { messages, bytes, linger: Duration::ZERO, window: (usize::MAX, usize::MAX) }
}

fn item(body: &str) -> (Item, Answer) {
    let (reply, answer) = oneshot::channel();
    let message = Bytes::copy_from_slice(body.as_bytes());
    let (share, now) = (bytes(&message) as u32, Instant::now());
    (Item { share, message, handed_in: now, deadline: now, reply }, answer)
}

fn filled(batch_messages: usize, bodies: &[&str]) -> (Ledger, Vec<Answer>) {
    let mut ledger = Ledger::new(10, cutting(batch_messages, 1 << 20));
    let mut answers = Vec::new();
    for body in bodies {
        let (item, answer) = item(body);
        ledger.push(item);
        answers.push(answer);
    }
    (ledger, answers)
}

fn sent(ledger: &mut Ledger) -> Vec<(u64, Vec<String>)> {
    let text = |message: &Bytes| String::from_utf8(message.to_vec()).unwrap();
    std::iter::from_fn(|| ledger.next("q"))
        .map(|batch| (batch.first_seq, batch.messages.iter().map(text).collect()))
        .collect()
}

fn receipt(first_seq: u64, first_position: u64, count: u32) -> v1::Receipt {
    v1::Receipt { first_seq, positions: vec![v1::PositionRun { first_position, count, duplicate: false }] }
}

fn invalid() -> Error {
    Error::Refused(Refusal {
        reason: Reason::Invalid,
        message: String::new(),
        action: String::new(),
        retry: false,
        details: Default::default(),
        unmet: None,
    })
}

#[test]
fn batches_keep_to_both_bounds_and_a_large_message_travels_alone() {
    let (mut ledger, _answers) = filled(2, &["a", "b", "c"]);
    assert_eq!(sent(&mut ledger), [(11, vec!["a".into(), "b".into()]), (13, vec!["c".into()])]);

    let mut ledger = Ledger::new(0, cutting(100, 300));
    let large = "x".repeat(1000);
    for body in ["a", large.as_str(), "b"] {
        ledger.push(item(body).0);
    }
    let sizes: Vec<usize> = sent(&mut ledger).iter().map(|(_, bodies)| bodies.len()).collect();
    assert_eq!(sizes, [1, 1, 1]);
}

#[test]
fn a_receipt_answers_its_messages_with_their_positions() {
    let (mut ledger, mut answers) = filled(3, &["a", "b", "c", "d"]);
    sent(&mut ledger);
    let freed = ledger.confirm(&v1::Receipt {
        first_seq: 11,
        positions: vec![
            v1::PositionRun { first_position: 5, count: 1, duplicate: true },
            v1::PositionRun { first_position: 9, count: 2, duplicate: false },
        ],
    });
    assert_eq!(freed.map(|freed| freed.messages), Some(3));
    let got: Vec<_> = answers[..3].iter_mut().map(|a| a.try_recv().unwrap().unwrap()).collect();
    assert_eq!(got.iter().map(|r| r.position).collect::<Vec<_>>(), [5, 9, 10]);
    assert_eq!(got.iter().map(|r| r.duplicate).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!((ledger.confirmed(), ledger.acked_seq(), ledger.unanswered()), (13, 13, 1));
    // The same receipt once more changes nothing; one that matches nothing is reported.
    assert_eq!(ledger.confirm(&receipt(11, 5, 3)), Some(Freed::default()));
    assert_eq!(ledger.confirm(&receipt(15, 5, 1)), None);
    assert_eq!(ledger.confirm(&receipt(14, 5, 2)), None);
}

#[test]
fn after_a_lost_stream_the_same_batches_go_out_under_the_same_numbers() {
    let (mut ledger, _answers) = filled(2, &["a", "b", "c", "d", "e"]);
    let first = sent(&mut ledger);
    ledger.confirm(&receipt(11, 1, 2));
    ledger.push(item("f").0);
    ledger.rewind(14);
    let again = sent(&mut ledger);
    assert_eq!(again[..2], first[1..]);
    assert_eq!(again[2], (16, vec!["f".into()]));
}

#[test]
fn what_follows_a_refused_batch_moves_up() {
    let (mut ledger, mut answers) = filled(1, &["a", "bad", "c", "d"]);
    sent(&mut ledger);
    ledger.refuse(12, 1, &invalid());
    ledger.gap(13);
    ledger.gap(14);
    assert_eq!(ledger.unanswered(), 1); // "a" keeps its number until its receipt
    ledger.rewind(11);
    assert_eq!(sent(&mut ledger), [(11, vec!["a".into()]), (12, vec!["c".into()]), (13, vec!["d".into()])]);
    assert!(answers[1].try_recv().unwrap().is_err());
    ledger.confirm(&receipt(11, 1, 1));
    ledger.confirm(&receipt(12, 2, 1));
    ledger.confirm(&receipt(13, 3, 1));
    assert!(ledger.is_empty());
    assert_eq!(answers[3].try_recv().unwrap().unwrap().position, 3);
}

#[test]
fn failure_tells_what_was_sent_from_what_was_not() {
    let (mut ledger, mut answers) = filled(1, &["a", "b"]);
    ledger.next("q");
    ledger.fail(&Error::Closed("producer"));
    assert!(matches!(answers[0].try_recv().unwrap(), Err(Error::Unknown { .. })));
    assert!(matches!(answers[1].try_recv().unwrap(), Err(Error::Closed(_))));
    assert!(ledger.is_empty());
}

#[test]
fn what_was_stored_keeps_its_number_and_what_was_not_is_known_not_to_be() {
    let (mut ledger, mut answers) = filled(1, &["a", "b", "c"]);
    sent(&mut ledger);
    ledger.rewind(11);
    assert!(ledger.is_stored(11) && !ledger.is_stored(12));
    ledger.fail(&Error::Closed("producer"));
    assert!(matches!(answers[0].try_recv().unwrap(), Err(Error::Unknown { .. })));
    for answer in &mut answers[1..] {
        assert!(
            matches!(answer.try_recv().unwrap(), Err(Error::Closed(_))),
            "nothing travels under the old epoch"
        );
    }
}

#[test]
fn a_batch_waits_for_more_until_it_is_full_or_somebody_waits_for_it() {
    let linger = Duration::from_millis(50);
    let lingering = |messages, window| {
        let cutting = Cutting { linger, window: (window, usize::MAX), ..cutting(messages, 1 << 20) };
        Ledger::new(0, cutting)
    };
    let mut ledger = lingering(3, 100);
    assert_eq!(ledger.lingers_until(), None, "nothing is there");
    let (first, _answer) = item("a");
    let handed_in = first.handed_in;
    ledger.push(first);
    ledger.push(item("b").0);
    assert_eq!(ledger.lingers_until(), Some(handed_in + linger), "the oldest decides");
    ledger.push(item("c").0);
    assert_eq!(ledger.lingers_until(), None, "it is full");
    ledger.next("q").expect("a batch");
    ledger.push(item("d").0);
    assert!(ledger.lingers_until().is_some());
    ledger.hurry();
    assert_eq!(ledger.lingers_until(), None);
    ledger.next("q").expect("a batch");
    ledger.push(item("e").0);
    assert!(ledger.lingers_until().is_some(), "who came later waits");
    ledger.rewind(0);
    assert_eq!(ledger.lingers_until(), None, "what is sent again does not");

    let mut ledger = lingering(100, 2);
    ledger.push(item("a").0);
    ledger.push(item("b").0);
    assert_eq!(ledger.lingers_until(), None, "no more can come");
}
