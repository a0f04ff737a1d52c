//! The formats are frozen: what version 1 wrote must mean the same for ever. A change here is a new format version, not a
//! new golden file. `QUORATE_GOLDEN=write` writes the files of a version that was never released.

mod common;

use std::fmt::Write;
use std::path::PathBuf;

use bytes::Bytes;
use common::{Got, attach, holder, publish, range};
use prost::Message as _;
use quorate_machine::command::{
    Action, Batch, Command, Condition, CreateQueue, CreateSub, Credit, DeleteSub, Detach, Filter,
    GiveNodeIds, LeaseRange, OnExhausted, OpenProducer, Order, Outcome, Pause, Publish, PublishTo, Purge,
    Put, QueueSettings, RaiseVersion, Require, RequireLengthBelow, RequireTail, RequireVersion, Reschedule,
    Retain, Seek, Selector, Settings, Settle, SettleLease, Start, StartKind, Tick, Transact, Unpark,
    UpdateQueue, UpdateSub, Verb,
};
use quorate_machine::message::{Header, Message, attributes};
use quorate_machine::reply::Reply;
use quorate_machine::{FORMAT_VERSION, MemoryStore, apply, check, read};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

fn unhex(text: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("the file is hexadecimal");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// Entries that leave a row in every table.
fn entries() -> Vec<Bytes> {
    let create = |name: &str, order: Order| {
        let settings = Settings {
            order: order.into(),
            lease_ms: 1000,
            backoff_first_ms: 0,
            backoff_last_ms: 0,
            ..Settings::default()
        };
        Verb::CreateQueue(CreateQueue {
            namespace: "default".into(),
            name: name.into(),
            settings,
            ..CreateQueue::default()
        })
    };
    let open = |name: &str| {
        Verb::OpenProducer(OpenProducer {
            namespace: "default".into(),
            session: name.into(),
            ttl_ms: 60_000,
            holder: holder(5),
            resume: 0,
        })
    };
    let got = Got { consumer: 1, position: 1, token: 1, attempt: 1 };
    let at = |position| Got { position, token: position, ..got };
    let settle = Verb::Settle(Settle {
        consumer: 1,
        ranges: vec![
            range(at(1), 2, Outcome::Ack),
            range(at(3), 1, Outcome::Retry),
            range(at(5), 1, Outcome::Release),
            range(at(4), 1, Outcome::Extend),
        ],
        ..Settle::default()
    });
    let delete = quorate_machine::command::DeleteQueue { namespace: "default".into(), name: "gone".into() };
    let batches = [
        (1_000, model_first()),
        (
            1_000,
            vec![create("jobs", Order::None), create("strict", Order::Total), create("gone", Order::None)],
        ),
        (
            1_001,
            vec![
                open("billing"),
                Verb::Publish(publish("jobs", (1, 1), 1, &["a", "bb", "ccc", "d", "e"])),
                Verb::Publish(publish("gone", (0, 0), 0, &["z"])),
            ],
        ),
        (1_002, vec![attach("jobs", 1, 5), attach("strict", 2, 9), attach("jobs", 3, 0)]),
        (1_003, vec![Verb::Credit(Credit { consumer: 1, generation: 1, credit: 1 }), settle]),
        (1_004, vec![Verb::Publish(Publish { acked_seq: 2, ..publish("strict", (1, 1), 6, &["f", "g"]) })]),
        (1_005, vec![Verb::Detach(Detach { consumer: 3, generation: 1 }), Verb::Tick(Tick {})]),
        (1_006, vec![Verb::DeleteQueue(delete), Verb::GiveNodeIds(GiveNodeIds { above: 3, count: 1 })]),
        (1_007, model_published()),
        (1_008, model_settled()),
        (1_009, model_changed()),
        (1_010, vec![transacted()]),
        (1_011, model_retained()),
        (
            1_012,
            [model_retained_later(), vec![Verb::RaiseVersion(RaiseVersion { to: FORMAT_VERSION })]].concat(),
        ),
    ];
    let encode = |(time_ms, verbs): (u64, Vec<Verb>)| {
        Batch::new(time_ms, verbs.into_iter().map(Command::from).collect()).encode()
    };
    batches.map(encode).to_vec()
}

/// A queue whose subscriptions order by key, and one with priorities.
fn model_first() -> Vec<Verb> {
    let keyed = Settings {
        order: Order::Key.into(),
        max_attempts: 1,
        on_exhausted: OnExhausted::ParkKey.into(),
        per_key_inflight: 2,
        jitter_percent: Some(0),
        ..Settings::default()
    };
    let header = Header { name: "tier".into(), value: "gold".into() };
    let filter = Filter { subject: "a.>".into(), headers: vec![header] };
    let create = |name: &str, settings, queue| {
        Verb::CreateQueue(CreateQueue { name: name.into(), settings, queue, ..CreateQueue::default() })
    };
    let sub = |name: &str, settings, filter, kind: StartKind| {
        Verb::CreateSub(CreateSub {
            queue: "keyed".into(),
            name: name.into(),
            settings,
            filter,
            start: Start { kind: kind.into(), at: 0 },
            ..CreateSub::default()
        })
    };
    vec![
        create("keyed", keyed, QueueSettings { ttl_ms: 50_000, max_length: 100, ..QueueSettings::default() }),
        create("urgent", Settings::default(), QueueSettings { priorities: true, ..QueueSettings::default() }),
        sub("some", Settings::default(), Some(filter), StartKind::Earliest),
        sub(
            "spare",
            Settings { auto_ack: true, max_lag: 50, ..Settings::default() },
            None,
            StartKind::Latest,
        ),
    ]
}

/// Messages with everything that a message may have.
fn model_published() -> Vec<Verb> {
    let plain = Message { body: Bytes::from_static(b"x"), ..Message::default() };
    let of_key = |key: &'static str| Message { key: Bytes::from_static(key.as_bytes()), ..plain.clone() };
    let header = Header { name: "tier".into(), value: "gold".into() };
    let written = [
        of_key("a"),
        of_key("a"),
        of_key("a"),
        of_key("b"),
        of_key("b"),
        of_key("c"),
        Message { delay_ms: 5_000, ..of_key("a") },
        Message { deliver_at_ms: 9_000, ttl_ms: 70, id: "i".into(), ..plain.clone() },
        Message { subject: "a.b".into(), headers: vec![header], content_type: "t".into(), ..plain.clone() },
    ];
    vec![
        publish_all("keyed", &written),
        publish_all("urgent", &[plain.clone(), Message { priority: 7, ..plain }]),
        attach("keyed", 4, 5),
    ]
}

/// One key parked, one with a holder that may get more, a message parked alone.
fn model_settled() -> Vec<Verb> {
    let at = |position, token| Got { consumer: 4, position, token, attempt: 1 };
    let mut exhausted = range(at(1, 1), 1, Outcome::Retry);
    exhausted.reason = 1;
    let ranges = vec![exhausted, range(at(9, 4), 1, Outcome::Park)];
    let reasons = vec!["no luck".into()];
    vec![
        Verb::Settle(Settle { consumer: 4, ranges, reasons }),
        Verb::Credit(Credit { consumer: 4, generation: 1, credit: 2 }),
    ]
}

/// The other verbs.
fn model_changed() -> Vec<Verb> {
    let names = |name: &str| ("keyed".to_owned(), name.to_owned());
    let (queue, name) = names("some");
    let to = Start { kind: StartKind::Position.into(), at: 2 };
    let selector = Selector { from_position: 2, ..Selector::default() };
    vec![
        Verb::Reschedule(Reschedule {
            queue: queue.clone(),
            position: 7,
            deliver_at_ms: 8_000,
            ..Reschedule::default()
        }),
        Verb::Pause(Pause { queue: queue.clone(), name: name.clone(), paused: true, ..Pause::default() }),
        Verb::Seek(Seek { queue: queue.clone(), name: name.clone(), to, ..Seek::default() }),
        Verb::UpdateSub(UpdateSub {
            queue: queue.clone(),
            name,
            filter: Some(Filter { subject: "a.*".into(), headers: Vec::new() }),
            revision: 1,
            ..UpdateSub::default()
        }),
        Verb::DeleteSub(DeleteSub { queue: queue.clone(), name: "spare".into(), ..DeleteSub::default() }),
        Verb::UpdateQueue(UpdateQueue {
            name: "urgent".into(),
            queue: QueueSettings { ttl_ms: 9, priorities: true, ..QueueSettings::default() },
            revision: 1,
            ..UpdateQueue::default()
        }),
        Verb::Purge(Purge { name: "urgent".into(), ..Purge::default() }),
        Verb::Unpark(Unpark {
            queue,
            action: Action::Redrive.into(),
            selector,
            per_second: 1,
            ..Unpark::default()
        }),
    ]
}

/// A transaction with everything that there can be in one.
fn transacted() -> Verb {
    let requires = |condition| Require { condition: Some(condition) };
    let (queue, subscription) = ("strict".to_owned(), "default".to_owned());
    let held = LeaseRange {
        queue: queue.clone(),
        subscription: subscription.clone(),
        first_position: 2,
        count: 1,
        first_token: 2,
    };
    let below = RequireLengthBelow { queue: queue.clone(), subscription: subscription.clone(), length: 9 };
    let acked = range(Got { consumer: 2, position: 1, token: 1, attempt: 1 }, 1, Outcome::Ack);
    let Publish { lengths, messages, .. } = publish("jobs", (1, 1), 1, &["h"]);
    let put = |key: &str, value: &'static str| Put { key: key.into(), value: value.into(), ..Put::default() };
    Verb::Transact(Transact {
        producer: 1,
        epoch: 1,
        seq: 5,
        acked_seq: 2,
        require: vec![
            requires(Condition::Version(RequireVersion { key: "k".into(), version: 0 })),
            requires(Condition::Tail(RequireTail { queue: queue.clone(), position: 2 })),
            requires(Condition::LengthBelow(below)),
            requires(Condition::Held(held)),
        ],
        settle: vec![SettleLease { queue, subscription, range: acked }],
        publish: vec![PublishTo { queue: "jobs".into(), lengths, messages, attributes: 0 }],
        put: vec![
            put("k", "kept"),
            Put { ttl_ms: 70_000, ..put("l", "for a while") },
            Put { delete: true, ..put("m", "") },
        ],
        reasons: vec!["none".into()],
        ..Transact::default()
    })
}

/// A queue that retains the latest message of each key, for a time, and no more than so many and so much after it.
fn model_retained() -> Vec<Verb> {
    let subject = Message { subject: "a.b".into(), key: "r".into(), ..Message::default() };
    let (lengths, messages) = Publish::pack(&[subject.encode_to_vec()]);
    let attributes = attributes(&subject);
    let routed = PublishTo { lengths, messages, attributes, ..PublishTo::default() };
    let retain = Retain { until_done: true, for_ms: 60_000, bytes: 4_000, count: 2, latest_per_key: true };
    vec![
        Verb::CreateQueue(CreateQueue {
            name: "prices".into(),
            queue: QueueSettings { retain, ..QueueSettings::default() },
            routes: vec!["a.*".into(), "a.>".into(), "*.c".into()],
            ..CreateQueue::default()
        }),
        Verb::Transact(Transact { publish: vec![routed], ..Transact::default() }),
        publish_keys("prices", &["a", "b", "a"]),
    ]
}

/// What came later supersedes, and is beyond a bound that is new.
fn model_retained_later() -> Vec<Verb> {
    let retain = Retain { count: 3, latest_per_key: true, ..Retain::default() };
    vec![
        publish_keys("prices", &["c", "a"]),
        Verb::UpdateQueue(UpdateQueue {
            name: "prices".into(),
            queue: QueueSettings { retain, ..QueueSettings::default() },
            routes: vec!["a.>".into(), "*.c".into()],
            ..UpdateQueue::default()
        }),
        publish_keys("prices", &["d"]),
        Verb::UpdateQueue(UpdateQueue {
            name: "jobs".into(),
            queue: QueueSettings {
                retain: Retain { for_ms: 9_000, ..Retain::default() },
                ..QueueSettings::default()
            },
            ..UpdateQueue::default()
        }),
    ]
}

fn publish_keys(queue: &str, keys: &[&str]) -> Verb {
    let message = |key: &&str| Message { key: Bytes::copy_from_slice(key.as_bytes()), ..Message::default() };
    let messages: Vec<Message> = keys.iter().map(message).collect();
    publish_all(queue, &messages)
}

fn publish_all(queue: &str, messages: &[Message]) -> Verb {
    let encoded: Vec<Vec<u8>> = messages.iter().map(Message::encode_to_vec).collect();
    let (lengths, packed) = Publish::pack(&encoded);
    let attributes = messages.iter().fold(0, |all, message| all | attributes(message));
    Verb::Publish(Publish {
        queue: queue.into(),
        lengths,
        messages: packed,
        attributes,
        ..Publish::default()
    })
}

fn golden(name: &str, written: &str) -> String {
    let file = format!("tests/golden/v{FORMAT_VERSION}.{name}");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var("QUORATE_GOLDEN").as_deref() == Ok("write") {
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("the directory can be made");
        std::fs::write(&path, written).expect("the file can be written");
    }
    std::fs::read_to_string(&path).expect("the golden file is there")
}

#[test]
fn entries_and_the_rows_they_make_are_as_before() {
    let written: String = entries().iter().map(|entry| hex(entry) + "\n").collect();
    let kept = golden("entries", &written);
    assert_eq!(kept, written);
    let mut store = MemoryStore::new();
    for line in kept.lines() {
        let applied = apply(&mut store, &unhex(line)).expect("memory works");
        assert!(applied.replies.iter().all(Result::is_ok), "{:?}", applied.replies);
        let refused = applied
            .replies
            .iter()
            .any(|reply| matches!(reply, Ok(Reply::Settled(settled)) if !settled.refused.is_empty()));
        assert!(!refused, "{:?}", applied.replies);
        check::check(&store).expect("the state is sound");
    }
    let rows: String = store.rows().map(|(key, value)| format!("{} {}\n", hex(key), hex(value))).collect();
    assert_eq!(golden("rows", &rows), rows);
    let tables: std::collections::BTreeSet<u8> = store.rows().map(|(key, _)| key[0]).collect();
    assert_eq!(tables, (1..=37).collect(), "a row in every table");
    assert_ne!(read::digest(&store).expect("memory works"), [0; 16]);
}
