//! Adding a subscription to a queue.

use bytes::Bytes;

use super::{Done, Stop};
use crate::command::{CreateSub, Filter, Settings, Start, StartKind};
use crate::limits::SUBSCRIPTIONS_MAX;
use crate::names::{self, Name};
use crate::reply::{Refusal, Reply};
use crate::settings;
use crate::store::{Read, Store, StoreError};
use crate::subs::{filter, look};
use crate::tables::row::{self, Sub};
use crate::tables::{QueueId, SubId, chunk, key};
use crate::tx::Tx;
use crate::work::Kind;

pub(crate) fn create_sub<S: Store>(tx: &mut Tx<'_, S>, command: &CreateSub) -> Done {
    let queue = names::queue(&tx.rows, &command.namespace, &command.queue)?;
    let name = Name::of("name", &command.name)?;
    let resolved = settings::resolve(&command.settings)?;
    let filter = filter::check(command.filter.as_ref())?;
    if let Ok(sub) = names::sub(&tx.rows, queue, &command.name) {
        let known: Option<Filter> = row::get(&tx.rows, &key::filter(sub))?;
        if tx.sub(sub)?.settings != resolved || known.as_ref() != filter {
            return Err(Refusal::SubscriptionExists(command.name.clone()).into());
        }
        return Ok(Reply::SubCreated { settings: resolved, created: false });
    }
    let row = tx.queue(queue)?;
    settings::check_priorities("order", &row.settings, resolved.order())?;
    if row.subs.len() >= SUBSCRIPTIONS_MAX {
        let limit = SUBSCRIPTIONS_MAX as u64;
        return Err(Refusal::LimitReached { what: "subscriptions of a queue", limit }.into());
    }
    let start = position_of(tx, queue, &command.start)?;
    let sub = add_sub(tx, queue, name, resolved, filter, start)?;
    begin_to_look(tx, sub)?;
    Ok(Reply::SubCreated { settings: resolved, created: true })
}

/// Adds a subscription that begins at a position, and has not looked yet at what is there.
pub(super) fn add_sub<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    name: Name<'_>,
    settings: Settings,
    filter: Option<&Filter>,
    start: u64,
) -> Result<SubId, StoreError> {
    let row = tx.queue(queue)?;
    row.last_sub += 1;
    let id = SubId { queue, sub: row.last_sub };
    row.subs.push(id.sub);
    row.seats.push(id.sub);
    let bytes_done = row.bytes_published;
    let next_token = row.first_token;
    let unseen_from = if start < row.next_position { start } else { 0 };
    tx.rows.insert(&key::sub_name(queue, name), Bytes::copy_from_slice(&id.sub.to_be_bytes()))?;
    if let Some(filter) = filter {
        tx.rows.insert(&key::filter(id), prost::Message::encode_to_vec(filter).into())?;
    }
    *tx.find_sub(id)? = Some(Sub {
        settings,
        cursor: start,
        next_token,
        revision: 1,
        filtered: filter.is_some(),
        unseen_from,
        bytes_done,
        seat: id.sub,
        ..Sub::default()
    });
    Ok(id)
}

/// A subscription takes a first look at what there is for it; ticks carry on.
pub(super) fn begin_to_look<S: Store>(tx: &mut Tx<'_, S>, id: SubId) -> Result<(), StoreError> {
    if tx.sub(id)?.unseen_from == 0 {
        return Ok(());
    }
    tx.rows.insert(&key::looking(id), Bytes::new())?;
    let (from, to) = look::catch_up(tx, id)?;
    tx.did(Kind::Begun, id, from, to);
    Ok(())
}

/// The position that a start means.
pub(super) fn position_of<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, start: &Start) -> Result<u64, Stop> {
    let next = tx.queue(queue)?.next_position;
    let first = chunk::from(&tx.rows, queue, 0)?.map_or(next, |chunk| chunk.first);
    let position = match StartKind::try_from(start.kind) {
        Ok(StartKind::Unspecified | StartKind::Earliest) => first,
        Ok(StartKind::Latest) => next,
        Ok(StartKind::Position) => start.at,
        Ok(StartKind::Time) => at_time(&tx.rows, queue, start.at, first, next)?,
        Err(_) => {
            let problem = format!("{} is not known", start.kind);
            return Err(Refusal::Invalid { field: "start", problem: problem.into() }.into());
        }
    };
    if !(first..=next).contains(&position) {
        return Err(Refusal::OutOfRange { position, first, next }.into());
    }
    Ok(position)
}

/// The first position that was published at a time or later: later positions never have earlier times.
pub(crate) fn at_time(
    rows: &impl Read,
    queue: QueueId,
    time_ms: u64,
    first: u64,
    next: u64,
) -> Result<u64, StoreError> {
    let (mut low, mut high) = (first, next);
    while low < high {
        let middle = low + (high - low) / 2;
        let chunk = chunk::at_or_after(rows, queue, middle)?;
        match chunk {
            Some(chunk) if chunk.published_at_ms() < time_ms => low = chunk.end(),
            Some(chunk) if chunk.first <= middle => high = chunk.first.max(low),
            _ => high = middle,
        }
    }
    // Between two chunks there is nothing: the next one begins later.
    Ok(match chunk::at(rows, queue, low)? {
        Some(_) => low,
        None => chunk::from(rows, queue, low)?.map_or(next, |chunk| chunk.first),
    })
}
