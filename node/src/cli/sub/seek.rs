//! `quorate sub seek`.

use quorate_client::Start;
use serde_json::json;

use crate::cli::Failure;
use crate::cli::options::Options;
use crate::cli::output::{Format, print_json, print_line};
use crate::cli::units::start;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  Do everything again that is stored:
    quorate sub seek orders billing --to earliest
  Go on at a position, or at a time:
    quorate sub seek orders billing --to 3
    quorate sub seek orders billing --to 2026-01-01T00:00:00Z
")]
pub(crate) struct Args {
    /// The queue.
    queue: String,
    /// The subscription.
    name: String,
    /// Where it goes on: at the first message that is stored, after the last, at a position, at a time.
    #[arg(long, value_name = "earliest|latest|POSITION|TIME", value_parser = start)]
    to: Start,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let subs = args.options.client()?.subscriptions(&args.queue);
    let position = subs.seek(&args.name, args.to).await?;
    match args.options.output {
        Format::Json => print_json(&json!({ "queue": args.queue, "name": args.name, "position": position })),
        Format::Table => print_line(&format!("{} of {} goes on at {position}", args.name, args.queue)),
    }
}
