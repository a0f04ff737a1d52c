//! A payment workflow with a bug that only a leader change shows, and the same workflow without it.
//!
//! A shop puts orders into a queue; a cashier takes them out and charges the customer. The shop is impatient: it waits
//! 300 ms for the receipt of an order. When none comes it cannot know whether the order was stored, because the leader may
//! have been lost before it answered.
//!
//! - `broken` sends the order again from a new producer. If the first one was stored after all, the customer pays twice.
//! - `fixed` opens its producer session again by its name. The session says how many orders it has stored, so the shop
//!   goes on with the first that is missing.
//!
//! ```text
//! cargo run -p quorate-sim --example payment -- broken 100
//! cargo run -p quorate-sim --example payment -- fixed 1000
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use quorate_client::{Client, Error, QueueSettings};
use quorate_sim::{Context, Failure, Kind, Simulation, explore};
use serde::{Deserialize, Serialize};

// This program's clock and randomness come from the simulation.
quorate_sim::interpose!();

const QUEUE: &str = "orders";
const ORDERS: u64 = 40;
const PATIENCE: Duration = Duration::from_millis(300);

#[derive(Serialize, Deserialize)]
struct Order {
    id: u64,
}

/// What the bank has done: how often each order was charged. It outlives the programs, as a bank does.
type Bank = Rc<RefCell<BTreeMap<u64, u32>>>;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let broken = args.next().as_deref() == Some("broken");
    let seeds = args.next().and_then(|n| n.parse().ok()).unwrap_or(100);
    explore(0..seeds, |seed| workflow(seed, broken))
}

fn workflow(seed: u64, broken: bool) -> Result<(), Failure> {
    let bank = Bank::default();
    let charges = Rc::clone(&bank);
    Simulation::new(seed)
        .nodes(3)
        .faults(&[Kind::Crash, Kind::Partition], Duration::from_secs(15))
        .program("shop", move |context| shop(context, broken))
        .program("cashier", move |context| cashier(context, Rc::clone(&charges)))
        .run()?;
    for (order, times) in bank.borrow().iter() {
        if *times != 1 {
            let error = format!("order {order} was charged {times} times");
            return Err(Failure::Program { name: "bank".into(), error });
        }
    }
    Ok(())
}

async fn shop(context: Context, broken: bool) -> Result<(), Error> {
    let client = context.client(PATIENCE)?;
    patiently(|| async { client.queues().create(QUEUE, QueueSettings::default()).await }).await;
    let mut next = 0;
    while next < ORDERS {
        // Whatever goes wrong, the shop tries again; the two differ only in what it sends then.
        match if broken { send_anew(&client, next).await } else { send_on(&client).await } {
            Ok(sent) => next = sent,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Sends one order from a producer of its own. Says how many orders are sent now.
async fn send_anew(client: &Client, next: u64) -> Result<u64, Error> {
    let producer = client.queue::<Order>(QUEUE).producer().open().await?;
    producer.send(Order { id: next }).await?.await?;
    Ok(next + 1)
}

/// Goes on where the session is. Says how many orders are sent now.
async fn send_on(client: &Client) -> Result<u64, Error> {
    let producer = client.queue::<Order>(QUEUE).producer().session("shop").open().await?;
    let stored = producer.last_seq(); // the first order has the sequence number 1
    if stored < ORDERS {
        producer.send(Order { id: stored }).await?.await?;
    }
    Ok(stored + 1)
}

/// Charges every order, until the last has been charged and nothing is left.
async fn cashier(context: Context, bank: Bank) -> Result<(), Error> {
    let client = context.client(Duration::from_secs(10))?;
    let mut charged = BTreeMap::new();
    patiently(|| async { client.queues().create(QUEUE, QueueSettings::default()).await }).await;
    let mut consumer = patiently(|| async { client.queue::<Order>(QUEUE).consumer().attach().await }).await;
    loop {
        match tokio::time::timeout(Duration::from_secs(5), consumer.next()).await {
            Ok(Some(Ok(delivery))) => {
                // A message that is delivered again has the same position: it is charged once.
                if charged.insert(delivery.position, delivery.value.id).is_none() {
                    *bank.borrow_mut().entry(delivery.value.id).or_default() += 1;
                }
                delivery.ack_later();
            }
            Ok(Some(Err(_))) => {}
            Ok(None) => {
                consumer =
                    patiently(|| async { client.queue::<Order>(QUEUE).consumer().attach().await }).await;
            }
            Err(_) if bank.borrow().len() as u64 == ORDERS => {
                let stat = patiently(|| async { client.queues().stat(QUEUE, "default").await }).await;
                if stat.length == 0 {
                    return Ok(());
                }
            }
            Err(_) => {}
        }
    }
}

/// Tries until it works.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(attempt: impl Fn() -> F) -> T {
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
