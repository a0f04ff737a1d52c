//! `quorate peek`.

use quorate_client::{Peek, Queues, Selector, wire};
use quorate_machine::pattern;
use serde_json::{Map, Value, json};

use super::Failure;
use super::frame::Frame;
use super::json::{headers, printable, put_bytes, put_key};
use super::options::Options;
use super::output::{Format, print_json, print_table, table};
use super::units::rfc3339;

/// Most that one question may ask for.
const PAGE_MAX: u32 = 1000;
/// Characters of a body that a table shows.
const BODY_CHARS: usize = 60;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  The oldest messages that are not done:
    quorate peek orders
  Five from a position on:
    quorate peek orders --from 3 --count 5
  What another subscription has failed at, with every failure:
    quorate peek orders --sub billing --state parked -o json
")]
pub(super) struct Args {
    /// The queue.
    queue: String,
    /// The subscription.
    #[arg(long, value_name = "NAME", default_value = "default")]
    sub: String,
    /// The first position to look at [default: the oldest].
    #[arg(long, value_name = "POSITION", default_value_t = 0, hide_default_value = true)]
    from: u64,
    /// At most so many messages.
    #[arg(long, value_name = "N", default_value_t = 20)]
    count: u64,
    /// Only messages in this state [default: all that are not done].
    #[arg(long, value_enum)]
    state: Option<State>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::ValueEnum, Clone, Copy)]
enum State {
    Ready,
    Leased,
    Delayed,
    Retrying,
    Parked,
    Done,
}

/// Lists parked messages.
pub(super) async fn parked(
    queues: &Queues,
    queue: &str,
    sub: &str,
    which: &Selector,
    count: u64,
    frame: &mut Frame,
) -> Result<(), Failure> {
    let mut out = table(&["POSITION", "ATTEMPT", "PUBLISHED", "KEY", "BODY", "REASON"]);
    let listed = each_parked(queues, queue, sub, which, count, |peeked| {
        if frame.format == Format::Json {
            return frame.json(&to_json(peeked));
        }
        let [position, _, attempt, published, key, body] = row(peeked);
        let reason = peeked.failures.last().map(|failure| failure.reason.clone()).unwrap_or_default();
        out.add_row([position, attempt, published, key, body, reason]);
        Ok(())
    });
    listed.await?;
    if frame.format == Format::Table { frame.table(&out) } else { Ok(()) }
}

/// Counts parked messages.
pub(super) async fn count_parked(
    queues: &Queues,
    queue: &str,
    sub: &str,
    which: &Selector,
) -> Result<u64, Failure> {
    each_parked(queues, queue, sub, which, u64::MAX, |_| Ok(())).await
}

async fn each_parked(
    queues: &Queues,
    queue: &str,
    sub: &str,
    which: &Selector,
    count: u64,
    mut each: impl FnMut(&wire::PeekedMessage) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let state = Some(wire::MessageState::Parked);
    let mut what =
        Peek { subscription: sub.to_owned(), from_position: which.from_position, count: PAGE_MAX, state };
    let mut found = 0;
    loop {
        let page = queues.peek(queue, &what).await?;
        for peeked in page.messages.iter().filter(|peeked| selects(which, peeked)) {
            if found == count {
                return Ok(found);
            }
            found += 1;
            each(peeked)?;
        }
        let last = which.to_position != 0 && page.next_position > which.to_position;
        if page.next_position <= what.from_position || last {
            return Ok(found); // the end of the queue
        }
        what.from_position = page.next_position;
    }
}

