//! `quorate dev`: a whole cluster in one process, for trying it and for tests of other programs.

use std::path::{Path, PathBuf};

use super::Failure;
use super::output::{print_line, warn};
use super::serve::{fit_descriptors, not_started};
use super::stop::Stop;
use crate::{Components, Config, Node, StartError};

/// Distance between the ports of two nodes.
const PORTS_PER_NODE: u16 = 10;

/// Flags of `dev`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  Three nodes, for the commands of this page; Ctrl-C ends them, their data is found again:
    quorate dev
  One node that leaves nothing behind:
    quorate dev --nodes 1 --ephemeral
")]
pub struct Args {
    /// How many nodes, 1 to 9
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Where they keep their data; found again at the next start
    #[arg(long, default_value = "./quorate-data", value_name = "DIR")]
    data_dir: PathBuf,
    /// Node i listens on this + 10·(i−1) for clients, and on the two ports after it for its peers and for health
    #[arg(long, value_name = "PORT", default_value_t = 7400, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    port_base: u16,
    /// Keep the data in a temporary directory that is removed at the end
    #[arg(long)]
    ephemeral: bool,
}

/// Removes the data of an ephemeral cluster at the end.
struct Ephemeral(PathBuf);

impl Drop for Ephemeral {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            warn(&format!("{} was not removed: {e}", self.0.display()));
        }
    }
}

/// Runs until Ctrl-C or SIGTERM.
pub async fn run(args: Args) -> Result<(), Failure> {
    super::log::to_stderr("warn,openraft=error");
    let parts = Components::system();
    let (dir, _ephemeral) = if args.ephemeral {
        let name = format!("quorate-dev-{}", quorate_raft::hex(&parts.random.id()));
        let dir = std::env::temp_dir().join(name);
        (dir.clone(), Some(Ephemeral(dir)))
    } else {
        (args.data_dir.clone(), None)
    };
    let mut configs = configs(&args, &dir);
    configs.iter_mut().for_each(|config| fit_descriptors(config, args.nodes.into()));
    let mut stop = Stop::listen()?;
    let starting = futures::future::try_join_all(configs.into_iter().map(|c| Node::start(c, parts.clone())));
    let nodes = tokio::select! {
        biased;
        () = stop.asked() => return Ok(()),
        nodes = starting => nodes.map_err(|e| dev_not_started(&e))?,
    };
    let mut leadership = nodes[0].shard().leadership.clone();
    // The value is let go of inside: held on to, it would lock everybody out who looks at the leadership.
    let led = async { leadership.wait_for(|l| l.leader.is_some()).await.is_ok() };
    tokio::select! {
        biased;
        () = stop.asked() => {}
        _ = led => {
            let endpoints: Vec<String> = nodes.iter().map(|n| format!("http://{}", n.client_addr())).collect();
            print_line(&format!("ready {}", endpoints.join(",")))?;
            stop.asked().await;
        }
    }
    futures::future::join_all(nodes.into_iter().map(Node::shutdown)).await;
    Ok(())
}

/// As for `serve`, but who gave no addresses is told of the ports.
fn dev_not_started(e: &StartError) -> Failure {
    match e {
        StartError::Listen { addr, what, source } => Failure::new(
            format!("cannot listen on {addr} for {what}: {source}"),
            "choose other ports with --port-base, or stop who uses these: another `quorate dev`?",
        ),
        e => not_started(e),
    }
}

fn configs(args: &Args, dir: &Path) -> Vec<Config> {
    let port = |index: u16, offset: u16| args.port_base + PORTS_PER_NODE * index + offset;
    let bootstrap = |index: u16| (format!("n{}", index + 1), format!("127.0.0.1:{}", port(index, 1)));
    let bootstrap: Vec<_> = (0..args.nodes).map(bootstrap).collect();
    let config = |index: u16| {
        let name = format!("n{}", index + 1);
        let mut config = Config::new(&name, dir.join(&name));
        config.client_addr = format!("127.0.0.1:{}", port(index, 0));
        config.peer_addr = format!("127.0.0.1:{}", port(index, 1));
        config.http_addr = format!("127.0.0.1:{}", port(index, 2));
        config.bootstrap = bootstrap.clone();
        config
    };
    (0..args.nodes).map(config).collect()
}
