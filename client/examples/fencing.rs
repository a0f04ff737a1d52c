//! Fencing: a worker that was held up past its lease cannot overwrite what its successor wrote into a SQL table.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-client --example fencing [FILE]`. It prints:
//!
//! ```text
//! the second worker: 20 paid in
//! the first worker: its write is refused, and so is its acknowledgement
//! the account: 120
//! ```

use std::time::Duration;

use quorate_client::{Client, Delivery, Error, Message, Order, SubscriptionSettings};
use rusqlite::{Connection, params};

type Failure = Box<dyn std::error::Error>;

/// `token` is the one under which the row was written last.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS account (id TEXT PRIMARY KEY, balance INTEGER NOT NULL, token INTEGER NOT NULL);
    INSERT INTO account VALUES ('anna', 100, 0) ON CONFLICT DO NOTHING;";

/// Pays the amount in, unless the row was written under this lease or a later one. Returns whether it was.
fn pay_in(database: &mut Connection, amount: &Delivery<i64>) -> rusqlite::Result<bool> {
    let transaction = database.transaction()?;
    let select = "SELECT balance FROM account WHERE id = ?";
    let balance: i64 = transaction.query_row(select, ["anna"], |row| row.get(0))?;
    let update = "UPDATE account SET balance = ?, token = ? WHERE id = ? AND token < ?";
    let token = amount.token as i64;
    let rows = transaction.execute(update, params![balance + amount.value, token, "anna", token])?;
    transaction.commit()?;
    Ok(rows == 1)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut database = Connection::open(std::env::args().nth(1).as_deref().unwrap_or(":memory:"))?;
    database.execute_batch(SCHEMA)?;
    let client = Client::from_env()?;
    // In this order the amounts of an account come one after the other, so the tokens that its row sees only grow.
    let settings = SubscriptionSettings {
        order: Order::Key,
        lease: Some(Duration::from_secs(1)),
        backoff: Some((Duration::from_millis(1), Duration::from_millis(1))),
        ..Default::default()
    };
    client.queues().create("amounts", settings).await?;
    let amounts = client.queue::<i64>("amounts");
    let producer = amounts.producer().open().await?;
    producer.publish(Message::new(20).key("anna")).await?;
    producer.close().await?;

    let mut first = amounts.consumer().attach().await?;
    let late = first.next().await.ok_or("the end")??;
    first.set_credit(0); // it hangs, and takes nothing more

    let mut second = amounts.consumer().attach().await?;
    let delivery = second.next().await.ok_or("the end")??; // when the lease of the first has expired
    if pay_in(&mut database, &delivery)? {
        println!("the second worker: {} paid in", delivery.value);
    }
    delivery.ack().await?;

    let written = pay_in(&mut database, &late)?; // the first goes on, and knows nothing of it
    if let (false, Err(Error::StaleLease { .. })) = (written, late.ack().await) {
        println!("the first worker: its write is refused, and so is its acknowledgement");
    }
    let balance: i64 = database.query_row("SELECT balance FROM account", [], |row| row.get(0))?;
    println!("the account: {balance}");
    first.detach().await?;
    second.detach().await?;
    Ok(())
}
