//! `quorate serve`: one node.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Failure;
use super::output::print_line;
use super::settings::{self, Settings};
use super::stop::{NodeStop, end_in_time};
use crate::config::Invalid;
use crate::edge::listen::descriptors;
use crate::{Components, Config, Node, StartError};
use quorate_raft::Ending;

/// Exit code of a node whose program is too old, or too new, for what the cluster writes.
const UNREADABLE: u8 = 7;

/// Flags of `serve`. Each but `--config` and `--print-config` is also a key of the file and a `QUORATE_…`
/// variable.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  A cluster of one node:
    quorate serve --name n1 --data-dir ./n1 --bootstrap n1=127.0.0.1:7401
  Another node for a cluster that runs, such as that of `quorate dev`:
    quorate serve --name n4 --data-dir ./n4 --join 127.0.0.1:7401 \\
      --client-addr 127.0.0.1:7430 --peer-addr 127.0.0.1:7431 \\
      --http-addr 127.0.0.1:7432
  Which settings apply, and where they come from:
    quorate serve --config quorate.toml --print-config
")]
pub struct Args {
    /// Stable name of the node, unique in the cluster
    #[arg(long)]
    name: Option<String>,
    /// Directory of the node's identity, log and state
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// host:port for clients [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDR")]
    client_addr: Option<String>,
    /// host:port for the other nodes [default: 127.0.0.1:7401]
    #[arg(long, value_name = "ADDR")]
    peer_addr: Option<String>,
    /// host:port for health over HTTP: /livez, /startupz, /readyz [default: 127.0.0.1:7402]
    #[arg(long, value_name = "ADDR")]
    http_addr: Option<String>,
    /// First members: n1=host:7401,n2=host:7401,n3=host:7401. Only new nodes form a cluster; afterwards the list is not looked at
    #[arg(long, value_name = "NAME=ADDR,…")]
    bootstrap: Option<String>,
    /// Members to be taken in by: host:7401,… A new node joins them; afterwards the list is not looked at
    #[arg(long, value_name = "ADDR,…")]
    join: Option<String>,
    /// Set a data directory aside that is damaged or lost its log, and join as a new member
    #[arg(long)]
    rejoin: bool,
    /// The log is purged when it holds more than this, and more than what messages in queues need [default: 512MiB]
    #[arg(long, value_name = "SIZE")]
    log_bytes_max: Option<String>,
    /// Room reserved for the log's map, and for the state's; publishing stops at nine tenths [default: 1024GiB]
    #[arg(long, value_name = "SIZE")]
    map_bytes_max: Option<String>,
    /// Most connections of clients, within what the limit on open files leaves. Beyond it the one that was idle for longest is
    /// closed [default: 4096]
    #[arg(long, value_name = "N")]
    client_connections_max: Option<String>,
    /// Publishing stops when the disk of the log or of the state has less than this left: settling, purging and deleting need it [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    disk_reserve: Option<String>,
    /// The leader speaks to its followers this often [default: 100ms]
    #[arg(long, value_name = "DURATION")]
    heartbeat: Option<String>,
    /// A silent leader is replaced within twice this [default: 800ms]
    #[arg(long, value_name = "DURATION")]
    election_timeout: Option<String>,
    /// A leader hands over when something waits for its log's disk and for so long nothing gets there, at least 500ms [default: 5s]
    #[arg(long, value_name = "DURATION")]
    log_stall_after: Option<String>,
    /// A TOML file with these settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show the settings that apply and where they come from, and end
    #[arg(long)]
    print_config: bool,
}

impl Args {
    fn flags(&self) -> BTreeMap<&'static str, String> {
        let given = [
            ("name", &self.name),
            ("data-dir", &self.data_dir),
            ("client-addr", &self.client_addr),
            ("peer-addr", &self.peer_addr),
            ("http-addr", &self.http_addr),
            ("bootstrap", &self.bootstrap),
            ("join", &self.join),
            ("rejoin", &self.rejoin.then(|| "true".to_owned())),
            ("log-bytes-max", &self.log_bytes_max),
            ("map-bytes-max", &self.map_bytes_max),
            ("client-connections-max", &self.client_connections_max),
            ("disk-reserve", &self.disk_reserve),
            ("heartbeat", &self.heartbeat),
            ("election-timeout", &self.election_timeout),
            ("log-stall-after", &self.log_stall_after),
        ];
        given.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect()
    }
}

