//! `quorate bench`: measures a cluster, and checks what it promises while measuring.

mod alarm;
mod load;
mod payload;
mod publish;
mod receive;
mod report;
mod tracker;

use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, QueueSettings, Random as _, SystemRandom};
use tokio::time::Instant;

use super::Failure;
use super::options::Options;
use super::stop::Stop;
use super::units::{duration, size};
use load::Load;
use report::Report;
use tracker::Tracker;

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Producers only.
    #[command(after_help = "\
Examples:
  Four producers, small messages:
    quorate bench publish --producers 4 --size 100 --seconds 2
  How long a receipt takes at a thousand a second:
    quorate bench publish --rate 1000 --seconds 2
")]
    Publish(Args),
    /// Consumers and acknowledgements, of a backlog that is made first.
    #[command(after_help = "\
Examples:
  How fast a backlog is drained:
    quorate bench receive --messages 20000
  By one consumer, for a program:
    quorate bench receive --messages 5000 --consumers 1 -o json
")]
    Receive {
        /// How many messages lie there when it begins.
        #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
        messages: u64,
        #[command(flatten)]
        args: Args,
    },
    /// Producers, consumers and acknowledgements.
    #[command(after_help = "\
Examples:
  Four producers and four consumers on one queue:
    quorate bench pipeline --producers 4 --consumers 4 --seconds 2
  From publish to receive at a steady rate, over two queues:
    quorate bench pipeline --rate 2000 --queues 2 --seconds 2
")]
    Pipeline(Args),
}

/// Connections of all producers, and as many of all consumers.
const CONNECTIONS_MAX: u32 = 64;

/// The load. Makes queues of its own and deletes them at the end.
#[derive(clap::Args, Clone)]
pub(super) struct Args {
    /// How many producers, 1 to 10000.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    producers: u32,
    /// How many consumers, 1 to 10000, and at least one a queue; for `receive` and `pipeline`.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    consumers: u32,
    /// Most messages that a producer has without a receipt, 1 to 262144.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=262_144))]
    window: u32,
    /// Length of a body, at most 16MiB.
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = body_size)]
    size: usize,
    /// How many queues the load is spread over, 1 to 10000.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    queues: u32,
    /// Messages a second, all producers together [default: as fast as it goes].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// How many seconds are measured; `receive` ends with its backlog.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How long the load runs before that.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    warmup: Duration,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(verb: Verb) -> Result<(), Failure> {
    let (args, work) = match verb {
        Verb::Publish(args) => (args, Work::Publish),
        Verb::Receive { messages, args } => (args, Work::Receive(messages)),
        Verb::Pipeline(args) => (args, Work::Pipeline),
    };
    if work != Work::Publish && args.consumers < args.queues {
        return Err(Failure::usage(
            format!("{} consumers cannot empty {} queues", args.consumers, args.queues),
            "give at least one consumer a queue: more --consumers, or fewer --queues",
        ));
    }
    let client = args.options.client()?;
    let prefix = format!("bench-{:08x}", SystemRandom.next_u64() >> 32);
    let names: Vec<String> = (0..args.queues).map(|i| format!("{prefix}-{i}")).collect();
    let mut stop = Stop::listen()?;
    let outcome = tokio::select! {
        biased;
        () = stop.asked() => Err(Failure::new("interrupted", "")),
        outcome = measure(&client, &args, &names, work) => outcome,
    };
    let cleaned = clean(&client, &names).await;
    let report = outcome?;
    report.print(args.options.output)?;
    cleaned?;
    report.verdict()
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Publish,
    /// So many messages.
    Receive(u64),
    Pipeline,
}

async fn measure(client: &Client, args: &Args, names: &[String], work: Work) -> Result<Report, Failure> {
    for name in names {
        client.queues().create(name, QueueSettings::default()).await?;
    }
    match work {
        Work::Receive(messages) => drain(args, names, messages).await,
        _ => flow(client, args, names, work).await,
    }
}

/// A connection for each producer or consumer, as programs have that know nothing of one another; many share some.
fn clients(args: &Args) -> Result<Vec<Client>, Failure> {
    (0..args.producers.max(args.consumers).min(CONNECTIONS_MAX)).map(|_| args.options.client()).collect()
}

/// A load that lasts for a time.
async fn flow(client: &Client, args: &Args, names: &[String], work: Work) -> Result<Report, Failure> {
    let pipeline = work == Work::Pipeline;
    let load = Arc::new(Load::new(args, names.to_vec()));
    let tracker = Arc::new(Tracker::new(args.producers));
    let consumers = if pipeline {
        receive::start(&clients(args)?, &load, &tracker, args.consumers).await?
    } else {
        Vec::new()
    };
    let producers = publish::open(&clients(args)?, &load).await?;
    // Sessions are open: only now does time count.
    let clock = load.begin();
    let published = publish::run(producers, &load, &tracker).await;
    let received = receive::finish(consumers, &tracker, clock).await;
    let mut report = Report::new(work, args.size, args.seconds as f64, published, received);
    if pipeline {
        report.verified = tracker.verdict(report.failed_settles);
    } else {
        report.verified = stored(client, names).await? >= report.confirmed_ever
            && (report.errors > 0 || stored(client, names).await? == report.confirmed_ever);
    }
    Ok(report)
}

/// A backlog, first made and then taken.
async fn drain(args: &Args, names: &[String], messages: u64) -> Result<Report, Failure> {
    let tracker = Arc::new(Tracker::new(args.producers));
    let fill = Arc::new(Load::of(messages, args, names.to_vec()));
    let producers = publish::open(&clients(args)?, &fill).await?;
    fill.begin();
    let published = publish::run(producers, &fill, &tracker).await;
    let load = Arc::new(Load::of(messages, args, names.to_vec()));
    let began = Instant::now();
    let clock = load.begin();
    let consumers = receive::start(&clients(args)?, &load, &tracker, args.consumers).await?;
    let received = receive::drain(consumers, &tracker, clock).await;
    let seconds = began.elapsed().as_secs_f64();
    let mut report = Report::new(Work::Receive(messages), args.size, seconds, published, received);
    report.verified = tracker.verdict(report.failed_settles);
    Ok(report)
}

/// Messages in the queues, by the cluster's own linearizable count.
async fn stored(client: &Client, names: &[String]) -> Result<u64, Failure> {
    let mut length = 0;
    for name in names {
        length += client.queues().stat(name, "").await?.length;
    }
    Ok(length)
}

/// Deletes the queues, also those that only may have been made.
async fn clean(client: &Client, names: &[String]) -> Result<(), Failure> {
    let queues = client.queues();
    let mut trouble = Ok(());
    for name in names {
        match queues.delete(name).await {
            Err(error) if error.reason() != Some(&quorate_client::Reason::UnknownQueue) => {
                trouble = Err(Failure::from(error).about(&format!("queue {name} is left behind")));
            }
            _ => {}
        }
    }
    trouble
}

fn body_size(text: &str) -> Result<usize, String> {
    let bytes = usize::try_from(size(text)?).map_err(|_| "too large".to_owned())?;
    if (payload::BYTES_MIN..=16 * 1024 * 1024).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!(
            "{text} is out of range: {} to 16MiB, since each message says where it comes from",
            payload::BYTES_MIN
        ))
    }
}

/// When a phase ends, counted from the beginning of the load.
#[derive(Clone, Copy, Debug)]
struct Clock {
    start: Instant,
    /// The measured part.
    from: Instant,
    to: Instant,
}

impl Clock {
    fn counts(&self, at: Instant) -> bool {
        at >= self.from && at < self.to
    }
}
