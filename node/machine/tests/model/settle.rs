//! Random settles.

use proptest::prelude::*;
use quorate_machine::command::{Settle, SettleRange, Verb};
use quorate_model::naive::{At, Naive, Row, Sub};

use crate::ops::share_of;

/// The reasons that every settle brings along; one says nothing, and the last is too long now and then.
const REASONS: [&str; 4] = ["no luck", "out of order", "", "x"];

/// What is settled after the first message.
#[derive(Clone, Copy, Debug)]
enum Along {
    /// The positions and tokens that follow, in a range.
    Range,
    /// The same one by one.
    Singly,
    /// What the consumer holds behind it, one by one.
    Held,
}

#[derive(Clone, Debug)]
pub struct Pick {
    /// Which of the held messages, as a share of 256 of them.
    start: u8,
    count: u64,
    outcome: i32,
    delay_ms: u64,
    reason: u32,
    position_off: u64,
    token_off: u64,
    along: Along,
}

pub fn pick() -> impl Strategy<Value = Pick> {
    let outcome = prop_oneof![
        8 => Just(1),
        6 => Just(2),
        3 => Just(3),
        2 => Just(4),
        2 => Just(5),
        1 => prop_oneof![Just(0), Just(9)],
    ];
    let delay_ms = prop_oneof![9 => Just(0u64), 3 => 100u64..600, 1 => 1u64..100];
    let reason = prop_oneof![5 => Just(0u32), 7 => 1u32..4, 1 => 4u32..6];
    let along = prop_oneof![2 => Just(Along::Range), 1 => Just(Along::Singly), 3 => Just(Along::Held)];
    let off = || prop_oneof![30 => Just(0u64), 1 => 1u64..9];
    let count = prop_oneof![1 => Just(0u64), 20 => 1u64..7, 20 => Just(1)];
    (any::<u8>(), count, outcome, delay_ms, reason, (off(), off()), along).prop_map(
        |(start, count, outcome, delay_ms, reason, (position_off, token_off), along)| Pick {
            start,
            count,
            outcome,
            delay_ms,
            reason,
            position_off,
            token_off,
            along,
        },
    )
}

pub fn sub_of(naive: &Naive, consumer: u64) -> Option<&Sub> {
    let row = naive.consumers.get(&consumer)?;
    let queue = naive.queues.values().find(|queue| queue.id == row.queue)?;
    queue.subs.values().find(|sub| sub.id == row.sub)
}

/// A settle by one of those that hold something, mostly; or else by anyone.
pub fn resolve(naive: &Naive, share: usize, anyone: u64, picks: &[Pick]) -> Verb {
    let holds = |id: &u64| sub_of(naive, *id).is_some_and(|sub| !sub.held(*id).is_empty());
    let holders: Vec<u64> = naive.consumers.keys().copied().filter(holds).collect();
    let holder = share_of(&holders, share * 7).filter(|_| !share.is_multiple_of(8));
    let consumer = holder.copied().unwrap_or(anyone);
    let ranges = picks.iter().flat_map(|pick| pick.ranges(naive, consumer)).collect();
    let mut reasons: Vec<String> = REASONS.map(str::to_owned).into();
    if let [Pick { reason: 4, .. }] = picks {
        reasons[3] = reasons[3].repeat(257);
    }
    Verb::Settle(Settle { consumer, ranges, reasons })
}

impl Pick {
    /// All that is held, to be retried soon.
    pub fn failing() -> Self {
        Pick {
            start: 0,
            count: 14,
            outcome: 2,
            delay_ms: 1,
            reason: 1,
            position_off: 0,
            token_off: 0,
            along: Along::Held,
        }
    }

    fn ranges(&self, naive: &Naive, consumer: u64) -> Vec<SettleRange> {
        let range = |position: u64, token: u64, count: u64| SettleRange {
            first_position: position + self.position_off,
            count: count as u32,
            first_token: (token + self.token_off / 2).saturating_sub(self.token_off % 2 * 3),
            outcome: self.outcome,
            delay_ms: self.delay_ms,
            reason: self.reason,
        };
        let lease = |row: &Row| match row.at {
            At::Leased { consumer: holder, token, .. } if holder == consumer => Some((row.position, token)),
            _ => None,
        };
        let sub = sub_of(naive, consumer);
        let held: Vec<(u64, u64)> = sub.iter().flat_map(|sub| sub.open().filter_map(lease)).collect();
        let start = usize::from(self.start) * held.len() / 256;
        let (position, token) = held.get(start).copied().unwrap_or((1, 1));
        match self.along {
            Along::Range => vec![range(position, token, self.count)],
            Along::Singly => (0..self.count).map(|at| range(position + at, token + at, 1)).collect(),
            Along::Held => {
                let some = held.into_iter().skip(start).take(self.count as usize);
                some.map(|(position, token)| range(position, token, 1)).collect()
            }
        }
    }
}
