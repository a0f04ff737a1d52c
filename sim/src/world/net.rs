//! The network: links that somebody else cuts, holds, slows and mends.
//!
//! Turmoil knows one state of a link and forgets why it has it. Faults overlap, so what each of them wants is kept here,
//! and a link is set to what all of them together mean: a cut is stronger than a hold, and that than loss and latency.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::reach::Reach;

/// Name of a node's host.
pub(crate) fn node_name(id: usize) -> String {
    format!("n{}", id + 1)
}

/// Name of a client's host.
pub(crate) fn client_name(id: usize) -> String {
    format!("c{}", id + 1)
}

/// Least and greatest latency.
pub(crate) type Latency = (Duration, Duration);

/// What is wanted of the link between two hosts. The lower number is the first.
#[derive(Debug, Clone, Default)]
struct Link {
    /// How many want nothing to pass from the first to the second.
    cut_there: u32,
    /// And back.
    cut_back: u32,
    /// How many want everything to wait.
    held: u32,
    /// Lost messages in a million, by who wants it.
    losses: BTreeMap<usize, u32>,
    /// By who wants it.
    latencies: BTreeMap<usize, Latency>,
}

impl Link {
    fn is_whole(&self) -> bool {
        (self.cut_there, self.cut_back, self.held) == (0, 0, 0)
            && self.losses.is_empty()
            && self.latencies.is_empty()
    }
}

/// All links, and which hosts have power.
pub(crate) struct Net {
    hosts: Vec<String>,
    nodes: usize,
    latency: Latency,
    links: BTreeMap<(usize, usize), Link>,
    off: Vec<bool>,
    reach: Arc<Reach>,
}

impl Net {
    pub(super) fn new(nodes: usize, clients: usize, latency: Latency, reach: Arc<Reach>) -> Self {
        let hosts: Vec<String> = (0..nodes).map(node_name).chain((0..clients).map(client_name)).collect();
        let pairs = (0..hosts.len()).flat_map(|a| (a + 1..hosts.len()).map(move |b| (a, b)));
        let links = pairs.map(|pair| (pair, Link::default())).collect();
        let off = vec![false; hosts.len()];
        Net { hosts, nodes, latency, links, off, reach }
    }

