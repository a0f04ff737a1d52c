//! A queue that is a log, too: what was worked on stays for an hour, can be read again, and a subscription can go back to it.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-client --example replay`. It prints:
//!
//! ```text
//! worked on 20
//! worked on 21
//! worked on 23
//! left to do: 0
//! read 21
//! read 23
//! worked on 21 once more
//! worked on 23 once more
//! ```

use std::time::Duration;

use quorate_client::{Client, QueueSettings, Retain, Start};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::from_env()?;
    let retain = Retain { until_done: true, age: Some(Duration::from_secs(3600)), ..Default::default() };
    client.queues().create("temperatures", QueueSettings { retain, ..Default::default() }).await?;
    let temperatures = client.queue::<i32>("temperatures");

    let producer = temperatures.producer().open().await?;
    producer.publish(20).await?;
    let second = producer.publish(21).await?.position;
    producer.publish(23).await?;
    producer.close().await?;

    let mut consumer = temperatures.consumer().attach().await?;
    for _ in 0..3 {
        let delivery = consumer.next().await.ok_or("the end")??;
        println!("worked on {}", delivery.value);
        delivery.ack().await?;
    }
    println!("left to do: {}", client.queues().stat("temperatures", "default").await?.length);

    // Reading leases nothing, and nobody's progress changes.
    let mut log = client.queues().read("temperatures", Start::Position(second), 2, false);
    while let Some(stored) = log.next().await.transpose()? {
        println!("read {}", stored.json::<i32>()?);
    }

    // Going back is for a subscription whose work was wrong: it gets everything from there on again.
    client.subscriptions("temperatures").seek("default", Start::Position(second)).await?;
    for _ in 0..2 {
        let delivery = consumer.next().await.ok_or("the end")??;
        println!("worked on {} once more", delivery.value);
        delivery.ack().await?;
    }
    consumer.detach().await?;
    Ok(())
}
