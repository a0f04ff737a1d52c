//! An order in three steps, each a transaction: reserve, charge, ship. Workers are killed at random, nodes crash, the network
//! parts; and every order reaches its end exactly once, with stock, states and queues in agreement.
//!
//! Each step acknowledges the message of the step before, writes what the order has come to, and publishes the message of the next
//! step: in one entry of the log. A worker that dies before has done nothing, one that dies after has done everything.
//!
//! With `broken` a step acknowledges, writes and publishes one after the other, as it would be done elsewhere.
//!
//! ```text
//! cargo run -p quorate-sim --example saga -- fixed 100
//! cargo run -p quorate-sim --example saga -- broken 100
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use futures::future::join_all;
use quorate_client::{
    Client, Error, Handled, Job, QueueSettings, Reason, Start, SubscriptionSettings, Transaction,
};
use quorate_sim::{Context, Failure, Kind, Simulation, explore};
use serde::{Deserialize, Serialize};

// This program's clock and randomness come from the simulation.
quorate_sim::interpose!();

const STEPS: [&str; 3] = ["reserve", "charge", "ship"];
/// What an order has come to after each of the steps.
const STATES: [&str; 3] = ["reserved", "charged", "shipped"];
/// Where orders are in the end.
const END: &str = "shipped";
const ORDERS: u64 = 30;
const STOCK: u64 = 100;
const WORKERS: usize = 4;

#[derive(Serialize, Deserialize)]
struct Order {
    id: u64,
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let broken = args.next().as_deref() == Some("broken");
    let seeds = args.next().and_then(|n| n.parse().ok()).unwrap_or(100);
    explore(0..seeds, |seed| saga(seed, broken))
}

fn saga(seed: u64, broken: bool) -> Result<(), Failure> {
    let faults = [Kind::Crash, Kind::Partition, Kind::Pause, Kind::Loss];
    let mut simulation = Simulation::new(seed)
        .nodes(3)
        .faults(&faults, Duration::from_secs(20))
        .program("shop", shop)
        .program("auditor", audit);
    for worker in 0..WORKERS {
        let work = move |context| work(context, broken);
        simulation = simulation.mortal_program(format!("worker {worker}"), 15, work);
    }
    simulation.run()
}

async fn set_up(client: &Client) {
    let settings = || SubscriptionSettings {
        lease: Some(Duration::from_secs(2)),
        backoff: Some((Duration::from_millis(50), Duration::from_secs(1))),
        ..Default::default()
    };
    for queue in STEPS.into_iter().chain([END]) {
        patiently(|| async {
            let settings = QueueSettings { default_subscription: settings(), ..Default::default() };
            client.queues().create(queue, settings).await
        })
        .await;
    }
}

