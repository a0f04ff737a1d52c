//! A message that is due later, and a handler that says itself when to try again.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-client --example delayed_retry`. It prints:
//!
//! ```text
//! attempt 1: the shop is closed, again in 200 ms
//! attempt 2: the shop is closed, again in 400 ms
//! attempt 3: delivered
//! no attempt came early
//! ```

use std::time::Duration;

use quorate_client::{Client, Error, Job, Message, Outcome, QueueSettings};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const STEP: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env()?;
    client.queues().create("parcels", QueueSettings::default()).await?;
    let parcels = client.queue::<String>("parcels");

    let begun = Instant::now();
    let producer = parcels.producer().open().await?;
    producer.publish(Message::new("a book".to_owned()).delay(STEP)).await?;
    producer.close().await?;

    let delivered = CancellationToken::new();
    let deliver = |job: Job<String>| {
        let delivered = delivered.clone();
        async move {
            if job.attempt < 3 {
                let after = STEP * job.attempt;
                println!("attempt {}: the shop is closed, again in {} ms", job.attempt, after.as_millis());
                return Outcome::retry_after(after).because("the shop is closed");
            }
            println!("attempt {}: delivered", job.attempt);
            delivered.cancel(); // the worker settles this message before it ends
            Outcome::Ack
        }
    };
    parcels.worker().run_until(delivered.cancelled(), deliver).await?;
    if begun.elapsed() >= STEP + STEP + 2 * STEP {
        println!("no attempt came early");
    }
    Ok(())
}
