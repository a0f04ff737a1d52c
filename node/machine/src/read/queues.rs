//! Which queues there are.

use super::{ReadError, queue_row, sub_row};
use crate::command::{Filter, QueueSettings, Settings};
use crate::limits::{NAME_BYTES_MAX, PAGE_MAX};
use crate::names::{self, Name};
use crate::ops::Stop;
use crate::store::{Read, StoreError};
use crate::tables::row::{self, Queue, Sub};
use crate::tables::{Key, QueueId, key};

/// A queue, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueInfo {
    /// Its name.
    pub name: String,
    /// Settings of its `default` subscription and what that takes, unless it was deleted.
    pub settings: Option<(Settings, Option<Filter>)>,
    /// When it was created, by replicated time.
    pub created_at_ms: u64,
    /// Its own settings.
    pub queue: QueueSettings,
    /// Grows with every change of them.
    pub revision: u64,
    /// Patterns of the subjects that are routed to it.
    pub routes: Vec<String>,
}

/// A subscription, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubInfo {
    /// Its name.
    pub name: String,
    /// Its settings, defaults filled in.
    pub settings: Settings,
    /// What it takes, if not everything.
    pub filter: Option<Filter>,
    /// Grows with every change of settings and filter.
    pub revision: u64,
    /// Whether it is paused.
    pub paused: bool,
}

/// The queues of a namespace whose names come after `after` (empty: from the first), in the order of their names'
/// bytes, at most `limit` (0 or more than 1000 mean 1000); and whether there are more. Refused if there is
/// no such namespace.
pub fn queues(
    store: &impl Read,
    namespace: &str,
    after: &str,
    limit: u32,
) -> Result<(Vec<QueueInfo>, bool), ReadError> {
    let namespace = names::namespace(namespace)?;
    let limit = if limit == 0 { PAGE_MAX } else { limit.min(PAGE_MAX) } as usize;
    let all = key::queue_names(namespace);
    let end = all.end();
    let mut from = super::behind(&all, after, NAME_BYTES_MAX)?;
    let mut found = Vec::new();
    while let Some((key, value)) = store.first(&from, &end)? {
        if found.len() == limit {
            return Ok((found, true));
        }
        let unreadable = || StoreError("a queue's name cannot be read".into());
        let name = std::str::from_utf8(key.get(all.len()..).ok_or_else(unreadable)?);
        let queue = value[..].try_into().map(u64::from_be_bytes).map_err(|_| unreadable())?;
        found.push(info(store, QueueId { namespace, queue }, name.map_err(|_| unreadable())?)?);
        from = Key::read(&key)?.next();
    }
    Ok((found, false))
}

/// One queue. Refused if it does not exist.
pub fn queue(store: &impl Read, namespace: &str, name: &str) -> Result<QueueInfo, ReadError> {
    let id = names::queue(store, namespace, name)?;
    Ok(info(store, id, name)?)
}

fn info(store: &impl Read, id: QueueId, name: &str) -> Result<QueueInfo, StoreError> {
    let settings = match names::sub(store, id, Name::DEFAULT.as_str()) {
        Ok(sub) => Some((sub_row(store, sub)?.settings, row::get(store, &key::filter(sub))?)),
        Err(Stop::Refused(_)) => None,
        Err(Stop::Store(error)) => return Err(error),
    };
    let Queue { created_at_ms, settings: queue, revision, .. } = queue_row(store, id)?;
    let routes = crate::routes::of(store, id)?;
    Ok(QueueInfo { name: name.into(), settings, created_at_ms, queue, revision, routes })
}

/// The subscriptions of a queue, in the order of their names' bytes. Refused if there is no such queue.
pub fn subs(store: &impl Read, namespace: &str, queue: &str) -> Result<Vec<SubInfo>, ReadError> {
    let id = names::queue(store, namespace, queue)?;
    let mut found = Vec::new();
    for (name, sub) in names::subs(store, id)? {
        let Sub { settings, revision, paused, .. } = sub_row(store, sub)?;
        let filter: Option<Filter> = row::get(store, &key::filter(sub))?;
        found.push(SubInfo { name, settings, filter, revision, paused });
    }
    Ok(found)
}
