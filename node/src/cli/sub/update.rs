//! `quorate sub update`: what is not named stays as it is.

use quorate_client::Client;
use serde_json::json;

use super::find;
use super::settings::SubFlags;
use crate::cli::Failure;
use crate::cli::options::Options;
use crate::cli::output::{Format, print_json, print_line};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  More time for each message:
    quorate sub update orders billing --lease 5m
  Let go what has failed five times:
    quorate sub update orders billing --max-attempts 5 \\
      --on-exhausted discard
  Let it fall a million messages behind, and no further:
    quorate sub update orders billing --max-lag 1000000 \\
      --on-lag drop-oldest
")]
pub(crate) struct Args {
    /// The queue.
    queue: String,
    /// The subscription.
    name: String,
    #[command(flatten)]
    flags: SubFlags,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let client = args.options.client()?;
    let revision = update_sub(&client, &args.queue, &args.name, &args.flags).await?;
    match args.options.output {
        Format::Json => print_json(&json!({ "queue": args.queue, "name": args.name, "revision": revision })),
        Format::Table => print_line(&format!("updated {} of {}", args.name, args.queue)),
    }
}

/// Reads the settings, changes what was named, and writes them if nobody changed them meanwhile.
pub(in crate::cli) async fn update_sub(
    client: &Client,
    queue: &str,
    name: &str,
    flags: &SubFlags,
) -> Result<u64, Failure> {
    let sub = find(client, queue, name).await?;
    let mut settings = sub.settings.unwrap_or_default();
    flags.change(&mut settings);
    Ok(client.subscriptions(queue).update(&sub.name, settings, sub.revision).await?)
}
