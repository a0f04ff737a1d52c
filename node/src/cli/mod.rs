//! The command line: one file a verb, this one only dispatches.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 ran out of time, 4 no leader or no connection; of a node, 5 its data
//! directory is gone, 6 it was asked to stop and its disk did not answer in time, 7 its program cannot read what the cluster writes.

mod advice;
mod bench;
mod cluster;
mod completions;
mod delayed;
pub mod dev;
mod explain;
mod failure;
mod frame;
mod help;
mod json;
mod log;
mod man;
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
mod suggest;
mod transact;
mod units;
mod watch;

use std::process::ExitCode;

use clap::{FromArgMatches as _, Parser, Subcommand};

use advice::Typed;
pub use failure::Failure;
use options::Options;
use output::Format;

/// A queue cluster in which every change is a Raft log entry.
#[derive(Parser)]
#[command(
    name = "quorate",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  A cluster to try it with, in another terminal:
    quorate dev --ephemeral
  A queue, a message in, a message out:
    quorate queue create invoices --order total
    quorate publish invoices '{\"id\":1}'
    quorate receive invoices --count 1

Durations read 500ms, 5s, 7d; sizes 64KiB, 10GiB; times 2026-12-24T18:00:00Z. Every verb has help with examples: `quorate publish --help`.
Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 ran out of time, 4 no leader or no connection.
"
)]
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
    #[command(
        subcommand,
        after_help = "\
Examples:
  Make one, and see what it holds:
    quorate queue create orders
    quorate queue show orders
"
    )]
    Queue(queue::Verb),
    /// Create, list, show, update, pause, move and delete subscriptions of a queue.
    #[command(
        subcommand,
        after_help = "\
Examples:
  A second view of a queue, with progress of its own:
    quorate sub create orders audit
    quorate sub list orders
"
    )]
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
    #[command(
        subcommand,
        after_help = "\
Examples:
  What failed for good, and another try:
    quorate parked list orders
    quorate parked redrive orders
"
    )]
    Parked(parked::Verb),
    /// Messages that are not due yet: cancel them, or move their time.
    #[command(
        subcommand,
        after_help = "\
Examples:
  Not at all, or later:
    quorate delayed cancel orders 7
    quorate delayed reschedule orders --id remind-8 --delay 1h
"
    )]
    Delayed(delayed::Verb),
    /// Settle, publish and write state in one step, all or nothing.
    Transact(transact::Args),
    /// The keyed state of the namespace: read, write, delete, wait.
    #[command(
        subcommand,
        after_help = "\
Examples:
  Small values with versions, by keys:
    quorate state put order/1 paid
    quorate state get order/1
"
    )]
    State(state::Verb),
    /// Exact figures of a queue.
    Stat(stat::Args),
    /// The cluster's members and their state.
    #[command(
        subcommand,
        after_help = "\
Examples:
  Who leads, who lags, whose disk is full:
    quorate cluster status
    quorate cluster status --watch
"
    )]
    Cluster(cluster::Verb),
    /// Measure this cluster, and check what it promises while measuring.
    #[command(
        subcommand,
        after_help = "\
Examples:
  What this cluster does here:
    quorate bench pipeline --seconds 2
    quorate bench publish --size 16KiB --seconds 2
"
    )]
    Bench(bench::Verb),
    /// Print what a shell needs to complete this command.
    Completions(completions::Args),
    /// Print a manual page, or write all of them.
    Man(man::Args),
}

/// Reads the command line, runs the verb, and says what went wrong if it did.
pub fn main() -> ExitCode {
    let matches = help::command().get_matches(); // clap exits with 2 for wrong usage
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let typed = Typed::new(&matches);
    let options = Options::of(typed.given);
    let format = options.as_ref().map_or(Format::Table, |options| options.output);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(format!("the runtime cannot start: {error}"), "").report(format),
    };
    let outcome = runtime.block_on(async {
        let failure = match (run(cli.verb).await, &options) {
            (Err(failure), Some(options)) => suggest::meant(failure, options, typed.queue()).await,
            (outcome, _) => return outcome,
        };
        Err(advice::adapted(failure, &typed))
    });
    // A read of standard input cannot be interrupted; the process does not wait for it.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(format),
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
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
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
