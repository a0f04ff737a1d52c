//! What a component holds in memory, for a simulation that watches its bounds.

/// Who holds bytes that somebody else decides about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Requests of clients that were read and have no answer yet, as admission counts them.
    Admitted,
    /// Commands that wait for an entry.
    Waiting,
    /// Entries that were proposed and are not decided.
    Proposed,
    /// Frames for consumers.
    Outbox,
    /// What a client has received for an application that has not taken it.
    Client,
}

impl Component {
    /// All of them.
    pub const ALL: &[Component] =
        &[Component::Admitted, Component::Waiting, Component::Proposed, Component::Outbox, Component::Client];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Component::Admitted => "admitted",
            Component::Waiting => "waiting",
            Component::Proposed => "proposed",
            Component::Outbox => "outbox",
            Component::Client => "client",
        }
    }
}

/// Stands for bytes that a component of this host holds until it is dropped; of no size but in a simulation.
#[derive(Debug)]
#[must_use = "what is dropped is not held"]
pub struct Holding {
    #[cfg(feature = "simulation")]
    of: Option<(Component, u64, u64)>,
}

impl Holding {
    /// So many bytes.
    #[inline(always)]
    #[cfg_attr(not(feature = "simulation"), allow(unused_variables))]
    pub fn new(component: Component, bytes: usize) -> Self {
        #[cfg(feature = "simulation")]
        {
            let bytes = bytes as u64;
            let host = crate::probe::look(|probe| probe.holds(component, bytes));
            Self { of: host.map(|host| (component, host, bytes)) }
        }
        #[cfg(not(feature = "simulation"))]
        Self {}
    }
}

#[cfg(feature = "simulation")]
impl Drop for Holding {
    fn drop(&mut self) {
        if let Some((component, host, bytes)) = self.of {
            crate::probe::look(|probe| probe.lets_go(component, host, bytes));
        }
    }
}
