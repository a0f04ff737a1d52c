//! Requests that must be refused: a typed error that says what to do, the right exit code, and nothing changed (P11).

use bytes::Bytes;
use quorate_client::wire::consumer_client::ConsumerClient;
use quorate_client::wire::producer_client::ProducerClient;
use quorate_client::wire::publish_request::Request as PublishReq;
use quorate_client::wire::receive_request::Request as Req;
use quorate_client::wire::receive_response::Response as Res;
use quorate_client::{Error, Reason, wire};
use serde_json::Value;
use tonic::Streaming;

use crate::harness::{Cluster, runtime, s};

const MIB: usize = 1024 * 1024;

/// What a refusal must leave alone: every queue with its figures, but for the age, which grows by itself.
fn everything(cluster: &Cluster) -> Vec<Value> {
    let mut queues = cluster.quorate(&["queue", "list", "-o", "json"]).ok().lines();
    for queue in &mut queues {
        let name = queue["name"].as_str().expect("a name").to_owned();
        let mut stat = cluster.json(&["stat", &name]);
        stat["oldest_age_ms"] = Value::Null;
        queue["stat"] = stat;
        queue["messages"] = cluster.quorate(&["peek", &name, "-o", "json"]).ok().lines().into();
    }
    queues
}

/// A cluster with a queue `q` that holds one message.
fn with_one_message() -> Cluster {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    cluster.quorate(&["publish", "q", "kept"]).ok();
    cluster
}

#[test]
fn an_unknown_queue_is_named_and_nothing_is_made() {
    let cluster = with_one_message();
    let before = everything(&cluster);
    for args in [
        &["publish", "nowhere", "m"][..],
        &["receive", "nowhere", "--wait", "1s"],
        &["peek", "nowhere"],
        &["stat", "nowhere"],
        &["queue", "show", "nowhere"],
        &["queue", "delete", "nowhere"],
    ] {
        cluster.quorate(args).fails(1, &["nowhere", "UNKNOWN_QUEUE", "what to do:"]);
    }
    cluster
        .quorate(&["stat", "q", "--sub", "other"])
        .fails(1, &["other", "UNKNOWN_SUBSCRIPTION", "what to do:"]);
    let elsewhere = ["queue", "create", "x", "--namespace", "other"];
    cluster.quorate(&elsewhere).fails(1, &["other", "UNKNOWN_NAMESPACE", "what to do:"]);
    assert_eq!(everything(&cluster), before);
}

#[test]
fn bad_names_and_settings_are_refused() {
    let cluster = with_one_message();
    let before = everything(&cluster);
    let long = "x".repeat(129);
    for name in ["", ".hidden", "with space", "slash/slash", "ümlaut", &long] {
        cluster.quorate(&["queue", "create", name]).fails(1, &["name", "INVALID", "what to do:"]);
    }
    let bounds = [
        (&["--lease", "99ms"][..], "lease"),
        (&["--lease", "13h"], "lease"),
        (&["--backoff", "1s..31d"], "backoff"),
    ];
    for (flags, told) in bounds {
        let args = [&["queue", "create", "x"], flags].concat();
        cluster.quorate(&args).fails(1, &[told, "INVALID", "what to do:"]);
    }
    let other = ["queue", "create", "q", "--order", "total"];
    cluster.quorate(&other).fails(1, &["q", "QUEUE_EXISTS", "what to do:"]);
    assert_eq!(everything(&cluster), before);
}

#[test]
fn wrong_usage_ends_with_2_before_anything_is_asked() {
    let cluster = with_one_message();
    let before = everything(&cluster);
    for args in [
        &[][..],
        &["unknown-verb"],
        &["publish", "q"],
        &["publish", "q", "body", "--file", "x"],
        &["publish", "q", "body", "--header", "no-value"],
        &["queue", "create", "x", "--order", "sometimes"],
        &["queue", "create", "x", "--lease", "soon"],
        &["receive", "q", "--credit", "0"],
        &["stat", "q", "-o", "yaml"],
        &["stat", "q", "--timeout", "0"],
        &["stat", "q", "--endpoint", "not an address"],
        &["serve", "--name", "n9"],
    ] {
        cluster.quorate(args).fails(2, &[]);
    }
    assert_eq!(everything(&cluster), before);
}