/// Puts orders into the first queue. Its session says how many are there already.
async fn shop(context: Context) -> Result<(), Error> {
    let client = context.client(Duration::from_secs(5))?;
    set_up(&client).await;
    // Whatever becomes of the answer: afterwards there is a stock.
    patiently(|| async {
        let first = client.transaction().require_absent("stock").put_json("stock", &STOCK).commit().await;
        match first {
            Err(error) if error.reason() != Some(&Reason::PreconditionFailed) => Err(error),
            _ => Ok(()),
        }
    })
    .await;
    loop {
        let orders = client.queue::<Order>(STEPS[0]);
        let Ok(producer) = orders.producer().session("shop").open().await else { continue };
        for id in producer.last_seq()..ORDERS {
            let Ok(pending) = producer.send(Order { id }).await else { break };
            if pending.await.is_err() {
                break;
            }
        }
        if producer.last_seq() >= ORDERS {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Works on all steps at once, until the shop is closed.
async fn work(context: Context, broken: bool) -> Result<(), Error> {
    let client = context.client(Duration::from_secs(5))?;
    set_up(&client).await;
    join_all((0..STEPS.len()).map(|step| work_on(&client, step, broken))).await;
    Ok(())
}

async fn work_on(client: &Client, step: usize, broken: bool) {
    let queue = client.queue::<Order>(STEPS[step]);
    // A worker ends when its queue is not there yet, or the session cannot be attached in time.
    patiently(|| async {
        let worker = queue.worker().concurrency(2).prefetch(0);
        worker.run_until(closed(client), |job| take(job, step, broken)).await
    })
    .await;
}

/// Returns when the shop is closed.
async fn closed(client: &Client) {
    while !matches!(client.state().get("closed").await, Ok(Some(_))) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn take(job: Job<Order>, step: usize, broken: bool) -> Result<Handled, Error> {
    match broken {
        true => take_apart(&job, step).await.map(Handled::from),
        false => take_whole(&job, step).await.map(Handled::from),
    }
}

/// Where the message of the next step goes.
fn next_of(step: usize) -> &'static str {
    STEPS.get(step + 1).copied().unwrap_or(END)
}

/// One step of an order, all or nothing: the worker commits it with the acknowledgement.
async fn take_whole(job: &Job<Order>, step: usize) -> Result<Transaction, Error> {
    let (client, id) = (job.client(), job.value.id);
    let key = format!("order/{id}");
    let known = client.state().get_all(&[key.as_str(), "stock"]).await?;
    let transaction = job
        .transaction()
        .require_unchanged(&key, known.get(&key))
        .publish(&client.queue::<Order>(next_of(step)), Order { id })
        .put_json(&key, &STATES[step]);
    if step > 0 {
        return Ok(transaction);
    }
    let stock = known.get("stock").ok_or(Error::Closed("stock"))?;
    let left = stock.json::<u64>()? - 1;
    Ok(transaction.require_unchanged("stock", Some(stock)).put_json("stock", &left))
}

/// The same in pieces, with everything that can happen in between; then it is acknowledged.
async fn take_apart(job: &Job<Order>, step: usize) -> Result<(), Error> {
    let (client, id) = (job.client(), job.value.id);
    if step == 0 {
        let stock = client.state().get("stock").await?.ok_or(Error::Closed("stock"))?;
        let left = stock.json::<u64>()? - 1;
        let transaction = client.transaction().require_unchanged("stock", Some(&stock));
        transaction.put_json("stock", &left).commit().await?;
    }
    client.transaction().put_json(&format!("order/{id}"), &STATES[step]).commit().await?;
    client.transaction().publish(&client.queue::<Order>(next_of(step)), Order { id }).commit().await?;
    Ok(())
}

/// Waits until nothing is under way, then looks at everything.
async fn audit(context: Context) -> Result<(), String> {
    let client = context.client(Duration::from_secs(5)).map_err(|error| error.to_string())?;
    set_up(&client).await;
    let length = |queue: &'static str| {
        let client = client.clone();
        async move { patiently(|| async { client.queues().stat(queue, "").await }).await.length }
    };
    loop {
        let (mut under_way, shipped) = (0, length(END).await);
        for step in STEPS {
            under_way += length(step).await;
        }
        if under_way == 0 && shipped >= ORDERS {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    let mut reader = client.queues().read(END, Start::Earliest, 0, false);
    while let Some(message) = reader.next().await {
        if let Ok(message) = message {
            let order: Order = serde_json::from_slice(&message.body).map_err(|error| error.to_string())?;
            *times.entry(order.id).or_default() += 1;
        }
    }
    let (states, _) = patiently(|| async { client.state().list("order/", "").await }).await;
    let stock = patiently(|| async { client.state().get("stock").await }).await;
    let left: u64 = stock.ok_or("there is no stock")?.json().map_err(|error| error.to_string())?;
    patiently(|| async { client.transaction().put("closed", "").commit().await }).await;
    let once = (0..ORDERS).map(|id| (id, 1)).collect();
    if times != once {
        return Err(format!("shipped, by order: {times:?}"));
    }
    let is_shipped = |entry: &quorate_client::StateEntry| entry.json::<String>().is_ok_and(|s| s == END);
    if states.len() as u64 != ORDERS || !states.iter().all(is_shipped) {
        return Err(format!("{} orders have a state, and not all are shipped: {states:?}", states.len()));
    }
    if left != STOCK - ORDERS {
        return Err(format!("{ORDERS} orders took {} from the stock", STOCK - left));
    }
    Ok(())
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
