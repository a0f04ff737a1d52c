//! The command line: one file a verb, this one only dispatches.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 ran out of time, 4 no leader or no connection.

mod bench;
mod cluster;
mod delayed;
pub mod dev;
mod explain;
mod failure;
mod json;
mod log;
mod options;
mod output;
mod parked;
mod peek;
mod producers;
mod publish;
mod queue;
mod read;
mod receive;
mod route;
pub mod serve;
mod settings;
mod stat;
mod state;
mod stop;
mod sub;
mod transact;
mod units;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use failure::Failure;

/// A queue cluster in which every change is a Raft log entry.
#[derive(Parser)]
#[command(name = "quorate", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// A whole cluster in one process, for trying it.
    Dev(dev::Args),
    /// One node.
    Serve(serve::Args),
    /// Create, list, show, update, purge and delete queues.
    #[command(subcommand)]
    Queue(queue::Verb),
    /// Create, list, show, update, pause, move and delete subscriptions of a queue.
    #[command(subcommand)]
    Sub(sub::Verb),
    /// Publish a message, or one a line.
    Publish(publish::Args),
    /// Publish a message to a subject: every queue with a route that matches gets it.
    Route(route::Args),
    /// Receive messages and acknowledge each after it has been written out.
    Receive(receive::Args),
    /// Look at messages without leasing them.
    Peek(peek::Args),
    /// Read a queue like a log, without leasing anything.
    Read(read::Args),
    /// Why nothing, or not more, is being handed out.
    Explain(explain::Args),
    /// The producer sessions that are remembered.
    Producers(producers::Args),
    /// Messages that were set aside: list, redrive or discard them.
    #[command(subcommand)]
    Parked(parked::Verb),
    /// Messages that are not due yet: cancel them, or move their time.
    #[command(subcommand)]
    Delayed(delayed::Verb),
    /// Settle, publish and write state in one step, all or nothing.
    Transact(transact::Args),
    /// The keyed state of the namespace: read, write, delete, wait.
    #[command(subcommand)]
    State(state::Verb),
    /// Exact figures of a queue.
    Stat(stat::Args),
    /// The cluster's members and their state.
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Measure this cluster, and check what it promises while measuring.
    #[command(subcommand)]
    Bench(bench::Verb),
}

/// Reads the command line, runs the verb, and says what went wrong if it did.
pub fn main() -> ExitCode {
    let cli = Cli::parse(); // clap exits with 2 for wrong usage
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(format!("the runtime cannot start: {error}"), "").report(),
    };
    let outcome = runtime.block_on(run(cli.verb));
    // A read of standard input cannot be interrupted; the process does not wait for it.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Dev(args) => Box::pin(dev::run(args)).await,
        Verb::Serve(args) => Box::pin(serve::run(args)).await,
        Verb::Queue(verb) => queue::run(verb).await,
        Verb::Sub(verb) => sub::run(verb).await,
        Verb::Read(args) => Box::pin(read::run(args)).await,
        Verb::Explain(args) => explain::run(args).await,
        Verb::Producers(args) => producers::run(args).await,
        Verb::Parked(verb) => parked::run(verb).await,
        Verb::Delayed(verb) => delayed::run(verb).await,
        Verb::Publish(args) => Box::pin(publish::run(args)).await,
        Verb::Route(args) => route::run(args).await,
        Verb::Receive(args) => Box::pin(receive::run(args)).await,
        Verb::Peek(args) => peek::run(args).await,
        Verb::Transact(args) => transact::run(args).await,
        Verb::State(verb) => state::run(verb).await,
        Verb::Stat(args) => stat::run(args).await,
        Verb::Cluster(verb) => cluster::run(verb).await,
        Verb::Bench(verb) => Box::pin(bench::run(verb)).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_told_from_right() {
        for right in [
            "quorate queue create q --order total --lease 30s --backoff 1s..60s",
            "quorate publish q hello --key k --header a=b",
            "quorate publish q --file - --key-field /customer/id",
            "quorate receive q --count 5 --wait 1s --body",
            "quorate queue create q --order key --max-attempts 3 --on-exhausted park-key --per-key-inflight 2",
            "quorate queue update q --lease 10s --ttl 0",
            "quorate sub create q audit --filter orders.> --filter-header a=b --from latest",
            "quorate sub seek q audit --to 2026-12-24T18:00:00Z",
            "quorate publish q hello --delay 5s --ttl 1h --priority 3",
            "quorate queue create q --route orders.> --route bills.*",
            "quorate queue update q --no-routes",
            "quorate route orders.eu.created hello --key k",
            "quorate parked redrive q --where key=k --where position=1..9 --rate 100 --dry-run",
            "quorate delayed reschedule q 7 --delay 1h",
            "quorate transact --ack q/audit:7:12 --publish next=hello --put order/7=reserved --require-version order/7=0",
            "quorate state put order/7 reserved --if-version 0 --ttl 1h",
            "quorate state wait order/7 --since 3 --for 1s",
            "quorate -o json stat q",
            "quorate stat q -o json --endpoint http://a:1,http://b:2",
            "quorate bench pipeline --producers 8 --consumers 8 --size 1KiB --seconds 5",
        ] {
            // Options of a verb follow it; those before it are wrong usage.
            let parsed = Cli::try_parse_from(right.split(' '));
            assert_eq!(parsed.is_ok(), !right.starts_with("quorate -o"), "{right}");
        }
        for wrong in [
            "quorate publish q",
            "quorate publish q a --file b",
            "quorate publish q a --delay 5s --at 2026-12-24T18:00:00Z",
            "quorate publish q a --priority 10",
            "quorate queue create q --delay 5s",
            "quorate delayed reschedule q 7",
            "quorate parked redrive q --where body=x",
        ] {
            assert!(Cli::try_parse_from(wrong.split(' ')).is_err(), "{wrong}");
        }
    }
}
