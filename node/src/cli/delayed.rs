//! `quorate delayed cancel|reschedule`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_client::Client;
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

#[derive(clap::Args)]
pub(super) struct Cancel {
    /// The queue.
    queue: String,
    /// The message's position.
    position: u64,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
pub(super) struct Reschedule {
    /// The queue.
    queue: String,
    /// The message's position.
    position: u64,
    /// When it is due, such as 2026-12-24T18:00:00Z.
    #[arg(long, value_parser = time, required_unless_present = "delay", conflicts_with = "delay")]
    at: Option<SystemTime>,
    /// How long from now it is due, by this machine's clock.
    #[arg(long, value_parser = duration)]
    delay: Option<Duration>,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Cancel(args) => {
            args.options.client()?.queues().cancel(&args.queue, args.position).await?;
            done(&args.queue, args.position, "cancelled", &args.options)
        }
        Verb::Reschedule(args) => {
            let client: Client = args.options.client()?;
            let now = UNIX_EPOCH + Duration::from_millis(SystemClock.now_ms());
            let at = args.at.unwrap_or_else(|| now + args.delay.unwrap_or_default());
            client.queues().reschedule(&args.queue, args.position, at).await?;
            done(&args.queue, args.position, "rescheduled", &args.options)
        }
    }
}

fn done(queue: &str, position: u64, what: &str, options: &Options) -> Result<(), Failure> {
    match options.output {
        Format::Json => {
            let mut object = json!({ "queue": queue, "position": position });
            object[what] = true.into();
            print_json(&object)
        }
        Format::Table => print_line(&format!("{what} {position} of {queue}")),
    }
}
