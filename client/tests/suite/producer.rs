use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use quorate_client::{Error, Message, Pending, Producer, Raw, Reason};

use crate::fake::Fake;

const PATIENCE: Duration = Duration::from_secs(10);

async fn send_all(producer: &Producer<Bytes, Raw>, bodies: &[String]) -> Vec<Pending> {
    let mut pending = Vec::new();
    for body in bodies {
        pending.push(producer.send(Message::new(Bytes::from(body.clone()))).await.unwrap());
    }
    pending
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("m{i}")).collect()
}

async fn until(mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test]
async fn messages_are_stored_in_order_and_the_session_is_ended() {
    let fake = Fake::start().await;
    let producer = fake.client(PATIENCE).raw_queue("q").producer().open().await.unwrap();
    let pending = send_all(&producer, &numbered(500)).await;
    for (i, pending) in pending.into_iter().enumerate() {
        let receipt = pending.await.unwrap();
        assert_eq!((receipt.position, receipt.duplicate), (i as u64 + 1, false));
    }
    producer.close().await.unwrap();
    assert_eq!(fake.bodies(), numbered(500));
    assert!(fake.state.lock().closed);
}

#[tokio::test]
async fn the_window_bounds_what_is_in_flight_and_what_waits_goes_out_in_batches() {
    let fake = Fake::start().await;
    fake.state.lock().hold = true;
    let queue = fake.client(PATIENCE).raw_queue("q");
    let producer = queue.producer().window(100).batch_messages(32).open().await.unwrap();
    let mut pending = send_all(&producer, &numbered(100)).await;
    assert!(producer.send(Bytes::from_static(b"one too many")).now_or_never().is_none());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(producer.send(Bytes::from_static(b"one too many")).now_or_never().is_none());
    fake.state.lock().hold = false;
    fake.resume.notify_waiters();
    pending.push(producer.send(Bytes::from_static(b"room again")).await.unwrap());
    producer.flush().await.unwrap();
    for pending in pending {
        pending.await.unwrap();
    }
    let batches = fake.state.lock().batches.clone();
    assert!(batches.len() <= 6, "{batches:?}");
    assert!(batches.iter().all(|&(_, count)| count <= 32), "{batches:?}");
    assert_eq!(fake.bodies().len(), 101);
}

#[tokio::test]
async fn a_cut_stream_loses_and_repeats_nothing() {
    let fake = Fake::start().await;
    let queue = fake.client(PATIENCE).raw_queue("q");
    let producer = queue.producer().batch_messages(5).open().await.unwrap();
    let bodies = numbered(300);
    let mut pending = Vec::new();
    for part in bodies.chunks(60) {
        // Three batches are stored and their receipts lost with the stream.
        fake.state.lock().cut_after = Some(3);
        pending.extend(send_all(&producer, part).await);
        until(|| fake.state.lock().cut_after.is_none()).await;
    }
    let mut duplicates = 0;
    for (i, pending) in pending.into_iter().enumerate() {
        let receipt = pending.await.unwrap();
        assert_eq!(receipt.position, i as u64 + 1);
        duplicates += usize::from(receipt.duplicate);
    }
    assert!(duplicates > 0);
    assert_eq!(fake.bodies(), bodies);
    assert!(fake.state.lock().opens >= 5);
}

#[tokio::test]
async fn a_refused_message_fails_alone_and_the_later_ones_close_the_gap() {
    let fake = Fake::start().await;
    fake.state.lock().hold = true;
    let queue = fake.client(PATIENCE).raw_queue("q");
    let producer = queue.producer().batch_messages(1).open().await.unwrap();
    let bodies: Vec<String> = ["a", "bad 1", "b", "c", "bad 2", "d"].map(String::from).into();
    let pending = send_all(&producer, &bodies).await;
    fake.state.lock().hold = false;
    fake.resume.notify_waiters();
    let mut positions = Vec::new();
    for (pending, body) in pending.into_iter().zip(&bodies) {
        match pending.await {
            Ok(receipt) => positions.push(receipt.position),
            Err(error) => {
                assert!(body.starts_with("bad"), "{body}: {error}");
                assert_eq!(error.reason(), Some(&Reason::Invalid));
            }
        }
    }
    assert_eq!(positions, [1, 2, 3, 4]);
    assert_eq!(fake.bodies(), ["a", "b", "c", "d"]);
    producer.send(Bytes::from_static(b"e")).await.unwrap().await.unwrap();
    assert_eq!(fake.bodies().len(), 5);
}

