//! `quorate stat`.

use quorate_client::wire;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Failure;
use super::frame::Frame;
use super::options::Options;
use super::output::{Format, table};
use super::units::{age, bytes_for_people};
use super::watch::Watch;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  How much there is to do:
    quorate stat orders
  Follow it, with what is published a second:
    quorate stat orders --watch
  Another subscription, for a program:
    quorate stat orders --sub billing -o json
")]
pub(super) struct Args {
    /// The queue.
    queue: String,
    /// The subscription.
    #[arg(long, value_name = "NAME", default_value = "default")]
    sub: String,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let queues = args.watch.client(&args.options)?.queues();
    let mut before: Option<(Instant, u64)> = None;
    let look = async |frame: &mut Frame| {
        let stat = queues.stat(&args.queue, &args.sub).await?;
        if frame.format == Format::Json {
            return frame.json(&to_json(&stat));
        }
        let now = Instant::now();
        let rate = before.and_then(|before| published(before, (now, stat.last_position)));
        before = Some((now, stat.last_position));
        figures(frame, &stat, args.watch.is_on().then(|| rate.unwrap_or_default()))
    };
    args.watch.show(&args.options, look).await
}

/// Messages published a second between two looks: positions have no gaps. Not after the queue was made anew.
fn published(before: (Instant, u64), now: (Instant, u64)) -> Option<String> {
    let seconds = now.0.saturating_duration_since(before.0).as_secs_f64();
    let messages = now.1.checked_sub(before.1)?;
    (seconds > 0.0).then(|| format!("{:.1}", messages as f64 / seconds))
}

/// The figures as a table, in a watch with what is published a second.
pub(super) fn figures(
    frame: &mut Frame,
    stat: &wire::StatResponse,
    published: Option<String>,
) -> Result<(), Failure> {
    let mut names = vec![
        "LENGTH",
        "READY",
        "LEASED",
        "DELAYED",
        "RETRYING",
        "PARKED",
        "BYTES",
        "FIRST",
        "LAST",
        "OLDEST",
        "CONSUMERS",
    ];
    let mut row = vec![
        stat.length.to_string(),
        stat.ready.to_string(),
        stat.leased.to_string(),
        stat.delayed.to_string(),
        stat.retrying.to_string(),
        stat.parked.to_string(),
        bytes_for_people(stat.bytes),
        stat.first_position.to_string(),
        stat.last_position.to_string(),
        age(stat.oldest_age_ms),
        stat.consumers.to_string(),
    ];
    if let Some(published) = published {
        names.push("PUBLISHED/S");
        row.push(published);
    }
    let mut out = table(&names);
    out.add_row(row);
    frame.table(&out)
}

pub(super) fn to_json(stat: &wire::StatResponse) -> Value {
    json!({
        "length": stat.length,
        "ready": stat.ready,
        "leased": stat.leased,
        "delayed": stat.delayed,
        "retrying": stat.retrying,
        "parked": stat.parked,
        "bytes": stat.bytes,
        "first_position": stat.first_position,
        "last_position": stat.last_position,
        "oldest_age_ms": stat.oldest_age_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_published_a_second_is_what_positions_say() {
        let first = Instant::now();
        let rate = |ms, last| published((first, 10), (first + Duration::from_millis(ms), last));
        assert_eq!(rate(500, 35), Some("50.0".into()));
        assert_eq!(rate(500, 10), Some("0.0".into()));
        assert_eq!(rate(500, 9), None, "another queue of that name");
        assert_eq!(rate(0, 11), None);
    }
}
