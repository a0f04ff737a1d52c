//! `quorate queue update`: what is not named stays as it is.

use std::time::Duration;

use serde_json::json;

use super::retain::{self, Rule, rule};
use crate::cli::Failure;
use crate::cli::options::Options;
use crate::cli::output::{Format, print_json, print_line};
use crate::cli::sub::settings::{FullArg, SubFlags};
use crate::cli::sub::update::update_sub;
use crate::cli::units::{duration, size};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  More time for each message, and more attempts:
    quorate queue update orders --lease 2m --max-attempts 10
  No more than a million; publishers are refused then:
    quorate queue update orders --max-length 1000000 --on-full reject
  Other routes in place of those it has:
    quorate queue update orders --route 'orders.*.paid' --route 'bills.>'
")]
pub(crate) struct Args {
    /// The queue.
    name: String,
    /// How long after it was due a message expires that does not say so itself; 0: never. Concerns what is published from now on.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
    /// Whether messages may have priorities.
    #[arg(long, value_name = "BOOL")]
    priorities: Option<bool>,
    /// Most messages that any subscription may have; 0: no limit.
    #[arg(long, value_name = "N")]
    max_length: Option<u64>,
    /// Most bytes of messages that any subscription may have; 0: no limit.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// What happens to a publish that there is no room for.
    #[arg(long, value_enum)]
    on_full: Option<FullArg>,
    /// When messages leave the disk: until-done, for:7d, size:10GiB, count:1000000, latest-per-key; may be given several times, and together they replace what was said before.
    #[arg(long, value_name = "RULE", value_parser = rule)]
    retain: Vec<Rule>,
    /// What is published to subjects of this pattern gets into the queue; may be given several times, and together they replace the routes of before.
    #[arg(long, value_name = "PATTERN")]
    route: Vec<String>,
    /// Take all routes away.
    #[arg(long, conflicts_with = "route")]
    no_routes: bool,
    #[command(flatten)]
    default_subscription: SubFlags,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let client = args.options.client()?;
    let limits = args.max_length.is_some() || args.max_bytes.is_some() || args.on_full.is_some();
    let routes = args.no_routes || !args.route.is_empty();
    if args.ttl.is_some() || args.priorities.is_some() || limits || !args.retain.is_empty() || routes {
        let shown = client.queues().show(&args.name).await?.queue.unwrap_or_default();
        let mut settings = shown.settings.unwrap_or_default();
        if let Some(ttl) = args.ttl {
            settings.ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        }
        settings.priorities = args.priorities.unwrap_or(settings.priorities);
        settings.max_length = args.max_length.unwrap_or(settings.max_length);
        settings.max_bytes = args.max_bytes.unwrap_or(settings.max_bytes);
        let limited = settings.max_length != 0 || settings.max_bytes != 0;
        settings.on_full = FullArg::changed(args.on_full, limited, settings.on_full);
        if !args.retain.is_empty() {
            let mut given = retain::all(&args.retain)?;
            // It stays as it was set.
            given.latest_per_key |= settings.retain.unwrap_or_default().latest_per_key;
            settings.retain = Some(given.to_wire()?);
        }
        if routes {
            settings.routes = args.route;
        }
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
