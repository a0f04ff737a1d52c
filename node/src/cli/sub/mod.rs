//! `quorate sub create|list|show|update|delete|pause|resume|seek`.

mod create;
mod seek;
pub(super) mod settings;
pub(super) mod update;

use quorate_client::wire;
use serde_json::{Value, json};

use super::Failure;
use super::frame::Frame;
use super::options::Options;
use super::output::{Format, print_json, print_line, table};
use super::watch::Watch;

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Add a subscription to a queue. Repeating it with the same settings is no error.
    Create(create::Args),
    /// The subscriptions of a queue, in the order of their names.
    #[command(after_help = "\
Examples:
  Who reads the queue, and how:
    quorate sub list orders
  For a program:
    quorate sub list orders -o json
")]
    List {
        /// The queue.
        queue: String,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        options: Options,
    },
    /// One subscription, its settings and its figures.
    #[command(after_help = "\
Examples:
  Settings and figures:
    quorate sub show orders billing
  How it gets on:
    quorate sub show orders billing --watch 2s
")]
    Show {
        /// The queue.
        queue: String,
        /// The subscription.
        name: String,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        options: Options,
    },
    /// Change settings of a subscription; what is not named stays.
    Update(update::Args),
    /// Delete a subscription and its progress, and end its consumers.
    #[command(after_help = "\
Examples:
  What only it had left to do leaves the disk:
    quorate sub delete orders billing
  For a program:
    quorate sub delete orders audit -o json
")]
    Delete(Named),
    /// Hand out nothing more until `resume`; what is leased stays leased.
    #[command(after_help = "\
Examples:
  The subscription that a plain work queue has:
    quorate sub pause orders default
  Another one:
    quorate sub pause orders billing
")]
    Pause(Named),
    /// End a pause.
    #[command(after_help = "\
Examples:
  Hand messages out again:
    quorate sub resume orders default
  For a program:
    quorate sub resume orders billing -o json
")]
    Resume(Named),
    /// Move a subscription: its leases are revoked, and it goes on there.
    Seek(seek::Args),
}

#[derive(clap::Args)]
pub(super) struct Named {
    /// The queue.
    queue: String,
    /// The subscription.
    name: String,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Create(args) => create::run(args).await,
        Verb::List { queue, watch, options } => {
            let subs = watch.client(&options)?.subscriptions(queue);
            watch.show(&options, async |frame: &mut Frame| list(&subs.list().await?, frame)).await
        }
        Verb::Show { queue, name, watch, options } => {
            let client = watch.client(&options)?;
            let look = async |frame: &mut Frame| {
                let sub = find(&client, &queue, &name).await?;
                show(&sub, &client.queues().stat(&queue, &name).await?, frame)
            };
            watch.show(&options, look).await
        }
        Verb::Update(args) => update::run(args).await,
        Verb::Delete(named) => {
            named.options.client()?.subscriptions(&named.queue).delete(&named.name).await?;
            done(&named, "deleted")
        }
        Verb::Pause(named) => {
            named.options.client()?.subscriptions(&named.queue).pause(&named.name).await?;
            done(&named, "paused")
        }
        Verb::Resume(named) => {
            named.options.client()?.subscriptions(&named.queue).resume(&named.name).await?;
            done(&named, "resumed")
        }
        Verb::Seek(args) => seek::run(args).await,
    }
}

fn done(named: &Named, what: &str) -> Result<(), Failure> {
    match named.options.output {
        Format::Json => {
            let mut object = json!({ "queue": named.queue, "name": named.name });
            object[what] = true.into();
            print_json(&object)
        }
        Format::Table => print_line(&format!("{what} {} of {}", named.name, named.queue)),
    }
}

fn list(subs: &[wire::Subscription], frame: &mut Frame) -> Result<(), Failure> {
    if frame.format == Format::Json {
        return subs.iter().try_for_each(|sub| frame.json(&to_json(sub)));
    }
    let mut out = table(&["NAME", "ORDER", "FILTER", "LEASE", "BACKOFF", "ATTEMPTS", "PAUSED"]);
    for sub in subs {
        let settings = sub.settings.clone().unwrap_or_default();
        out.add_row([
            sub.name.clone(),
            settings::order_name(settings.order()).to_owned(),
            settings.filter.as_ref().map_or_else(|| "-".into(), settings::filter_text),
            humantime::format_duration(std::time::Duration::from_millis(settings.lease_ms)).to_string(),
            settings::backoff(&settings),
            settings::attempts(&settings),
            if sub.paused { "yes" } else { "no" }.to_owned(),
        ]);
    }
    frame.table(&out)
}

fn show(sub: &wire::Subscription, stat: &wire::StatResponse, frame: &mut Frame) -> Result<(), Failure> {
    if frame.format == Format::Json {
        let mut object = to_json(sub);
        object["stat"] = super::stat::to_json(stat);
        object["consumers"] = stat.consumers.into();
        object["expired"] = stat.expired.into();
        object["discarded"] = stat.discarded.into();
        object["dropped"] = stat.dropped.into();
        return frame.json(&object);
    }
    let mut out = table(&["SETTING", "VALUE"]);
    let mut all = to_json(sub);
    all["expired so far"] = stat.expired.into();
    all["discarded so far"] = stat.discarded.into();
    all["dropped so far"] = stat.dropped.into();
    if let Value::Object(settings) = all {
        for (name, value) in settings {
            out.add_row([name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)]);
        }
    }
    frame.table(&out)?;
    frame.line("")?;
    super::stat::figures(frame, stat, None)
}

/// A subscription as it is listed.
pub(super) async fn find(
    client: &quorate_client::Client,
    queue: &str,
    name: &str,
) -> Result<wire::Subscription, Failure> {
    let listed = client.subscriptions(queue).list().await?;
    let name = if name.is_empty() { "default" } else { name };
    listed.into_iter().find(|sub| sub.name == name).ok_or_else(|| {
        Failure::new(format!("there is no subscription {name:?}"), "create the subscription first")
            .because("UNKNOWN_SUBSCRIPTION", ("subscription", name))
    })
}

fn to_json(sub: &wire::Subscription) -> Value {
    let mut object = settings::to_json(&sub.settings.clone().unwrap_or_default());
    object["name"] = sub.name.clone().into();
    object["paused"] = sub.paused.into();
    object["revision"] = sub.revision.into();
    object
}
