//! `quorate queue create`.

use std::time::Duration;

use quorate_client::QueueSettings;

use super::retain::{self, Rule, rule};
use super::to_json;
use crate::cli::Failure;
use crate::cli::options::Options;
use crate::cli::output::{Format, print_json, print_line};
use crate::cli::sub::settings::{FullArg, OrderArg, SubFlags};
use crate::cli::units::{duration, size};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  A work queue:
    quorate queue create orders
  The order of each key; what fails five times is set aside with its key:
    quorate queue create payments --order key --max-attempts 5 \\
      --on-exhausted park-key
  One message after the other, and time to work on each:
    quorate queue create ledger --order total --lease 1m --backoff 1s..10m
  A log of the last week, of all that is published to these subjects:
    quorate queue create journal --retain for:7d --route 'orders.>'
")]
pub(crate) struct Args {
    /// 1 to 128 characters of a-z A-Z 0-9 . _ -, the first a letter or digit.
    name: String,
    /// How long after it was due a message expires that does not say so itself [default: never].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
    /// Let messages have priorities; only with --order none.
    #[arg(long)]
    priorities: bool,
    /// Most messages that any subscription may have, 1 or more [default: no limit].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_length: Option<u64>,
    /// Most bytes of messages that any subscription may have, such as 10GiB [default: no limit].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// What happens to a publish that there is no room for; needs a limit [default: reject].
    #[arg(long, value_enum)]
    on_full: Option<FullArg>,
    /// When messages leave the disk: until-done, for:7d, size:10GiB, count:1000000, latest-per-key; may be given several times [default: until-done].
    #[arg(long, value_name = "RULE", value_parser = rule)]
    retain: Vec<Rule>,
    /// What is published to subjects of this pattern gets into the queue, such as orders.*.created or orders.>; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    route: Vec<String>,
    /// How the default subscription orders what it hands out.
    #[arg(long, value_enum, default_value_t = OrderArg::None)]
    order: OrderArg,
    #[command(flatten)]
    default_subscription: SubFlags,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let settings = QueueSettings {
        default_subscription: args.default_subscription.settings(args.order)?,
        ttl: args.ttl,
        priorities: args.priorities,
        max_length: args.max_length,
        max_bytes: args.max_bytes,
        on_full: args.on_full.map(FullArg::setting),
        retain: retain::all(&args.retain)?,
        routes: args.route,
    };
    let answer = args.options.client()?.queues().create(&args.name, settings).await?;
    let queue = answer.queue.unwrap_or_default();
    match args.options.output {
        Format::Json => {
            let mut object = to_json(&queue);
            object["created"] = answer.created.into();
            print_json(&object)
        }
        Format::Table if answer.created => print_line(&format!("created {}", queue.name)),
        Format::Table => print_line(&format!("{} was there already, with the same settings", queue.name)),
    }
}
