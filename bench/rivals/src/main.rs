//! One load generator for Quorate, RabbitMQ and NATS: the same code measures all three. `bench/compare.sh` drives it.

mod alarm;
mod broker;
mod check;
mod consume;
mod cost;
mod flow;
mod gap;
mod load;
mod nats;
mod payload;
mod produce;
mod quorate;
mod rabbitmq;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

use broker::Broker;
use load::Load;

/// Measures a cluster of three nodes and prints one line of JSON.
#[derive(Parser)]
struct Args {
    /// What to measure
    work: Work,
    /// Who is measured
    #[arg(long)]
    broker: Kind,
    /// `host:port` of the nodes, in the order of their names
    #[arg(long, value_delimiter = ',', required = true)]
    nodes: Vec<String>,
    /// Process ids of their servers, in the same order
    #[arg(long, value_delimiter = ',', required = true)]
    pids: Vec<i32>,
    /// Seconds after which a run is given up
    #[arg(long, default_value_t = 180)]
    limit: u64,
    #[command(flatten)]
    load: Load,
}

#[derive(Clone, Copy, ValueEnum)]
enum Work {
    /// Producers alone
    Publish,
    /// Producers, consumers and acknowledgements
    Pipeline,
    /// Consumers of a backlog that is made first
    Drain,
    /// A publisher with one message in flight, while the leader's process is killed
    Gap,
    /// The same, while the leader's process is stopped: its connections stay and say nothing
    Silence,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Quorate,
    Rabbitmq,
    Nats,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.nodes.len() == args.pids.len(), "{} nodes, {} processes", args.nodes.len(), args.pids.len());
    let (nodes, queue) = (args.nodes.clone(), format!("compare-{}", std::process::id()));
    let limit = Duration::from_secs(args.limit);
    let run = async {
        match args.broker {
            Kind::Quorate => run(quorate::Quorate { nodes, queue, window: args.load.window }, &args).await,
            Kind::Rabbitmq => run(rabbitmq::RabbitMq { nodes, queue }, &args).await,
            Kind::Nats => run(nats::Nats { nodes, queue }, &args).await,
        }
    };
    let mut report = timeout(limit, run).await.with_context(|| format!("not done within {limit:?}"))??;
    report["broker"] = json!(args.broker.to_possible_value().map(|kind| kind.get_name().to_owned()));
    report["work"] = json!(args.work.to_possible_value().map(|work| work.get_name().to_owned()));
    println!("{report}");
    Ok(())
}

async fn run<B: Broker>(broker: B, args: &Args) -> Result<Value> {
    broker.create().await.context("creating the queue")?;
    let (load, pids) = (args.load, args.pids.as_slice());
    let report = match args.work {
        Work::Publish => flow::publish(&broker, load, pids).await,
        Work::Pipeline => flow::pipeline(&broker, load, pids).await,
        Work::Drain => flow::drain(&broker, load, pids).await,
        // The cluster has lost a node and is thrown away.
        Work::Gap => return gap::run(&broker, load, pids, Signal::KILL).await,
        Work::Silence => return gap::run(&broker, load, pids, Signal::STOP).await,
    }?;
    broker.delete().await.context("deleting the queue")?;
    Ok(report)
}
