//! Order by key: the payments of an account are worked on one after the other, whatever fails; those of another do not wait.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-client --example ordered_by_key`. It prints:
//!
//! ```text
//! anna: 1 failed, 1, 2, 3
//! bert: 1, 2, 3
//! first to be done: bert
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_client::{Client, Error, Job, Message, Order, SubscriptionSettings};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Serialize, Deserialize)]
struct Payment {
    account: String,
    number: u64,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let endpoints = std::env::var("QUORATE_ENDPOINT").unwrap_or_else(|_| "http://127.0.0.1:7400".into());
    let client = Client::builder().endpoints(endpoints.split(',')).build()?;
    let by_key = SubscriptionSettings {
        order: Order::Key,
        backoff: Some((Duration::from_secs(1), Duration::from_secs(60))),
        ..Default::default()
    };
    client.queues().create("payments-by-account", by_key).await?;
    let payments = client.queue::<Payment>("payments-by-account");

    let producer = payments.producer().open().await?;
    for number in 1..=3 {
        for account in ["anna", "bert"] {
            let payment = Payment { account: account.into(), number };
            producer.send(Message::new(payment).key(account)).await?.await?;
        }
    }
    producer.close().await?;

    let (events, mut happened) = mpsc::unbounded_channel();
    let pay = |job: Job<Payment>| {
        let events = events.clone();
        async move {
            let Payment { account, number } = job.value.clone();
            if account == "anna" && number == 1 && job.attempt == 1 {
                let _ = events.send((account, "1 failed".to_owned()));
                return Err("no connection to the bank");
            }
            let _ = events.send((account, number.to_string()));
            Ok(())
        }
    };
    let stop = CancellationToken::new();
    let watch = async {
        let mut accounts = BTreeMap::<String, Vec<String>>::new();
        let mut done = Vec::new();
        while let Some((account, event)) = happened.recv().await {
            accounts.entry(account.clone()).or_default().push(event.clone());
            done.extend((event == "3").then_some(account));
            if done.len() == 2 {
                break;
            }
        }
        accounts.iter().for_each(|(account, events)| println!("{account}: {}", events.join(", ")));
        println!("first to be done: {}", done[0]);
        stop.cancel();
        Ok(())
    };
    tokio::try_join!(payments.worker().run_until(stop.cancelled(), pay), watch)?;
    Ok(())
}
