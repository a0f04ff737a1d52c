//! What a command may say, whatever the state is: names, counts, lengths, ranges of numbers.
//!
//! The leader asks before it proposes, so that nothing unlawful costs an entry; [`crate::apply`] asks again, so that it depends on nobody.
//! Here is the only place where such things are looked at: the verbs of `ops/` rely on it. What is inside of messages is
//! looked at when they are taken in, by [`crate::message::admit`]; and each range of a settle is judged on its own when it is applied.

mod messages;
mod transact;

use crate::command::{
    Action, Attach, CreateQueue, CreateSub, Credit, OpenProducer, Reschedule, Start, StartKind, Unpark,
    UpdateQueue, UpdateSub, Verb,
};
use crate::limits::{
    CONSUMER_LABEL_BYTES_MAX, CREDIT_MAX, MESSAGE_ID_BYTES_MAX, MESSAGE_KEY_BYTES_MAX, PRODUCER_HOLDER_BYTES,
};
use crate::names::{Name, ProducerName, SessionName};
use crate::ops::{session_timeout_ms, ttl_ms};
use crate::reply::{Problem, Refusal};
use crate::subs::filter;
use crate::{routes, settings};

/// Whether a command may be proposed: the refusal names the field and what it may be.
///
/// # Errors
/// [`Refusal::Invalid`], and nothing else.
pub fn lawful(verb: &Verb) -> Result<(), Refusal> {
    match verb {
        Verb::CreateQueue(command) => create_queue(command),
        Verb::UpdateQueue(command) => update_queue(command),
        Verb::DeleteQueue(command) => queue(&command.namespace, "name", &command.name),
        Verb::Purge(command) => queue(&command.namespace, "name", &command.name),
        Verb::OpenProducer(command) => open_producer(command),
        Verb::CloseProducer(_)
        | Verb::Detach(_)
        | Verb::Tick(_)
        | Verb::GiveNodeIds(_)
        | Verb::RaiseVersion(_) => Ok(()),
        Verb::Publish(command) => messages::publish(command),
        Verb::Attach(command) => attach(command),
        Verb::Credit(command) => credit(command),
        Verb::Settle(command) => messages::settle(command),
        Verb::CreateSub(command) => create_sub(command),
        Verb::UpdateSub(command) => update_sub(command),
        Verb::DeleteSub(command) => sub(&command.namespace, &command.queue, ("name", &command.name)),
        Verb::Pause(command) => sub(&command.namespace, &command.queue, ("name", &command.name)),
        Verb::Seek(command) => {
            sub(&command.namespace, &command.queue, ("name", &command.name))?;
            start(&command.to)
        }
        Verb::Reschedule(command) => reschedule(command),
        Verb::Unpark(command) => unpark(command),
        Verb::Transact(command) => transact::transact(command),
    }
}

fn invalid(field: &'static str, problem: impl Into<Problem>) -> Result<(), Refusal> {
    Err(Refusal::Invalid { field, problem: problem.into() })
}

/// No more than so much of something.
fn at_most(field: &'static str, given: u64, most: u64, unit: &'static str) -> Result<(), Refusal> {
    Refusal::unless_at_most(field, given, most, unit)
}

fn namespace(name: &str) -> Result<(), Refusal> {
    Name::or_default("namespace", name).map(drop)
}

fn queue(namespace_name: &str, field: &'static str, name: &str) -> Result<(), Refusal> {
    namespace(namespace_name)?;
    Name::of(field, name).map(drop)
}

fn sub(namespace_name: &str, queue_name: &str, (field, name): (&'static str, &str)) -> Result<(), Refusal> {
    queue(namespace_name, "queue", queue_name)?;
    Name::or_default(field, name).map(drop)
}

fn create_queue(command: &CreateQueue) -> Result<(), Refusal> {
    queue(&command.namespace, "name", &command.name)?;
    let resolved = settings::resolve(&command.settings)?;
    let of_queue = settings::resolve_queue(&command.queue)?;
    filter::check(command.filter.as_ref())?;
    settings::check_priorities("priorities", &of_queue, resolved.order())?;
    routes::check(&command.routes)
}

fn update_queue(command: &UpdateQueue) -> Result<(), Refusal> {
    queue(&command.namespace, "name", &command.name)?;
    settings::resolve_queue(&command.queue)?;
    routes::check(&command.routes)
}

fn create_sub(command: &CreateSub) -> Result<(), Refusal> {
    queue(&command.namespace, "queue", &command.queue)?;
    Name::of("name", &command.name)?;
    settings::resolve(&command.settings)?;
    filter::check(command.filter.as_ref())?;
    start(&command.start)
}

fn update_sub(command: &UpdateSub) -> Result<(), Refusal> {
    sub(&command.namespace, &command.queue, ("name", &command.name))?;
    settings::resolve(&command.settings)?;
    filter::check(command.filter.as_ref()).map(drop)
}

fn start(start: &Start) -> Result<(), Refusal> {
    match StartKind::try_from(start.kind) {
        Ok(_) => Ok(()),
        Err(_) => invalid("start", format!("{} is not known", start.kind)),
    }
}

fn open_producer(command: &OpenProducer) -> Result<(), Refusal> {
    namespace(&command.namespace)?;
    ProducerName::of(&command.session)?;
    let given = command.holder.len();
    if given != PRODUCER_HOLDER_BYTES {
        return invalid("holder", format!("{given} bytes, and it must be {PRODUCER_HOLDER_BYTES}"));
    }
    ttl_ms(command.ttl_ms).map(drop)
}

fn attach(command: &Attach) -> Result<(), Refusal> {
    sub(&command.namespace, &command.queue, ("subscription", &command.subscription))?;
    SessionName::of(&command.session)?;
    at_most("name", command.name.len() as u64, CONSUMER_LABEL_BYTES_MAX as u64, "bytes")?;
    at_most("credit", command.credit.into(), CREDIT_MAX.into(), "messages")?;
    session_timeout_ms(command.session_timeout_ms).map(drop)
}

fn credit(command: &Credit) -> Result<(), Refusal> {
    at_most("credit", command.credit.into(), CREDIT_MAX.into(), "messages")
}

fn reschedule(command: &Reschedule) -> Result<(), Refusal> {
    queue(&command.namespace, "queue", &command.queue)?;
    if command.position != 0 && !command.id.is_empty() {
        return invalid("id", "one of position and id can be given, not both");
    }
    at_most("id", command.id.len() as u64, MESSAGE_ID_BYTES_MAX as u64, "bytes")
}

fn unpark(command: &Unpark) -> Result<(), Refusal> {
    sub(&command.namespace, &command.queue, ("subscription", &command.subscription))?;
    if !matches!(Action::try_from(command.action), Ok(Action::Redrive | Action::Discard)) {
        return invalid("action", "is not known");
    }
    let selector = &command.selector;
    let (from, to) = (selector.from_position, selector.to_position);
    if to != 0 && from > to {
        return invalid("selector", format!("{from} is behind {to}"));
    }
    let key_bytes = selector.key.as_ref().map_or(0, |key| key.len() as u64);
    at_most("selector", key_bytes, MESSAGE_KEY_BYTES_MAX as u64, "bytes of a key")?;
    filter::check(selector.filter.as_ref()).map(drop)
}
