//! `quorate read`: a queue like a log, without leasing anything.

use std::ops::Range;

use quorate_client::{Start, StoredMessage};
use serde_json::{Map, Value, json};

use super::Failure;
use super::json::{headers, printable, put_bytes, put_key};
use super::options::Options;
use super::output::{Format, print_bytes_line, print_json, print_line, warn};
use super::stop::Stop;
use super::units::{rfc3339, start};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  All that is stored, whoever is done with it:
    quorate read orders
  Ten from a position on:
    quorate read orders --from 3 --count 10
  What comes from now on, bare, until Ctrl-C:
    quorate read orders --from latest --follow --body
  From a time on, for a program:
    quorate read orders --from 2026-01-01T00:00:00Z -o json
")]
pub(super) struct Args {
    /// The queue.
    queue: String,
    /// Where to begin: at the first message that is stored, after the last, at a position, at a time.
    #[arg(long, value_name = "earliest|latest|POSITION|TIME", default_value = "earliest", value_parser = start)]
    from: Start,
    /// Ends after so many messages [default: at the last].
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Waits at the end for new messages.
    #[arg(long)]
    follow: bool,
    /// Bare bodies, a line each.
    #[arg(long)]
    body: bool,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let count = args.count.unwrap_or(0);
    if args.count == Some(0) {
        return Ok(());
    }
    let mut reader = args.options.client()?.queues().read(&args.queue, args.from, count, args.follow);
    loop {
        let next = tokio::select! {
            biased;
            () = stop.asked() => return Ok(()),
            next = reader.next() => next,
        };
        match next {
            None => {
                reader.missing().for_each(|range| note(&range));
                return Ok(());
            }
            Some(Ok(stored)) => show(&args, &stored)?,
            Some(Err(error)) if args.follow && error.retryable() => {
                warn(&format!("{error}; still trying"));
            }
            Some(Err(error)) => return Err(error.into()),
        }
    }
}

fn note(missing: &Range<u64>) {
    match missing.end - missing.start {
        1 => eprintln!("note: position {} is not stored any more", missing.start),
        _ => eprintln!("note: positions {} to {} are not stored any more", missing.start, missing.end - 1),
    }
}

fn show(args: &Args, stored: &StoredMessage) -> Result<(), Failure> {
    stored.missing.iter().for_each(note);
    if args.body {
        return print_bytes_line(&stored.body);
    }
    if args.options.output == Format::Json {
        return print_json(&to_json(stored));
    }
    let key = printable(&stored.meta.key, usize::MAX);
    print_line(&format!("{}\t{key}\t{}", stored.position, printable(&stored.body, usize::MAX)))
}

fn to_json(stored: &StoredMessage) -> Value {
    let mut object = Map::new();
    object.insert("position".into(), stored.position.into());
    put_key(&mut object, &stored.meta.key);
    put_bytes(&mut object, "body", &stored.body);
    let pairs = stored.meta.headers.iter().map(|(name, value)| (name.as_str(), &value[..]));
    object.insert("headers".into(), headers(pairs));
    object.insert("published_at".into(), rfc3339(stored.published_at_ms).into());
    if !stored.missing.is_empty() {
        let range = |range: &Range<u64>| json!({ "first": range.start, "last": range.end - 1 });
        object.insert("missing".into(), stored.missing.iter().map(range).collect());
    }
    if !stored.meta.id.is_empty() {
        object.insert("id".into(), stored.meta.id.clone().into());
    }
    if !stored.meta.subject.is_empty() {
        object.insert("subject".into(), stored.meta.subject.clone().into());
    }
    Value::Object(object)
}
