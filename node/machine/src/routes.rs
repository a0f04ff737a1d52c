//! Routes: which queues a message gets into by its subject.
//!
//! A queue's routes stand in one row, and once more under their first tokens: a subject's queues are found by its first token and the two wildcards, however
//! many others there are.

use std::collections::BTreeMap;

use twox_hash::XxHash3_64;

use crate::limits::{ROUTE_QUEUES_MAX, ROUTES_MAX};
use crate::ops::Stop;
use crate::pattern;
use crate::reply::Refusal;
use crate::store::{Read, Store, StoreError};
use crate::tables::row::{self, Routed, Routes};
use crate::tables::{Key, QueueId, key};
use crate::tx::Tx;

/// Whether a queue can have these routes.
pub(crate) fn check(routes: &[String]) -> Result<(), Refusal> {
    let invalid = |problem: String| Err(Refusal::Invalid { field: "routes", problem: problem.into() });
    if routes.len() > ROUTES_MAX {
        return invalid(format!("at most {ROUTES_MAX}"));
    }
    for (at, route) in routes.iter().enumerate() {
        if route.is_empty() {
            return invalid(
                "a route is a pattern of subjects, such as orders.*.created; one is empty".into(),
            );
        }
        if let Err(problem) = pattern::check(route) {
            return invalid(problem);
        }
        if routes[..at].contains(route) {
            return invalid(format!("{route:?} is given twice"));
        }
    }
    Ok(())
}

/// The routes of a queue, in the order in which they were given.
pub(crate) fn of(rows: &impl Read, id: QueueId) -> Result<Vec<String>, StoreError> {
    Ok(row::get(rows, &key::routes(id))?.map_or_else(Vec::new, |row: Routes| row.patterns))
}

/// Replaces the routes of a queue, which have passed [`check`]. Whether they are others now.
pub(crate) fn set<S: Store>(
    tx: &mut Tx<'_, S>,
    id: QueueId,
    name: &str,
    routes: &[String],
) -> Result<bool, Stop> {
    let old = of(&tx.rows, id)?;
    if old == routes {
        return Ok(false);
    }
    let (before, after) = (by_token(&old), by_token(routes));
    for token in after.keys().filter(|token| !before.contains_key(*token)) {
        check_bucket(tx, id.namespace, *token)?;
    }
    remove(tx, id)?;
    for (token, patterns) in after {
        tx.put_message(&key::route(id.namespace, token, id.queue), &Routed { name: name.into(), patterns })?;
    }
    if !routes.is_empty() {
        tx.put_message(&key::routes(id), &Routes { patterns: routes.to_vec() })?;
    }
    Ok(true)
}

/// Takes a queue's routes away.
pub(crate) fn remove<S: Store>(tx: &mut Tx<'_, S>, id: QueueId) -> Result<(), StoreError> {
    for token in by_token(&of(&tx.rows, id)?).keys() {
        tx.rows.delete(&key::route(id.namespace, *token, id.queue))?;
    }
    tx.rows.delete(&key::routes(id))
}

/// The queues that a message of this subject gets into, by their names.
pub(crate) fn find(
    rows: &impl Read,
    namespace: u32,
    subject: &str,
) -> Result<BTreeMap<String, QueueId>, StoreError> {
    let mut found = BTreeMap::new();
    for token in [first_token(subject), "*", ">"] {
        let all = key::routes_of_token(namespace, hash(token));
        let mut from = all.clone();
        while let Some((key, value)) = rows.first(&from, &all.end())? {
            let Routed { name, patterns } = row::decode(&key, value)?;
            if patterns.iter().any(|route| pattern::matches(route, subject)) {
                found.insert(name, QueueId { namespace, queue: key::last_u64(&key)? });
            }
            from = Key::read(&key)?.next();
        }
    }
    Ok(found)
}

/// Refuses another queue where looking for the queues of a subject would take too long.
fn check_bucket<S: Store>(tx: &Tx<'_, S>, namespace: u32, token: u64) -> Result<(), Stop> {
    let all = key::routes_of_token(namespace, token);
    let (mut from, mut queues) = (all.clone(), 0);
    while let Some((key, _)) = tx.rows.first(&from, &all.end())? {
        queues += 1;
        if queues >= ROUTE_QUEUES_MAX {
            let what = "queues whose routes begin with the same token";
            return Err(Refusal::LimitReached { what, limit: ROUTE_QUEUES_MAX }.into());
        }
        from = Key::read(&key)?.next();
    }
    Ok(())
}

/// Routes by what stands for their first token.
fn by_token(routes: &[String]) -> BTreeMap<u64, Vec<String>> {
    let mut found: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for route in routes {
        found.entry(hash(first_token(route))).or_default().push(route.clone());
    }
    found
}

fn first_token(text: &str) -> &str {
    text.split('.').next().unwrap_or_default()
}

/// Two tokens of one hash only cost a look: patterns are compared as they are.
fn hash(token: &str) -> u64 {
    XxHash3_64::oneshot(token.as_bytes())
}
