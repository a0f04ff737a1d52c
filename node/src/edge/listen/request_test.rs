//! Bodies that come in pieces, late, or not at all.

use std::collections::VecDeque;

use http_body::Body as _;

use super::*;

const LONG: usize = 16 * 1024 * 1024;

fn header(length: usize) -> Vec<u8> {
    let mut header = vec![0];
    header.extend_from_slice(&(length as u32).to_be_bytes());
    header
}

fn message(length: usize) -> Vec<u8> {
    [header(length), vec![7; length]].concat()
}

/// Pieces that are there, and then nothing more for ever.
struct Pieces(VecDeque<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.pop_front().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
    }
}

fn gathered(pieces: Vec<Vec<u8>>, budgets: &HalfRead) -> Gathered {
    on_connection(pieces, budgets, None)
}

fn on_connection(pieces: Vec<Vec<u8>>, budgets: &HalfRead, slot: Option<Arc<Slot>>) -> Gathered {
    let pieces = Pieces(pieces.into_iter().map(Bytes::from).collect());
    Gathered::new(Body::new(pieces), budgets.clone(), slot)
}

fn budgets() -> HalfRead {
    HalfRead::new(2 * LONG, LONG + 1024)
}

async fn next(body: &mut Gathered) -> Result<usize, Status> {
    let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.expect("it goes on");
    frame.map(|frame| frame.into_data().expect("data").len())
}

/// What is handed on at once.
async fn now(body: &mut Gathered) -> Vec<usize> {
    let mut found = Vec::new();
    while let Ok(Ok(bytes)) = tokio::time::timeout(Duration::ZERO, next(body)).await {
        found.push(bytes);
    }
    found
}

/// Waits for the refusal. Returns how long that took and what it says.
async fn refused(body: &mut Gathered) -> (Duration, String) {
    let begun = Instant::now();
    loop {
        let in_a_day = tokio::time::timeout(Duration::from_secs(86_400), next(body));
        if let Err(status) = in_a_day.await.expect("a refusal") {
            return (begun.elapsed(), status.message().to_owned());
        }
    }
}

fn free_bytes(budgets: &HalfRead) -> usize {
    budgets.0.long.available_permits() * UNIT_BYTES
}

#[tokio::test(start_paused = true)]
async fn a_half_sent_message_holds_its_whole_length_until_it_is_complete_or_gone() {
    let budgets = budgets();
    let all = free_bytes(&budgets);
    let (first, second) = (message(LONG), message(100));
    let pieces = vec![first[..3].to_vec(), first[3..900].to_vec(), first[900..].to_vec(), second];
    let mut body = gathered(pieces, &budgets);
    assert_eq!(next(&mut body).await.expect("a piece"), 3);
    assert_eq!(free_bytes(&budgets), all, "its length is not known yet");
    assert_eq!(next(&mut body).await.expect("a piece"), 897);
    assert_eq!(free_bytes(&budgets), all - LONG);
    assert_eq!(now(&mut body).await, [LONG + 5 - 900, 105]);
    assert_eq!(free_bytes(&budgets), all);
    let mut body = gathered(vec![message(LONG)[..99].to_vec()], &budgets);
    assert_eq!(now(&mut body).await, [99]);
    assert_eq!(free_bytes(&budgets), all - LONG);
    drop(body);
    assert_eq!(free_bytes(&budgets), all);
    // The next one begins in the piece in which it ends, and has no length yet.
    let whole = message(LONG);
    let pieces = vec![whole[..99].to_vec(), [&whole[99..], &[0, 0]].concat()];
    let mut body = gathered(pieces, &budgets);
    assert_eq!(now(&mut body).await, [99, LONG + 5 - 99 + 2]);
    assert_eq!(free_bytes(&budgets), all);
}