/// The command refuses before it sends; the server refuses what another client sends.
#[test]
fn a_body_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let cluster = with_one_message();
    let before = everything(&cluster);
    let file = cluster.file("big.bin", "x".repeat(17 * MIB));
    cluster
        .quorate(&["publish", "q", "--file", &file])
        .fails(1, &["16 MiB", "what to do:", "nothing else was stored"]);
    let client = cluster.client(s(30));
    runtime().block_on(async {
        let producer = client.raw_queue("q").producer().open().await.expect("a session");
        for bytes in [16 * MIB + 1, 17 * MIB - 1000] {
            let pending = producer.send(Bytes::from(vec![b'x'; bytes])).await.expect("room in the window");
            let refused = pending.await.expect_err("the body is too long");
            assert_eq!(refused.reason(), Some(&Reason::Invalid), "{bytes}: {refused:?}");
            assert!(refused.to_string().contains("body"), "{refused}");
        }
        let refused = producer.send(Bytes::from(vec![b'x'; 18 * MIB])).await.err();
        assert!(matches!(refused, Some(Error::Encode(_))), "it could not even be read there: {refused:?}");
        assert_eq!(everything(&cluster), before);
        let pending = producer.send(Bytes::from(vec![b'x'; 16 * MIB])).await.expect("room in the window");
        assert_eq!(pending.await.expect("a body at the limit is taken").position, 2);
        producer.close().await.expect("refusals do not end a session");
    });
    assert_eq!(cluster.stat("q", "length"), 2);
}

/// A stream that cannot be read any further says so before it ends.
#[test]
fn a_request_that_is_too_long_to_be_read_ends_its_stream_with_an_error() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let address = format!("http://{}", cluster.nodes()[0].client_addr);
    runtime().block_on(async {
        let channel = tonic::transport::Endpoint::from_shared(address).expect("an address");
        let channel = channel.connect().await.expect("a connection");
        let open =
            wire::OpenProducer { session: "s".into(), holder: vec![1; 16].into(), ..Default::default() };
        let message = Bytes::from(vec![0; 20 * MIB]);
        let batch = wire::PublishBatch {
            queue: "q".into(),
            first_seq: 1,
            messages: vec![message],
            ..Default::default()
        };
        let requests = [PublishReq::Open(open), PublishReq::Batch(batch)];
        let requests = requests.map(|request| wire::PublishRequest { request: Some(request) });
        let mut client = ProducerClient::new(channel.clone());
        let answers = client.publish(futures::stream::iter(requests)).await.expect("a stream");
        let ended = last_status(answers.into_inner()).await;
        assert_eq!(ended.code(), tonic::Code::InvalidArgument, "{ended:?}");
        assert!(ended.message().contains("cannot be read"), "{ended:?}");

        let attach = wire::Attach { queue: "q".into(), session: vec![2; 16].into(), ..Default::default() };
        let range = wire::SettleRange { reason: "x".repeat(20 * MIB), ..Default::default() };
        let settle = wire::Settle { id: 1, ranges: vec![range] };
        let requests = [Req::Attach(attach), Req::Settle(settle)];
        let requests = requests.map(|request| wire::ReceiveRequest { request: Some(request) });
        let answers = ConsumerClient::new(channel).receive(futures::stream::iter(requests)).await;
        let ended = last_status(answers.expect("a stream").into_inner()).await;
        assert_eq!(ended.code(), tonic::Code::InvalidArgument, "{ended:?}");
    });
}

/// With what status a stream ends; it must not end without one.
async fn last_status<T>(mut answers: Streaming<T>) -> tonic::Status {
    loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended as if all was well"),
            Err(status) => return status,
        }
    }
}

/// The other limits of a message, each one over.
#[test]
fn the_other_parts_of_a_message_have_limits_too() {
    let cluster = with_one_message();
    let before = everything(&cluster);
    let (long, longer) = ("x".repeat(257), "x".repeat(1025));
    let header = format!("h={}", "x".repeat(65 * 1024));
    for (flag, value, told) in [
        ("--id", &long, "id"),
        ("--subject", &long, "subject"),
        ("--key", &longer, "key"),
        ("--header", &header, "header"),
    ] {
        cluster.quorate(&["publish", "q", "m", flag, value]).fails(1, &[told, "INVALID", "what to do:"]);
    }
    let many: Vec<String> = (0..65).map(|i| format!("h{i}=v")).collect();
    let flags = many.iter().flat_map(|header| ["--header", header.as_str()]);
    let args: Vec<&str> = ["publish", "q", "m"].into_iter().chain(flags).collect();
    cluster.quorate(&args).fails(1, &["header", "INVALID", "what to do:"]);
    assert_eq!(everything(&cluster), before);
}

/// A stream of one consumer, spoken by hand: what the client crate would never send.
struct Raw {
    requests: tokio::sync::mpsc::Sender<wire::ReceiveRequest>,
    answers: Streaming<wire::ReceiveResponse>,
}

