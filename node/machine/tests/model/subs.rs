//! Random changes of queues and subscriptions.

use proptest::prelude::*;
use quorate_machine::command::{
    CreateQueue, CreateSub, DeleteSub, OnFull, Order, Pause, QueueSettings, Seek, Settings, Start, StartKind,
    UpdateQueue, UpdateSub, Verb,
};
use quorate_machine::reply::{Outcome, Reply};
use quorate_model::naive::{Naive, Queue, Sub};

use crate::Tally;
use crate::ops::{Place, QUEUES, SUBS, find, namespace, share_of, sub_name};
use crate::retain::{Drawn, of_created, of_updated};
use crate::settings::{Filtered, Spoilt, queue_settings, shape, shape_of, usual};
use crate::tally::add;

/// Where a subscription begins, or goes on.
#[derive(Clone, Copy, Debug)]
pub enum Begin {
    Earliest,
    Unspecified,
    Latest,
    /// A share of what is stored, and a little to both sides.
    Position(u8),
    /// A share of the times at which something was published, so much off.
    Time(u8, i64),
    Unknown,
}

/// Which revision a change is for.
#[derive(Clone, Copy, Debug)]
pub enum Revision {
    Any,
    Current,
    Former,
}

pub fn begin() -> impl Strategy<Value = Begin> {
    prop_oneof![
        4 => Just(Begin::Earliest),
        1 => Just(Begin::Unspecified),
        2 => Just(Begin::Latest),
        4 => any::<u8>().prop_map(Begin::Position),
        2 => (any::<u8>(), -1i64..2).prop_map(|(share, off)| Begin::Time(share, off)),
        1 => Just(Begin::Unknown),
    ]
}

pub fn revision() -> impl Strategy<Value = Revision> {
    prop_oneof![3 => Just(Revision::Any), 3 => Just(Revision::Current), 1 => Just(Revision::Former)]
}

impl Begin {
    /// What the machine still stores of what is not needed any more is its own affair until the next tick: until then a
    /// subscription begins where that cannot be seen.
    fn start(self, queue: Option<&Queue>) -> Start {
        let of = |kind: StartKind, at| Start { kind: kind.into(), at };
        let Some(queue) = queue.filter(|queue| !queue.is_unswept) else { return of(StartKind::Latest, 0) };
        match self {
            Begin::Earliest => of(StartKind::Earliest, 0),
            Begin::Unspecified => of(StartKind::Unspecified, 0),
            Begin::Latest => of(StartKind::Latest, 0),
            Begin::Position(share) => {
                let from = queue.first_stored().saturating_sub(2);
                let positions: Vec<u64> = (from..queue.next_position() + 3).collect();
                of(StartKind::Position, *share_of(&positions, share.into()).expect("there is one"))
            }
            Begin::Time(share, off) => {
                let time = share_of(&queue.messages, share.into()).map_or(0, |row| row.published_at_ms);
                of(StartKind::Time, time.saturating_add_signed(off))
            }
            Begin::Unknown => Start { kind: 9, at: 0 },
        }
    }
}

impl Revision {
    fn of(self, current: Option<u64>) -> u64 {
        let current = current.unwrap_or(1);
        match self {
            Revision::Any => 0,
            Revision::Current => current,
            Revision::Former => {
                if current > 1 {
                    current - 1
                } else {
                    7
                }
            }
        }
    }
}

pub fn create_queue(naive: &Naive, queue: usize, spoilt: Spoilt, drawn: Drawn) -> Verb {
    let retain = of_created(naive.queues.get(QUEUES[queue]), drawn);
    let mut own = QueueSettings { retain, ..queue_settings(queue) };
    let mut settings = usual(queue, 0);
    match spoilt {
        Spoilt::Settings(11) => own.ttl_ms = u64::MAX,
        Spoilt::Defaults => (own.priorities, settings) = (true, shape(5)),
        _ => settings = spoilt.settings(settings),
    }
    let filter = if queue == 3 { Filtered::Some(0) } else { Filtered::No };
    Verb::CreateQueue(CreateQueue {
        namespace: spoilt.namespace(),
        name: spoilt.name(QUEUES[queue]),
        settings,
        queue: own,
        filter: spoilt.filter(filter.filter()),
        routes: spoilt.routes(routes(queue)),
    })
}

/// The routes that a queue has at first.
fn routes(queue: usize) -> Vec<String> {
    let routes: &[&str] = match queue {
        0 => &["orders.>", "orders"],
        1 => &["*.eu"],
        3 => &["orders.eu", "bills.*"],
        _ => &[],
    };
    routes.iter().map(|route| (*route).to_owned()).collect()
}

