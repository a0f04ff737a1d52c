//! Order by key: the payments of an account are worked on one after the other, whatever fails; those of another do not wait.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-client --example ordered_by_key`. It prints:
//!
//! ```text
//! anna 1 failed: no connection to the bank
//! bert 1
//! bert 2
//! bert 3
//! anna 1
//! anna 2
//! anna 3
//! ```

use std::time::Duration;

use quorate_client::{Client, Error, Job, Message, Order, SubscriptionSettings};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

#[derive(Serialize, Deserialize)]
struct Payment {
    account: String,
    number: u64,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env()?;
    let by_key = SubscriptionSettings {
        order: Order::Key,
        backoff: Some((Duration::from_secs(2), Duration::from_secs(60))),
        ..Default::default()
    };
    client.queues().create("payments-by-account", by_key).await?;
    let payments = client.queue::<Payment>("payments-by-account");

    let producer = payments.producer().open().await?;
    for number in 1..=3 {
        for account in ["anna", "bert"] {
            let payment = Payment { account: account.into(), number };
            producer.publish(Message::new(payment).key(account)).await?;
        }
    }
    producer.close().await?;

    let done = CancellationToken::new();
    let pay = |job: Job<Payment>| {
        let done = done.clone();
        async move {
            let Payment { account, number } = &job.value;
            if account == "anna" && *number == 1 && job.attempt == 1 {
                println!("anna 1 failed: no connection to the bank");
                return Err("no connection to the bank");
            }
            println!("{account} {number}");
            if account == "anna" && *number == 3 {
                done.cancel();
            }
            Ok(())
        }
    };
    // One at a time, so that it prints the same each time; with more of them every account has a handler of its own.
    payments.worker().concurrency(1).run_until(done.cancelled(), pay).await
}
