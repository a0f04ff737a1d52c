//! `quorate state get|list|put|delete|wait`: the keyed state of a namespace.

use std::time::Duration;

use quorate_client::{State, StateEntry, Transaction};
use serde_json::{Map, Value, json};

use super::Failure;
use super::frame::Frame;
use super::json::{printable, put_bytes};
use super::options::Options;
use super::output::{Format, print_bytes_line, print_json, print_line, table};
use super::units::{duration, rfc3339};
use super::watch::Watch;

/// Longest value that a table shows, in characters.
const VALUE_CHARS: usize = 60;

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Print the value of a key; exit 1 if it is absent.
    Get(Get),
    /// The keys that begin with a prefix, in the order of their bytes.
    List(List),
    /// Write a key.
    Put(Put),
    /// Delete a key.
    Delete(Delete),
    /// Wait until a key has another version, and print it if it is not gone; exit 3 if that takes too long.
    Wait(Wait),
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  The value, bare:
    quorate state get order/1
  With its version, which `--if-version` takes:
    quorate state get order/1 -o json
  Until it changes, and on:
    quorate state get order/1 --watch
")]
pub(super) struct Get {
    /// The key.
    key: String,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  All keys:
    quorate state list
  Those of one kind, for a program:
    quorate state list order/ -o json
")]
pub(super) struct List {
    /// Only keys that begin with this.
    #[arg(default_value = "")]
    prefix: String,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  Whatever it was before:
    quorate state put order/1 paid
  Only if it is absent, and only for a while: a lock
    quorate state put lock/7 'worker a' --if-version 0 --ttl 30s
")]
pub(super) struct Put {
    /// The key, 1 to 200 bytes.
    key: String,
    /// The value, at most 64 KiB.
    value: String,
    /// Only if the key has this version; 0: only if it is absent [default: whatever it has].
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
    /// The key is absent again so long after [default: never].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  Whatever it has:
    quorate state delete order/1
  Only if nobody wrote it since it had this version:
    quorate state delete order/2 --if-version 2
")]
pub(super) struct Delete {
    /// The key.
    key: String,
    /// Only if the key has this version [default: whatever it has].
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  Until it is there:
    quorate state wait order/1
  Until it has another version than this one:
    quorate state wait order/1 --since 1 --for 10s
")]
pub(super) struct Wait {
    /// The key.
    key: String,
    /// The version that is known; 0: the key is absent.
    #[arg(long, value_name = "VERSION", default_value_t = 0)]
    since: u64,
    /// At most so long.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, default_value = "30s")]
    at_most: Duration,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Get(args) => get(args).await,
        Verb::List(args) => {
            let state = args.watch.client(&args.options)?.state();
            args.watch
                .show(&args.options, async |frame: &mut Frame| list(&state, &args.prefix, frame).await)
                .await
        }
        Verb::Put(args) => {
            let transaction = args.options.client()?.transaction();
            let transaction = transaction.put_for(&args.key, args.value, args.ttl);
            write(transaction, &args.key, args.if_version, "written", args.options.output).await
        }
        Verb::Delete(args) => {
            let transaction = args.options.client()?.transaction().delete(&args.key);
            write(transaction, &args.key, args.if_version, "deleted", args.options.output).await
        }
        Verb::Wait(args) => {
            let found = args.options.client()?.state().wait(&args.key, args.since, args.at_most).await?;
            if found.as_ref().map_or(0, |found| found.version) == args.since {
                let what = format!("the key {:?} did not change in time", args.key);
                return Err(Failure::time(what, "allow more time with --for"));
            }
            match (found, args.options.output) {
                (Some(found), format) => print(&found, format),
                (None, Format::Json) => print_json(&json!({ "key": args.key, "version": 0 })),
                (None, Format::Table) => Ok(()), // it is gone
            }
        }
    }
}

async fn write(
    transaction: Transaction,
    key: &str,
    if_version: Option<u64>,
    done: &str,
    format: Format,
) -> Result<(), Failure> {
    let transaction = match if_version {
        Some(version) => transaction.require_version(key, version),
        None => transaction,
    };
    let committed = transaction.commit().await?;
    let version = committed.versions.last().copied().unwrap_or_default();
    match format {
        Format::Json => print_json(&json!({ "key": key, "version": version })),
        Format::Table => print_line(&format!("{done} {key}, version {version}")),
    }
}

async fn get(args: Get) -> Result<(), Failure> {
    let state = args.watch.client(&args.options)?.state();
    let look = async |frame: &mut Frame| match (state.get(&args.key).await?, frame.format) {
        (Some(found), Format::Json) => frame.json(&object(&found)),
        (Some(found), Format::Table) => frame.bytes(&found.value),
        // Who watches a key waits for it.
        (None, Format::Json) if args.watch.is_on() => frame.json(&json!({ "key": args.key, "version": 0 })),
        (None, Format::Table) if args.watch.is_on() => frame.line("absent"),
        (None, _) => {
            let action = format!(
                "write it first: `quorate state put {} VALUE`, or look at `quorate state list`",
                args.key
            );
            Err(Failure::new(format!("the key {:?} is absent", args.key), action))
        }
    };
    args.watch.show(&args.options, look).await
}

async fn list(state: &State, prefix: &str, frame: &mut Frame) -> Result<(), Failure> {
    let mut after = String::new();
    let mut out = table(&["KEY", "VERSION", "EXPIRES", "VALUE"]);
    loop {
        let (entries, more) = state.list(prefix, &after).await?;
        for entry in &entries {
            after.clone_from(&entry.key);
            if frame.format == Format::Json {
                frame.json(&object(entry))?;
                continue;
            }
            let expires = if entry.expires_ms == 0 { String::new() } else { rfc3339(entry.expires_ms) };
            let value = printable(&entry.value, VALUE_CHARS);
            out.add_row([entry.key.clone(), entry.version.to_string(), expires, value]);
        }
        if !more {
            break;
        }
    }
    if frame.format == Format::Json { Ok(()) } else { frame.table(&out) }
}

fn print(entry: &StateEntry, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => print_json(&object(entry)),
        Format::Table => print_bytes_line(&entry.value),
    }
}

fn object(entry: &StateEntry) -> Value {
    let mut object = Map::new();
    object.insert("key".into(), entry.key.clone().into());
    object.insert("version".into(), entry.version.into());
    put_bytes(&mut object, "value", &entry.value);
    if entry.expires_ms != 0 {
        object.insert("expires_at".into(), rfc3339(entry.expires_ms).into());
    }
    Value::Object(object)
}