/// Serves until SIGTERM or SIGINT.
pub async fn run(args: Args) -> Result<(), Failure> {
    super::log::to_stderr("info,openraft=error");
    let settings = Settings::gather(args.flags(), args.config.as_deref()).map_err(wrong)?;
    if args.print_config {
        return print_line(settings.print().trim_end());
    }
    let mut config = settings.config().map_err(wrong)?;
    fit_descriptors(&mut config, 1);
    let name = config.name.clone();
    let stop = NodeStop::listen()?;
    let node = tokio::select! {
        biased;
        () = stop.asked() => return Ok(()),
        started = Node::start(config, Components::system()) => started.map_err(|e| not_started(&e))?,
    };
    print_line(&format!("ready {name} serves clients on {}", node.client_addr()))?;
    let ended = tokio::select! {
        biased;
        () = stop.asked() => Ok(()),
        why = node.shard().replica.ended() => {
            end_in_time();
            Err(failed(&name, &why))
        }
    };
    tracing::info!("stopping");
    if ended.is_ok() {
        node.drain().await;
    }
    node.shutdown().await;
    ended
}

/// Lets a node have as many connections of clients as it was told, and as the system gives it descriptors for. `nodes` share them.
pub(super) fn fit_descriptors(config: &mut Config, nodes: u64) {
    let (wanted, all) = (config.client_connections_max, descriptors::raise());
    config.client_connections_max = descriptors::for_clients(wanted, all, nodes);
    let client_connections_max = config.client_connections_max;
    if client_connections_max < wanted {
        tracing::warn!(
            client_connections_max,
            wanted,
            "the limit on open files leaves fewer connections for clients"
        );
    }
}

fn wrong(e: settings::Error) -> Failure {
    let action = match &e {
        settings::Error::File { .. } => {
            "correct the file that --config names; `quorate serve --help` lists the settings".into()
        }
        settings::Error::Invalid(Invalid { key, .. }) => {
            let variable = settings::variable(key);
            format!(
                "give --{key}, the variable {variable}, or {key} in the file of --config; --print-config shows what applies"
            )
        }
    };
    Failure::usage(e.to_string(), action)
}

/// A node that cannot go on.
fn failed(name: &str, why: &Ending) -> Failure {
    if let Ending::Removed { .. } = why {
        let action =
            "if it is to be a member again, give it an empty data directory and start it with --join";
        return Failure::new(why.to_string(), action);
    }
    if let Ending::Unreadable { .. } = why {
        let action = "start the node again with a program of the version that the other nodes run; its data is as it was";
        return Failure { code: UNREADABLE, ..Failure::new(format!("{name} has stopped: {why}"), action) };
    }
    if let Ending::Differs { .. } = why {
        let action = "look at its memory and disk; remove the member and let it join as a new one, with an empty data directory";
        return Failure::new(format!("{name} has stopped: {why}"), action);
    }
    if let Ending::TooLarge { .. } = why {
        let action = "start it again: it follows whom the others have elected. Report it, since no entry should be so large";
        return Failure::new(format!("{name} has stopped: {why}"), action);
    }
    let action = "look at the disk; if its data is damaged, remove the member and let it join as a new one. The other \
                  nodes have what was acknowledged";
    Failure::new(format!("{name} has stopped: {why}"), action)
}

/// A node that does not start. What to do stands in the error itself where there is more than one thing.
pub(super) fn not_started(e: &StartError) -> Failure {
    match e {
        StartError::Config(_) | StartError::NoCluster => Failure::usage(e.to_string(), ""),
        StartError::OtherName { .. } => {
            Failure::new(e.to_string(), "give --name as it was, or another --data-dir")
        }
        StartError::Storage(quorate_storage::Error::Disk { .. }) => Failure::new(
            e.to_string(),
            "check that --data-dir names a directory that may be written to, on a disk that works",
        ),
        _ => Failure::new(e.to_string(), ""),
    }
}
