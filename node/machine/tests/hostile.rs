//! P11: whatever an entry holds, `apply` answers without a panic, the state stays sound, and what is refused changes nothing.

mod common;

use bytes::Bytes;
use common::{Got, World, attach, holder, publish, range};
use proptest::prelude::*;
use prost::Message as _;
use quorate_machine::command::{
    Batch, CloseProducer, Command, CreateQueue, Credit, DeleteQueue, Detach, GiveNodeIds, OpenProducer,
    Order, Outcome, Pause, Publish, Purge, QueueSettings, RaiseVersion, Retain, Settings, Settle, Tick,
    UpdateQueue, Verb,
};
use quorate_machine::message::Message;
use quorate_machine::reply::Refusal;
use quorate_machine::store::{Read, Store, StoreError};
use quorate_machine::{ApplyError, MemoryStore, apply, check, foresee, is_limited, lawful};

/// A state with something of everything in it.
fn lived_in() -> World {
    let mut world = World::with_queue(Order::None);
    world.create("strict", Order::Total).expect("the name is free");
    let opened = world.open("billing");
    let bodies = ["a", "b", "c", "d", "e", "f"];
    world.one(Verb::Publish(publish("jobs", (opened.producer, 1), 1, &bodies))).expect("it is open");
    world.one(Verb::Publish(publish("strict", (opened.producer, 1), 7, &bodies))).expect("it is open");
    let retain = Retain { latest_per_key: true, count: 3, for_ms: 100, bytes: 50, until_done: false };
    world.one(Verb::CreateQueue(log(retain))).expect("the name is free");
    world.one(Verb::Publish(keyed("log", &["a", "b", "a", "c"]))).expect("all have keys");
    world.attach(1, 4);
    let got = world.got();
    world.settle_one(got[1], Outcome::Retry);
    world.one(attach("strict", 2, 4)).expect("the queue is there");
    world
        .one(Verb::DeleteQueue(DeleteQueue { namespace: String::new(), name: "nothing".into() }))
        .expect_err("none");
    world
}

fn log(retain: Retain) -> CreateQueue {
    let queue = QueueSettings { retain, ..QueueSettings::default() };
    CreateQueue { name: "log".into(), queue, ..CreateQueue::default() }
}

fn keyed(queue: &str, keys: &[&str]) -> Publish {
    let message = |key: &&str| Message { key: Bytes::copy_from_slice(key.as_bytes()), ..Message::default() };
    let encoded: Vec<Vec<u8>> = keys.iter().map(|key| message(key).encode_to_vec()).collect();
    let (lengths, messages) = Publish::pack(&encoded);
    Publish { queue: queue.into(), lengths, messages, attributes: 1, ..Publish::default() }
}

/// One of each verb, all of which find what they name.
fn valid() -> Vec<Verb> {
    let got = Got { consumer: 1, position: 1, token: 1, attempt: 1 };
    let settings =
        Settings { order: 2, lease_ms: 500, backoff_first_ms: 3, backoff_last_ms: 9, ..Settings::default() };
    vec![
        Verb::CreateQueue(CreateQueue {
            namespace: "default".into(),
            name: "new".into(),
            settings,
            ..CreateQueue::default()
        }),
        Verb::OpenProducer(OpenProducer {
            namespace: "default".into(),
            session: "other".into(),
            ttl_ms: 2000,
            holder: holder(1),
            resume: 0,
        }),
        Verb::Publish(Publish { acked_seq: 3, ..publish("jobs", (1, 1), 13, &["g", "h"]) }),
        Verb::Publish(publish("strict", (0, 0), 0, &["i"])),
        Verb::Publish(keyed("log", &["a", "d"])),
        Verb::UpdateQueue(UpdateQueue {
            name: "log".into(),
            queue: QueueSettings {
                retain: Retain { latest_per_key: true, count: 1, ..Retain::default() },
                ..QueueSettings::default()
            },
            ..UpdateQueue::default()
        }),
        attach("jobs", 1, 9),
        attach("jobs", 3, 2),
        Verb::Credit(Credit { consumer: 2, generation: 1, credit: 6 }),
        Verb::Settle(Settle {
            consumer: 1,
            ranges: vec![
                range(got, 1, Outcome::Ack),
                range(Got { position: 3, token: 3, ..got }, 2, Outcome::Release),
            ],
            ..Settle::default()
        }),
        Verb::Detach(Detach { consumer: 2, generation: 1 }),
        Verb::CloseProducer(CloseProducer { producer: 1, epoch: 1 }),
        Verb::DeleteQueue(DeleteQueue { namespace: "default".into(), name: "strict".into() }),
        Verb::Tick(Tick {}),
        Verb::GiveNodeIds(GiveNodeIds { above: 3, count: 1 }),
        Verb::RaiseVersion(RaiseVersion { to: 1 }),
    ]
}