#[tokio::test]
async fn a_holder_that_is_fenced_stops() {
    let fake = Fake::start().await;
    let queue = fake.client(PATIENCE).raw_queue("q");
    let first = queue.producer().session("mine").open().await.unwrap();
    first.send(Bytes::from_static(b"a")).await.unwrap().await.unwrap();
    let second = queue.producer().session("mine").open().await.unwrap();
    assert_eq!(second.last_seq(), 1);
    let error = first.send(Bytes::from_static(b"b")).await.unwrap().await.unwrap_err();
    assert_eq!(error.reason(), Some(&Reason::ProducerFenced), "{error}");
    let error = first.send(Bytes::from_static(b"c")).await.unwrap_err();
    assert_eq!(error.reason(), Some(&Reason::ProducerFenced), "{error}");
    second.send(Bytes::from_static(b"d")).await.unwrap().await.unwrap();
    assert_eq!(fake.bodies(), ["a", "d"]);
}

#[tokio::test]
async fn what_another_holder_stored_is_not_taken_for_ones_own() {
    let fake = Fake::start().await;
    let producer = fake.client(PATIENCE).raw_queue("q").producer().session("mine").open().await.unwrap();
    fake.state.lock().hold = true;
    let pending = producer.send(Bytes::from_static(b"mine")).await.unwrap();
    {
        let mut state = fake.state.lock();
        state.somebody_else_publishes(b"theirs");
        (state.hold, state.cut_after) = (false, Some(1)); // what fenced it is not told
    }
    fake.resume.notify_one();
    let error = pending.await.unwrap_err();
    assert_eq!(error.reason(), Some(&Reason::ProducerFenced), "{error}");
    assert_eq!(fake.bodies(), ["theirs"]);
}

#[tokio::test]
async fn without_a_receipt_in_time_the_producer_fails_in_order() {
    let fake = Fake::start().await;
    fake.state.lock().hold = true;
    let client = fake.client(Duration::from_millis(300));
    let producer = client.raw_queue("q").producer().open().await.unwrap();
    let pending = send_all(&producer, &numbered(3)).await;
    for pending in pending {
        assert!(matches!(pending.await, Err(Error::Unknown { .. })));
    }
    assert!(producer.send(Bytes::from_static(b"later")).await.is_err());
}

/// Stores "a", loses its receipt, and refuses what comes after with `reason`.
async fn stored_and_refused(fake: &Fake, producer: &Producer<Bytes, Raw>, reason: &'static str) -> Pending {
    {
        let mut state = fake.state.lock();
        state.cut_after = Some(1);
        state.refuse_after_cut = Some(reason);
    }
    let pending = producer.send(Bytes::from_static(b"a")).await.unwrap();
    until(|| fake.state.lock().batches.len() >= 2).await;
    pending
}

#[tokio::test]
async fn what_is_stored_gets_its_receipt_when_there_is_room_again() {
    let fake = Fake::start().await;
    let producer = fake.client(PATIENCE).raw_queue("q").producer().open().await.unwrap();
    let first = stored_and_refused(&fake, &producer, "NO_SPACE").await;
    let second = producer.send(Bytes::from_static(b"b")).await.unwrap();
    fake.state.lock().refuse_batches = None;
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!((first.position, first.duplicate, second.position, second.duplicate), (1, true, 2, false));
    assert_eq!(fake.bodies(), ["a", "b"]);
}

