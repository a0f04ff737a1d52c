use std::time::Duration;

use bytes::Bytes;
use quorate_client::{Consumer, Delivery, Error, Outcome, Raw};

use crate::fake::Fake;

const PATIENCE: Duration = Duration::from_secs(10);

/// A queue of `count` messages, all leased to whoever attaches.
async fn leased(count: u64) -> Fake {
    let fake = Fake::start().await;
    let mut state = fake.state.lock();
    for position in 1..=count {
        state.log.push(Bytes::from(format!("m{position}")));
        state.leases.insert(100 + position, position);
    }
    drop(state);
    fake
}

async fn attached(fake: &Fake) -> Consumer<Bytes, Raw> {
    fake.client(PATIENCE).raw_queue("q").consumer().attach().await.unwrap()
}

async fn take(consumer: &mut Consumer<Bytes, Raw>, count: usize) -> Vec<Delivery<Bytes>> {
    let mut taken = Vec::new();
    for _ in 0..count {
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
        taken.push(next.unwrap().unwrap().unwrap());
    }
    taken
}

#[tokio::test]
async fn acks_travel_as_ranges_and_all_are_answered() {
    let fake = leased(1000).await;
    let mut consumer = attached(&fake).await;
    for delivery in take(&mut consumer, 1000).await {
        delivery.ack_later();
    }
    assert!(consumer.settled().await.unwrap().is_empty());
    assert!(fake.state.lock().leases.is_empty());
    let ranges: usize = fake.state.lock().settles.iter().map(|settle| settle.ranges.len()).sum();
    assert!(ranges < 20, "{ranges} ranges for 1000 acks in order");
    consumer.detach().await.unwrap();
    assert!(fake.state.lock().detached);
}

#[tokio::test]
async fn a_stale_lease_is_told_to_its_ack_only() {
    let fake = leased(2).await;
    let mut consumer = attached(&fake).await;
    let mut taken = take(&mut consumer, 2).await.into_iter();
    fake.state.lock().leases.remove(&101);
    let (first, second) = (taken.next().unwrap(), taken.next().unwrap());
    let answer = first.ack().await;
    assert!(matches!(answer, Err(Error::StaleLease { position: 1 })), "{answer:?}");
    second.extend(Some(Duration::from_secs(60))).await.unwrap();
    second.ack().await.unwrap();
}

#[tokio::test]
async fn after_a_resume_what_is_held_is_not_shown_twice_and_what_was_not_acked_is_acked() {
    let fake = leased(4).await;
    let mut consumer = attached(&fake).await;
    let mut taken = take(&mut consumer, 3).await.into_iter();
    let (first, second, third) = (taken.next().unwrap(), taken.next().unwrap(), taken.next().unwrap());
    drop(third); // let go without a settle: shown again
    fake.state.lock().cut_settle = Some(false);
    first.ack().await.unwrap(); // lost with the stream, sent again after the resume
    let again = take(&mut consumer, 2).await;
    let positions: Vec<u64> = again.iter().map(|delivery| delivery.position).collect();
    assert_eq!(positions, [3, 4]);
    second.ack().await.unwrap();
    let state = fake.state.lock();
    assert_eq!(state.leases.keys().copied().collect::<Vec<_>>(), [103, 104]);
    assert_eq!(state.attaches.len(), 2);
    assert_eq!(state.attaches[0], state.attaches[1]);
}

#[tokio::test]
async fn an_ack_whose_fate_cannot_be_told_says_so() {
    let fake = leased(1).await;
    let mut consumer = attached(&fake).await;
    let delivery = take(&mut consumer, 1).await.remove(0);
    fake.state.lock().cut_settle = Some(true); // carried out, but the answer is lost
    let answer = delivery.ack().await;
    assert!(matches!(answer, Err(Error::SettleUnknown { position: 1 })), "{answer:?}");
}

