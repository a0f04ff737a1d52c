//! `quorate receive`: writes messages out, then acknowledges them.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use quorate_client::{Consumer, Delivery, Error, FailedSettle, Outcome, Raw};
use serde_json::{Map, Value};
use tokio::io::{AsyncWriteExt as _, Stdout};

use super::Failure;
use super::json::{headers, printable, put_bytes, put_key};
use super::options::Options;
use super::output::{Format, unwritable, warn};
use super::stop::Stop;
use super::units::{duration, rfc3339};

/// Bytes written out, flushed and acknowledged together, when they are there at once.
const PORTION_BYTES: usize = 1024 * 1024;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  One message; it is done when it is printed:
    quorate receive orders --count 1
  Give one back that could not be worked on, for ten seconds:
    quorate receive orders --count 1 --retry 10s --reason 'no connection'
  Whatever comes, bare, until Ctrl-C:
    quorate receive orders --follow --body
  As a program reads it, from another subscription:
    quorate receive orders --sub billing --wait 500ms -o json
")]
pub(super) struct Args {
    /// The queue.
    queue: String,
    /// The subscription.
    #[arg(long, value_name = "NAME", default_value = "default")]
    sub: String,
    /// Ends after so many messages; exit 3 if they did not come in time [default: all that come].
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Never ends for want of a message.
    #[arg(long, conflicts_with = "wait")]
    follow: bool,
    /// Ends after so long without a message.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    wait: Duration,
    /// Most messages held without an acknowledgement, 1 to 65536.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    credit: u32,
    /// Give the messages back at the end instead of acknowledging them.
    #[arg(long)]
    no_ack: bool,
    /// Report each message as failed instead of acknowledging it; it is handed out again after so long [default: the subscription's
    /// backoff].
    #[arg(long, value_name = "AFTER", num_args = 0..=1, default_missing_value = "0", value_parser = duration, conflicts_with = "no_ack")]
    retry: Option<Duration>,
    /// Set each message aside instead of acknowledging it.
    #[arg(long, conflicts_with_all = ["no_ack", "retry"])]
    park: bool,
    /// Why; kept with the messages.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Bare bodies, a line each.
    #[arg(long)]
    body: bool,
    #[command(flatten)]
    options: Options,
}

/// Why receiving ended.
enum End {
    /// `--count` is reached, a signal came, or the reader of standard output went away.
    Done,
    Waited,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    // More credit than messages wanted would lease what is not taken.
    let wanted = u32::try_from(args.count.unwrap_or(u64::MAX)).unwrap_or(u32::MAX).max(1);
    let queue = args.options.client()?.raw_queue(&args.queue);
    let attaching = queue.consumer().subscription(&args.sub).credit(args.credit.min(wanted)).attach();
    let consumer = tokio::select! {
        biased;
        () = stop.asked() => return Ok(()),
        attached = attaching => attached?,
    };
    let mut run = Run {
        args: &args,
        consumer,
        stdout: tokio::io::stdout(),
        received: 0,
        held: Vec::new(),
        bad_acks: 0,
    };
    let ended = run.receive(&mut stop).await;
    run.end(ended).await
}

struct Run<'a> {
    args: &'a Args,
    consumer: Consumer<Bytes, Raw>,
    stdout: Stdout,
    received: u64,
    /// With `--no-ack`, until the end.
    held: Vec<Delivery<Bytes>>,
    bad_acks: u64,
}

