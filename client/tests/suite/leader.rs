use std::time::Duration;

use bytes::Bytes;
use quorate_client::{Client, Error, Reason};

use crate::fake::Fake;

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_leader_is_followed_to_an_endpoint_nobody_named() {
    let (follower, leader) = (Fake::start().await, Fake::start().await);
    follower.state.lock().leader_elsewhere = Some(leader.address.clone());
    let producer = follower.client(PATIENCE).raw_queue("q").producer().open().await.unwrap();
    producer.send(Bytes::from_static(b"a")).await.unwrap().await.unwrap();
    assert_eq!(leader.bodies(), ["a"]);
    assert!(follower.bodies().is_empty());
}

#[tokio::test]
async fn dead_endpoints_are_passed_over() {
    let alive = Fake::start().await;
    let client = Client::builder()
        .endpoints(["http://127.0.0.1:1".to_owned(), format!("http://{}", alive.address)])
        .build()
        .unwrap();
    client.raw_queue("q").producer().open().await.unwrap();
    assert_eq!(client.cluster().status().await.unwrap().len(), 1);
}

#[tokio::test]
async fn without_a_leader_the_error_says_what_each_endpoint_answered() {
    let fake = Fake::start().await;
    fake.state.lock().refuse_all = Some("NO_QUORUM");
    let client = Client::builder()
        .endpoints([format!("http://{}", fake.address), "http://127.0.0.1:1".to_owned()])
        .timeout(Duration::from_millis(400))
        .build()
        .unwrap();
    let Err(error) = client.raw_queue("q").producer().open().await else { panic!("opened") };
    let Error::NoLeader { answers, .. } = &error else { panic!("{error}") };
    assert_eq!(answers.len(), 2, "{error}");
    assert!(answers[0].answer.contains("no quorum"), "{error}");
    assert!(answers[1].answer.contains("refused"), "{error}");
    assert!(error.retryable());
}

#[tokio::test]
async fn what_is_certain_is_not_repeated() {
    let fake = Fake::start().await;
    fake.state.lock().refuse_all = Some("UNKNOWN_QUEUE");
    let Err(error) = fake.client(PATIENCE).raw_queue("q").consumer().attach().await else {
        panic!("attached")
    };
    assert_eq!(error.reason(), Some(&Reason::UnknownQueue));
    assert_eq!(fake.state.lock().calls, 1);
}
