//! `quorate sub create`.

use quorate_client::Start;

use super::settings::{OrderArg, SubFlags, to_json};
use crate::cli::Failure;
use crate::cli::options::Options;
use crate::cli::output::{Format, print_json, print_line};
use crate::cli::units::start;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  From the first message that is stored:
    quorate sub create orders audit
  Only some messages, from now on:
    quorate sub create orders eu --filter 'orders.eu.>' --from latest
  Those with a header, since a time:
    quorate sub create orders gold --filter-header tier=gold \\
      --from 2026-01-01T00:00:00Z
")]
pub(crate) struct Args {
    /// The queue.
    queue: String,
    /// 1 to 128 characters of a-z A-Z 0-9 . _ -, the first a letter or digit.
    name: String,
    /// Where it begins: at the first message that is stored, after the last, at a position, at a time.
    #[arg(long, value_name = "earliest|latest|POSITION|TIME", default_value = "earliest", value_parser = start)]
    from: Start,
    /// How it orders what it hands out.
    #[arg(long, value_enum, default_value_t = OrderArg::None)]
    order: OrderArg,
    #[command(flatten)]
    flags: SubFlags,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let settings = args.flags.settings(args.order)?;
    let subs = args.options.client()?.subscriptions(&args.queue);
    let answer = subs.create(&args.name, &settings, args.from).await?;
    match args.options.output {
        Format::Json => {
            let mut object = to_json(&answer.settings.unwrap_or_default());
            object["queue"] = args.queue.into();
            object["name"] = args.name.into();
            object["created"] = answer.created.into();
            print_json(&object)
        }
        Format::Table if answer.created => print_line(&format!("created {} of {}", args.name, args.queue)),
        Format::Table => print_line(&format!("{} was there already, with the same settings", args.name)),
    }
}
