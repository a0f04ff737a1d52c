//! Finding what a command names.

use crate::limits::NAME_BYTES_MAX;
use crate::ops::Stop;
use crate::reply::Refusal;
use crate::store::{Read, StoreError};
use crate::tables::key::NAMESPACE_DEFAULT;
use crate::tables::{QueueId, SubId, Table, key, row};

/// What an empty name of a namespace or subscription means.
pub(crate) const DEFAULT: &str = "default";

pub(crate) fn namespace(name: &str) -> Result<u32, Refusal> {
    match name {
        "" | DEFAULT => Ok(NAMESPACE_DEFAULT),
        _ => Err(Refusal::UnknownNamespace(name.into())),
    }
}

pub(crate) fn queue(rows: &impl Read, namespace_name: &str, name: &str) -> Result<QueueId, Stop> {
    let namespace = namespace(namespace_name)?;
    // A name that cannot exist is not looked up: it might not fit a key.
    if check(name).is_ok()
        && let Some(queue) = row::get_u64(rows, &key::queue_name(namespace, name))?
    {
        return Ok(QueueId { namespace, queue });
    }
    Err(Refusal::UnknownQueue(name.into()).into())
}

pub(crate) fn sub(rows: &impl Read, queue: QueueId, name: &str) -> Result<SubId, Stop> {
    let name = if name.is_empty() { DEFAULT } else { name };
    if check(name).is_ok()
        && let Some(sub) = row::get_u32(rows, &key::sub_name(queue, name))?
    {
        return Ok(SubId { queue, sub });
    }
    Err(Refusal::UnknownSubscription(name.into()).into())
}

/// The subscriptions of a queue, in order of their names.
pub(crate) fn subs(rows: &impl Read, queue: QueueId) -> Result<Vec<(String, SubId)>, StoreError> {
    let unreadable = || StoreError("a subscription's name cannot be read".into());
    let names = key::of_queue(Table::SubName, queue);
    let (mut found, mut from) = (Vec::new(), names.clone());
    while let Some((row, value)) = rows.first(&from, &names.end())? {
        let name = row.get(names.len()..).ok_or_else(unreadable)?.to_vec();
        let name = String::from_utf8(name).map_err(|_| unreadable())?;
        let sub = value[..].try_into().map(u32::from_be_bytes).map_err(|_| unreadable())?;
        found.push((name, SubId { queue, sub }));
        from = key::Key::read(&row)?.next();
    }
    Ok(found)
}

/// Whether a queue or subscription may have this name.
pub(crate) fn check(name: &str) -> Result<(), Refusal> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    if fits && name.as_bytes()[0].is_ascii_alphanumeric() && name.as_bytes().iter().all(allowed) {
        return Ok(());
    }
    Err(Refusal::Invalid {
        field: "name",
        problem: format!(
            "must be 1 to {NAME_BYTES_MAX} characters of a-z A-Z 0-9 . _ -, the first a letter or a digit"
        ),
    })
}
