//! What a program that uses the client crate sees, and the helpers that the other tests share for it.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use quorate_client::{Error, Message, Peek, Pending, Reason};

use crate::harness::{Cluster, runtime, s, until};

/// What [`publish_until_killed`] hands in.
pub fn body(round: u64, number: u64) -> String {
    format!(
        "round {round}, message {number}, {}",
        "·".repeat(usize::try_from(number % 97).expect("less than 97"))
    )
}

/// Publishes with a full window, kills every process at once when about a thousand receipts have come, and gives up the
/// producer. Returns what was confirmed, with its position, in the order of publishing.
pub fn publish_until_killed(cluster: &mut Cluster, queue: &str, round: u64) -> Vec<(String, u64)> {
    const RECEIPTS: usize = 1_000;
    const SENT_MAX: u64 = 50_000;
    let client = cluster.client(s(60));
    runtime().block_on(async {
        let builder = client.raw_queue(queue).producer().window(512).batch_messages(16);
        let producer = builder.open().await.expect("a session");
        let mut pending: Vec<(String, Pending)> = Vec::new();
        let mut receipts = Vec::new();
        for number in 1..=SENT_MAX {
            let text = body(round, number);
            let sent = producer.send(Bytes::from(text.clone())).await.expect("room in the window");
            pending.push((text, sent));
            if number % 64 == 0 {
                take_receipts(&mut pending, &mut receipts);
            }
            if receipts.len() >= RECEIPTS {
                break;
            }
        }
        cluster.kill_all();
        take_receipts(&mut pending, &mut receipts);
        assert!(!pending.is_empty(), "something must be in flight when the processes die");
        receipts
    })
}

/// Moves what has been confirmed by now from one list to the other.
fn take_receipts(pending: &mut Vec<(String, Pending)>, receipts: &mut Vec<(String, u64)>) {
    let mut done = 0;
    for (text, answer) in pending.iter_mut() {
        let Some(answer) = answer.now_or_never() else { break };
        receipts.push((text.clone(), answer.expect("nothing is refused here").position));
        done += 1;
    }
    pending.drain(..done);
}

/// Every message that is not done, as positions and texts.
pub fn peek_all(cluster: &Cluster, queue: &str) -> Vec<(u64, String)> {
    let client = cluster.client(s(30));
    runtime().block_on(async {
        let mut all = Vec::new();
        let mut what = Peek { count: 1000, ..Peek::default() };
        loop {
            let page = client.queues().peek(queue, &what).await.expect("a look into the queue");
            all.extend(page.messages.into_iter().map(|peeked| {
                let body = peeked.message.unwrap_or_default().body;
                (peeked.position, String::from_utf8(body.to_vec()).expect("texts were published"))
            }));
            if page.next_position <= what.from_position {
                return all;
            }
            what.from_position = page.next_position;
        }
    })
}

/// P5: a session that is opened again by its name tells how far it got, and fences its former holder.
#[test]
fn a_session_opened_again_goes_on_where_it_was_and_fences_the_former_holder() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let client = cluster.client(s(10));
    runtime().block_on(async {
        let open = || client.raw_queue("q").producer().session("till-7").open();
        let former = open().await.expect("a session");
        assert_eq!(former.last_seq(), 0);
        for number in 1..=3 {
            let pending = former.send(Bytes::from(format!("m{number}"))).await.expect("room");
            assert_eq!(pending.await.expect("a receipt").position, number);
        }
        let latter = open().await.expect("the session again");
        assert_eq!(latter.last_seq(), 3);
        let pending = latter.send(Bytes::from("m4")).await.expect("room");
        assert_eq!(pending.await.expect("a receipt").position, 4);
        let refused = match former.send(Bytes::from("too late")).await {
            Ok(pending) => pending.await.expect_err("the former holder is fenced"),
            Err(error) => error,
        };
        assert_eq!(refused.reason(), Some(&Reason::ProducerFenced), "{refused}");
    });
    let texts: Vec<String> = peek_all(&cluster, "q").into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["m1", "m2", "m3", "m4"]);
}

/// P4: a lease that has run out cannot be settled, and the next holder's token is the greater one.
#[test]
fn a_stale_token_is_refused_and_the_next_one_is_greater() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q", "--lease", "200ms"]).ok();
    cluster.quorate(&["publish", "q", "work"]).ok();
    let client = cluster.client(s(10));
    runtime().block_on(async {
        let attach = || client.raw_queue("q").consumer().credit(1).attach();
        let mut first = attach().await.expect("a consumer");
        let stale = first.next().await.expect("a delivery").expect("a delivery");
        first.set_credit(0);
        until("the end of the lease", s(10), || (cluster.stat("q", "leased") == 0).then_some(()));
        let mut second = attach().await.expect("a second consumer");
        let fresh = second.next().await.expect("a delivery").expect("a delivery");
        assert_eq!((fresh.position, stale.position), (1, 1));
        assert!(fresh.token > stale.token, "tokens only grow: {} then {}", stale.token, fresh.token);
        let before = cluster.json(&["stat", "q"])["length"].clone();
        let refused = stale.ack().await.expect_err("the lease is another's by now");
        assert!(matches!(refused, Error::StaleLease { position: 1 }), "{refused:?}");
        assert_eq!(refused.reason(), Some(&Reason::StaleLease));
        assert_eq!(cluster.json(&["stat", "q"])["length"], before, "a refusal changes nothing");
        fresh.extend(Some(Duration::from_secs(30))).await.expect("the holder may extend");
        fresh.ack().await.expect("the holder may settle");
    });
    assert_eq!(cluster.stat("q", "length"), 0);
}

