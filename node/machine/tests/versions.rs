//! What a program cannot read it says so, and changes nothing: an entry of another version, an unknown verb, an unknown field.

mod common;

use bytes::Bytes;
use common::World;
use quorate_machine::command::{Batch, Command, Order, RaiseVersion, Tick, Verb};
use quorate_machine::reply::Reply;
use quorate_machine::versions::{FIRST, of_entry};
use quorate_machine::{
    Applied, ApplyError, FORMAT_VERSION, MemoryStore, Unreadable, Versions, apply_as, check, read,
};

/// A program of before the next version, and one that knows it.
const OLD: Versions = Versions { reads_from: 1, reads_to: 1, writes: 1 };
const NEXT: Versions = Versions { reads_from: 1, reads_to: 2, writes: 2 };

fn of_version(format_version: u32, verbs: Vec<Verb>) -> Bytes {
    let commands = verbs.into_iter().map(Command::from).collect();
    Batch { format_version, time_ms: 2_000_000, commands }.encode()
}

fn tick() -> Verb {
    Verb::Tick(Tick {})
}

fn raise(to: u32) -> Verb {
    Verb::RaiseVersion(RaiseVersion { to })
}

/// Bytes of a batch of version 1 with these behind, which follow no schema.
fn with(more: &[u8]) -> Bytes {
    [&of_version(1, vec![tick()]), more].concat().into()
}

fn unreadable(by: Versions, entry: &Bytes) -> Unreadable {
    let mut store = World::with_queue(Order::None).store;
    let before = store.clone();
    let Err(ApplyError::Unreadable(why)) = apply_as(by, &mut store, entry) else { panic!("it was read") };
    assert!(store == before, "not even time moves");
    why
}

fn applied(store: &mut MemoryStore, by: Versions, entry: &Bytes) -> Applied {
    let applied = apply_as(by, store, entry).expect("it can be read");
    check::check(store).expect("the state is sound");
    applied
}

#[test]
fn an_entry_of_another_version_is_not_read() {
    let entry = of_version(2, vec![tick()]);
    assert_eq!(unreadable(OLD, &entry), Unreadable::Version { found: 2, reads: OLD });
    let later = Versions { reads_from: 2, ..NEXT };
    assert_eq!(unreadable(later, &of_version(1, vec![])), Unreadable::Version { found: 1, reads: later });
    assert_eq!(unreadable(NEXT, &of_version(0, vec![])), Unreadable::Version { found: 0, reads: NEXT });
    // Whatever is behind the version, it is the version that is said.
    let garbage = [&entry[..2], &[0xff, 0xff]].concat().into();
    assert_eq!(unreadable(OLD, &garbage), Unreadable::Version { found: 2, reads: OLD });
    applied(&mut MemoryStore::new(), NEXT, &entry);
}

#[test]
fn an_unknown_verb_and_an_unknown_field_are_not_read() {
    // Field 3 of the batch is a command; verb 99 of it, and a field 15 of a tick.
    assert_eq!(unreadable(OLD, &with(b"\x1a\x03\x9a\x06\x00")), Unreadable::UnknownVerb { nth: 1 });
    let tick_with_more = b"\x1a\x04\x52\x02\x78\x07";
    assert_eq!(unreadable(OLD, &with(tick_with_more)), Unreadable::UnknownFields { bytes: 2 });
    assert_eq!(unreadable(OLD, &with(b"\x78\x07")), Unreadable::UnknownFields { bytes: 2 }, "of the batch");
    assert!(matches!(unreadable(OLD, &with(b"\x1a\x7f")), Unreadable::Undecodable(_)));
    assert!(matches!(unreadable(OLD, &Bytes::from_static(b"\xff")), Unreadable::Undecodable(_)));
}

#[test]
fn a_version_is_raised_once_and_never_lowered() {
    let mut store = MemoryStore::new();
    let mut raised = |to| {
        let applied = applied(&mut store, NEXT, &of_version(1, vec![raise(to), tick()]));
        assert_eq!(applied.replies[0], Ok(Reply::VersionActive(applied.version.expect("it was named"))));
        (applied.version, read::active_version(&store).ok())
    };
    assert_eq!(raised(0), (Some(FIRST), Some(FIRST)));
    assert_eq!(raised(2), (Some(2), Some(2)));
    assert_eq!(raised(1), (Some(2), Some(2)));
    let untouched = applied(&mut store, NEXT, &of_version(2, vec![tick()]));
    assert_eq!(untouched.version, None);
}

#[test]
fn whoever_does_not_read_the_version_that_is_raised_to_stops_there() {
    assert_eq!(unreadable(OLD, &of_version(1, vec![raise(2)])), Unreadable::Raised { to: 2, reads: OLD });
    applied(&mut MemoryStore::new(), OLD, &of_version(1, vec![raise(1)]));
}

#[test]
fn the_version_of_an_entry_stands_at_its_beginning() {
    assert_eq!(of_entry(&of_version(7, vec![tick()])), Some(7));
    assert_eq!(of_entry(&of_version(300, vec![])), Some(300));
    assert_eq!((of_entry(b""), of_entry(b"\xff"), of_entry(b"\x10\x01")), (None, None, None));
}

#[test]
fn a_leader_writes_what_is_active_and_what_it_can() {
    assert_eq!((NEXT.write(1), NEXT.write(2), NEXT.write(9)), (1, 2, 2));
    assert!(NEXT.read(2) && !NEXT.read(3) && !OLD.read(2) && !OLD.read(0));
    assert_eq!(Versions::OWN.highest(), FORMAT_VERSION);
    assert_eq!((OLD.to_string(), NEXT.to_string()), ("version 1".into(), "versions 1 to 2".into()));
}
