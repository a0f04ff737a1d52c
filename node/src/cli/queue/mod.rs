//! `quorate queue create|list|show|update|purge|delete`.

mod create;
mod retain;
mod update;

use std::time::Duration;

use quorate_client::wire;
use serde_json::{Value, json};

use super::Failure;
use super::frame::Frame;
use super::options::Options;
use super::output::{Format, print_json, print_line, table};
use super::sub::settings;
use super::units::{bytes_for_people, rfc3339};
use super::watch::Watch;

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Create a queue. Repeating it with the same settings is no error.
    Create(create::Args),
    /// All queues, in the order of their names.
    #[command(after_help = "\
Examples:
  All queues with their settings:
    quorate queue list
  Their names, for a script:
    quorate queue list -o json | grep -oE '\"name\":\"[^\"]*'
")]
    List {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        options: Options,
    },
    /// One queue, its settings and its figures.
    #[command(after_help = "\
Examples:
  Settings and figures:
    quorate queue show orders
  Every setting, also those that the table leaves out:
    quorate queue show orders -o json
")]
    Show {
        /// The queue.
        name: String,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        options: Options,
    },
    /// Change settings of a queue and of its default subscription; what is not named stays.
    Update(update::Args),
    /// Take everything out of a queue that no consumer holds, in every subscription.
    #[command(after_help = "\
Examples:
  How much would go, then let it go:
    quorate stat orders
    quorate queue purge orders
")]
    Purge(Named),
    /// Delete a queue and what it holds.
    #[command(after_help = "\
Examples:
  Queue, messages and subscriptions:
    quorate queue delete orders
  For a program:
    quorate queue delete payments -o json
")]
    Delete(Named),
}

#[derive(clap::Args)]
pub(super) struct Named {
    /// The queue.
    name: String,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Create(args) => create::run(args).await,
        Verb::List { watch, options } => {
            let queues = watch.client(&options)?.queues();
            watch.show(&options, async |frame: &mut Frame| list(&queues.list().await?, frame)).await
        }
        Verb::Show { name, watch, options } => {
            let queues = watch.client(&options)?.queues();
            watch.show(&options, async |frame: &mut Frame| show(queues.show(&name).await?, frame)).await
        }
        Verb::Update(args) => update::run(args).await,
        Verb::Purge(named) => purge(named).await,
        Verb::Delete(named) => delete(named).await,
    }
}

fn list(queues: &[wire::Queue], frame: &mut Frame) -> Result<(), Failure> {
    if frame.format == Format::Json {
        return queues.iter().try_for_each(|queue| frame.json(&to_json(queue)));
    }
    let mut out = table(&["NAME", "ORDER", "LEASE", "BACKOFF", "CREATED"]);
    for queue in queues {
        let settings = queue.default_subscription.clone().unwrap_or_default();
        out.add_row([
            queue.name.clone(),
            settings::order_name(settings.order()).to_owned(),
            humantime::format_duration(Duration::from_millis(settings.lease_ms)).to_string(),
            settings::backoff(&settings),
            rfc3339(queue.created_at_ms),
        ]);
    }
    frame.table(&out)
}

fn show(answer: wire::ShowQueueResponse, frame: &mut Frame) -> Result<(), Failure> {
    let (queue, stat) = (answer.queue.unwrap_or_default(), answer.stat.unwrap_or_default());
    if frame.format == Format::Json {
        let mut object = to_json(&queue);
        object["stat"] = super::stat::to_json(&stat);
        object["consumers"] = stat.consumers.into();
        return frame.json(&object);
    }
    let settings = queue.default_subscription.clone().unwrap_or_default();
    let mut out =
        table(&["NAME", "ORDER", "LEASE", "BACKOFF", "RETAIN", "LENGTH", "BYTES", "CONSUMERS", "CREATED"]);
    out.add_row([
        queue.name.clone(),
        settings::order_name(settings.order()).to_owned(),
        humantime::format_duration(Duration::from_millis(settings.lease_ms)).to_string(),
        settings::backoff(&settings),
        retain::for_people(queue.settings.clone().unwrap_or_default().retain.unwrap_or_default()),
        stat.length.to_string(),
        bytes_for_people(stat.bytes),
        stat.consumers.to_string(),
        rfc3339(queue.created_at_ms),
    ]);
    frame.table(&out)
}

async fn purge(args: Named) -> Result<(), Failure> {
    args.options.client()?.queues().purge(&args.name).await?;
    match args.options.output {
        Format::Json => print_json(&json!({ "name": args.name, "purged": true })),
        Format::Table => print_line(&format!("purged {}", args.name)),
    }
}

async fn delete(args: Named) -> Result<(), Failure> {
    args.options.client()?.queues().delete(&args.name).await?;
    match args.options.output {
        Format::Json => print_json(&json!({ "name": args.name, "deleted": true })),
        Format::Table => print_line(&format!("deleted {}", args.name)),
    }
}

fn to_json(queue: &wire::Queue) -> Value {
    let mut object = match &queue.default_subscription {
        Some(settings) => settings::to_json(settings),
        None => json!({}),
    };
    let own = queue.settings.clone().unwrap_or_default();
    object["name"] = queue.name.clone().into();
    object["ttl_ms"] = own.ttl_ms.into();
    object["priorities"] = own.priorities.into();
    object["max_length"] = own.max_length.into();
    object["max_bytes"] = own.max_bytes.into();
    object["on_full"] = settings::full_name(own.on_full()).into();
    object["retain"] = retain::to_json(own.retain.unwrap_or_default());
    object["routes"] = own.routes.into();
    object["created_at"] = rfc3339(queue.created_at_ms).into();
    object
}
