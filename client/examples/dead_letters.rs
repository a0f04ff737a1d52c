//! Dead letters: a message that fails too often is parked where it is, with the reasons, until somebody redrives or discards it.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-client --example dead_letters`. It prints:
//!
//! ```text
//! sent to anna
//! parked after 2 failures: zoe, no such customer
//! parked after 2 failures: nobody, no such customer
//! discarded 1, redriven 1
//! sent to zoe
//! left in the queue: 0
//! ```

use std::time::Duration;

use quorate_client::wire::MessageState;
use quorate_client::{Client, Error, Job, Message, Peek, Selector, SubscriptionSettings};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env()?;
    let quick = Some((Duration::from_millis(10), Duration::from_millis(10)));
    let settings = SubscriptionSettings { max_attempts: Some(2), backoff: quick, ..Default::default() };
    client.queues().create("invoices", settings).await?;
    let invoices = client.queue::<String>("invoices");

    let producer = invoices.producer().open().await?;
    for customer in ["anna", "zoe", "nobody"] {
        producer.publish(Message::new(customer.to_owned()).key(customer)).await?;
    }
    producer.close().await?;

    let send = |customers: &'static [&str]| {
        move |job: Job<String>| async move {
            if !customers.contains(&job.value.as_str()) {
                return Err("no such customer");
            }
            println!("sent to {}", job.value);
            Ok(())
        }
    };
    // Until all that is left is parked.
    let idle = async || {
        let figures = async || client.queues().stat("invoices", "default").await;
        while !figures().await.is_ok_and(|stat| stat.length == stat.parked) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    invoices.worker().run_until(idle(), send(&["anna"])).await?;

    let parked = Peek { state: Some(MessageState::Parked), ..Default::default() };
    for letter in client.queues().peek("invoices", &parked).await?.messages {
        let key = letter.message.unwrap_or_default().key;
        let reason = letter.failures.last().map_or("", |failure| &failure.reason);
        let (failures, customer) = (letter.failures.len(), String::from_utf8_lossy(&key));
        println!("parked after {failures} failures: {customer}, {reason}");
    }
    // One will never be a customer; the other is one by now.
    let nobody = Selector { key: Some("nobody".into()), ..Default::default() };
    let discarded = client.subscriptions("invoices").discard("default", &nobody, 0).await?.messages;
    let redriven =
        client.subscriptions("invoices").redrive("default", &Selector::default(), 0).await?.messages;
    println!("discarded {discarded}, redriven {redriven}");
    invoices.worker().run_until(idle(), send(&["anna", "zoe"])).await?;
    println!("left in the queue: {}", client.queues().stat("invoices", "default").await?.length);
    Ok(())
}