#[tokio::test]
async fn a_failure_that_nobody_waited_for_is_kept() {
    let fake = leased(2).await;
    let mut consumer = attached(&fake).await;
    let taken = take(&mut consumer, 2).await;
    fake.state.lock().leases.remove(&102);
    taken.into_iter().for_each(Delivery::ack_later);
    let failures = consumer.settled().await.unwrap();
    assert_eq!(failures.len(), 1);
    assert_eq!((failures[0].position, failures[0].token), (2, 102));
    assert!(consumer.settled().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_idle_consumer_leaves_a_leader_that_went_silent() {
    let (silent, next) = (leased(0).await, leased(1).await);
    let endpoints = [&silent, &next].map(|fake| format!("http://{}", fake.address));
    let client = quorate_client::Client::builder().endpoints(endpoints).timeout(PATIENCE).build().unwrap();
    let mut consumer = client.raw_queue("q").consumer().attach().await.unwrap();
    assert_eq!(silent.state.lock().attaches.len(), 1);
    silent.state.lock().silent = true; // its streams stay open and say nothing
    let delivery = take(&mut consumer, 1).await.remove(0);
    assert_eq!((delivery.position, next.state.lock().attaches.len()), (1, 1));
}

#[tokio::test]
async fn in_order_total_a_returned_message_comes_before_all_that_is_behind_it() {
    for wait in [false, true] {
        let fake = leased(5).await;
        fake.state.lock().total = true;
        let mut consumer = attached(&fake).await;
        let mut taken = take(&mut consumer, 2).await.into_iter();
        let (first, second) = (taken.next().unwrap(), taken.next().unwrap());
        first.ack().await.unwrap();
        if wait {
            second.retry().await.unwrap();
        } else {
            second.settle_later(Outcome::Release);
            assert!(consumer.try_next().is_none(), "3 is buffered, and was leased behind 2");
        }
        let again = take(&mut consumer, 4).await;
        let got: Vec<_> = again.iter().map(|delivery| (delivery.position, delivery.token)).collect();
        assert_eq!(got, [(2, 1002), (3, 1003), (4, 1004), (5, 1005)]);
    }
}

#[tokio::test]
async fn a_detach_without_an_answer_is_told_again() {
    let fake = leased(1).await;
    let consumer = attached(&fake).await;
    fake.state.lock().lose_ends = 1;
    consumer.detach().await.unwrap();
    assert_eq!(fake.state.lock().attaches.len(), 2);
}

#[tokio::test]
async fn a_detach_that_is_never_answered_is_unknown() {
    let fake = leased(1).await;
    let client = fake.client(Duration::from_millis(400));
    let consumer = client.raw_queue("q").consumer().attach().await.unwrap();
    fake.state.lock().lose_ends = usize::MAX;
    let answer = consumer.detach().await;
    assert!(matches!(answer, Err(Error::Unknown { .. })), "{answer:?}");
}

/// Nothing is left to settle: that can be said without a leader.
#[tokio::test]
async fn who_waits_for_no_settle_does_not_wait_for_a_leader() {
    let fake = leased(1).await;
    let client = fake.client(Duration::from_millis(400));
    let mut consumer = client.raw_queue("q").consumer().attach().await.unwrap();
    let delivery = take(&mut consumer, 1).await.remove(0);
    fake.state.lock().refuse_all = Some("NO_QUORUM");
    fake.state.lock().cut_settle = Some(true);
    assert!(delivery.ack().await.is_err());
    let settled = tokio::time::timeout(Duration::from_secs(2), consumer.settled()).await;
    assert!(settled.unwrap().unwrap().is_empty());
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whoever forgets to settle is told; whoever means it is not.
#[tokio::test]
async fn a_delivery_that_is_dropped_without_being_settled_is_warned_of() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let fake = leased(4).await;
    let mut consumer = attached(&fake).await;
    let mut taken = take(&mut consumer, 4).await.into_iter();
    let mut next = || taken.next().unwrap();
    next().ack().await.unwrap();
    next().leave();
    next().settle_later(Outcome::Release);
    let said = |log: &Log| String::from_utf8(log.0.lock().clone()).unwrap();
    assert_eq!(said(&log), "");
    drop(next());
    assert!(said(&log).contains("dropped without being settled") && said(&log).contains("position=4"));
}
