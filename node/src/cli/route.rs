//! `quorate route`: publish a message to a subject.

use std::time::Duration;

use bytes::Bytes;
use quorate_client::Message;
use serde_json::json;

use super::Failure;
use super::options::Options;
use super::output::{Format, print_json, print_line};
use super::units::duration;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  Whatever queues have a route for the subject get it:
    quorate queue update orders --route 'orders.>'
    quorate route orders.eu.created '{\"id\":7}'
  With a key, and which queues got it, for a program:
    quorate route orders.us.paid '{\"id\":8}' --key anna -o json
")]
pub(super) struct Args {
    /// The subject, such as orders.eu.created.
    subject: String,
    /// The body, at most 16 MiB.
    body: String,
    /// Its key.
    #[arg(long, default_value = "", hide_default_value = true)]
    key: String,
    /// Its id.
    #[arg(long, default_value = "", hide_default_value = true)]
    id: String,
    /// It is due so long after it was published [default: at once].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    delay: Option<Duration>,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let mut message = Message::new(Bytes::from(args.body)).subject(args.subject).key(args.key).id(args.id);
    message.meta.delay = args.delay;
    let committed = args.options.client()?.transaction().route_raw(message).commit().await?;
    for placed in &committed.published {
        for receipt in &placed.receipts {
            match args.options.output {
                Format::Json => print_json(&json!({
                    "queue": placed.queue,
                    "position": receipt.position,
                    "duplicate": receipt.duplicate,
                }))?,
                Format::Table => {
                    print_line(&format!("stored at position {} of {}", receipt.position, placed.queue))?
                }
            }
        }
    }
    Ok(())
}
