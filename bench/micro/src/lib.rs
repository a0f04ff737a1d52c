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

/// One entry of these commands.
pub fn entry(time_ms: u64, verbs: Vec<Verb>) -> Bytes {
    Batch::new(time_ms, verbs.into_iter().map(Into::into).collect()).encode()
}

/// Applies an entry that must succeed; for stores that cannot fail.
pub fn apply(store: &mut impl Store, entry: &Bytes) {
    let applied = quorate_machine::apply(store, entry).expect("the store works");
    assert!(applied.replies.iter().all(Result::is_ok), "{:?}", applied.replies);
}

/// A queue `q` with a producer session, and a consumer if it is to deliver.
pub fn setup(consumes: bool) -> Bytes {
    let namespace = "default".to_owned();
    let settings = Settings { order: Order::None.into(), ..Settings::default() };
    let mut verbs = vec![
        Verb::CreateQueue(CreateQueue { namespace: namespace.clone(), name: "q".into(), settings }),
        Verb::OpenProducer(OpenProducer {
            namespace: namespace.clone(),
            session: "p".into(),
            ttl_ms: 0,
            holder: Bytes::from_static(&[1; 16]),
            resume: 0,
        }),
    ];
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

/// The `n`th publish, of [`MESSAGES`] messages with bodies of so many bytes.
pub fn publish(n: u64, body_bytes: usize) -> Verb {
    let body = Bytes::from(vec![n as u8; body_bytes]);
    let message = Message { body, ..Message::default() }.encode_to_vec();
    let (lengths, messages) = Publish::pack(&vec![message; MESSAGES as usize]);
    let first_seq = n * u64::from(MESSAGES) + 1;
    Verb::Publish(Publish {
        namespace: "default".into(),
        queue: "q".into(),
        producer: 1,
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
