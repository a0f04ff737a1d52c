//! A message on its way: published, received, acknowledged.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-client --example hello`. It prints:
//!
//! ```text
//! stored on the disks of a majority
//! received "hello", attempt 1
//! acknowledged
//! ```

use quorate_client::{Client, Error, QueueSettings};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env()?;
    client.queues().create("greetings", QueueSettings::default()).await?;
    let greetings = client.queue::<String>("greetings");

    let producer = greetings.producer().open().await?;
    let pending = producer.send("hello".to_owned()).await?;
    pending.await?;
    println!("stored on the disks of a majority");
    producer.close().await?;

    let mut consumer = greetings.consumer().attach().await?;
    if let Some(delivery) = consumer.next().await.transpose()? {
        println!("received {:?}, attempt {}", delivery.value, delivery.attempt);
        delivery.ack().await?;
        println!("acknowledged");
    }
    consumer.detach().await
}
