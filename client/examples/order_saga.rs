//! An order in steps: reserved, charged, shipped; one that cannot be charged is cancelled, and its book is free again. Each step is
//! one transaction: its message acknowledged, what has come of it written, the message of the next step published.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-client --example order_saga`. It prints:
//!
//! ```text
//! order 1: shipped
//! order 2: cancelled
//! books still reserved: 0
//! ```

use std::time::Duration;

use quorate_client::{Client, Error, Job, QueueSettings, StateEntry, Transaction};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    id: u64,
    card: String,
}

/// Begins a step: the order gets another status, unless somebody changes it between this look at it and the commit.
async fn step(job: &Job<Order>, status: &str) -> Result<Transaction, Error> {
    let key = format!("order/{}", job.value.id);
    let seen = job.client().state().get(&key).await?;
    Ok(job.transaction().require_unchanged(&key, seen.as_ref()).put_json(&key, &status))
}

async fn reserve(job: Job<Order>) -> Result<Transaction, Error> {
    let reserved = step(&job, "reserved").await?.put(&format!("reserved/{}", job.value.id), "1 book");
    Ok(reserved.publish(&job.client().queue::<Order>("saga-charge"), job.value.clone()))
}

async fn charge(job: Job<Order>) -> Result<Transaction, Error> {
    let declined = job.value.card == "expired"; // the bank says so
    let (status, next) = if declined { ("declined", "saga-cancel") } else { ("charged", "saga-ship") };
    Ok(step(&job, status).await?.publish(&job.client().queue::<Order>(next), job.value.clone()))
}

/// The last step of an order: the book leaves the warehouse, or goes back to its shelf.
async fn finish(job: Job<Order>, outcome: &str) -> Result<Transaction, Error> {
    let reserved = format!("reserved/{}", job.value.id);
    Ok(step(&job, outcome).await?.delete(&reserved))
}

/// Whether an order has come to its end.
fn is_over(order: Option<&StateEntry>) -> bool {
    let status = order.and_then(|order| order.json::<String>().ok());
    matches!(status.as_deref(), Some("shipped" | "cancelled"))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env()?;
    let names = ["saga-reserve", "saga-charge", "saga-ship", "saga-cancel"];
    for name in names {
        client.queues().create(name, QueueSettings::default()).await?;
    }
    let [reserves, charges, ships, cancels] = names.map(|name| client.queue::<Order>(name));
    let workers = [
        reserves.worker().start(reserve),
        charges.worker().start(charge),
        ships.worker().start(|job| finish(job, "shipped")),
        cancels.worker().start(|job| finish(job, "cancelled")),
    ];
    for (id, card) in [(1, "valid"), (2, "expired")] {
        let (key, order) = (format!("order/{id}"), Order { id, card: card.into() });
        client.transaction().put_json(&key, &"placed").publish(&reserves, order).commit().await?;
        if let Some(outcome) = client.state().wait_until(&key, Duration::from_secs(20), is_over).await? {
            println!("order {id}: {}", outcome.json::<String>()?);
        }
    }
    println!("books still reserved: {}", client.state().list("reserved/", "").await?.0.len());
    for worker in workers {
        worker.stop().await?;
    }
    Ok(())
}
