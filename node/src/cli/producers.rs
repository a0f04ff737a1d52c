//! `quorate producers`: the producer sessions that are remembered.

use serde_json::json;

use super::Failure;
use super::options::Options;
use super::output::{Format, print_json, print_table, table};
use super::units::{age, rfc3339};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let sessions = args.options.client()?.queues().producers().await?;
    if args.options.output == Format::Json {
        return sessions.iter().try_for_each(|session| {
            print_json(&json!({
                "name": session.name,
                "epoch": session.epoch,
                "last_seq": session.last_seq,
                "acked_seq": session.acked_seq,
                "used_at": rfc3339(session.used_at_ms),
                "ttl_ms": session.ttl_ms,
            }))
        });
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
    print_table(&out)
}
