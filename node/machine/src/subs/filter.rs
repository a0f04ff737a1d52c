//! Which messages a subscription takes.

use prost::Message as _;

use crate::command::Filter;
use crate::limits::{FILTER_BYTES_MAX, FILTER_HEADERS_MAX};
use crate::message::Message;
use crate::pattern;
use crate::reply::Refusal;

/// Whether a filter means something. One without any condition is none.
pub(crate) fn check(filter: Option<&Filter>) -> Result<Option<&Filter>, Refusal> {
    let Some(filter) = filter else { return Ok(None) };
    if filter.headers.len() > FILTER_HEADERS_MAX {
        return invalid(format!(
            "it names {} headers, and {FILTER_HEADERS_MAX} is the most",
            filter.headers.len()
        ));
    }
    let bytes = filter.encoded_len();
    if bytes > FILTER_BYTES_MAX {
        return invalid(format!("{bytes} bytes encoded, and {FILTER_BYTES_MAX} is the most"));
    }
    if filter.headers.iter().any(|header| header.name.is_empty()) {
        return invalid("a header needs a name".into());
    }
    pattern::check(&filter.subject).or_else(invalid)?;
    Ok(Some(filter).filter(|filter| **filter != Filter::default()))
}

fn invalid<T>(problem: String) -> Result<T, Refusal> {
    Err(Refusal::Invalid { field: "filter", problem })
}

/// Whether a message is taken.
pub(crate) fn takes(filter: &Filter, message: &Message) -> bool {
    let has = |wanted: &crate::message::Header| message.headers.contains(wanted);
    (filter.subject.is_empty() || pattern::matches(&filter.subject, &message.subject))
        && filter.headers.iter().all(has)
}
