//! What a consumer holds, for the stream that takes its session up.

use super::{place, sub_row};
use crate::effect::Lease;
use crate::store::{Read, StoreError};
use crate::subs::runs;
use crate::tables::key;
use crate::tables::row::{self, Consumer};

/// The leases of a consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Whether there is such a session.
    pub is_session: bool,
    /// In the order in which they were given: by priority, then by position, mostly.
    pub leases: Vec<Lease>,
    /// Leases with this token or a later one were assigned after the look; earlier ones are in `leases`, or no
    /// longer held.
    pub next_token: u64,
}

impl Held {
    /// Whether the lease with this token was held at the look, or assigned after it.
    pub fn may_hold(&self, token: u64) -> bool {
        let within =
            |lease: &Lease| (lease.first_token..lease.first_token + u64::from(lease.count)).contains(&token);
        token >= self.next_token || self.leases.iter().any(within)
    }
}

/// What `consumer` holds; nothing if there is no such session. Fails like the store.
pub fn held(store: &impl Read, consumer: u64) -> Result<Held, StoreError> {
    let Some(row) = row::get::<Consumer>(store, &key::consumer(consumer))? else {
        return Ok(Held::default());
    };
    let Some(sub) = place(store, &row)? else { return Ok(Held::default()) };
    let runs = runs::held(store, sub, consumer, 0, u64::MAX)?;
    let leases = runs.iter().filter_map(|run| run.lease(sub)).map(|(_, lease)| lease);
    let mut leases: Vec<Lease> = leases.collect();
    leases.sort_by_key(|lease| lease.first_token);
    Ok(Held { is_session: true, leases, next_token: sub_row(store, sub)?.next_token })
}
