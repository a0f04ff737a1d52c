//! `quorate queue update`: what is not named stays as it is.

use std::time::Duration;

use serde_json::json;

use crate::cli::Failure;
use crate::cli::options::Options;
use crate::cli::output::{Format, print_json, print_line};
use crate::cli::sub::settings::SubFlags;
use crate::cli::sub::update::update_sub;
use crate::cli::units::duration;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The queue.
    name: String,
    /// How long after it was due a message expires that does not say so itself; 0: never. Concerns what is published from now on.
    #[arg(long, value_parser = duration)]
    ttl: Option<Duration>,
    /// Whether messages may have priorities.
    #[arg(long)]
    priorities: Option<bool>,
    #[command(flatten)]
    default_subscription: SubFlags,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let client = args.options.client()?;
    if args.ttl.is_some() || args.priorities.is_some() {
        let shown = client.queues().show(&args.name).await?.queue.unwrap_or_default();
        let mut settings = shown.settings.unwrap_or_default();
        if let Some(ttl) = args.ttl {
            settings.ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        }
        settings.priorities = args.priorities.unwrap_or(settings.priorities);
        client.queues().update(&args.name, settings, shown.revision).await?;
    }
    if args.default_subscription.is_given() {
        update_sub(&client, &args.name, "default", &args.default_subscription).await?;
    }
    match args.options.output {
        Format::Json => print_json(&json!({ "name": args.name, "updated": true })),
        Format::Table => print_line(&format!("updated {}", args.name)),
    }
}
