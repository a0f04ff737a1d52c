//! The model's order domains: what stands behind what, and what happens there when a message goes back.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_machine::command::Order;
use quorate_machine::effect::Effect;
use quorate_machine::reply::LeftHow;

use crate::naive::{At, Row, Sub};

/// What became of a message that was leased.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Went {
    /// It went back, and stands before what is behind it.
    Back,
    /// It left.
    Left(LeftHow),
    /// It left, but its key was parked with it: nothing behind it stays leased.
    LeftWithKey,
}

impl Went {
    /// Whether the leases behind it are to be revoked.
    pub(crate) fn revokes(self) -> bool {
        matches!(self, Went::Back | Went::LeftWithKey)
    }

    /// How it left.
    pub(crate) fn left(self) -> Option<LeftHow> {
        match self {
            Went::Back => None,
            Went::Left(how) => Some(how),
            Went::LeftWithKey => Some(LeftHow::Parked),
        }
    }
}

impl Sub {
    /// Whether two messages are in the same order domain.
    pub(crate) fn share_a_domain(&self, one: &Row, other: &Row) -> bool {
        match self.order() {
            Order::Total => true,
            Order::Key => !one.key.is_empty() && one.key == other.key,
            Order::None | Order::Unspecified => false,
        }
    }

    /// The next messages of the domains, those of them that are ready and not in a parked key, in order of position.
    pub(crate) fn next_ones(&self) -> Vec<u64> {
        let mut next_ones = Vec::new();
        let mut keys: BTreeSet<&Bytes> = BTreeSet::new();
        for row in self.open() {
            if matches!(
                row.at,
                At::Done | At::Unseen | At::Delayed | At::Parked { blocks: false } | At::Leased { .. }
            ) {
                continue; // it is not the next of its domain, nor in anybody's way
            }
            let is_first = match self.order() {
                Order::Key => row.key.is_empty() || keys.insert(&row.key),
                Order::Total | Order::None | Order::Unspecified => true,
            };
            if is_first && row.at == At::Ready && !self.is_in_parked_key(row) {
                next_ones.push(row.position);
            }
            if self.order() == Order::Total {
                break; // there is one domain
            }
        }
        next_ones
    }

    /// For each key of which somebody holds messages: who, and how many.
    pub(crate) fn holders(&self) -> BTreeMap<Bytes, (u64, usize)> {
        let mut holders = BTreeMap::new();
        for row in self.open() {
            if let At::Leased { consumer, .. } = row.at
                && !row.key.is_empty()
            {
                holders.entry(row.key.clone()).or_insert((consumer, 0)).1 += 1;
            }
        }
        holders
    }

    /// A message goes back. It is done instead if its time is over.
    pub(crate) fn go_back(&mut self, position: u64, to: At, now_ms: u64) -> Went {
        let row = self.row_mut(position);
        if row.is_expired(now_ms) {
            row.at = At::Done;
            self.expired += 1;
            return Went::Left(LeftHow::Expired);
        }
        row.at = to;
        Went::Back
    }

    /// Whether a message is behind one of these in its domain.
    pub(crate) fn is_behind_any(&self, row: &Row, positions: &[u64]) -> bool {
        let is_behind = |first: &u64| *first < row.position && self.share_a_domain(self.row(*first), row);
        positions.iter().any(is_behind)
    }

    /// Revokes the leases behind messages that went back, or that parked their key.
    pub(crate) fn revoke_behind(&mut self, back: &[u64], now_ms: u64, effects: &mut Vec<Effect>) {
        let mut revoked = Vec::new();
        for row in self.open() {
            let At::Leased { consumer, .. } = row.at else { continue };
            if self.is_behind_any(row, back) {
                revoked.push((row.position, consumer));
            }
        }
        for (position, consumer) in revoked {
            effects.push(Effect::Revoked { consumer, lease: self.lease(position) });
            self.go_back(position, At::Ready, now_ms);
        }
    }
}