/// Rows but for replicated time and the digest.
fn rows(store: &MemoryStore) -> Vec<(Vec<u8>, Bytes)> {
    let kept = store.rows().filter(|(key, _)| *key != [1, 1] && *key != [1, 3]);
    kept.map(|(key, value)| (key.to_vec(), value.clone())).collect()
}

fn survives(entry: &Bytes) -> Result<(), TestCaseError> {
    let mut store = lived_in().store;
    let before = store.clone();
    let applied = match apply(&mut store, entry) {
        Ok(applied) => applied,
        Err(ApplyError::Unreadable(_)) => {
            prop_assert!(store == before, "not even time moves");
            return Ok(());
        }
        Err(ApplyError::Store(error)) => return Err(TestCaseError::fail(error.to_string())),
    };
    if let Err(problem) = check::check(&store) {
        return Err(TestCaseError::fail(problem));
    }
    let mut again = before;
    prop_assert_eq!(apply(&mut again, entry).expect("memory works"), applied);
    prop_assert!(again == store);
    Ok(())
}

#[test]
fn the_valid_batch_is_valid() {
    let mut world = lived_in();
    for verb in valid() {
        let reply = world.one(verb.clone());
        assert!(reply.is_ok(), "{reply:?} to {verb:?}");
    }
}

#[test]
fn the_end_of_time_is_survived() {
    let mut world = lived_in();
    world.clock_ms = u64::MAX;
    world.tick();
    for verb in valid() {
        let _ = world.one(verb);
    }
    world.clock_ms = 5;
    world.tick();
    assert_eq!(quorate_machine::read::now_ms(&world.store).ok(), Some(u64::MAX), "time does not go back");
}

fn refused() -> Vec<Verb> {
    let namespace = || "default".to_string();
    let settings = Settings::default();
    let create = |name: &str, settings| {
        Verb::CreateQueue(CreateQueue {
            namespace: namespace(),
            name: name.into(),
            settings,
            ..CreateQueue::default()
        })
    };
    let open = |session: String, ttl_ms| {
        let (holder, resume) = (holder(1), 0);
        Verb::OpenProducer(OpenProducer { namespace: namespace(), session, ttl_ms, holder, resume })
    };
    let good = || publish("jobs", (1, 1), 13, &["x"]);
    let mut attach_badly = Vec::new();
    for twist in 0..5 {
        let Verb::Attach(mut verb) = attach("jobs", 9, 1) else { unreachable!("it is an attach") };
        match twist {
            0 => verb.session = Bytes::from_static(b"short"),
            1 => verb.credit = 70_000,
            2 => verb.session_timeout_ms = 1,
            3 => verb.name = "x".repeat(129),
            _ => verb.subscription = "x".repeat(400),
        }
        attach_badly.push(Verb::Attach(verb));
    }
    let mut all = vec![
        create("", settings),
        create(".hidden", settings),
        create(&"x".repeat(129), settings),
        create("spaces in it", settings),
        create("jobs", settings),
        create("fine", Settings { order: 7, ..settings }),
        create("fine", Settings { lease_ms: 1, ..settings }),
        create("fine", Settings { backoff_first_ms: 10, backoff_last_ms: 5, ..settings }),
        Verb::CreateQueue(CreateQueue {
            namespace: "else".into(),
            name: "fine".into(),
            settings,
            ..CreateQueue::default()
        }),
        Verb::DeleteQueue(DeleteQueue { namespace: namespace(), name: "x".repeat(400) }),
        open(String::new(), 0),
        open("x".repeat(129), 0),
        open("fine".into(), 1),
        Verb::CloseProducer(CloseProducer { producer: 1, epoch: 2 }),
        Verb::CloseProducer(CloseProducer { producer: 9, epoch: 1 }),
        Verb::Publish(Publish { lengths: vec![], messages: Bytes::new(), ..good() }),
        Verb::Publish(Publish { lengths: vec![1; 5000], messages: Bytes::from(vec![0; 5000]), ..good() }),
        Verb::Publish(Publish { lengths: vec![u32::MAX, 4], ..good() }),
        Verb::Publish(Publish { first_seq: 0, ..good() }),
        Verb::Publish(Publish { first_seq: u64::MAX, ..good() }),
        Verb::Publish(Publish { acked_seq: u64::MAX, ..good() }),
        Verb::Publish(Publish { epoch: 0, ..good() }),
        Verb::Publish(Publish { producer: 0, ..good() }),
        Verb::Publish(Publish { queue: "x".repeat(400), ..good() }),
        Verb::Credit(Credit { consumer: 1, generation: 1, credit: 70_000 }),
        Verb::Credit(Credit { consumer: 1, generation: 9, credit: 7 }),
        Verb::Detach(Detach { consumer: 1, generation: 9 }),
        Verb::Settle(Settle { consumer: 77, ranges: vec![], ..Settle::default() }),
    ];
    all.append(&mut attach_badly);
    all
}

