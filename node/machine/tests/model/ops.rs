//! What random entries are made of: intents, that become commands only when the model's state is known, so that most
//! of them mean something: a settle names leases that are held, a repeat repeats what was sent.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_machine::FORMAT_VERSION;
use quorate_machine::command::{
    Attach, CloseProducer, Credit, DeleteQueue, Detach, GiveNodeIds, OpenProducer, Purge, RaiseVersion, Tick,
    Verb,
};
use quorate_model::naive::{Naive, Queue, Sub};

use crate::parked::{Chosen, When};
use crate::publish::{self, Publishing};
use crate::retain::{self, Drawn};
use crate::settings::{self, Filtered, Spoilt};
use crate::settle::{self, Pick};
use crate::subs::{self, Begin, Revision};
use crate::transact::{self, Transacting};

pub const QUEUES: [&str; 5] = ["free", "strict", "keyed", "other-free", "other-keyed"];
pub const SUBS: [&str; 4] = ["default", "one", "two", "three"];

/// A queue and one of its subscriptions, by number.
pub type Place = (usize, usize);

#[derive(Clone, Debug)]
pub enum Op {
    Create { queue: usize, spoilt: Spoilt, retain: Drawn },
    UpdateQueue { queue: usize, ttl_ms: u64, priorities: bool, revision: Revision, retain: Drawn },
    Delete { queue: usize },
    Purge { queue: usize },
    CreateSub { place: Place, shape: Option<usize>, filtered: Filtered, begin: Begin, spoilt: Spoilt },
    UpdateSub { place: Place, shape: usize, filtered: Filtered, revision: Revision, spoilt: Spoilt },
    DeleteSub { place: Place },
    Pause { place: Place, paused: bool },
    Seek { place: Place, begin: Begin },
    Open { producer: u8, ttl_ms: u64, holder: u8, resume: Resume },
    Close { producer: u8, stale: bool },
    Publish(Publishing),
    Transact(Transacting),
    Attach { session: u8, place: Place, credit: u32 },
    Credit { consumer: usize, credit: u32, stale: bool },
    Detach { consumer: usize, stale: bool },
    Settle { consumer: usize, picks: Vec<Pick> },
    Reschedule { queue: usize, share: u8, when: When },
    Unpark { place: Place, share: u8, action: i32, chosen: Chosen },
    Tick,
    GiveNodeIds { above: u64, count: u64 },
    RaiseVersion { to: u32 },
}

#[derive(Clone, Copy, Debug)]
pub enum Resume {
    No,
    Yes,
    Another,
}

/// Mostly one of the queues that are there from the start.
pub fn queue() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0usize..3, 3 => Just(2usize), 1 => 3usize..5]
}

pub fn place() -> impl Strategy<Value = Place> {
    (queue(), 0usize..4)
}

pub fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => of_queues(),
        10 => of_subs(),
        4 => of_producers(),
        40 => publish::publishing().prop_map(Op::Publish),
        42 => transact::transacting().prop_map(Op::Transact),
        12 => of_consumers(),
        50 => (0usize..256, prop::collection::vec(settle::pick(), 1..5))
            .prop_map(|(consumer, picks)| Op::Settle { consumer, picks }),
        14 => of_messages(),
        9 => Just(Op::Tick),
        2 => prop_oneof![2 => 0u64..20, 1 => (1u64 << 32) - 3..1 << 32]
            .prop_map(|above| Op::GiveNodeIds { above, count: above % 3 }),
        1 => (0u32..=FORMAT_VERSION).prop_map(|to| Op::RaiseVersion { to }),
    ]
}

/// A tick, and a settle that fails with all that one of the consumers holds.
pub fn failing() -> impl Strategy<Value = Vec<Op>> {
    (0usize..256).prop_map(|consumer| vec![Op::Tick, Op::Settle { consumer, picks: vec![Pick::failing()] }])
}

fn of_queues() -> impl Strategy<Value = Op> {
    let ttl_ms = prop_oneof![4 => Just(0u64), 3 => 100u64..2000, 1 => Just(u64::MAX)];
    prop_oneof![
        6 => (queue(), settings::spoilt()).prop_map(|(queue, spoilt)| Op::Create { queue, spoilt, retain: None }),
        2 => (queue(), settings::spoilt(), retain::created())
            .prop_map(|(queue, spoilt, retain)| Op::Create { queue, spoilt, retain }),
        4 => (3usize..5, retain::created())
            .prop_map(|(queue, retain)| Op::Create { queue, spoilt: Spoilt::No, retain }),
        8 => (queue(), ttl_ms, prop::bool::weighted(0.3), subs::revision(), retain::updated()).prop_map(
            |(queue, ttl_ms, priorities, revision, retain)| {
                Op::UpdateQueue { queue, ttl_ms, priorities, revision, retain }
            }
        ),
        2 => (3usize..5).prop_map(|queue| Op::Delete { queue }),
        1 => queue().prop_map(|queue| Op::Delete { queue }),
        2 => queue().prop_map(|queue| Op::Purge { queue }),
    ]
}