pub fn update_queue(
    naive: &Naive,
    queue: usize,
    (ttl_ms, priorities): (u64, bool),
    drawn: Drawn,
    revision: Revision,
) -> Verb {
    let known = naive.queues.get(QUEUES[queue]);
    let revision = revision.of(known.map(|row| row.revision));
    // A queue that had priorities mostly keeps them.
    let priorities = priorities || (queue == 0 && ttl_ms % 4 != 3);
    // Sometimes it gets a limit, which the next updates mostly take away again.
    let (max_length, max_bytes) = match ttl_ms % 7 {
        1 | 4 => (4 + ttl_ms % 9, 0),
        2 => (0, 60 + ttl_ms % 200),
        3 => (9, 150),
        _ => (0, 0),
    };
    let limited = max_length + max_bytes > 0;
    let on_full = match (limited, ttl_ms % 3) {
        (true, 0) => OnFull::Unspecified,
        (true, 1) => OnFull::Reject,
        (true, _) => OnFull::DropOldest,
        (false, _) if ttl_ms % 11 == 5 => OnFull::Reject,
        (false, _) => OnFull::Unspecified,
    };
    let (retain, on_full) = (of_updated(known, drawn), on_full.into());
    let queue_settings = QueueSettings { ttl_ms, priorities, max_length, max_bytes, on_full, retain };
    Verb::UpdateQueue(UpdateQueue {
        namespace: namespace(),
        name: QUEUES[queue].into(),
        queue: queue_settings,
        revision,
        routes: match ttl_ms % 4 {
            0 => routes((queue + 3) % 5),
            1 => vec![">".into(); 1 + (ttl_ms % 3 > 0) as usize],
            _ => known.map_or_else(Vec::new, |row| row.routes.clone()),
        },
    })
}

pub fn create_sub(
    naive: &Naive,
    place: Place,
    shape_at: Option<usize>,
    filtered: Filtered,
    begin: Begin,
    spoilt: Spoilt,
) -> Verb {
    let queue = naive.queues.get(QUEUES[place.0]);
    let known = find(naive, place).map(|(_, sub)| sub);
    let settings = shape_at.map_or_else(|| usual(place.0, place.1), shape);
    // Mostly again what is there, if it is there.
    let (settings, filter) = match known {
        Some(sub) if shape_at.is_none() => (sub.settings, sub.filter.clone()),
        _ => (settings, filtered.filter()),
    };
    Verb::CreateSub(CreateSub {
        namespace: spoilt.namespace(),
        queue: QUEUES[place.0].into(),
        name: spoilt.name(SUBS[place.1]),
        settings: spoilt.settings(settings),
        filter: spoilt.filter(filter),
        start: begin.start(queue),
    })
}

pub fn update_sub(
    naive: &Naive,
    place: Place,
    shape_at: usize,
    filtered: Filtered,
    revision: Revision,
    spoilt: Spoilt,
) -> Verb {
    let known = find(naive, place).map(|(_, sub)| sub);
    let order = known.map_or(Order::None, Sub::order);
    let per_key_inflight = known.map_or(0, |sub| sub.settings.per_key_inflight);
    let settings = match (spoilt, known) {
        (Spoilt::Defaults, Some(sub)) => sub.settings,
        (Spoilt::Settings(11), _) => shape(shape_at),
        (Spoilt::Settings(10), _) => Settings { per_key_inflight: 5, ..shape_of(order, shape_at) },
        (spoilt, _) => spoilt.settings(Settings { per_key_inflight, ..shape_of(order, shape_at) }),
    };
    let filter = match (spoilt, known) {
        (Spoilt::Defaults, Some(sub)) => sub.filter.clone(),
        (spoilt, _) => spoilt.filter(filtered.filter()),
    };
    Verb::UpdateSub(UpdateSub {
        namespace: spoilt.namespace(),
        queue: QUEUES[place.0].into(),
        name: sub_name(place.1, shape_at.is_multiple_of(2)),
        settings,
        filter,
        revision: revision.of(known.map(|sub| sub.revision)),
    })
}

pub fn delete_sub(place: Place) -> Verb {
    let (queue, name) = (QUEUES[place.0].into(), SUBS[place.1].into());
    Verb::DeleteSub(DeleteSub { namespace: namespace(), queue, name })
}

pub fn pause(place: Place, paused: bool) -> Verb {
    let (queue, name) = (QUEUES[place.0].into(), sub_name(place.1, paused));
    Verb::Pause(Pause { namespace: namespace(), queue, name, paused })
}

pub fn seek(naive: &Naive, place: Place, begin: Begin) -> Verb {
    let to = begin.start(naive.queues.get(QUEUES[place.0]));
    let (queue, name) = (QUEUES[place.0].into(), sub_name(place.1, to.at.is_multiple_of(2)));
    Verb::Seek(Seek { namespace: namespace(), queue, name, to })
}

/// A name has to be used, given up and given again in one history for these: they are rarer than the others.
pub const GOES_ON: [&str; 2] = ["a queue goes on under its name", "a subscription goes on with the tokens"];

/// Counts names that go on where a former queue or subscription of theirs ended.
pub fn count(naive: &Naive, verb: &Verb, answer: &Outcome, tally: &mut Tally) {
    match (verb, answer) {
        (Verb::CreateQueue(command), Ok(Reply::QueueCreated { created: true, .. })) => {
            let goes_on = |queue: &Queue| queue.before > 0 && queue.last_token > 0;
            let case = naive.queues.get(&command.name).is_some_and(goes_on);
            add(tally, GOES_ON[0], case.into());
        }
        (Verb::CreateSub(command), Ok(Reply::SubCreated { created: true, .. })) => {
            let sub = naive.queues.get(&command.queue).and_then(|queue| queue.subs.get(&command.name));
            let case = sub.is_some_and(|sub| sub.last_token > 0);
            add(tally, GOES_ON[1], case.into());
        }
        _ => {}
    }
}
