//! Random settings of what a queue retains, and what a search comes across of them.

use proptest::prelude::*;
use quorate_machine::command::{OnFull, Retain, Verb};
use quorate_machine::effect::Effect;
use quorate_machine::reply::{Outcome, Reply};
use quorate_model::naive::{At, Naive, Queue, Sub, Together};

use crate::Tally;
use crate::tally::add;

/// What a queue retains; none: what it did, or nothing special if it is new.
pub type Drawn = Option<Retain>;

/// Bounds so tight that they bite.
fn bounds() -> impl Strategy<Value = Retain> {
    let none = Retain::default();
    prop_oneof![
        4 => (1u64..9).prop_map(move |count| Retain { count, ..none }),
        4 => (20u64..300).prop_map(move |bytes| Retain { bytes, ..none }),
        5 => (30u64..900).prop_map(move |for_ms| Retain { for_ms, ..none }),
        1 => (2u64..9, 30u64..300).prop_map(move |(count, bytes)| Retain { count, bytes, ..none }),
        2 => (2u64..9, 50u64..900).prop_map(move |(count, for_ms)| Retain { count, for_ms, ..none }),
        1 => (20u64..300, 50u64..900).prop_map(move |(bytes, for_ms)| Retain { bytes, for_ms, ..none }),
    ]
}

/// For a new queue.
pub fn created() -> impl Strategy<Value = Drawn> {
    let latest = |retain: Retain| Retain { latest_per_key: true, ..retain };
    let one = prop_oneof![
        5 => bounds(),
        4 => Just(latest(Retain::default())),
        2 => bounds().prop_map(latest),
    ];
    let one = (one, any::<bool>()).prop_map(|(retain, until_done)| Some(Retain { until_done, ..retain }));
    prop_oneof![5 => Just(None), 4 => one]
}

/// For one that is there, and sometimes for one that is not of its kind.
pub fn updated() -> impl Strategy<Value = Drawn> {
    let one = (bounds(), any::<bool>(), prop::bool::weighted(0.25));
    let one =
        one.prop_map(|(retain, until_done, latest_per_key)| Retain { until_done, latest_per_key, ..retain });
    prop_oneof![
        6 => Just(None),
        2 => Just(Some(Retain::default())),
        1 => Just(Some(Retain { until_done: true, ..Retain::default() })),
        6 => one.prop_map(Some),
        1 => Just(Some(Retain { for_ms: u64::MAX, ..Retain::default() })),
    ]
}

/// What a command says.
pub fn of_created(queue: Option<&Queue>, drawn: Drawn) -> Retain {
    drawn.or_else(|| queue.map(|queue| queue.settings.retain)).unwrap_or_default()
}

/// What a command says.
pub fn of_updated(queue: Option<&Queue>, drawn: Drawn) -> Retain {
    let Some(queue) = queue else { return drawn.unwrap_or_default() };
    let known = queue.settings.retain;
    match drawn {
        Some(retain) => {
            // Mostly of the same kind: another is refused.
            let differs = retain.latest_per_key;
            Retain { latest_per_key: known.latest_per_key != differs, ..retain }
        }
        None => known,
    }
}

/// A queue as it was before a command.
pub struct Was(Queue);

impl Was {
    pub fn of(queue: &Queue) -> Self {
        Self(queue.clone())
    }

    /// Counts what a command brought about.
    pub fn count(&self, naive: &Naive, queue: &Queue, verb: &Verb, effects: &[Effect], tally: &mut Tally) {
        let (before, retain) = (&self.0, queue.settings.retain);
        let is_gone = |batch: &&Together| !queue.batches.iter().any(|other| other.first == batch.first);
        for batch in before.batches.iter().filter(is_gone).filter(|batch| !batch.is_past) {
            let after = queue.messages_from(batch.end);
            let bytes: usize = after.iter().map(|message| message.bytes.len()).sum();
            let is_tick = matches!(verb, Verb::Tick(_));
            let too_old = queue.too_old_ms(batch).is_some_and(|time_ms| time_ms <= naive.now_ms);
            let is_publish = matches!(verb, Verb::Publish(_));
            add(tally, "left by age", (is_tick && too_old).into());
            let too_many = retain.count > 0 && after.len() as u64 >= retain.count;
            add(tally, "left by number", (is_publish && too_many).into());
            let too_much = retain.bytes > 0 && bytes as u64 >= retain.bytes;
            add(tally, "left by size", (is_publish && too_much).into());
            add(tally, "left by an update", matches!(verb, Verb::UpdateQueue(_)).into());
        }
        let are_new = before.messages.len()..queue.messages.len();
        let superseded = |queue: &Queue| {
            queue.positions().filter(|position| queue.is_superseded(*position)).count() as u64
        };
        if retain.latest_per_key && !are_new.is_empty() {
            let case = if retain.until_done { "superseded, and to be done" } else { "superseded" };
            add(tally, case, superseded(queue) - superseded(before));
        }
        let drops_for_room = queue.settings.on_full() == OnFull::DropOldest
            || queue.subs.values().any(|sub| sub.settings.on_lag() == OnFull::DropOldest);
        if !retain.until_done && !drops_for_room && dropped(queue) > dropped(before) {
            let is_of =
                |effect: &&Effect| matches!(effect, Effect::Revoked { lease, .. } if lease.queue == queue.id);
            let revoked = effects.iter().filter(is_of).count() as u64;
            add(tally, "dropped while leased", if matches!(verb, Verb::Publish(_)) { revoked } else { 0 });
        }
    }

    /// Counts a move back to what is done, and kept.
    pub fn sought(&self, queue: &Queue, name: &str, answer: &Outcome, tally: &mut Tally) {
        let name = if name.is_empty() { "default" } else { name };
        let at = |queue: &Queue, position: u64| {
            let sub: Option<&Sub> = queue.subs.get(name);
            let row = sub.and_then(|sub| sub.find(position).cloned());
            row.map(|row| row.at)
        };
        if let Ok(Reply::Sought { position }) = answer {
            let replayed = at(&self.0, *position) == Some(At::Done)
                && at(queue, *position).is_some_and(|at| at != At::Done);
            add(tally, "replayed", replayed.into());
        }
    }
}

fn dropped(queue: &Queue) -> u64 {
    queue.subs.values().map(|sub| sub.dropped).sum()
}

/// Counts what an entry left behind.
pub fn standing(queue: &Queue, tally: &mut Tally) {
    let is_done = |position: u64| queue.subs.values().all(|sub| sub.row(position).at == At::Done);
    for batch in &queue.batches {
        add(tally, "kept although done", (batch.first..batch.end).all(is_done).into());
        let is_open = (batch.first..batch.end).any(|position| !is_done(position));
        let retain = queue.settings.retain;
        let is_bounded = retain.count + retain.bytes + retain.for_ms > 0 || retain.latest_per_key;
        let is_beyond = is_bounded && !queue.is_within_bounds(batch);
        add(tally, "beyond the bounds and not done", (is_open && is_beyond).into());
        let superseded = (batch.first..batch.end).filter(|position| queue.is_superseded(*position)).count();
        add(tally, "stored and not read", superseded as u64);
    }
}