    /// How many hosts there are: first the nodes, then the clients.
    pub(crate) fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// How many of them are nodes.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes
    }

    pub(crate) fn name(&self, host: usize) -> &str {
        &self.hosts[host]
    }

    /// Lets nothing pass from one host to another. What is under way is lost. Each cut needs its own [`Net::mend`].
    pub(crate) fn cut(&mut self, sim: &mut turmoil::Sim<'_>, from: usize, to: usize) {
        self.change(sim, from, to, |link| *link.cut(from, to) += 1);
    }

    /// Takes a cut back.
    pub(crate) fn mend(&mut self, sim: &mut turmoil::Sim<'_>, from: usize, to: usize) {
        self.change(sim, from, to, |link| *link.cut(from, to) -= 1);
    }

    /// Lets connections from one host to another be refused where the link is cut, or no more. Each needs its end.
    pub(crate) fn reject(&self, from: usize, to: usize, rejected: bool) {
        self.reach.set_rejected(from, to, rejected);
    }

    /// Lets everything between two hosts wait. Each hold needs its own [`Net::release`].
    pub(crate) fn hold(&mut self, sim: &mut turmoil::Sim<'_>, a: usize, b: usize) {
        self.change(sim, a, b, |link| link.held += 1);
    }

    /// Takes a hold back; what has waited arrives at once when it was the last.
    pub(crate) fn release(&mut self, sim: &mut turmoil::Sim<'_>, a: usize, b: usize) {
        self.change(sim, a, b, |link| link.held -= 1);
    }

    /// Loses so many of a million messages, for `who`; none takes it back. Turmoil sends nothing again: a connection
    /// that lost a segment stalls until a deadline ends it.
    pub(crate) fn lose(
        &mut self,
        sim: &mut turmoil::Sim<'_>,
        (a, b): (usize, usize),
        who: usize,
        rate: Option<u32>,
    ) {
        self.change(sim, a, b, |link| match rate {
            Some(rate) => drop(link.losses.insert(who, rate)),
            None => drop(link.losses.remove(&who)),
        });
    }

    /// Sets the latency, for `who`; none takes it back.
    pub(crate) fn slow(
        &mut self,
        sim: &mut turmoil::Sim<'_>,
        (a, b): (usize, usize),
        who: usize,
        latency: Option<Latency>,
    ) {
        self.change(sim, a, b, |link| match latency {
            Some(latency) => drop(link.latencies.insert(who, latency)),
            None => drop(link.latencies.remove(&who)),
        });
    }

    pub(super) fn power_off(&mut self, sim: &mut turmoil::Sim<'_>, host: usize) {
        self.power(sim, host, true);
    }

    pub(super) fn power_on(&mut self, sim: &mut turmoil::Sim<'_>, host: usize) {
        self.power(sim, host, false);
    }

    fn power(&mut self, sim: &mut turmoil::Sim<'_>, host: usize, off: bool) {
        if std::mem::replace(&mut self.off[host], off) != off {
            (0..self.hosts.len())
                .filter(|other| *other != host)
                .for_each(|other| self.apply(sim, host, other));
        }
    }

    /// Whether nothing is wrong with any link, but for hosts without power.
    pub(crate) fn is_whole(&self) -> bool {
        self.links.values().all(Link::is_whole)
    }

    /// Whether the nodes see one another as well as ever, and so well that their heartbeats are answered in time.
    pub(crate) fn lets_nodes_talk(&self, heartbeat: Duration) -> bool {
        let between_nodes = self.links.iter().filter(|((_, b), _)| *b < self.nodes);
        self.latency.1 * 4 < heartbeat && between_nodes.map(|(_, link)| link).all(Link::is_whole)
    }

    fn change(&mut self, sim: &mut turmoil::Sim<'_>, a: usize, b: usize, how: impl FnOnce(&mut Link)) {
        if let Some(link) = self.links.get_mut(&(a.min(b), a.max(b))) {
            how(link);
            self.apply(sim, a, b);
        }
    }

    /// Sets the link between two hosts to what is wanted of it.
    fn apply(&self, sim: &mut turmoil::Sim<'_>, a: usize, b: usize) {
        let pair @ (a, b) = (a.min(b), a.max(b));
        let Some(link) = self.links.get(&pair) else { return };
        let (first, second) = (self.hosts[a].as_str(), self.hosts[b].as_str());
        let off = self.off[a] || self.off[b];
        let (there, back) = (link.cut_there > 0 || off, link.cut_back > 0 || off);
        // Either also ends a random loss that turmoil has not repaired yet.
        if link.held > 0 {
            sim.hold(first, second);
        } else {
            sim.release(first, second);
        }
        if there {
            sim.partition_oneway(first, second);
        }
        if back {
            sim.partition_oneway(second, first);
        }
        // Repairing a random loss would also repair a cut.
        let quiet = there || back || link.held > 0;
        let rate = link.losses.values().max().filter(|_| !quiet).copied().unwrap_or(0);
        sim.set_link_fail_rate(first, second, f64::from(rate) / 1e6);
        let (least, greatest) = link.latencies.values().max().copied().unwrap_or(self.latency);
        sim.set_link_latency(first, second, least);
        sim.set_link_max_message_latency(first, second, greatest);
        self.reach.set_cut(a, b, there);
        self.reach.set_cut(b, a, back);
    }
}

impl Link {
    fn cut(&mut self, from: usize, to: usize) -> &mut u32 {
        if from < to { &mut self.cut_there } else { &mut self.cut_back }
    }
}
