//! Request and reply: who asks waits for an answer, which is accepted once, however often the question is worked on.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-client --example request_reply`. It prints:
//!
//! ```text
//! 6 × 7 = 42
//! 12 × 12 = 144
//! out of time after 300 ms: nobody answered
//! ```

use std::time::Duration;

use quorate_client::{Client, Error, Job, QueueSettings};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Product {
    a: u64,
    b: u64,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env()?;
    client.queues().create("products", QueueSettings::default()).await?;
    let products = client.queue::<Product>("products");

    // The acknowledgement and the answer are one transaction: of two who worked on a question only one answers.
    let answer = |job: Job<Product>| async move { job.reply(&(job.value.a * job.value.b)) };
    let worker = products.worker().start(answer);
    for (a, b) in [(6, 7), (12, 12)] {
        let product: u64 = products.request(Product { a, b }, Duration::from_secs(20)).await?;
        println!("{a} × {b} = {product}");
    }
    worker.stop().await?;

    // Nobody is there any more. A question goes by itself when nobody waits for its answer.
    match products.request::<u64>(Product { a: 1, b: 1 }, Duration::from_millis(300)).await {
        Err(error @ Error::OutOfTime { .. }) => println!("{error}"),
        other => println!("not expected: {other:?}"),
    }
    Ok(())
}
