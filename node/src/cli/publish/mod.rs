//! `quorate publish`: a message, or one a line.

mod input;
mod report;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::FutureExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quorate_client::{Error, Message, Meta, Pending, Producer, Raw};
use tokio::time::Instant;

use super::Failure;
use super::options::Options;
use super::output::{is_plain, warn};
use super::stop::Stop;
use super::units::{duration, time};
use input::{Input, Line};
use report::Report;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  One message:
    quorate publish orders '{\"id\":1,\"item\":\"book\"}'
  With a key, an id under which it is stored once, and a header:
    quorate publish orders 'paid' --key anna --id paid-1 --header tier=gold
  Not before tomorrow, and only within the hour then:
    quorate publish orders 'reminder' --delay 1d --ttl 1h
  One a line, with the key from a field:
    quorate publish orders --file orders.jsonl --key-field /customer
")]
pub(super) struct Args {
    /// The queue.
    queue: String,
    /// The message; instead of it, --file gives one a line.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    body: Option<String>,
    /// One message a line, without the line's end; - reads standard input.
    #[arg(long, value_name = "PATH|-")]
    file: Option<std::path::PathBuf>,
    /// Key of the message, or of all of them, at most 1 KiB.
    #[arg(long, conflicts_with = "key_field")]
    key: Option<String>,
    /// Takes the key from the body, a JSON object.
    #[arg(long, value_name = "/JSON/POINTER", value_parser = pointer)]
    key_field: Option<String>,
    /// Id of the message, at most 256 bytes: while it is in the queue, another of this id is not stored.
    #[arg(long, conflicts_with_all = ["id_field", "file"])]
    id: Option<String>,
    /// Takes the id from the body, a JSON object.
    #[arg(long, value_name = "/JSON/POINTER", value_parser = pointer)]
    id_field: Option<String>,
    /// A header; may be repeated.
    #[arg(long, value_name = "K=V", value_parser = header)]
    header: Vec<(String, String)>,
    /// Subject, such as orders.eu.created.
    #[arg(long)]
    subject: Option<String>,
    /// Hand it out so long after it was published, and not before [default: at once].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    delay: Option<Duration>,
    /// Hand it out at this time, such as 2026-12-24T18:00:00Z, and not before.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "delay")]
    at: Option<SystemTime>,
    /// Let it expire so long after it was due, unless a consumer holds it then [default: as the queue has it].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
    /// 0 to 9; 9 goes first. Only in queues that have priorities.
    #[arg(long, value_name = "0-9", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: u8,
    /// Most messages without a receipt.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    window: u32,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let input = Input::open(args.body.as_deref(), args.file.as_deref()).await?;
    let mut stop = Stop::listen()?;
    let producer =
        args.options.client()?.raw_queue(&args.queue).producer().window(args.window).open().await?;
    let started = Instant::now();
    let bar = progress(args.file.is_some());
    let mut run = Run { args: &args, pending: VecDeque::new(), report: Report::of(args.body.is_some()), bar };
    let ended = run.send_all(&producer, input, &mut stop).await;
    run.take_rest().await;
    run.bar.finish_and_clear();
    run.report.seconds = started.elapsed().as_secs_f64();
    if let Err(error) = producer.close().await
        && run.report.failed.is_none()
    {
        // Every message has its receipt; only the session's name stays until it expires.
        warn(&format!("the producer session could not be closed: {error}"));
    }
    run.report.end(ended, args.options.output)
}

/// One run of the command.
struct Run<'a> {
    args: &'a Args,
    /// Line number and receipt to come, in the order of the input.
    pending: VecDeque<(u64, Pending)>,
    report: Report,
    bar: ProgressBar,
}

