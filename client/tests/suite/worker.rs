use std::future::Ready;
use std::time::Duration;

use bytes::Bytes;
use quorate_client::{Job, wire};

use crate::fake::Fake;

const PATIENCE: Duration = Duration::from_secs(10);

/// What the next settle says.
async fn settled(fake: &Fake) -> wire::SettleRange {
    let waiting = async {
        loop {
            let first = fake.state.lock().settles.first().and_then(|settle| settle.ranges.first().cloned());
            match first {
                Some(range) => return range,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap()
}

async fn with_one_message() -> Fake {
    let fake = Fake::start().await;
    fake.state.lock().log.push(Bytes::from_static(b"m"));
    fake.state.lock().leases.insert(101, 1);
    fake
}

/// A handler may panic before it has returned its future, too.
#[tokio::test]
async fn a_handler_that_panics_at_once_has_failed_and_the_worker_goes_on() {
    let fake = with_one_message().await;
    let handler = |_: Job<Bytes>| -> Ready<()> { panic!("at once") };
    let worker = fake.client(PATIENCE).raw_queue("q").worker().start(handler);
    let range = settled(&fake).await;
    assert_eq!((range.outcome(), &*range.reason), (wire::Outcome::Retry, "the handler panicked: at once"));
    assert!(!worker.is_over());
    worker.stop().await.unwrap();
}

/// Long reasons are cut, so that they are no reason to be refused.
#[tokio::test]
async fn the_error_of_a_handler_is_kept_as_far_as_it_fits() {
    let fake = with_one_message().await;
    let handler = |_: Job<Bytes>| async { Err::<(), _>("no".repeat(200)) };
    let worker = fake.client(PATIENCE).raw_queue("q").worker().start(handler);
    assert_eq!(settled(&fake).await.reason, "no".repeat(128));
    worker.stop().await.unwrap();
}
