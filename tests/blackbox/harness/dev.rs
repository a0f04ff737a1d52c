//! `quorate dev`, running.

use std::path::Path;

use parking_lot::MutexGuard;
use rustix::process::Signal;

use super::{Command, Output, Running, ports, s, take_turn, until};

/// Distance between the ports of two nodes of `dev`.
const PORTS_PER_NODE: u16 = 10;

/// A whole cluster in one process. It ends when this is dropped.
pub struct Dev {
    running: Running,
    /// The nodes' client APIs, as its ready line tells them.
    pub endpoints: String,
    _turn: MutexGuard<'static, ()>,
}

impl Dev {
    /// Starts `dev` with these flags on ports that are free, with its temporary files below `scratch`, and waits for its
    /// ready line.
    pub fn start(nodes: u16, flags: &[&str], scratch: &Path) -> Self {
        let turn = take_turn();
        let port_base = ports::free_row(nodes * PORTS_PER_NODE).to_string();
        let nodes = nodes.to_string();
        let own = ["dev", "--nodes", &nodes, "--port-base", &port_base];
        let command = Command::new("", &[&own[..], flags].concat()).env("TMPDIR", scratch).timeout(s(600));
        let mut running = command.start();
        let line = until("the ready line of dev", s(60), || {
            assert!(running.is_running(), "dev ended before it was ready");
            running.said().lines().find(|line| line.starts_with("ready ")).map(str::to_owned)
        });
        let endpoints = line.trim_start_matches("ready ").to_owned();
        Self { running, endpoints, _turn: turn }
    }

    /// Runs a command against it.
    pub fn quorate(&self, args: &[&str]) -> Output {
        Command::new(&self.endpoints, args).run()
    }

    /// Ctrl-C, and what it left.
    pub fn interrupt(self) -> Output {
        self.running.signal(Signal::INT);
        self.running.wait()
    }
}
