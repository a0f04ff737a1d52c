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
pub(super) struct Args {
    /// The subject, such as orders.eu.created.
    subject: String,
    /// The body.
    body: String,
    /// Its key.
    #[arg(long, default_value = "")]
    key: String,
    /// Its id.
    #[arg(long, default_value = "")]
    id: String,
    /// It is due so long after it was published.
    #[arg(long, value_parser = duration)]
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