fn of_subs() -> impl Strategy<Value = Op> {
    let shape = || prop_oneof![3 => Just(None), 2 => (0usize..64).prop_map(Some)];
    prop_oneof![
        8 => (place(), shape(), settings::filtered(), subs::begin(), settings::spoilt()).prop_map(
            |(place, shape, filtered, begin, spoilt)| Op::CreateSub { place, shape, filtered, begin, spoilt }
        ),
        6 => (place(), 0usize..64, settings::filtered(), subs::revision(), settings::spoilt()).prop_map(
            |(place, shape, filtered, revision, spoilt)| Op::UpdateSub { place, shape, filtered, revision, spoilt }
        ),
        2 => place().prop_map(|place| Op::DeleteSub { place }),
        4 => (3usize..5).prop_map(|queue| Op::DeleteSub { place: (queue, 0) }),
        5 => (place(), prop::bool::weighted(0.3)).prop_map(|(place, paused)| Op::Pause { place, paused }),
        5 => (place(), subs::begin()).prop_map(|(place, begin)| Op::Seek { place, begin }),
    ]
}

fn of_producers() -> impl Strategy<Value = Op> {
    let ttl_ms = prop_oneof![Just(0u64), 1000u64..3000];
    let resume = prop_oneof![3 => Just(Resume::No), 3 => Just(Resume::Yes), 1 => Just(Resume::Another)];
    prop_oneof![
        3 => (0u8..3, ttl_ms, 0u8..2, resume)
            .prop_map(|(producer, ttl_ms, holder, resume)| Op::Open { producer, ttl_ms, holder, resume }),
        1 => (0u8..3, any::<bool>()).prop_map(|(producer, stale)| Op::Close { producer, stale }),
    ]
}

fn of_consumers() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u8..12, place(), 0u32..14)
            .prop_map(|(session, place, credit)| Op::Attach { session, place, credit }),
        6 => (0usize..256, 0u32..14, prop::bool::weighted(0.1))
            .prop_map(|(consumer, credit, stale)| Op::Credit { consumer, credit, stale }),
        2 => (0usize..256, prop::bool::weighted(0.3)).prop_map(|(consumer, stale)| Op::Detach { consumer, stale }),
    ]
}

fn of_messages() -> impl Strategy<Value = Op> {
    let action = prop_oneof![6 => Just(1), 3 => Just(2), 1 => prop_oneof![Just(0), Just(7)]];
    prop_oneof![
        2 => (queue(), any::<u8>(), crate::parked::when())
            .prop_map(|(queue, share, when)| Op::Reschedule { queue, share, when }),
        3 => (place(), any::<u8>(), action, crate::parked::chosen())
            .prop_map(|(place, share, action, chosen)| Op::Unpark { place, share, action, chosen }),
    ]
}

/// A world in which something can happen: the rest of the setting up is left to chance.
pub fn setup(retain: [Drawn; 3]) -> Vec<Op> {
    let create = |queue: usize| Op::Create { queue, spoilt: Spoilt::No, retain: retain[queue] };
    let add = |place| Op::CreateSub {
        place,
        shape: None,
        filtered: Filtered::No,
        begin: Begin::Earliest,
        spoilt: Spoilt::No,
    };
    let open = Op::Open { producer: 0, ttl_ms: 0, holder: 0, resume: Resume::No };
    let attach = |session, place, credit| Op::Attach { session, place, credit };
    let mut ops = vec![create(0), create(1), create(2), open];
    ops.extend([(0, 1), (1, 1), (2, 1), (2, 2)].map(add));
    ops.extend([attach(0, (0, 0), 5), attach(1, (1, 0), 9), attach(2, (0, 0), 3), attach(3, (1, 0), 9)]);
    ops.extend([attach(4, (0, 1), 6), attach(5, (1, 1), 7), attach(6, (2, 0), 8), attach(7, (2, 0), 2)]);
    ops.extend([attach(8, (2, 1), 6), attach(9, (2, 2), 9), attach(10, (2, 2), 2)]);
    ops
}

/// One of several, by a share of 256 of them.
pub fn share_of<T>(of: &[T], share: usize) -> Option<&T> {
    of.get(share % 256 * of.len() / 256)
}

