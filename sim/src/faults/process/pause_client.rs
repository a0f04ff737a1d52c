//! A client's process does nothing for a while and then goes on where it was, with what had arrived still in its hands.
//!
//! Messages to and from it wait. Unlike with SIGSTOP the timers of its connections run; what uses the client does not.

use super::Site;
use crate::faults::Work;

/// See the module.
pub(in crate::faults) struct PauseClient {
    /// Modulo how many there are.
    nth: u64,
    client: usize,
}

impl PauseClient {
    pub(in crate::faults) fn new(nth: u64) -> Self {
        PauseClient { nth, client: 0 }
    }

    /// Its links to the nodes; clients do not talk with each other.
    fn links(&self, site: &Site<'_>) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (nodes, client) = (site.world.net.nodes(), self.client);
        (0..nodes).map(move |node| (node, nodes + client))
    }
}

impl Work for PauseClient {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        self.client = (self.nth % site.world.clients.len().max(1) as u64) as usize;
        for (node, client) in self.links(site) {
            site.world.net.hold(&mut site.world.sim, node, client);
        }
        let client = &site.world.clients[self.client];
        client.pause(true);
        client.name()
    }

    fn end(&mut self, site: &mut Site<'_>) {
        site.world.clients[self.client].pause(false);
        for (node, client) in self.links(site) {
            site.world.net.release(&mut site.world.sim, node, client);
        }
    }
}
