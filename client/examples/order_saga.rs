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

use quorate_client::{Client, Error, Job, QueueSettings, Transaction};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    id: u64,
    card: String,
}

/// Begins a step: the order gets another status, unless somebody changes it between this look at it and the commit.
async fn step(job: &Job<Order>, status: &str) -> Result<Transaction, Error> {
    let key = format!("order/{}", job.value.id);
    let version = job.client().state().get(&key).await?.map_or(0, |seen| seen.version);
    Ok(job.transaction().require_version(&key, version).put_json(&key, &status))
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
    let (reserved, key) = (format!("reserved/{}", job.value.id), format!("outcome/{}", job.value.id));
    Ok(step(&job, outcome).await?.delete(&reserved).put_json(&key, &outcome))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let endpoints = std::env::var("QUORATE_ENDPOINT").unwrap_or_else(|_| "http://127.0.0.1:7400".into());
    let client = Client::builder().endpoints(endpoints.split(',')).build()?;
    let names = ["saga-reserve", "saga-charge", "saga-ship", "saga-cancel"];
    for name in names {
        client.queues().create(name, QueueSettings::default()).await?;
    }
    let [reserves, charges, ships, cancels] = names.map(|name| client.queue::<Order>(name));
    let stop = CancellationToken::new();
    let shop = async {
        for (id, card) in [(1, "valid"), (2, "expired")] {
            let (outcome, order) = (format!("outcome/{id}"), Order { id, card: card.into() });
            let placed = client.transaction().put_json(&format!("order/{id}"), &"placed").delete(&outcome);
            placed.publish(&reserves, order).commit().await?;
            if let Some(outcome) = client.state().wait(&outcome, 0, Duration::from_secs(20)).await? {
                println!("order {id}: {}", outcome.json::<String>()?);
            }
        }
        println!("books still reserved: {}", client.state().list("reserved/", "").await?.0.len());
        stop.cancel();
        Ok(())
    };
    tokio::try_join!(
        reserves.worker().run_until(stop.cancelled(), reserve),
        charges.worker().run_until(stop.cancelled(), charge),
        ships.worker().run_until(stop.cancelled(), |job| finish(job, "shipped")),
        cancels.worker().run_until(stop.cancelled(), |job| finish(job, "cancelled")),
        shop,
    )?;
    Ok(())
}
