//! The formats are frozen: what version 1 wrote must mean the same for ever. A change here is a new format version, not a
//! new golden file. `QUORATE_GOLDEN=write` writes the files of a version that was never released.

mod common;

use std::fmt::Write;
use std::path::PathBuf;

use bytes::Bytes;
use common::{Got, attach, holder, publish, range};
use quorate_machine::command::{
    Batch, Command, CreateQueue, Credit, Detach, GiveNodeIds, OpenProducer, Order, Outcome, Publish,
    Settings, Settle, Tick, Verb,
};
use quorate_machine::{FORMAT_VERSION, MemoryStore, apply, read};

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
        let settings =
            Settings { order: order.into(), lease_ms: 1000, backoff_first_ms: 0, backoff_last_ms: 0 };
        Verb::CreateQueue(CreateQueue { namespace: "default".into(), name: name.into(), settings })
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
    });
    let delete = quorate_machine::command::DeleteQueue { namespace: "default".into(), name: "gone".into() };
    let batches = [
        (
            1_000,
            vec![create("jobs", Order::None), create("strict", Order::Total), create("gone", Order::None)],
        ),
        (
            1_001,
            vec![open("billing"), Verb::Publish(publish("jobs", (1, 1), 1, &["a", "bb", "ccc", "d", "e"]))],
        ),
        (1_002, vec![attach("jobs", 1, 5), attach("strict", 2, 9), attach("jobs", 3, 0)]),
        (1_003, vec![Verb::Credit(Credit { consumer: 1, generation: 1, credit: 1 }), settle]),
        (1_004, vec![Verb::Publish(Publish { acked_seq: 2, ..publish("strict", (1, 1), 6, &["f", "g"]) })]),
        (1_005, vec![Verb::Detach(Detach { consumer: 3, generation: 1 }), Verb::Tick(Tick {})]),
        (1_006, vec![Verb::DeleteQueue(delete), Verb::GiveNodeIds(GiveNodeIds { above: 3, count: 1 })]),
    ];
    let encode = |(time_ms, verbs): (u64, Vec<Verb>)| {
        Batch::new(time_ms, verbs.into_iter().map(Command::from).collect()).encode()
    };
    batches.map(encode).to_vec()
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
    }
    let rows: String = store.rows().map(|(key, value)| format!("{} {}\n", hex(key), hex(value))).collect();
    assert_eq!(golden("rows", &rows), rows);
    let tables: std::collections::BTreeSet<u8> = store.rows().map(|(key, _)| key[0]).collect();
    assert_eq!(tables, (1..=20).collect(), "a row in every table");
    assert_ne!(read::digest(&store).expect("memory works"), [0; 16]);
}