impl Run<'_> {
    /// Sends until the input ends, a message fails, or a signal asks to stop.
    async fn send_all(
        &mut self,
        producer: &Producer<Bytes, Raw>,
        mut input: Input,
        stop: &mut Stop,
    ) -> Result<(), Failure> {
        loop {
            let line = tokio::select! {
                biased;
                () = stop.asked() => return Err(Failure::new("interrupted", "")),
                failed = self.receipts() => match failed {
                    true => return Ok(()),
                    false => continue,
                },
                line = input.next() => line?,
            };
            let Some(line) = line else { return Ok(()) };
            let number = line.number;
            let message = self.message(line)?;
            tokio::select! {
                biased;
                () = stop.asked() => return Err(Failure::new("interrupted", "")),
                sent = producer.send(message) => match sent {
                    Ok(pending) => self.pending.push_back((number, pending)),
                    Err(error) => {
                        self.report.not_sent(number, error);
                        return Ok(());
                    }
                },
            }
        }
    }

    /// Waits for the oldest receipt and takes all that are there; true if one brought an error. Waits for ever
    /// if none is to come. Cancel safe.
    async fn receipts(&mut self) -> bool {
        let Some((number, pending)) = self.pending.front_mut() else { return std::future::pending().await };
        let number = *number;
        let first = poll_fn(|cx| Pin::new(&mut *pending).poll_unpin(cx)).await;
        self.pending.pop_front();
        self.take(number, first);
        while let Some((number, pending)) = self.pending.front_mut() {
            let Some(result) = pending.now_or_never() else { break };
            let number = *number;
            self.pending.pop_front();
            self.take(number, result);
        }
        self.report.failed.is_some()
    }

    async fn take_rest(&mut self) {
        while !self.pending.is_empty() {
            self.receipts().await;
        }
    }

    fn take(&mut self, number: u64, result: Result<quorate_client::Receipt, Error>) {
        match result {
            Ok(receipt) => self.report.stored(number, receipt),
            Err(error) => self.report.sent_and_failed(number, error),
        }
        self.bar.set_position(self.report.published);
    }

    fn message(&self, line: Line) -> Result<Message<Bytes>, Failure> {
        let args = self.args;
        let mut meta = Meta {
            id: args.id.clone().unwrap_or_default(),
            key: args.key.clone().unwrap_or_default().into(),
            subject: args.subject.clone().unwrap_or_default(),
            headers: args.header.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect(),
            delay: args.delay.filter(|delay| !delay.is_zero()),
            deliver_at: args.at,
            ttl: args.ttl.filter(|ttl| !ttl.is_zero()),
            priority: args.priority,
        };
        if args.key_field.is_some() || args.id_field.is_some() {
            let value: serde_json::Value = serde_json::from_slice(&line.body).map_err(|error| {
                Failure::new(
                    format!("line {} is no JSON, so it has no fields: {error}", line.number),
                    "correct the line, or leave --key-field and --id-field out",
                )
            })?;
            if let Some(pointer) = &args.key_field {
                meta.key = field(&value, pointer, line.number)?.into();
            }
            if let Some(pointer) = &args.id_field {
                meta.id = field(&value, pointer, line.number)?;
            }
        }
        Ok(Message { value: line.body, meta })
    }
}

fn field(value: &serde_json::Value, pointer: &str, line: u64) -> Result<String, Failure> {
    match value.pointer(pointer) {
        Some(serde_json::Value::String(text)) => Ok(text.clone()),
        Some(scalar @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => Ok(scalar.to_string()),
        _ => Err(Failure::new(
            format!("line {line} has no string, number or boolean at {pointer}"),
            "correct the line or the pointer",
        )),
    }
}

fn progress(lines: bool) -> ProgressBar {
    // A bar is drawn over and over, which a log or a screen reader has no use for.
    if !lines || is_plain() {
        return ProgressBar::hidden();
    }
    // Draws nothing unless standard error is a terminal.
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {human_pos} messages stored, {per_sec}, {elapsed}");
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}

fn pointer(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.into()) } else { Err("a JSON pointer begins with /".into()) }
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("a header reads name=value".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_pointer() {
        let value = serde_json::json!({"a": {"b": "x"}, "n": 7, "o": {}});
        assert_eq!(field(&value, "/a/b", 1), Ok("x".into()));
        assert_eq!(field(&value, "/n", 1), Ok("7".into()));
        assert!(field(&value, "/o", 1).is_err() && field(&value, "/missing", 1).is_err());
        assert!(pointer("a").is_err() && header("=x").is_err() && header("x").is_err());
        assert_eq!(header("a=b=c"), Ok(("a".into(), "b=c".into())));
    }
}
