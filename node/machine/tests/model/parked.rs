//! Random redrives and discards, and what becomes of delayed messages.

use proptest::prelude::*;
use quorate_machine::command::{Reschedule, Selector, Unpark, Verb};
use quorate_model::naive::{At, Naive, Queue, Row};

use crate::ops::{Place, QUEUES, find, namespace, share_of, sub_name};
use crate::publish::KEYS;
use crate::settings::Filtered;

/// Which parked messages.
#[derive(Clone, Copy, Debug)]
pub enum Chosen {
    All,
    /// Those of a message's key.
    Key,
    One,
    Before,
    After,
    KeyAfter,
    Filter(usize),
    NoKey,
    /// A range that ends before it begins.
    Backwards,
    BadFilter,
}

/// When a delayed message is to be due.
#[derive(Clone, Copy, Debug)]
pub enum When {
    Never,
    In(u64),
    Now,
    Ago(u64),
}

pub fn chosen() -> impl Strategy<Value = Chosen> {
    prop_oneof![
        4 => Just(Chosen::All),
        4 => Just(Chosen::Key),
        4 => Just(Chosen::One),
        1 => Just(Chosen::Before),
        1 => Just(Chosen::After),
        1 => Just(Chosen::KeyAfter),
        2 => (0usize..6).prop_map(Chosen::Filter),
        1 => Just(Chosen::NoKey),
        1 => Just(Chosen::Backwards),
        1 => Just(Chosen::BadFilter),
    ]
}

pub fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        1 => Just(When::Never),
        2 => (1u64..600).prop_map(When::In),
        1 => Just(When::Now),
        1 => (1u64..2000).prop_map(When::Ago),
    ]
}

/// Mostly where something is parked: then the place is only where to begin looking.
pub fn unpark(naive: &Naive, place: Place, share: u8, action: i32, chosen: Chosen) -> Verb {
    let parked_at = |place: Place| match find(naive, place) {
        Some((_, sub)) => sub.open().filter(|row| sub.is_parked(row)).collect(),
        None => Vec::<&Row>::new(),
    };
    let mut place = place;
    for step in 0..QUEUES.len() * 4 {
        let at = (place.0 * 4 + place.1 + step) % (QUEUES.len() * 4);
        if !share.is_multiple_of(16) && !parked_at((at / 4, at % 4)).is_empty() {
            place = (at / 4, at % 4);
            break;
        }
    }
    let mut parked = parked_at(place);
    // Those that were not parked with their key are rarer, and say more.
    let is_single = |row: &&Row| matches!(row.at, At::Parked { .. });
    if !share.is_multiple_of(4) && parked.iter().any(is_single) {
        parked.retain(is_single);
    }
    let one = share_of(&parked, share.into());
    let position = one.map_or(1, |row| row.position);
    let key = one.map_or_else(|| KEYS[1].into(), |row| row.key.clone());
    let all = Selector::default();
    let selector = match chosen {
        Chosen::All => all,
        Chosen::Key => Selector { key: Some(key), ..all },
        Chosen::One => Selector { from_position: position, to_position: position, ..all },
        Chosen::Before => Selector { to_position: position, ..all },
        Chosen::After => Selector { from_position: position, ..all },
        Chosen::KeyAfter => Selector { from_position: position, key: Some(key), ..all },
        Chosen::Filter(at) => Selector { filter: Filtered::Some(at).filter(), ..all },
        Chosen::NoKey => Selector { key: Some(KEYS[0].into()), ..all },
        Chosen::Backwards => Selector { from_position: position + 1, to_position: position, ..all },
        Chosen::BadFilter => Selector { filter: crate::settings::Spoilt::Filter(0).filter(None), ..all },
    };
    Verb::Unpark(Unpark {
        namespace: namespace(),
        queue: QUEUES[place.0].into(),
        subscription: sub_name(place.1, share.is_multiple_of(2)),
        action,
        selector,
        per_second: 0,
    })
}

/// Mostly a message that is delayed somewhere.
pub fn reschedule(naive: &Naive, queue: usize, share: u8, when: When) -> Verb {
    let delayed_in = |queue: &Queue| {
        let rows = queue.subs.values().flat_map(|sub| sub.open());
        rows.filter(|row| row.at == At::Delayed).map(|row| row.position).collect::<Vec<u64>>()
    };
    let name = QUEUES[queue];
    let row = naive.queues.get(name);
    let delayed = row.map(delayed_in).unwrap_or_default();
    let any: Vec<u64> = (0..row.map_or(3, |row| row.next_position() + 2)).collect();
    let position = share_of(&delayed, share.into()).filter(|_| !share.is_multiple_of(8));
    let position = position.or_else(|| share_of(&any, share.into())).copied().unwrap_or(1);
    let deliver_at_ms = match when {
        When::Never => 0,
        When::In(ms) => naive.now_ms + ms,
        When::Now => naive.now_ms,
        When::Ago(ms) => naive.now_ms - ms,
    };
    let message = row.and_then(|row| row.find(position));
    let id = match share % 5 {
        0 => message.map_or_else(|| "nobody".into(), |message| message.content.id.clone()),
        _ => String::new(),
    };
    let position = if id.is_empty() || share.is_multiple_of(25) { position } else { 0 };
    Verb::Reschedule(Reschedule { namespace: namespace(), queue: name.into(), position, deliver_at_ms, id })
}
