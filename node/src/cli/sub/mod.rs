//! `quorate sub create|list|show|update|delete|pause|resume|seek`.

mod create;
mod seek;
pub(super) mod settings;
pub(super) mod update;

use quorate_client::wire;
use serde_json::{Value, json};

use super::Failure;
use super::options::Options;
use super::output::{Format, print_json, print_line, print_table, table};

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Add a subscription to a queue. Repeating it with the same settings is no error.
    Create(create::Args),
    /// The subscriptions of a queue, in the order of their names.
    List {
        /// The queue.
        queue: String,
        #[command(flatten)]
        options: Options,
    },
    /// One subscription, its settings and its figures.
    Show(Named),
    /// Change settings of a subscription; what is not named stays.
    Update(update::Args),
    /// Delete a subscription and its progress, and end its consumers.
    Delete(Named),
    /// Hand out nothing more until `resume`; what is leased stays leased.
    Pause(Named),
    /// End a pause.
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
        Verb::List { queue, options } => list(&queue, &options).await,
        Verb::Show(named) => show(named).await,
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

async fn list(queue: &str, options: &Options) -> Result<(), Failure> {
    let subs = options.client()?.subscriptions(queue).list().await?;
    if options.output == Format::Json {
        return subs.iter().try_for_each(|sub| print_json(&to_json(sub)));
    }
    let mut out = table(&["NAME", "ORDER", "FILTER", "LEASE", "BACKOFF", "ATTEMPTS", "PAUSED"]);
    for sub in &subs {
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
    print_table(&out)
}

async fn show(args: Named) -> Result<(), Failure> {
    let client = args.options.client()?;
    let sub = find(&client, &args.queue, &args.name).await?;
    let stat = client.queues().stat(&args.queue, &args.name).await?;
    if args.options.output == Format::Json {
        let mut object = to_json(&sub);
        object["stat"] = super::stat::to_json(&stat);
        object["consumers"] = stat.consumers.into();
        object["expired"] = stat.expired.into();
        object["discarded"] = stat.discarded.into();
        object["dropped"] = stat.dropped.into();
        return print_json(&object);
    }
    let mut out = table(&["SETTING", "VALUE"]);
    let mut all = to_json(&sub);
    all["expired so far"] = stat.expired.into();
    all["discarded so far"] = stat.discarded.into();
    all["dropped so far"] = stat.dropped.into();
    if let Value::Object(settings) = all {
        for (name, value) in settings {
            out.add_row([name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)]);
        }
    }
    print_table(&out)?;
    print_line("")?;
    super::stat::print_figures(&stat)
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
        Failure::new(
            format!("there is no subscription {name:?} of {queue:?} (UNKNOWN_SUBSCRIPTION)"),
            "look at `quorate sub list`",
        )
    })
}

fn to_json(sub: &wire::Subscription) -> Value {
    let mut object = settings::to_json(&sub.settings.clone().unwrap_or_default());
    object["name"] = sub.name.clone().into();
    object["paused"] = sub.paused.into();
    object["revision"] = sub.revision.into();
    object
}