fn selects(which: &Selector, peeked: &wire::PeekedMessage) -> bool {
    let message = peeked.message.clone().unwrap_or_default();
    let has = |(name, value): &(String, bytes::Bytes)| {
        message.headers.iter().any(|header| header.name == *name && header.value == *value)
    };
    let taken = which.filter.as_ref().is_none_or(|filter| {
        let subject = filter.subject.is_empty() || pattern::matches(&filter.subject, &message.subject);
        subject && filter.headers.iter().all(has)
    });
    let within = which.to_position == 0 || peeked.position <= which.to_position;
    taken && within && which.key.as_ref().is_none_or(|key| message.key == *key)
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let queues = args.options.client()?.queues();
    let mut what = Peek {
        subscription: args.sub.clone(),
        from_position: args.from,
        count: 0,
        state: args.state.map(to_wire),
    };
    let mut left = args.count;
    let mut out = table(&["POSITION", "STATE", "ATTEMPT", "PUBLISHED", "KEY", "BODY"]);
    while left > 0 {
        what.count = u32::try_from(left).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let page = queues.peek(&args.queue, &what).await?;
        left = left.saturating_sub(page.messages.len() as u64);
        for peeked in &page.messages {
            match args.options.output {
                Format::Json => print_json(&to_json(peeked))?,
                Format::Table => {
                    out.add_row(row(peeked));
                }
            }
        }
        if page.next_position <= what.from_position {
            break; // the end of the queue
        }
        what.from_position = page.next_position;
    }
    if args.options.output == Format::Table { print_table(&out) } else { Ok(()) }
}

fn row(peeked: &wire::PeekedMessage) -> [String; 6] {
    let message = peeked.message.clone().unwrap_or_default();
    [
        peeked.position.to_string(),
        state_name(peeked.state()).to_owned(),
        peeked.attempt.to_string(),
        rfc3339(peeked.published_at_ms),
        printable(&message.key, 24),
        printable(&message.body, BODY_CHARS),
    ]
}

fn to_json(peeked: &wire::PeekedMessage) -> Value {
    let message = peeked.message.clone().unwrap_or_default();
    let mut object = Map::new();
    object.insert("position".into(), peeked.position.into());
    object.insert("state".into(), state_name(peeked.state()).into());
    put_key(&mut object, &message.key);
    put_bytes(&mut object, "body", &message.body);
    object.insert("attempt".into(), peeked.attempt.into());
    if peeked.token > 0 {
        object.insert("token".into(), peeked.token.into());
    }
    if peeked.due_at_ms > 0 {
        object.insert("due_at".into(), rfc3339(peeked.due_at_ms).into());
    }
    if !message.id.is_empty() {
        object.insert("id".into(), message.id.into());
    }
    if !message.subject.is_empty() {
        object.insert("subject".into(), message.subject.into());
    }
    let pairs = message.headers.iter().map(|header| (header.name.as_str(), &header.value[..]));
    object.insert("headers".into(), headers(pairs));
    object.insert("published_at".into(), rfc3339(peeked.published_at_ms).into());
    if message.priority > 0 {
        object.insert("priority".into(), message.priority.into());
    }
    if !peeked.failures.is_empty() {
        let failure = |failure: &wire::MessageFailure| {
            json!({
                "at": rfc3339(failure.time_ms),
                "attempt": failure.attempt,
                "reason": failure.reason,
            })
        };
        object.insert("failures".into(), peeked.failures.iter().map(failure).collect());
    }
    Value::Object(object)
}

fn to_wire(state: State) -> wire::MessageState {
    match state {
        State::Ready => wire::MessageState::Ready,
        State::Leased => wire::MessageState::Leased,
        State::Delayed => wire::MessageState::Delayed,
        State::Retrying => wire::MessageState::Retrying,
        State::Parked => wire::MessageState::Parked,
        State::Done => wire::MessageState::Done,
    }
}

fn state_name(state: wire::MessageState) -> &'static str {
    match state {
        wire::MessageState::Unspecified => "unknown",
        wire::MessageState::Ready => "ready",
        wire::MessageState::Leased => "leased",
        wire::MessageState::Delayed => "delayed",
        wire::MessageState::Retrying => "retrying",
        wire::MessageState::Parked => "parked",
        wire::MessageState::Done => "done",
    }
}