#[tokio::test]
async fn what_is_stored_and_refused_for_good_is_unknown_and_nothing_takes_its_number() {
    let fake = Fake::start().await;
    let producer = fake.client(PATIENCE).raw_queue("q").producer().open().await.unwrap();
    let first = stored_and_refused(&fake, &producer, "UNKNOWN_QUEUE").await;
    let error = first.await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error}");
    assert_eq!(error.reason(), Some(&Reason::UnknownQueue));
    fake.state.lock().refuse_batches = None;
    let error = producer.send(Bytes::from_static(b"b")).await.unwrap_err();
    assert_eq!(error.reason(), Some(&Reason::UnknownQueue), "{error}");
    assert_eq!(fake.bodies(), ["a"]);
}

#[tokio::test]
async fn a_close_without_an_answer_leaves_no_session_behind() {
    let fake = Fake::start().await;
    let queue = fake.client(PATIENCE).raw_queue("q");
    for lose_ends in [1, 2] {
        let producer = queue.producer().session("mine").open().await.unwrap();
        producer.send(Bytes::from_static(b"a")).await.unwrap().await.unwrap();
        fake.state.lock().lose_ends = lose_ends;
        producer.close().await.unwrap();
        assert!(fake.state.lock().producer.is_none());
    }
}

#[tokio::test]
async fn a_fenced_holder_cannot_close() {
    let fake = Fake::start().await;
    let queue = fake.client(PATIENCE).raw_queue("q");
    let first = queue.producer().session("mine").open().await.unwrap();
    let second = queue.producer().session("mine").open().await.unwrap();
    let error = first.close().await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert_eq!(error.reason(), Some(&Reason::ProducerFenced));
    second.close().await.unwrap();
}

#[tokio::test]
async fn a_close_whose_fate_cannot_be_told_says_so() {
    let fake = Fake::start().await;
    let client = fake.client(Duration::from_millis(400));
    let producer = client.raw_queue("q").producer().open().await.unwrap();
    fake.state.lock().hold = true; // it takes the close and says nothing
    let error = producer.close().await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error}");
}

/// What does not fill a batch waits for more, but not when somebody waits for it.
#[tokio::test]
async fn messages_wait_for_their_batch_to_fill_as_long_as_they_may() {
    let fake = Fake::start().await;
    let queue = fake.client(PATIENCE).raw_queue("q");
    let linger = Duration::from_millis(300);
    let producer = queue.producer().batch_messages(10).linger(linger).open().await.unwrap();
    let sent_at = tokio::time::Instant::now();
    for body in numbered(5) {
        let pending = producer.send(Bytes::from(body)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(pending);
    }
    assert!(fake.state.lock().batches.is_empty());
    until(|| !fake.state.lock().batches.is_empty()).await;
    assert!(sent_at.elapsed() >= linger, "{:?}", sent_at.elapsed());
    assert_eq!(fake.state.lock().batches, [(1, 5)], "all in one");
    drop(send_all(&producer, &numbered(10)).await);
    drop(send_all(&producer, &numbered(3)).await);
    let flushed_at = tokio::time::Instant::now();
    producer.flush().await.unwrap();
    assert!(flushed_at.elapsed() < linger, "{:?}", flushed_at.elapsed());
    assert_eq!(fake.state.lock().batches, [(1, 5), (6, 10), (16, 3)]);
}

/// An open producer is in use, however little it has to send.
#[tokio::test]
async fn an_idle_producer_keeps_its_session() {
    let fake = Fake::start().await;
    let queue = fake.client(PATIENCE).raw_queue("q");
    let producer = queue.producer().ttl(Duration::from_millis(200)).open().await.unwrap();
    producer.send(Bytes::from("a")).await.unwrap().await.unwrap();
    until(|| fake.state.lock().opens >= 4).await;
    assert_eq!(producer.send(Bytes::from("b")).await.unwrap().await.unwrap().position, 2);
    producer.close().await.unwrap();
}
