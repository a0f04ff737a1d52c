//! Entries as a busy leader packs them, for the benchmarks.

use bytes::Bytes;
use prost::Message as _;
use quorate_machine::MemoryStore;
use quorate_machine::command::{
    Attach, Batch, CreateQueue, OpenProducer, Order, Outcome, Publish, Settings, Settle, SettleRange, Verb,
};
use quorate_machine::message::Message;
use quorate_machine::store::Store;

/// Messages in one publish.
pub const MESSAGES: u32 = 256;
/// The consumer that [`setup`] attaches.
pub const CONSUMER: u64 = 1;
/// The producers that [`setup`] opens.
pub const PRODUCERS: u64 = 16;

/// One entry of these commands.
pub fn entry(time_ms: u64, verbs: Vec<Verb>) -> Bytes {
    Batch::new(time_ms, verbs.into_iter().map(Into::into).collect()).encode()
}

/// Applies an entry that must succeed; for stores that cannot fail.
pub fn apply(store: &mut impl Store, entry: &Bytes) {
    let applied = quorate_machine::apply(store, entry).expect("the store works");
    assert!(applied.replies.iter().all(Result::is_ok), "{:?}", applied.replies);
}

/// A queue `q` with producer sessions, and a consumer if it is to deliver.
pub fn setup(consumes: bool) -> Bytes {
    let namespace = "default".to_owned();
    let settings = Settings { order: Order::None.into(), ..Settings::default() };
    let mut verbs = vec![
        Verb::CreateQueue(CreateQueue { namespace: namespace.clone(), name: "q".into(), settings }),
    ];
    verbs.extend((1..=PRODUCERS).map(|producer| {
        Verb::OpenProducer(OpenProducer {
            namespace: namespace.clone(),
            session: format!("p{producer}"),
            ttl_ms: 0,
            holder: Bytes::from_static(&[1; 16]),
            resume: 0,
        })
    }));
    if consumes {
        verbs.push(Verb::Attach(Attach {
            namespace,
            queue: "q".into(),
            subscription: String::new(),
            session: Bytes::from_static(&[2; 16]),
            credit: 2 * MESSAGES,
            session_timeout_ms: 10_000,
            name: String::new(),
        }));
    }
    entry(1, verbs)
}

/// The `n`th publish of the first producer, of [`MESSAGES`] messages with bodies of so many bytes.
pub fn publish(n: u64, body_bytes: usize) -> Verb {
    publish_by(1, n, MESSAGES, body_bytes)
}

/// The `n`th publish of every producer, each of so many messages: what a busy leader packs into an entry.
pub fn publish_all(n: u64, messages: u32, body_bytes: usize) -> Vec<Verb> {
    (1..=PRODUCERS).map(|producer| publish_by(producer, n, messages, body_bytes)).collect()
}

fn publish_by(producer: u64, n: u64, messages: u32, body_bytes: usize) -> Verb {
    let first_seq = n * u64::from(messages) + 1;
    let body = Bytes::from(vec![n as u8; body_bytes]);
    let message = Message { body, ..Message::default() }.encode_to_vec();
    let (lengths, messages) = Publish::pack(&vec![message; messages as usize]);
    Verb::Publish(Publish {
        namespace: "default".into(),
        queue: "q".into(),
        producer,
        epoch: 1,
        first_seq,
        acked_seq: first_seq - 1,
        lengths,
        messages,
    })
}

/// Acknowledges the messages of the `n`th publish.
pub fn ack(n: u64) -> Verb {
    let first = n * u64::from(MESSAGES) + 1;
    let outcome = Outcome::Ack.into();
    let range =
        SettleRange { first_position: first, count: MESSAGES, first_token: first, outcome, delay_ms: 0 };
    Verb::Settle(Settle { consumer: CONSUMER, ranges: vec![range] })
}

/// A store in memory after [`setup`].
pub fn memory(consumes: bool) -> MemoryStore {
    let mut store = MemoryStore::new();
    apply(&mut store, &setup(consumes));
    store
}