/// What was released or retried comes again before anything later in a totally ordered queue (P3).
#[test]
fn a_returned_message_goes_out_first_in_total_order() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q", "--order", "total", "--backoff", "100ms..100ms"]).ok();
    cluster.command(&["publish", "q", "--file", "-"]).stdin(b"a\nb\nc\n").run().ok();
    let client = cluster.client(s(10));
    let seen = runtime().block_on(async {
        let mut consumer = client.raw_queue("q").consumer().credit(8).attach().await.expect("a consumer");
        let mut seen = Vec::new();
        let first = consumer.next().await.expect("a delivery").expect("a delivery");
        assert_eq!((&first.value[..], first.attempt), (&b"a"[..], 1));
        first.retry().await.expect("a retry");
        while seen.len() < 3 {
            let next = consumer.next().await.expect("a delivery").expect("a delivery");
            let (text, attempt) = (String::from_utf8(next.value.to_vec()).expect("text"), next.attempt);
            match next.ack().await {
                Ok(()) => seen.push((text, attempt)),
                // Leased before the retry of `a` and revoked by it: it comes again after `a`.
                Err(Error::StaleLease { .. }) => assert!(text != "a" && seen.is_empty(), "{text} {seen:?}"),
                Err(error) => panic!("{text}: {error}"),
            }
        }
        consumer.detach().await.expect("an orderly end");
        seen
    });
    let expected = [("a", 2), ("b", 1), ("c", 1)].map(|(text, attempt)| (text.to_owned(), attempt));
    assert_eq!(seen, expected);
}

/// A message keeps everything that it was published with.
#[test]
fn a_message_keeps_id_key_subject_and_headers() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let client = cluster.client(s(10));
    runtime().block_on(async {
        let producer = client.raw_queue("q").producer().open().await.expect("a session");
        let message = Message::new(Bytes::from_static(&[0xff, 0, 0xfe])).id("i").key("k").subject("s.t");
        let message = message.header("one", "1").header("two", &b"\xff"[..]);
        let meta = message.meta.clone();
        producer.send(message).await.expect("room").await.expect("a receipt");
        let mut consumer = client.raw_queue("q").consumer().attach().await.expect("a consumer");
        let delivery = consumer.next().await.expect("a delivery").expect("a delivery");
        assert_eq!(delivery.meta, meta);
        assert_eq!(&delivery.value[..], [0xff, 0, 0xfe]);
        delivery.ack().await.expect("an acknowledgement");
    });
    assert_eq!(cluster.stat("q", "length"), 0);
}

#[test]
fn a_reader_follows_a_queue_through_a_change_of_leader_and_sessions_are_listed() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.quorate(&["queue", "create", "log"]).ok();
    let client = cluster.client(s(60));
    let runtime = runtime();
    let leader = cluster.leader();
    let producer = runtime.block_on(async {
        let producer = client.raw_queue("log").producer().session("billing").open().await.expect("a session");
        for number in 1..=50 {
            producer.send(Bytes::from(number.to_string())).await.expect("room").await.expect("a receipt");
        }
        producer
    });
    let mut reader = client.queues().read("log", quorate_client::Start::Position(11), 0, true);
    let read = |reader: &mut quorate_client::Reader, count: u64| {
        runtime.block_on(async {
            let mut bodies = Vec::new();
            for _ in 0..count {
                let stored = tokio::time::timeout(s(30), reader.next()).await.expect("in time");
                let stored = stored.expect("it follows").expect("no error that lasts");
                assert_eq!(stored.missing, []);
                bodies.push(String::from_utf8(stored.body.to_vec()).expect("a number"));
            }
            bodies
        })
    };
    let numbers = |from: u64, to: u64| (from..=to).map(|number| number.to_string()).collect::<Vec<_>>();
    assert_eq!(read(&mut reader, 40), numbers(11, 50));
    cluster.kill(leader);
    runtime.block_on(async {
        for number in 51..=60 {
            producer.send(Bytes::from(number.to_string())).await.expect("room").await.expect("a receipt");
        }
    });
    assert_eq!(read(&mut reader, 10), numbers(51, 60));
    let listed = cluster.quorate(&["producers", "-o", "json"]).ok().lines();
    let billing = listed.iter().find(|session| session["name"] == "billing").expect("it is listed");
    assert_eq!((&billing["last_seq"], &billing["ttl_ms"]), (&60.into(), &3_600_000.into()));
}

#[test]
fn a_reader_that_falls_behind_what_is_stored_is_told_from_where_to_where() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "log", "--retain", "count:5"]).ok();
    let client = cluster.client(s(60));
    let runtime = runtime();
    let publish = |count: usize| {
        runtime.block_on(async {
            let producer = client.raw_queue("log").producer().open().await.expect("a session");
            for _ in 0..count {
                let sent = producer.send(Bytes::from(vec![7; 1 << 20])).await.expect("room");
                sent.await.expect("a receipt");
            }
        });
    };
    publish(3);
    let mut reader = client.queues().read("log", quorate_client::Start::Position(1), 0, true);
    let next = |reader: &mut quorate_client::Reader| {
        let next = runtime.block_on(async { tokio::time::timeout(s(30), reader.next()).await });
        next.expect("in time").expect("it follows").expect("no error that lasts")
    };
    assert_eq!(next(&mut reader).position, 1);
    // More than the windows of the stream hold: the reader is not there for it.
    publish(60);
    let (mut expected, mut missed) = (2, 0);
    while expected <= 63 {
        let stored = next(&mut reader);
        for range in &stored.missing {
            assert_eq!(range.start, expected);
            (expected, missed) = (range.end, missed + range.end - range.start);
        }
        assert_eq!(stored.position, expected, "every position is read or told of");
        expected += 1;
    }
    assert!((1..=57).contains(&missed), "{missed} are missing");
}