/// The queue and the subscription of a place, if they are there.
pub fn find(naive: &Naive, (queue, sub): Place) -> Option<(&Queue, &Sub)> {
    let queue = naive.queues.get(QUEUES[queue])?;
    Some((queue, queue.subs.get(SUBS[sub])?))
}

/// The name of a subscription, where nothing may stand for `default`.
pub fn sub_name(sub: usize, short: bool) -> String {
    if sub == 0 && short { String::new() } else { SUBS[sub].into() }
}

pub fn namespace() -> String {
    "default".into()
}

impl Op {
    pub fn resolve(&self, naive: &Naive) -> Verb {
        let consumer = |share: usize| {
            let all: Vec<(u64, u64)> =
                naive.consumers.iter().map(|(id, row)| (*id, row.generation)).collect();
            share_of(&all, share).copied().unwrap_or((999, 1))
        };
        let (namespace, stale_by) = (namespace(), |stale: bool| u64::from(stale));
        match self {
            Op::Create { queue, spoilt, retain } => subs::create_queue(naive, *queue, *spoilt, *retain),
            Op::UpdateQueue { queue, ttl_ms, priorities, revision, retain } => {
                subs::update_queue(naive, *queue, (*ttl_ms, *priorities), *retain, *revision)
            }
            Op::Delete { queue } => Verb::DeleteQueue(DeleteQueue { namespace, name: QUEUES[*queue].into() }),
            Op::Purge { queue } => Verb::Purge(Purge { namespace, name: QUEUES[*queue].into() }),
            Op::CreateSub { place, shape, filtered, begin, spoilt } => {
                subs::create_sub(naive, *place, *shape, *filtered, *begin, *spoilt)
            }
            Op::UpdateSub { place, shape, filtered, revision, spoilt } => {
                subs::update_sub(naive, *place, *shape, *filtered, *revision, *spoilt)
            }
            Op::DeleteSub { place } => subs::delete_sub(*place),
            Op::Pause { place, paused } => subs::pause(*place, *paused),
            Op::Seek { place, begin } => subs::seek(naive, *place, *begin),
            Op::Open { .. } => self.open(naive),
            Op::Close { producer, stale } => {
                let (producer, epoch, ..) = publish::known_producer(naive, *producer);
                Verb::CloseProducer(CloseProducer { producer, epoch: epoch + stale_by(*stale) })
            }
            Op::Publish(publishing) => publishing.resolve(naive),
            Op::Transact(transacting) => transacting.resolve(naive),
            Op::Attach { session, place, credit } => Verb::Attach(Attach {
                namespace,
                queue: QUEUES[place.0].into(),
                subscription: sub_name(place.1, credit % 2 == 0),
                session: Bytes::from(vec![*session; 16]),
                credit: *credit,
                session_timeout_ms: 5000,
                name: format!("worker {session}"),
            }),
            Op::Credit { consumer: at, credit, stale } => {
                let (consumer, generation) = consumer(*at);
                Verb::Credit(Credit { consumer, generation: generation + stale_by(*stale), credit: *credit })
            }
            Op::Detach { consumer: at, stale } => {
                let (consumer, generation) = consumer(*at);
                Verb::Detach(Detach { consumer, generation: generation + stale_by(*stale) })
            }
            Op::Settle { consumer: at, picks } => settle::resolve(naive, *at, consumer(*at).0, picks),
            Op::Reschedule { queue, share, when } => crate::parked::reschedule(naive, *queue, *share, *when),
            Op::Unpark { place, share, action, chosen } => {
                crate::parked::unpark(naive, *place, *share, *action, *chosen)
            }
            Op::Tick => Verb::Tick(Tick {}),
            Op::RaiseVersion { to } => Verb::RaiseVersion(RaiseVersion { to: *to }),
            Op::GiveNodeIds { above, count } => {
                Verb::GiveNodeIds(GiveNodeIds { above: *above, count: *count })
            }
        }
    }

    fn open(&self, naive: &Naive) -> Verb {
        let Op::Open { producer, ttl_ms, holder, resume } = self else { panic!("it opens nothing") };
        let session = format!("producer-{producer}");
        let resume = match resume {
            Resume::No => 0,
            Resume::Yes => publish::known_producer(naive, *producer).0,
            Resume::Another => publish::known_producer(naive, producer + 1).0,
        };
        let (ttl_ms, holder) = (*ttl_ms, Bytes::from(vec![*holder; 16]));
        Verb::OpenProducer(OpenProducer { namespace: namespace(), session, ttl_ms, holder, resume })
    }
}
