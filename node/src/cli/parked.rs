//! `quorate parked list|redrive|discard`.

use bytes::Bytes;
use quorate_client::{Filter, Selector};
use serde_json::json;

use super::Failure;
use super::frame::Frame;
use super::options::Options;
use super::output::{Format, print_json, print_line};
use super::peek;
use super::watch::Watch;

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// The parked messages, with the reasons of their failures.
    List(List),
    /// Make parked messages ready again in their places, as if they had never failed.
    #[command(after_help = "\
Examples:
  How many it would be:
    quorate parked redrive orders --dry-run
  Those of one key, then all of them, a hundred a second:
    quorate parked redrive orders --where key=anna
    quorate parked redrive orders --rate 100
")]
    Redrive(Unpark),
    /// Let parked messages go.
    #[command(after_help = "\
Examples:
  How many it would be:
    quorate parked discard orders --where position=1..9 --dry-run
  Those with a header, of another subscription:
    quorate parked discard orders --sub billing --where header.tier=gold
")]
    Discard(Unpark),
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  What failed for good, and why:
    quorate parked list orders
  Only some of it:
    quorate parked list orders --where key=anna --where 'subject=orders.>'
  As it grows:
    quorate parked list orders --watch
")]
pub(super) struct List {
    /// The queue.
    queue: String,
    /// The subscription.
    #[arg(long, value_name = "NAME", default_value = "default")]
    sub: String,
    #[command(flatten)]
    which: Which,
    /// At most so many messages.
    #[arg(long, value_name = "N", default_value_t = 20)]
    count: u64,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
pub(super) struct Unpark {
    /// The queue.
    queue: String,
    /// The subscription.
    #[arg(long, value_name = "NAME", default_value = "default")]
    sub: String,
    #[command(flatten)]
    which: Which,
    /// At most so many a second; the cluster carries on by itself [default: as fast as it goes].
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Only say how many it would be.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    options: Options,
}

/// Which of the parked messages.
#[derive(clap::Args)]
pub(super) struct Which {
    /// Only those that match: key=K, subject=PATTERN, header.NAME=VALUE, position=P or position=P..Q; may be repeated, then
    /// all have to match.
    #[arg(long = "where", value_name = "FIELD=VALUE", value_parser = condition)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    Key(String),
    Subject(String),
    Header(String, String),
    Positions(u64, u64),
}

fn condition(text: &str) -> Result<Condition, String> {
    let bad = || {
        format!("{text:?} is none of key=K, subject=PATTERN, header.NAME=VALUE, position=P, position=P..Q")
    };
    let (field, value) = text.split_once('=').ok_or_else(bad)?;
    match (field, field.strip_prefix("header.")) {
        ("key", _) => Ok(Condition::Key(value.into())),
        ("subject", _) => Ok(Condition::Subject(value.into())),
        ("position", _) => {
            let (from, to) = value.split_once("..").unwrap_or((value, value));
            let number = |text: &str| text.parse::<u64>().ok().filter(|position| *position > 0);
            Ok(Condition::Positions(number(from).ok_or_else(bad)?, number(to).ok_or_else(bad)?))
        }
        (_, Some(name)) if !name.is_empty() => Ok(Condition::Header(name.into(), value.into())),
        _ => Err(bad()),
    }
}

impl Which {
    fn selector(&self) -> Selector {
        let (mut selector, mut filter) = (Selector::default(), Filter::default());
        for condition in &self.conditions {
            match condition.clone() {
                Condition::Key(key) => selector.key = Some(Bytes::from(key)),
                Condition::Subject(subject) => filter.subject = subject,
                Condition::Header(name, value) => filter.headers.push((name, value.into())),
                Condition::Positions(from, to) => {
                    (selector.from_position, selector.to_position) = (from, to);
                }
            }
        }
        selector.filter = (filter != Filter::default()).then_some(filter);
        selector
    }
}

pub(super) async fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::List(args) => {
            let (selector, queues) = (args.which.selector(), args.watch.client(&args.options)?.queues());
            let look = async |frame: &mut Frame| {
                peek::parked(&queues, &args.queue, &args.sub, &selector, args.count, frame).await
            };
            args.watch.show(&args.options, look).await
        }
        Verb::Redrive(args) => unpark(args, true).await,
        Verb::Discard(args) => unpark(args, false).await,
    }
}

async fn unpark(args: Unpark, redrive: bool) -> Result<(), Failure> {
    let selector = args.which.selector();
    let past = if redrive { "redriven" } else { "discarded" };
    if args.dry_run {
        let queues = args.options.client()?.queues();
        let found = peek::count_parked(&queues, &args.queue, &args.sub, &selector).await?;
        return match args.options.output {
            Format::Json => print_json(&json!({ "would_be": past, "messages": found })),
            Format::Table => print_line(&format!("{found} messages would be {past}")),
        };
    }
    let subs = args.options.client()?.subscriptions(&args.queue);
    let rate = args.rate.unwrap_or(0);
    let answer = match redrive {
        true => subs.redrive(&args.sub, &selector, rate).await?,
        false => subs.discard(&args.sub, &selector, rate).await?,
    };
    match args.options.output {
        Format::Json => {
            let mut object = json!({ "messages": answer.messages });
            if answer.job != 0 {
                object["job"] = answer.job.into();
            }
            print_json(&object)
        }
        Format::Table if answer.job != 0 => {
            let rest = format!("job {} carries on with the rest", answer.job);
            print_line(&format!("{} messages {past}; {rest}", answer.messages))
        }
        Format::Table => print_line(&format!("{} messages {past}", answer.messages)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        assert_eq!(condition("key=a=b"), Ok(Condition::Key("a=b".into())));
        assert_eq!(condition("position=7"), Ok(Condition::Positions(7, 7)));
        assert_eq!(condition("position=7..9"), Ok(Condition::Positions(7, 9)));
        assert_eq!(condition("header.tenant=x"), Ok(Condition::Header("tenant".into(), "x".into())));
        for bad in ["key", "position=0", "position=a", "header.=x", "body=x", ""] {
            assert!(condition(bad).is_err(), "{bad}");
        }
    }
}
