//! `quorate delayed cancel|reschedule`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_client::{Client, Which};
use serde_json::json;

use super::Failure;
use super::options::Options;
use super::output::{Format, print_json, print_line};
use super::units::{duration, time};
use crate::clock::{Clock as _, SystemClock};

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Take a message that is not due yet out of the queue.
    Cancel(Cancel),
    /// Have a message that is not due yet fall due at another time.
    Reschedule(Reschedule),
}

/// Which message.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Named {
    /// The message's position.
    position: Option<u64>,
    /// The message's id.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

impl Named {
    fn which(&self) -> Which {
        match &self.id {
            Some(id) => Which::Id(id.clone()),
            None => Which::At(self.position.unwrap_or_default()), // clap sees to it that there is one of them
        }
    }
}

#[derive(clap::Args)]
#[command(
    override_usage = "quorate delayed cancel [OPTIONS] <QUEUE> <POSITION|--id <ID>>",
    after_help = "\
Examples:
  By the position that `publish` told:
    quorate delayed cancel orders 7
  By its id:
    quorate delayed cancel orders --id remind-8
"
)]
pub(super) struct Cancel {
    /// The queue.
    queue: String,
    #[command(flatten)]
    message: Named,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
#[command(
    override_usage = "quorate delayed reschedule [OPTIONS] <--delay <DURATION>|--at <TIME>> <QUEUE> <POSITION|--id <ID>>",
    after_help = "\
Examples:
  An hour from now:
    quorate delayed reschedule orders 7 --delay 1h
  At a time:
    quorate delayed reschedule orders --id remind-8 \\
      --at 2040-12-24T18:00:00Z
"
)]
pub(super) struct Reschedule {
    /// The queue.
    queue: String,
    #[command(flatten)]
    message: Named,
    /// When it is due, such as 2026-12-24T18:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time, required_unless_present = "delay", conflicts_with = "delay")]
    at: Option<SystemTime>,
    /// How long from now it is due, by this machine's clock.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    delay: Option<Duration>,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Cancel(args) => {
            args.options.client()?.queues().cancel(&args.queue, args.message.which()).await?;
            done(&args.queue, &args.message, "cancelled", &args.options)
        }
        Verb::Reschedule(args) => {
            let client: Client = args.options.client()?;
            let now = UNIX_EPOCH + Duration::from_millis(SystemClock.now_ms());
            let at = args.at.unwrap_or_else(|| now + args.delay.unwrap_or_default());
            client.queues().reschedule(&args.queue, args.message.which(), at).await?;
            done(&args.queue, &args.message, "rescheduled", &args.options)
        }
    }
}

fn done(queue: &str, message: &Named, what: &str, options: &Options) -> Result<(), Failure> {
    match options.output {
        Format::Json => {
            let mut object = json!({ "queue": queue });
            match message.which() {
                Which::At(position) => object["position"] = position.into(),
                Which::Id(id) => object["id"] = id.into(),
            }
            object[what] = true.into();
            print_json(&object)
        }
        Format::Table => match message.which() {
            Which::At(position) => print_line(&format!("{what} {position} of {queue}")),
            Which::Id(id) => print_line(&format!("{what} {id} of {queue}")),
        },
    }
}
