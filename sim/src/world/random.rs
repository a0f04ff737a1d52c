//! Randomness for nodes and clients.

use parking_lot::Mutex;

use crate::seed::Rng;

/// A stream of the seed.
pub(crate) struct Seeded(Mutex<Rng>);

impl Seeded {
    pub(crate) fn new(rng: Rng) -> Self {
        Seeded(Mutex::new(rng))
    }
}

impl quorate_node::random::Random for Seeded {
    fn id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        self.0.lock().fill(&mut id);
        id
    }
}

impl quorate_client::Random for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill(bytes);
    }
}
