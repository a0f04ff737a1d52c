//! `quorate transact`: settle, publish and write state in one step, all or nothing.

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use quorate_client::Message;
use serde_json::json;

use super::Failure;
use super::options::Options;
use super::output::{Format, print_json, print_line};
use super::units::duration;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  A step of a workflow: this message is done, what came of it, the next:
    quorate transact --ack orders/audit:1:1 --put order/1=paid \\
      --publish shipping='order 1'
  Only if nobody wrote the key before:
    quorate transact --put order/9=received --require-version order/9=0
  Only if nobody published since position 8, and there is room:
    quorate transact --publish orders=hello --require-tail orders=8 \\
      --require-below orders=1000
")]
pub(super) struct Args {
    /// Acknowledge a message: QUEUE[/SUBSCRIPTION]:POSITION:TOKEN, as `receive --no-ack -o json` shows them.
    #[arg(long, value_name = "LEASE")]
    ack: Vec<Lease>,
    /// Publish a message: QUEUE=BODY.
    #[arg(long, value_name = "QUEUE=BODY", value_parser = pair::<String>)]
    publish: Vec<(String, String)>,
    /// What is published is due so long after [default: at once].
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "publish")]
    delay: Option<Duration>,
    /// Write a key: KEY=VALUE.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair::<String>)]
    put: Vec<(String, String)>,
    /// Delete a key.
    #[arg(long, value_name = "KEY")]
    delete: Vec<String>,
    /// Only if a key has this version; 0: it is absent.
    #[arg(long, value_name = "KEY=VERSION", value_parser = pair::<u64>)]
    require_version: Vec<(String, u64)>,
    /// Only if the last message that was published to a queue has this position; 0: none ever was.
    #[arg(long, value_name = "QUEUE=POSITION", value_parser = pair::<u64>)]
    require_tail: Vec<(String, u64)>,
    /// Only if a subscription has fewer messages: QUEUE[/SUBSCRIPTION]=LENGTH.
    #[arg(long, value_name = "QUEUE=LENGTH", value_parser = pair::<u64>)]
    require_below: Vec<(String, u64)>,
    #[command(flatten)]
    options: Options,
}

/// What names a lease.
#[derive(Clone, Debug)]
struct Lease {
    queue: String,
    subscription: String,
    position: u64,
    token: u64,
}

impl FromStr for Lease {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write QUEUE[/SUBSCRIPTION]:POSITION:TOKEN, such as orders:7:12".to_owned();
        let mut parts = text.rsplitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or_else(wrong);
        let (token, position) = (number()?, number()?);
        let (queue, subscription) = place(parts.next().ok_or_else(wrong)?);
        Ok(Self { queue, subscription, position, token })
    }
}

/// A queue and one of its subscriptions, `default` if none is named.
fn place(text: &str) -> (String, String) {
    let (queue, subscription) = text.split_once('/').unwrap_or((text, ""));
    (queue.to_owned(), subscription.to_owned())
}

/// A name and what it is given.
fn pair<T: FromStr>(text: &str) -> Result<(String, T), String> {
    let split = text.split_once('=').ok_or_else(|| format!("{text:?} has no =; write NAME=VALUE"))?;
    let value = split.1.parse().map_err(|_| format!("{:?} is no number", split.1))?;
    Ok((split.0.to_owned(), value))
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    if args.ack.is_empty() && args.publish.is_empty() && args.put.is_empty() && args.delete.is_empty() {
        let action = "give --ack, --publish, --put or --delete, as often as you like";
        return Err(Failure::usage("the transaction would do nothing", action));
    }
    let client = args.options.client()?;
    let mut transaction = client.transaction();
    for (key, version) in &args.require_version {
        transaction = transaction.require_version(key, *version);
    }
    for (queue, position) in &args.require_tail {
        transaction = transaction.require_tail(queue, *position);
    }
    for (at, length) in &args.require_below {
        let (queue, subscription) = place(at);
        transaction = transaction.require_length_below(&queue, &subscription, *length);
    }
    for Lease { queue, subscription, position, token } in &args.ack {
        transaction = transaction.ack_lease(queue, subscription, *position, *token);
    }
    for (queue, body) in args.publish {
        let mut message = Message::new(Bytes::from(body));
        message.meta.delay = args.delay;
        transaction = transaction.publish(&client.raw_queue(queue), message);
    }
    for (key, value) in args.put {
        transaction = transaction.put(&key, value);
    }
    for key in &args.delete {
        transaction = transaction.delete(key);
    }
    let committed = transaction.commit().await?;
    let positions: Vec<u64> = committed.receipts().map(|receipt| receipt.position).collect();
    match args.options.output {
        Format::Json => print_json(&json!({ "positions": positions, "versions": committed.versions })),
        Format::Table => {
            let list = |values: &[u64]| values.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            let mut line = "committed".to_owned();
            if !positions.is_empty() {
                line.push_str(&format!("; stored at {}", list(&positions)));
            }
            if !committed.versions.is_empty() {
                line.push_str(&format!("; versions {}", list(&committed.versions)));
            }
            print_line(&line)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_named_by_its_place_position_and_token() {
        let lease: Lease = "orders/audit:7:12".parse().unwrap();
        assert_eq!((lease.queue.as_str(), lease.subscription.as_str()), ("orders", "audit"));
        assert_eq!((lease.position, lease.token), (7, 12));
        for wrong in ["orders:7", "orders", "orders:x:1", "7:12"] {
            assert!(wrong.parse::<Lease>().is_err(), "{wrong}");
        }
        assert_eq!(pair::<String>("k=a=b"), Ok(("k".into(), "a=b".into())));
        assert!(pair::<u64>("k=x").is_err() && pair::<u64>("k").is_err());
    }
}
