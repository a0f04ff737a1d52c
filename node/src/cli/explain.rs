//! `quorate explain`: why nothing, or not more, is being handed out.

use quorate_client::wire;
use serde_json::{Value, json};

use super::Failure;
use super::frame::Frame;
use super::json::{printable, put_bytes};
use super::options::Options;
use super::output::Format;
use super::units::rfc3339;
use super::watch::Watch;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  Why consumers get nothing:
    quorate explain orders
  Watch another subscription:
    quorate explain orders --sub billing --watch
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
    let subs = args.watch.client(&args.options)?.subscriptions(&args.queue);
    let look = async |frame: &mut Frame| {
        let obstacles = subs.explain(&args.sub).await?;
        if frame.format == Format::Json {
            return obstacles.iter().try_for_each(|obstacle| frame.json(&to_json(obstacle)));
        }
        if obstacles.is_empty() {
            return frame.line("messages are handed out as they come");
        }
        obstacles.iter().try_for_each(|obstacle| frame.line(&text(obstacle)))
    };
    args.watch.show(&args.options, look).await
}

fn text(obstacle: &wire::Obstacle) -> String {
    use wire::ObstacleKind as Kind;
    let wire::Obstacle { position, count, .. } = obstacle;
    let of_key = match obstacle.key.is_empty() {
        true => String::new(),
        false => format!(" of key {}", printable(&obstacle.key, 64)),
    };
    let until = rfc3339(obstacle.until_ms);
    match obstacle.kind() {
        Kind::Paused => "the subscription is paused: `quorate sub resume`".into(),
        Kind::NoConsumer => "no consumer is attached".into(),
        Kind::NoCredit => {
            format!("{count} consumers are attached, and all hold as much as their credit allows")
        }
        Kind::Empty => "there is no message that is not done".into(),
        Kind::Looking => {
            format!("{count} positions are not looked at yet: the subscription is new, or was moved")
        }
        Kind::Delayed => format!("{count} messages are not due yet"),
        Kind::Retrying => {
            format!("message {position}{of_key} failed and waits until {until}; {count} wait behind it")
        }
        Kind::Blocked => format!(
            "message {position}{of_key} is parked and blocks {count} behind it: `quorate parked redrive` or `discard`"
        ),
        Kind::KeyParked => {
            let key = if of_key.is_empty() { " a key".to_owned() } else { of_key.replace(" of key", " key") };
            format!("the whole of{key} is parked with {count} messages: `quorate parked redrive`")
        }
        Kind::Held => {
            let who = if obstacle.consumer.is_empty() { "a consumer" } else { obstacle.consumer.as_str() };
            format!("{who} holds message {position}{of_key} until {until}; {count} wait behind it")
        }
        Kind::Unspecified => "a reason that this version does not know".into(),
    }
}

fn to_json(obstacle: &wire::Obstacle) -> Value {
    let kind = obstacle.kind().as_str_name().trim_start_matches("OBSTACLE_KIND_").to_lowercase();
    let mut object = json!({ "kind": kind });
    if let Value::Object(fields) = &mut object {
        if obstacle.position > 0 {
            fields.insert("position".into(), obstacle.position.into());
        }
        if !obstacle.key.is_empty() {
            put_bytes(fields, "key", &obstacle.key);
        }
        if !obstacle.consumer.is_empty() {
            fields.insert("consumer".into(), obstacle.consumer.clone().into());
        }
        if obstacle.until_ms > 0 {
            fields.insert("until".into(), rfc3339(obstacle.until_ms).into());
        }
        if obstacle.count > 0 {
            fields.insert("count".into(), obstacle.count.into());
        }
    }
    object
}