impl Raw {
    async fn attach(cluster: &Cluster, queue: &str, credit: u32) -> Self {
        let endpoint = format!("http://{}", cluster.nodes()[0].client_addr);
        let mut client = ConsumerClient::connect(endpoint).await.expect("a connection");
        let (requests, stream) = tokio::sync::mpsc::channel(16);
        let session = Bytes::from_static(&[7; 16]);
        let attach = wire::Attach { queue: queue.into(), session, credit, ..wire::Attach::default() };
        let request = wire::ReceiveRequest { request: Some(Req::Attach(attach)) };
        requests.send(request).await.expect("the stream is open");
        let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
        let answers = client.receive(stream).await.expect("the consumer is attached").into_inner();
        Self { requests, answers }
    }

    async fn next(&mut self) -> Res {
        let answer = self.answers.message().await.expect("no error").expect("the stream goes on");
        answer.response.expect("an answer")
    }

    /// Settles one message and returns the reason of the refusal, or nothing if it took effect.
    async fn settle(&mut self, position: u64, token: u64, outcome: wire::Outcome) -> Option<String> {
        let range = wire::SettleRange {
            first_position: position,
            count: 1,
            first_token: token,
            outcome: outcome.into(),
            delay_ms: 0,
            reason: String::new(),
        };
        let settle = wire::Settle { id: 1, ranges: vec![range] };
        let request = wire::ReceiveRequest { request: Some(Req::Settle(settle)) };
        self.requests.send(request).await.expect("the stream is open");
        loop {
            if let Res::Settled(settled) = self.next().await {
                return settled.refused.into_iter().next().map(|r| r.refusal.unwrap_or_default().reason);
            }
        }
    }
}

#[test]
fn what_was_never_leased_cannot_be_settled() {
    let cluster = with_one_message();
    let before = everything(&cluster);
    runtime().block_on(async {
        let mut raw = Raw::attach(&cluster, "q", 0).await;
        assert!(matches!(raw.next().await, Res::Attached(_)));
        for outcome in
            [wire::Outcome::Ack, wire::Outcome::Retry, wire::Outcome::Release, wire::Outcome::Extend]
        {
            for (position, token) in [(1, 1), (1, 99), (5, 1), (1 << 60, 1 << 60)] {
                let reason = raw.settle(position, token, outcome).await;
                assert_eq!(
                    reason.as_deref(),
                    Some("NEVER_LEASED"),
                    "{outcome:?} of {position} under {token}"
                );
            }
        }
        let overflow = raw.settle(u64::MAX, u64::MAX, wire::Outcome::Ack).await;
        assert_eq!(overflow.as_deref(), Some("INVALID"), "a range that ends after the last number");
        assert_eq!(everything(&cluster), before);
    });
}

#[test]
fn a_token_that_was_used_up_is_stale() {
    let cluster = with_one_message();
    runtime().block_on(async {
        let mut raw = Raw::attach(&cluster, "q", 1).await;
        let delivery = loop {
            if let Res::Deliveries(deliveries) = raw.next().await {
                break deliveries.deliveries[0].clone();
            }
        };
        assert_eq!(raw.settle(delivery.position, delivery.token, wire::Outcome::Ack).await, None);
        for outcome in [wire::Outcome::Ack, wire::Outcome::Retry, wire::Outcome::Extend] {
            let reason = raw.settle(delivery.position, delivery.token, outcome).await;
            assert_eq!(reason.as_deref(), Some("STALE_LEASE"), "{outcome:?}");
        }
    });
    assert_eq!(cluster.stat("q", "length"), 0);
}

/// Nobody there at all: exit code 4, and the error says what each endpoint answered.
#[test]
fn no_connection_ends_with_4() {
    let mut cluster = with_one_message();
    cluster.kill(0);
    let addr = cluster.nodes()[0].client_addr.clone();
    for args in [&["stat", "q"][..], &["publish", "q", "m"], &["queue", "list"], &["cluster", "status"]] {
        cluster
            .quorate(&[args, &["--timeout", "1s"]].concat())
            .fails(4, &["no leader", &addr, "what to do:"]);
    }
    cluster.restart(0);
    assert_eq!(cluster.stat("q", "length"), 1);
}

/// The client crate's own refusals, before anything is sent.
#[test]
fn a_client_that_cannot_work_is_not_built() {
    let builder = quorate_client::Client::builder();
    let refused = builder.endpoints(Vec::<String>::new()).build().err();
    assert!(matches!(refused, Some(Error::Config(_))), "{refused:?}");
}
