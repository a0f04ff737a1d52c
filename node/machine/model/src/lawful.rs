//! What a command may say, whatever the state is. It is looked at before anything else, in the order of the fields below.

use quorate_machine::command::{Condition, Filter, LeaseRange, Order, Outcome, SettleRange, Transact, Verb};
use quorate_machine::limits::{
    MESSAGE_ID_BYTES_MAX, MESSAGE_KEY_BYTES_MAX, PUBLISH_MESSAGES_MAX, REASON_BYTES_MAX, SETTLE_MESSAGES_MAX,
    SETTLE_RANGES_MAX,
};
use quorate_machine::reply::Refusal;

use crate::fields::{self, require};
use crate::naive::invalid;

pub(crate) fn lawful(verb: &Verb) -> Result<(), Refusal> {
    match verb {
        Verb::CreateQueue(one) => {
            names(&one.namespace, &[("name", &one.name)])?;
            let settings = fields::settings(&one.settings)?;
            let queue = fields::queue_settings(&one.queue)?;
            filter(one.filter.as_ref())?;
            require(!queue.priorities || settings.order() == Order::None, "priorities")?;
            fields::routes(&one.routes)
        }
        Verb::UpdateQueue(one) => {
            names(&one.namespace, &[("name", &one.name)])?;
            fields::queue_settings(&one.queue)?;
            fields::routes(&one.routes)
        }
        Verb::DeleteQueue(one) => names(&one.namespace, &[("name", &one.name)]),
        Verb::Purge(one) => names(&one.namespace, &[("name", &one.name)]),
        Verb::CreateSub(one) => {
            names(&one.namespace, &[("queue", &one.queue), ("name", &one.name)])?;
            fields::settings(&one.settings)?;
            filter(one.filter.as_ref())?;
            start(one.start.kind)
        }
        Verb::UpdateSub(one) => {
            of_sub(&one.namespace, &one.queue, ("name", &one.name))?;
            fields::settings(&one.settings)?;
            filter(one.filter.as_ref())
        }
        Verb::DeleteSub(one) => of_sub(&one.namespace, &one.queue, ("name", &one.name)),
        Verb::Pause(one) => of_sub(&one.namespace, &one.queue, ("name", &one.name)),
        Verb::Seek(one) => {
            of_sub(&one.namespace, &one.queue, ("name", &one.name))?;
            start(one.to.kind)
        }
        Verb::Reschedule(one) => {
            names(&one.namespace, &[("queue", &one.queue)])?;
            require(one.position == 0 || one.id.is_empty(), "id")?;
            require(one.id.len() <= MESSAGE_ID_BYTES_MAX, "id")
        }
        Verb::Unpark(one) => {
            of_sub(&one.namespace, &one.queue, ("subscription", &one.subscription))?;
            fields::action(one.action)?;
            let longest = one.selector.key.as_ref().map_or(0, |key| key.len());
            require(longest <= MESSAGE_KEY_BYTES_MAX, "selector")?;
            fields::selector(&one.selector).map(drop)
        }
        _ => of_sessions(verb),
    }
}

fn of_sessions(verb: &Verb) -> Result<(), Refusal> {
    match verb {
        Verb::OpenProducer(one) => {
            names(&one.namespace, &[])?;
            fields::open(one).map(drop)
        }
        Verb::Publish(one) => {
            names(&one.namespace, &[("queue", &one.queue)])?;
            batch(&one.lengths, &one.messages)?;
            require(one.first_seq > 0 || one.producer == 0 && one.epoch == 0, "first_seq")
        }
        Verb::Transact(one) => transact(one),
        Verb::Attach(one) => {
            of_sub(&one.namespace, &one.queue, ("subscription", &one.subscription))?;
            fields::attach(one).map(drop)
        }
        Verb::Credit(one) => fields::credit(one.credit),
        Verb::Settle(one) => {
            counts("ranges", one.ranges.iter())?;
            reasons(&one.reasons)
        }
        _ => Ok(()),
    }
}

fn names(namespace: &str, given: &[(&'static str, &str)]) -> Result<(), Refusal> {
    require(namespace.is_empty() || fields::is_name(namespace), "namespace")?;
    given.iter().try_for_each(|(field, name)| require(fields::is_name(name), field))
}

fn of_sub(namespace: &str, queue: &str, (field, sub): (&'static str, &str)) -> Result<(), Refusal> {
    let sub = if sub.is_empty() { "default" } else { sub };
    names(namespace, &[("queue", queue), (field, sub)])
}

fn filter(given: Option<&Filter>) -> Result<(), Refusal> {
    fields::filter(given).map(drop)
}

fn start(kind: i32) -> Result<(), Refusal> {
    require((0..=4).contains(&kind), "start")
}

fn batch(lengths: &[u32], messages: &[u8]) -> Result<(), Refusal> {
    require(lengths.len() <= PUBLISH_MESSAGES_MAX, "messages")?;
    fields::messages(lengths, messages)
}

fn counts<'a>(field: &'static str, ranges: impl Iterator<Item = &'a SettleRange>) -> Result<(), Refusal> {
    let counts: Vec<u64> = ranges.map(|range| range.count.into()).collect();
    require(counts.len() <= SETTLE_RANGES_MAX && counts.iter().sum::<u64>() <= SETTLE_MESSAGES_MAX, field)
}

fn reasons(reasons: &[String]) -> Result<(), Refusal> {
    require(reasons.len() <= SETTLE_RANGES_MAX, "reasons")?;
    require(reasons.iter().all(|reason| reason.len() <= REASON_BYTES_MAX), "reason")
}

fn transact(one: &Transact) -> Result<(), Refusal> {
    names(&one.namespace, &[])?;
    require(one.seq > 0 || one.producer == 0 && one.epoch == 0, "seq")?;
    fields::transaction(one)?;
    for required in &one.require {
        match required.condition.as_ref().ok_or_else(|| invalid("require"))? {
            Condition::Version(wanted) => fields::key(&wanted.key)?,
            Condition::Tail(wanted) => names("", &[("queue", &wanted.queue)])?,
            Condition::LengthBelow(wanted) => {
                of_sub("", &wanted.queue, ("subscription", &wanted.subscription))?;
            }
            Condition::Held(LeaseRange { queue, subscription, first_position, count, first_token }) => {
                of_sub("", queue, ("subscription", subscription))?;
                let (first_position, count, first_token) = (*first_position, *count, *first_token);
                let outcome = Outcome::Extend.into();
                let range =
                    SettleRange { first_position, count, first_token, outcome, ..SettleRange::default() };
                fields::range(&range, &[])?;
            }
        }
    }
    reasons(&one.reasons)?;
    for lease in &one.settle {
        of_sub("", &lease.queue, ("subscription", &lease.subscription))?;
        fields::range(&lease.range, &one.reasons)?;
    }
    for publish in &one.publish {
        require(publish.queue.is_empty() || fields::is_name(&publish.queue), "queue")?;
        batch(&publish.lengths, &publish.messages)?;
    }
    one.put.iter().try_for_each(fields::put)
}
