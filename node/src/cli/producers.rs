//! `quorate producers`: the producer sessions that are remembered.

use quorate_client::wire;
use serde_json::{Value, json};

use super::Failure;
use super::frame::Frame;
use super::options::Options;
use super::output::{Format, table};
use super::units::{age, rfc3339};
use super::watch::Watch;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  Who published lately, and how far it got:
    quorate producers
  For a program, every five seconds:
    quorate producers -o json --watch 5s
")]
pub(super) struct Args {
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let queues = args.watch.client(&args.options)?.queues();
    let look = async |frame: &mut Frame| {
        let sessions = queues.producers().await?;
        if frame.format == Format::Json {
            return sessions.iter().try_for_each(|session| frame.json(&to_json(session)));
        }
        let mut out = table(&["NAME", "EPOCH", "LAST", "ACKED", "USED", "TTL"]);
        for session in &sessions {
            out.add_row([
                session.name.clone(),
                session.epoch.to_string(),
                session.last_seq.to_string(),
                session.acked_seq.to_string(),
                rfc3339(session.used_at_ms),
                age(session.ttl_ms),
            ]);
        }
        frame.table(&out)
    };
    args.watch.show(&args.options, look).await
}

fn to_json(session: &wire::ProducerSession) -> Value {
    json!({
        "name": session.name,
        "epoch": session.epoch,
        "last_seq": session.last_seq,
        "acked_seq": session.acked_seq,
        "used_at": rfc3339(session.used_at_ms),
        "ttl_ms": session.ttl_ms,
    })
}