#[test]
fn a_refused_command_changes_no_row() {
    for verb in refused() {
        let mut world = lived_in();
        let before = rows(&world.store);
        world.after(3);
        let reply = world.one(verb.clone());
        assert!(reply.is_err(), "{verb:?}");
        assert!(rows(&world.store) == before, "{verb:?} changed something");
    }
}

/// A state says the same whether it is asked or told; what would be carried out, or is a repeat, is not refused beforehand.
#[test]
fn what_is_foreseen_is_what_happens() {
    let mut foreseen = 0;
    let strange = [
        Verb::Purge(Purge { namespace: String::new(), name: "nowhere".into() }),
        Verb::Pause(Pause { queue: "jobs".into(), name: "nobody".into(), ..Pause::default() }),
        Verb::Publish(publish("nowhere", (0, 0), 0, &["x"])),
    ];
    assert_eq!(valid().iter().find_map(|verb| lawful(verb).err()), None);
    for verb in refused().into_iter().chain(valid()).chain(strange) {
        let mut world = lived_in();
        let told = foresee(&world.store, &verb).expect("memory works");
        let reply = world.one(verb.clone());
        if let (Some(refusal), Ok(())) = (told, lawful(&verb)) {
            assert_eq!(reply, Err(refusal), "{verb:?}");
            foreseen += 1;
        }
    }
    assert!(foreseen >= 5, "{foreseen}");
}

