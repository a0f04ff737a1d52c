//! `quorate queue create|list|show|delete`.

use std::time::Duration;

use quorate_client::{Order, QueueSettings, wire};
use serde_json::{Value, json};

use super::Failure;
use super::options::Options;
use super::output::{Format, print_json, print_line, print_table, table};
use super::units::{bytes_for_people, duration, duration_range, rfc3339};

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Create a queue. Repeating it with the same settings is no error.
    Create(Create),
    /// All queues, in the order of their names.
    List {
        #[command(flatten)]
        options: Options,
    },
    /// One queue, its settings and its figures.
    Show(Named),
    /// Delete a queue and what it holds.
    Delete(Named),
}

#[derive(clap::Args)]
pub(super) struct Named {
    /// The queue.
    name: String,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
pub(super) struct Create {
    /// 1 to 128 characters of a-z A-Z 0-9 . _ -, the first a letter or digit.
    name: String,
    /// How the default subscription orders what it hands out.
    #[arg(long, value_enum, default_value_t = OrderArg::None)]
    order: OrderArg,
    /// Length of a lease, 100ms to 12h [default: 30s].
    #[arg(long, value_parser = duration)]
    lease: Option<Duration>,
    /// Backoff of a failed message, from the first to the longest [default: 1s..60s].
    #[arg(long, value_name = "FIRST..LAST", value_parser = duration_range)]
    backoff: Option<(Duration, Duration)>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::ValueEnum, Clone, Copy)]
enum OrderArg {
    /// Competing consumers.
    None,
    /// One active consumer; no message overtakes an earlier one.
    Total,
}

pub(super) async fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Create(create) => run_create(create).await,
        Verb::List { options } => list(&options).await,
        Verb::Show(named) => show(named).await,
        Verb::Delete(named) => delete(named).await,
    }
}

async fn run_create(args: Create) -> Result<(), Failure> {
    let order = match args.order {
        OrderArg::None => Order::None,
        OrderArg::Total => Order::Total,
    };
    let settings = QueueSettings { order, lease: args.lease, backoff: args.backoff };
    let answer = args.options.client()?.queues().create(&args.name, settings).await?;
    let queue = answer.queue.unwrap_or_default();
    match args.options.output {
        Format::Json => {
            let mut object = to_json(&queue);
            object["created"] = answer.created.into();
            print_json(&object)
        }
        Format::Table if answer.created => print_line(&format!("created {}", queue.name)),
        Format::Table => print_line(&format!("{} was there already, with the same settings", queue.name)),
    }
}

async fn list(options: &Options) -> Result<(), Failure> {
    let queues = options.client()?.queues().list().await?;
    if options.output == Format::Json {
        return queues.iter().try_for_each(|queue| print_json(&to_json(queue)));
    }
    let mut out = table(&["NAME", "ORDER", "LEASE", "BACKOFF", "CREATED"]);
    for queue in &queues {
        let settings = queue.default_subscription.unwrap_or_default();
        out.add_row([
            queue.name.clone(),
            order_name(settings.order()).to_owned(),
            humantime::format_duration(Duration::from_millis(settings.lease_ms)).to_string(),
            backoff(&settings),
            rfc3339(queue.created_at_ms),
        ]);
    }
    print_table(&out)
}

async fn show(args: Named) -> Result<(), Failure> {
    let answer = args.options.client()?.queues().show(&args.name).await?;
    let (queue, stat) = (answer.queue.unwrap_or_default(), answer.stat.unwrap_or_default());
    if args.options.output == Format::Json {
        let mut object = to_json(&queue);
        object["stat"] = super::stat::to_json(&stat);
        object["consumers"] = stat.consumers.into();
        return print_json(&object);
    }
    let settings = queue.default_subscription.unwrap_or_default();
    let mut out = table(&["NAME", "ORDER", "LEASE", "BACKOFF", "LENGTH", "BYTES", "CONSUMERS", "CREATED"]);
    out.add_row([
        queue.name.clone(),
        order_name(settings.order()).to_owned(),
        humantime::format_duration(Duration::from_millis(settings.lease_ms)).to_string(),
        backoff(&settings),
        stat.length.to_string(),
        bytes_for_people(stat.bytes),
        stat.consumers.to_string(),
        rfc3339(queue.created_at_ms),
    ]);
    print_table(&out)
}

async fn delete(args: Named) -> Result<(), Failure> {
    args.options.client()?.queues().delete(&args.name).await?;
    match args.options.output {
        Format::Json => print_json(&json!({ "name": args.name, "deleted": true })),
        Format::Table => print_line(&format!("deleted {}", args.name)),
    }
}

fn to_json(queue: &wire::Queue) -> Value {
    let settings = queue.default_subscription.unwrap_or_default();
    json!({
        "name": queue.name,
        "order": order_name(settings.order()),
        "lease_ms": settings.lease_ms,
        "backoff_first_ms": settings.backoff_first_ms,
        "backoff_last_ms": settings.backoff_last_ms,
        "created_at": rfc3339(queue.created_at_ms),
    })
}

fn backoff(settings: &wire::SubscriptionSettings) -> String {
    let write = |ms| humantime::format_duration(Duration::from_millis(ms)).to_string();
    format!("{}..{}", write(settings.backoff_first_ms), write(settings.backoff_last_ms))
}

fn order_name(order: wire::Order) -> &'static str {
    match order {
        wire::Order::Unspecified | wire::Order::None => "none",
        wire::Order::Total => "total",
    }
}