#[tokio::test(start_paused = true)]
async fn where_the_budget_is_spent_a_long_message_waits_and_what_is_complete_or_short_does_not() {
    let budgets = budgets();
    let half = || vec![message(LONG)[..99].to_vec()];
    let mut others = [gathered(half(), &budgets), gathered(half(), &budgets)];
    for other in &mut others {
        assert_eq!(now(other).await, [99]);
    }
    let mut third = gathered(vec![[message(10), half().concat()].concat()], &budgets);
    assert_eq!(now(&mut third).await, [15], "the complete one goes on");
    let mut short = gathered(vec![message(SHORT_BYTES_MAX)[..99].to_vec()], &budgets);
    assert_eq!(now(&mut short).await, [99]);
    drop(others);
    assert_eq!(next(&mut third).await.expect("its turn has come"), 99);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_budget_for_too_long_is_refused() {
    let budgets = HalfRead::new(LONG, LONG);
    let half = || vec![message(LONG)[..99].to_vec()];
    let mut first = gathered(half(), &budgets);
    assert_eq!(now(&mut first).await, [99]);
    let (took, says) = refused(&mut gathered(half(), &budgets)).await;
    assert!(took >= BUDGET_TIMEOUT && took < 2 * BUDGET_TIMEOUT, "{took:?}");
    assert!(says.contains("half-sent"), "{says}");
}

#[tokio::test(start_paused = true)]
async fn of_one_connection_one_message_waits() {
    let budgets = HalfRead::new(LONG, LONG);
    let half = || vec![message(LONG)[..99].to_vec()];
    let mut first = gathered(half(), &budgets);
    assert_eq!(now(&mut first).await, [99]);
    let slots = super::super::slots::Slots::new("tests", 2);
    let (one, other) = (slots.take(), slots.take());
    let mut waits = on_connection(half(), &budgets, one.clone());
    assert!(now(&mut waits).await.is_empty());
    let (took, says) = refused(&mut on_connection(half(), &budgets, one.clone())).await;
    assert!(took < Duration::from_millis(10) && says.contains("half-sent"), "{took:?}: {says}");
    let (took, _) = refused(&mut on_connection(half(), &budgets, other)).await;
    assert!(took >= BUDGET_TIMEOUT, "another connection's: {took:?}");
    drop(waits);
    let mut next = on_connection(half(), &budgets, one);
    assert!(now(&mut next).await.is_empty());
    drop(first);
    assert_eq!(now(&mut next).await, [99], "its turn has come");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_begun_has_a_deadline_and_between_messages_there_is_none() {
    let budgets = budgets();
    let (took, says) = refused(&mut gathered(vec![message(500)[..9].to_vec()], &budgets)).await;
    assert!(took >= MESSAGE_TIMEOUT && took < 2 * MESSAGE_TIMEOUT, "{took:?}");
    assert!(says.contains("4 of 500 bytes"), "{says}");
    let (took, _) = refused(&mut gathered(vec![message(LONG)[..9].to_vec()], &budgets)).await;
    assert!(took > Duration::from_secs(60), "a long one has longer: {took:?}");
    let (took, says) = refused(&mut gathered(Vec::new(), &budgets)).await;
    assert!(took >= FIRST_MESSAGE_TIMEOUT && says.contains("nothing was asked"), "{took:?}, {says}");
    let (took, says) = refused(&mut gathered(vec![Vec::new()], &budgets)).await;
    assert!(took >= FIRST_MESSAGE_TIMEOUT && says.contains("nothing was asked"), "an empty piece: {says}");
    let mut between = gathered(vec![message(500)], &budgets);
    assert_eq!(now(&mut between).await, [505]);
    assert!(tokio::time::timeout(Duration::from_secs(86_400), next(&mut between)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_length_that_no_service_takes_holds_nothing() {
    let budgets = budgets();
    let all = free_bytes(&budgets);
    let mut body = gathered(vec![header(u32::MAX as usize)], &budgets);
    assert_eq!(now(&mut body).await, [5]);
    assert_eq!(free_bytes(&budgets), all);
}
