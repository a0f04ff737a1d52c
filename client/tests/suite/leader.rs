use std::time::Duration;

use bytes::Bytes;
use quorate_client::{Client, Error, QueueSettings, Reason};

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

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_unknown_whatever_is_answered_after_it() {
    let fake = Fake::start().await;
    let queues = fake.client(PATIENCE).queues();
    fake.state.lock().queue_answers = ["UNKNOWN", "UNKNOWN_QUEUE", "OVERLOADED", "UNKNOWN_QUEUE"].into();
    let error = queues.delete("q").await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error}");
    assert_eq!(error.reason(), Some(&Reason::UnknownQueue));
    let error = queues.delete("q").await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "no attempt was carried out: {error}");
}

#[tokio::test]
async fn only_a_change_that_may_have_been_made_is_unknown_when_no_leader_is_found() {
    let fake = Fake::start().await;
    let client = fake.client(Duration::from_millis(300));
    for (reason, unknown) in [("UNKNOWN", true), ("NO_QUORUM", false)] {
        fake.state.lock().refuse_all = Some(reason);
        let queue = client.raw_queue("q");
        let errors = [
            client.queues().create("q", QueueSettings::default()).await.unwrap_err(),
            client.queues().delete("q").await.unwrap_err(),
            queue.producer().open().await.err().unwrap(),
            queue.consumer().attach().await.err().unwrap(),
        ];
        for error in errors {
            assert_eq!(matches!(error, Error::Unknown { .. }), unknown, "{reason}: {error}");
            assert!(error.is_no_leader() && error.retryable() != unknown);
            assert!(error.action().contains("majority"), "{}", error.action());
        }
        let error = client.queues().stat("q", "").await.unwrap_err();
        assert!(matches!(error, Error::NoLeader { .. }), "a read changes nothing: {error}");
    }
}

/// Of what any node may answer, the next one is asked long before the one that hangs is given up.
#[tokio::test]
async fn a_node_that_hangs_does_not_hold_up_a_question_that_others_can_answer() {
    let (silent, other) = (Fake::start().await, Fake::start().await);
    silent.state.lock().silent = true;
    let endpoints = [&silent, &other].map(|fake| format!("http://{}", fake.address));
    let client = Client::builder().endpoints(endpoints).timeout(Duration::from_secs(5)).build().unwrap();
    let asked_at = tokio::time::Instant::now();
    let members = client.cluster().members().await.unwrap();
    assert_eq!(members.members[0].client_addr, other.address);
    assert!(asked_at.elapsed() < Duration::from_millis(900), "{:?}", asked_at.elapsed());
}