#[test]
fn a_full_queue_is_foreseen_and_a_repeat_is_not_refused() {
    let mut world = World::new();
    let queue = QueueSettings { max_length: 2, ..QueueSettings::default() };
    world
        .one(Verb::CreateQueue(CreateQueue { name: "jobs".into(), queue, ..CreateQueue::default() }))
        .expect("new");
    let opened = world.open("p");
    let session = (opened.producer, opened.epoch);
    assert_eq!(is_limited(&world.store, "", "jobs").ok(), Some(Some(true)));
    let two = Verb::Publish(publish("jobs", session, 1, &["a", "b"]));
    assert_eq!(foresee(&world.store, &two).ok(), Some(None));
    world.one(two.clone()).expect("room for two");
    let third = Verb::Publish(publish("jobs", session, 3, &["c"]));
    let full = Refusal::QueueFull { what: "messages", holds: 2, more: 1, limit: 2 };
    assert_eq!(foresee(&world.store, &third).ok(), Some(Some(full)));
    assert_eq!(foresee(&world.store, &two).ok(), Some(None), "it has its receipt");
    let fenced = Verb::Publish(publish("jobs", (session.0, session.1 + 1), 3, &["c"]));
    let told = foresee(&world.store, &fenced).ok().flatten();
    assert!(matches!(told, Some(Refusal::ProducerFenced { .. })), "{told:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survives(&Bytes::from(bytes))?;
    }

    /// Valid entries with a few bytes changed, inserted or cut off: near misses reach deeper than noise.
    #[test]
    fn mutated_entries_are_survived(
        verbs in prop::sample::subsequence(valid(), 1..6),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..5),
    ) {
        let commands = verbs.into_iter().map(Command::from).collect();
        let mut bytes = Batch::new(1_000_100, commands).encode().to_vec();
        for (at, byte, kind) in mutations {
            let at = at.index(bytes.len().max(1));
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => bytes.truncate(at),
                _ if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
                _ => {}
            }
        }
        survives(&Bytes::from(bytes))?;
    }

    /// Any numbers in the fields of commands that name real things.
    #[test]
    fn random_fields_are_survived(
        seqs in any::<[u64; 2]>(),
        lengths in prop::collection::vec(any::<u32>(), 0..4),
        ranges in prop::collection::vec(any::<(u64, u32, u64, i32, u64)>(), 0..5),
        near in any::<[u8; 4]>(),
    ) {
        let mut ranges: Vec<_> = ranges.into_iter().map(|(first_position, count, first_token, outcome, delay_ms)| {
            let near_outcome = outcome.rem_euclid(7);
            let count = if count % 2 == 0 { count } else { count % 5 };
            quorate_machine::command::SettleRange { first_position, count, first_token, outcome: near_outcome, delay_ms, reason: count % 3 }
        }).collect();
        for range in ranges.iter_mut().take(2) {
            range.first_position = u64::from(near[0] % 9);
            range.first_token = u64::from(near[1] % 9);
            range.count = u32::from(near[2] % 9);
        }
        let good = publish("jobs", (1, 1), 13, &["x"]);
        let verbs = vec![
            Verb::Publish(Publish { first_seq: seqs[0], acked_seq: seqs[1], ..good.clone() }),
            Verb::Publish(Publish { first_seq: u64::from(near[3] % 20), acked_seq: u64::from(near[0] % 20), ..good.clone() }),
            Verb::Publish(Publish { lengths, ..good }),
            Verb::Settle(Settle { consumer: 1, ranges: ranges.clone(), ..Settle::default() }),
            Verb::Settle(Settle { consumer: 2, ranges, ..Settle::default() }),
        ];
        survives(&Batch::new(seqs[0], verbs.into_iter().map(Command::from).collect()).encode())?;
    }
}

/// Every row can be read but those of one key, which is damaged.
struct Damaged {
    rows: MemoryStore,
    key: Vec<u8>,
}

impl Damaged {
    fn readable<T>(&self, found: T, key: Option<&[u8]>) -> Result<T, StoreError> {
        if key == Some(&self.key) { Err(StoreError("damaged".into())) } else { Ok(found) }
    }
}

impl Read for Damaged {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.readable(self.rows.get(key)?, Some(key))
    }

    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let found = self.rows.first(from, to)?;
        self.readable(found.clone(), found.as_ref().map(|(key, _)| &key[..]))
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let found = self.rows.last(from, to)?;
        self.readable(found.clone(), found.as_ref().map(|(key, _)| &key[..]))
    }
}

impl Store for Damaged {
    fn put(&mut self, key: &[u8], value: Bytes) -> Result<(), StoreError> {
        self.rows.put(key, value)
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.rows.delete(key)
    }
}

#[test]
fn a_damaged_row_is_an_error_and_no_panic() {
    let world = lived_in();
    let mut met = 0;
    for (key, _) in world.store.rows() {
        for verb in valid() {
            let mut store = Damaged { rows: world.store.clone(), key: key.to_vec() };
            let entry = Batch::new(world.clock_ms + 10, vec![Command::from(verb)]).encode();
            met += usize::from(apply(&mut store, &entry).is_err());
        }
    }
    assert!(met > 50, "damage was met {met} times");
}
