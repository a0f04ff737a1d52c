//! Which messages a subscription takes.

use prost::Message as _;

use crate::command::Filter;
use crate::limits::{FILTER_BYTES_MAX, FILTER_HEADERS_MAX};
use crate::message::Message;
use crate::pattern;
use crate::reply::{Problem, Refusal};

/// Whether a filter means something. One without any condition is none.
pub(crate) fn check(filter: Option<&Filter>) -> Result<Option<&Filter>, Refusal> {
    let Some(filter) = filter else { return Ok(None) };
    Refusal::unless_at_most("filter", filter.headers.len(), FILTER_HEADERS_MAX, "headers")?;
    Refusal::unless_at_most("filter", filter.encoded_len(), FILTER_BYTES_MAX, "bytes encoded")?;
    if filter.headers.iter().any(|header| header.name.is_empty()) {
        return invalid("a header needs a name");
    }
    pattern::check(&filter.subject).or_else(invalid)?;
    Ok(Some(filter).filter(|filter| **filter != Filter::default()))
}

fn invalid<T>(problem: impl Into<Problem>) -> Result<T, Refusal> {
    Err(Refusal::Invalid { field: "filter", problem: problem.into() })
}

/// Whether a message is taken.
pub(crate) fn takes(filter: &Filter, message: &Message) -> bool {
    let has = |wanted: &crate::message::Header| message.headers.contains(wanted);
    (filter.subject.is_empty() || pattern::matches(&filter.subject, &message.subject))
        && filter.headers.iter().all(has)
}
