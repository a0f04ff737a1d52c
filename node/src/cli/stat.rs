//! `quorate stat`.

use quorate_client::wire;
use serde_json::{Value, json};

use super::Failure;
use super::options::Options;
use super::output::{Format, print_json, print_table, table};
use super::units::{age, bytes_for_people};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The queue.
    queue: String,
    /// The subscription.
    #[arg(long, default_value = "default")]
    sub: String,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let stat = args.options.client()?.queues().stat(&args.queue, &args.sub).await?;
    if args.options.output == Format::Json {
        return print_json(&to_json(&stat));
    }
    print_figures(&stat)
}

/// The figures as a table.
pub(super) fn print_figures(stat: &wire::StatResponse) -> Result<(), Failure> {
    let mut out = table(&[
        "LENGTH",
        "READY",
        "LEASED",
        "DELAYED",
        "RETRYING",
        "PARKED",
        "BYTES",
        "FIRST",
        "LAST",
        "OLDEST",
        "CONSUMERS",
    ]);
    out.add_row([
        stat.length.to_string(),
        stat.ready.to_string(),
        stat.leased.to_string(),
        stat.delayed.to_string(),
        stat.retrying.to_string(),
        stat.parked.to_string(),
        bytes_for_people(stat.bytes),
        stat.first_position.to_string(),
        stat.last_position.to_string(),
        age(stat.oldest_age_ms),
        stat.consumers.to_string(),
    ]);
    print_table(&out)
}

pub(super) fn to_json(stat: &wire::StatResponse) -> Value {
    json!({
        "length": stat.length,
        "ready": stat.ready,
        "leased": stat.leased,
        "delayed": stat.delayed,
        "retrying": stat.retrying,
        "parked": stat.parked,
        "bytes": stat.bytes,
        "first_position": stat.first_position,
        "last_position": stat.last_position,
        "oldest_age_ms": stat.oldest_age_ms,
    })
}