impl Run<'_> {
    async fn receive(&mut self, stop: &mut Stop) -> Result<End, Failure> {
        let mut portion = Vec::new();
        let mut out = Vec::new();
        while self.args.count.is_none_or(|count| self.received < count) {
            let wait = if self.args.follow { Duration::MAX } else { self.args.wait };
            let first = tokio::select! {
                biased;
                () = stop.asked() => return Ok(End::Done),
                next = tokio::time::timeout(wait, self.consumer.next()) => match next {
                    Ok(Some(next)) => next,
                    Ok(None) => return Err(Failure::new("the consumer's session has ended", "")),
                    Err(_) => return Ok(End::Waited),
                },
            };
            match first {
                Ok(delivery) => self.gather(delivery, &mut portion, &mut out),
                Err(error) if self.args.follow && error.retryable() => {
                    warn(&format!("{error}; still trying"));
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            let written = tokio::select! {
                biased;
                () = stop.asked() => return Ok(End::Done), // what was not written in full is not acknowledged
                written = write(&mut self.stdout, &out) => written,
            };
            match written {
                Ok(()) => self.settle(&mut portion),
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(End::Done),
                Err(error) => return Err(unwritable(&error)),
            }
        }
        Ok(End::Done)
    }

    /// Takes what has arrived, up to a portion, and formats it.
    fn gather(&mut self, first: Delivery<Bytes>, portion: &mut Vec<Delivery<Bytes>>, out: &mut Vec<u8>) {
        out.clear();
        let mut next = Some(first);
        while let Some(delivery) = next.take() {
            self.format(&delivery, out);
            portion.push(delivery);
            self.received += 1;
            let more = self.args.count.is_none_or(|count| self.received < count);
            if more && out.len() < PORTION_BYTES {
                // An error that waits behind the deliveries is met by the next `next`.
                next = self.consumer.try_next().and_then(Result::ok);
            }
        }
    }

    /// What was written out and flushed is acknowledged, or whatever was asked for.
    fn settle(&mut self, portion: &mut Vec<Delivery<Bytes>>) {
        if self.args.no_ack {
            self.held.append(portion);
            return;
        }
        for delivery in portion.drain(..) {
            match (self.args.retry, self.args.park) {
                (Some(after), _) => {
                    let after = Some(after).filter(|after| !after.is_zero());
                    let reason = self.args.reason.clone();
                    delivery.settle_later(Outcome::Retry { after, reason });
                }
                (None, true) => delivery.settle_later(Outcome::park(self.args.reason.clone())),
                (None, false) => delivery.ack_later(),
            }
        }
        if let Some(count) = self.args.count {
            let left = u32::try_from(count - self.received).unwrap_or(u32::MAX);
            if left < self.args.credit {
                self.consumer.set_credit(left);
            }
        }
        let failures = self.consumer.failures();
        self.complain(&failures);
    }

    fn complain(&mut self, failures: &[FailedSettle]) {
        for failure in failures {
            eprintln!("error: message {} was written out, but: {}", failure.position, failure.error);
        }
        self.bad_acks += failures.len() as u64;
    }

    fn format(&self, delivery: &Delivery<Bytes>, out: &mut Vec<u8>) {
        if self.args.body {
            out.extend_from_slice(&delivery.value);
        } else if self.args.options.output == Format::Json {
            out.extend_from_slice(to_json(delivery).to_string().as_bytes());
        } else {
            let key = printable(&delivery.meta.key, usize::MAX);
            let body = printable(&delivery.value, usize::MAX);
            out.extend_from_slice(format!("{}\t{key}\t{body}", delivery.position).as_bytes());
        }
        out.push(b'\n');
    }

    /// Waits for the acknowledgements, gives back the rest, and says how it went.
    async fn end(mut self, ended: Result<End, Failure>) -> Result<(), Failure> {
        let connected = self.consumer.is_connected();
        match self.consumer.settled().await {
            Ok(failures) => self.complain(&failures),
            Err(Error::Closed(_)) => {} // the error that ended the consumer is told below
            Err(error) => return Err(error.into()),
        }
        if let Err(error) = self.consumer.detach().await
            && connected
        {
            warn(&format!("the session could not be ended: {error}; its leases end by themselves"));
        }
        let end = ended?;
        if self.bad_acks > 0 {
            return Err(Failure::new(
                format!("{} of {} messages were written out and not settled", self.bad_acks, self.received),
                "expect these messages to be delivered again",
            ));
        }
        match (end, self.args.count) {
            (End::Waited, _) if !connected => Err(Failure {
                code: 4,
                ..Failure::new("the connection to the leader was lost and has not come back", "try again")
            }),
            (End::Waited, Some(count)) => Err(Failure::time(
                format!("{} of {count} messages came before the wait was over", self.received),
                format!("allow more time with --wait, or ask why: `quorate explain {}`", self.args.queue),
            )),
            _ => Ok(()),
        }
    }
}

async fn write(stdout: &mut Stdout, out: &[u8]) -> std::io::Result<()> {
    stdout.write_all(out).await?;
    stdout.flush().await
}

fn to_json(delivery: &Delivery<Bytes>) -> Value {
    let mut object = Map::new();
    object.insert("position".into(), delivery.position.into());
    put_key(&mut object, &delivery.meta.key);
    put_bytes(&mut object, "body", &delivery.value);
    object.insert("attempt".into(), delivery.attempt.into());
    object.insert("token".into(), delivery.token.into());
    let pairs = delivery.meta.headers.iter().map(|(name, value)| (name.as_str(), &value[..]));
    object.insert("headers".into(), headers(pairs));
    object.insert("published_at".into(), rfc3339(delivery.published_at_ms).into());
    if !delivery.meta.id.is_empty() {
        object.insert("id".into(), delivery.meta.id.clone().into());
    }
    if !delivery.meta.subject.is_empty() {
        object.insert("subject".into(), delivery.meta.subject.clone().into());
    }
    Value::Object(object)
}
