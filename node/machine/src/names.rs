//! Finding what a command names.

use crate::limits::{NAME_BYTES_MAX, PRODUCER_NAME_BYTES_MAX, SESSION_NAME_BYTES, STATE_KEY_BYTES_MAX};
use crate::ops::Stop;
use crate::reply::Refusal;
use crate::store::{Read, StoreError};
use crate::tables::key::NAMESPACE_DEFAULT;
use crate::tables::{QueueId, SubId, Table, key, row};

/// What an empty name of a namespace or subscription means.
const DEFAULT_NAME: &str = "default";

/// A name that a namespace, queue or subscription can have. Rows are found by these alone: what was not looked at might not fit a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name<'a>(&'a str);

impl<'a> Name<'a> {
    /// The name of every queue's first subscription.
    pub(crate) const DEFAULT: Name<'static> = Name(DEFAULT_NAME);

    pub(crate) fn of(field: &'static str, name: &'a str) -> Result<Self, Refusal> {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
        if fits && name.as_bytes()[0].is_ascii_alphanumeric() && name.as_bytes().iter().all(allowed) {
            return Ok(Self(name));
        }
        let rule = "characters of a-z A-Z 0-9 . _ -, the first a letter or a digit";
        let problem = format!("{} must be 1 to {NAME_BYTES_MAX} {rule}", shown(name));
        Err(Refusal::Invalid { field, problem: problem.into() })
    }

    /// The same, where an empty name means `default`.
    pub(crate) fn or_default(field: &'static str, name: &'a str) -> Result<Self, Refusal> {
        if name.is_empty() { Ok(Name::DEFAULT) } else { Self::of(field, name) }
    }

    /// A name that a row has.
    pub(crate) fn stored(name: &'a str) -> Result<Self, StoreError> {
        Self::of("name", name).map_err(|refusal| StoreError(format!("a stored name: {refusal}")))
    }

    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }
}

/// A name that a producer session can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerName<'a>(&'a str);

impl<'a> ProducerName<'a> {
    pub(crate) fn of(name: &'a str) -> Result<Self, Refusal> {
        if (1..=PRODUCER_NAME_BYTES_MAX).contains(&name.len()) {
            return Ok(Self(name));
        }
        let problem = format!("{} bytes, and it must be 1 to {PRODUCER_NAME_BYTES_MAX}", name.len());
        Err(Refusal::Invalid { field: "session", problem: problem.into() })
    }

    /// A name that a row has.
    pub(crate) fn stored(name: &'a str) -> Result<Self, StoreError> {
        Self::of(name).map_err(|refusal| StoreError(format!("a stored producer: {refusal}")))
    }

    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }
}

/// What names a consumer session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionName<'a>(&'a [u8; SESSION_NAME_BYTES]);

impl<'a> SessionName<'a> {
    pub(crate) fn of(name: &'a [u8]) -> Result<Self, Refusal> {
        let problem = || format!("{} bytes, and it must be {SESSION_NAME_BYTES}", name.len());
        let fits =
            name.try_into().map_err(|_| Refusal::Invalid { field: "session", problem: problem().into() });
        fits.map(Self)
    }

    /// A name that a row has.
    pub(crate) fn stored(name: &'a [u8]) -> Result<Self, StoreError> {
        Self::of(name).map_err(|refusal| StoreError(format!("a stored consumer: {refusal}")))
    }

    pub(crate) fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// A key of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateKey<'a>(&'a str);

impl<'a> StateKey<'a> {
    pub(crate) fn of(key: &'a str) -> Result<Self, Refusal> {
        if (1..=STATE_KEY_BYTES_MAX).contains(&key.len()) {
            return Ok(Self(key));
        }
        let problem = format!("{} bytes, and it must be 1 to {STATE_KEY_BYTES_MAX}", key.len());
        Err(Refusal::Invalid { field: "key", problem: problem.into() })
    }

    /// A key that a row has.
    pub(crate) fn stored(key: &'a str) -> Result<Self, StoreError> {
        Self::of(key).map_err(|refusal| StoreError(format!("a stored key: {refusal}")))
    }

    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }
}

/// What a client gave, for a sentence about it: no more than the beginning of what is long.
pub(crate) fn shown(given: &str) -> String {
    const CHARACTERS_MAX: usize = 40;
    match given.char_indices().nth(CHARACTERS_MAX) {
        None => format!("{given:?}"),
        Some((end, _)) => format!("{:?}... of {} bytes", &given[..end], given.len()),
    }
}

pub(crate) fn namespace(name: &str) -> Result<u32, Refusal> {
    match Name::or_default("namespace", name)? {
        Name::DEFAULT => Ok(NAMESPACE_DEFAULT),
        Name(other) => Err(Refusal::UnknownNamespace(other.into())),
    }
}

pub(crate) fn queue(rows: &impl Read, namespace_name: &str, name: &str) -> Result<QueueId, Stop> {
    let (namespace, name) = (namespace(namespace_name)?, Name::of("queue", name)?);
    match row::get_u64(rows, &key::queue_name(namespace, name))? {
        Some(queue) => Ok(QueueId { namespace, queue }),
        None => Err(Refusal::UnknownQueue(name.0.into()).into()),
    }
}

pub(crate) fn sub(rows: &impl Read, queue: QueueId, name: &str) -> Result<SubId, Stop> {
    let name = Name::or_default("subscription", name)?;
    match row::get_u32(rows, &key::sub_name(queue, name))? {
        Some(sub) => Ok(SubId { queue, sub }),
        None => Err(Refusal::UnknownSubscription(name.0.into()).into()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_name_is_short() {
        assert_eq!(shown("a b"), "\"a b\"");
        let long = "ü".repeat(20_000);
        assert!(shown(&long).len() < 120 && shown(&long).ends_with("of 40000 bytes"));
        let Err(refusal) = Name::of("queue", &long) else { panic!("it is no name") };
        assert!(refusal.to_string().len() < 250, "{refusal}");
    }

    #[test]
    fn names_keep_to_the_rule() {
        for good in ["a", "A.b_c-9", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(Name::of("queue", good), Ok(Name(good)));
        }
        for bad in ["", ".a", "-", "a b", "ü", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(Name::of("queue", bad).is_err(), "{bad:?}");
        }
    }
}
