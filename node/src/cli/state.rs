//! `quorate state get|list|put|delete|wait`: the keyed state of a namespace.

use std::time::Duration;

use quorate_client::{StateEntry, Transaction};
use serde_json::{Map, Value, json};

use super::Failure;
use super::json::{printable, put_bytes};
use super::options::Options;
use super::output::{Format, print_bytes_line, print_json, print_line, print_table, table};
use super::units::{duration, rfc3339};

/// Longest value that a table shows, in characters.
const VALUE_CHARS: usize = 60;

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Print the value of a key; exit 1 if it is absent.
    Get(Key),
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
pub(super) struct Key {
    /// The key.
    key: String,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
pub(super) struct List {
    /// Only keys that begin with this.
    #[arg(default_value = "")]
    prefix: String,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
pub(super) struct Put {
    /// The key, 1 to 200 bytes.
    key: String,
    /// The value, at most 64 KiB.
    value: String,
    /// Only if the key has this version; 0: only if it is absent.
    #[arg(long)]
    if_version: Option<u64>,
    /// The key is absent again so long after.
    #[arg(long, value_parser = duration)]
    ttl: Option<Duration>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
pub(super) struct Delete {
    /// The key.
    key: String,
    /// Only if the key has this version.
    #[arg(long)]
    if_version: Option<u64>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
pub(super) struct Wait {
    /// The key.
    key: String,
    /// The version that is known; 0: the key is absent.
    #[arg(long, default_value_t = 0)]
    since: u64,
    /// At most so long.
    #[arg(long = "for", value_parser = duration, default_value = "30s")]
    at_most: Duration,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Get(args) => {
            let found = args.options.client()?.state().get(&args.key).await?;
            let absent = || Failure::new(format!("the key {:?} is absent", args.key), "write it first");
            print(&found.ok_or_else(absent)?, args.options.output)
        }
        Verb::List(args) => list(args).await,
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
                return Err(Failure::time(what, "wait longer"));
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

async fn list(args: List) -> Result<(), Failure> {
    let state = args.options.client()?.state();
    let mut after = String::new();
    let mut out = table(&["KEY", "VERSION", "EXPIRES", "VALUE"]);
    loop {
        let (entries, more) = state.list(&args.prefix, &after).await?;
        for entry in &entries {
            after.clone_from(&entry.key);
            if args.options.output == Format::Json {
                print_json(&object(entry))?;
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
    if args.options.output == Format::Json { Ok(()) } else { print_table(&out) }
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
