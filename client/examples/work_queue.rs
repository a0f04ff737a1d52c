//! A work queue: two workers compete for the jobs, and a job that fails comes again.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-client --example work_queue`. It prints:
//!
//! ```text
//! photo 4 failed: the disk is busy
//! resized 8 photos
//! left in the queue: 0
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_client::{Client, Error, Job, SubscriptionSettings};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

const PHOTOS: u64 = 8;

#[derive(Serialize, Deserialize)]
struct Photo {
    id: u64,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env()?;
    let backoff = Some((Duration::from_millis(100), Duration::from_secs(10)));
    client.queues().create("photos", SubscriptionSettings { backoff, ..Default::default() }).await?;
    let photos = client.queue::<Photo>("photos");

    let producer = photos.producer().open().await?;
    let mut pending = Vec::new();
    for id in 1..=PHOTOS {
        pending.push(producer.send(Photo { id }).await?); // on its way
    }
    for receipt in pending {
        receipt.await?; // stored
    }
    producer.close().await?;

    let (resized, all) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let resize = |job: Job<Photo>| {
        let (resized, all) = (resized.clone(), all.clone());
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await; // the work
            if job.value.id == 4 && job.attempt == 1 {
                println!("photo 4 failed: the disk is busy");
                return Err("the disk is busy"); // retried after the backoff
            }
            if resized.fetch_add(1, Ordering::Relaxed) + 1 == PHOTOS {
                all.cancel();
            }
            Ok(()) // acknowledged
        }
    };
    // Each would be a process of its own, on a machine of its own.
    let first = photos.worker().concurrency(2).run_until(all.cancelled(), &resize);
    let second = photos.worker().concurrency(2).run_until(all.cancelled(), &resize);
    tokio::try_join!(first, second)?;

    println!("resized {} photos", resized.load(Ordering::Relaxed));
    println!("left in the queue: {}", client.queues().stat("photos", "default").await?.length);
    Ok(())
}
