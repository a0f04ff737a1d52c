//! Randomness for one client whose next draw can be known beforehand: so the history can say under which name a
//! session was opened before it is.

use std::sync::Arc;

use parking_lot::Mutex;
use quorate_client::Random;

use crate::seed::Rng;

/// See the module.
#[derive(Clone)]
pub(crate) struct Foretold(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    next: Vec<u8>,
}

impl Foretold {
    pub(crate) fn new(rng: Rng) -> Self {
        Foretold(Arc::new(Mutex::new(State { rng, next: Vec::new() })))
    }

    /// The name of the producer session that the client opens next, if it is to choose one.
    pub(crate) fn session(&self) -> String {
        let mut state = self.0.lock();
        let mut bytes = [0; 16];
        state.rng.fill(&mut bytes);
        state.next = bytes.to_vec();
        format!("{:032x}", u128::from_be_bytes(swapped(bytes)))
    }
}

/// The client reads two words of the little-endian kind and writes them one after the other.
fn swapped(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[..8].reverse();
    bytes[8..].reverse();
    bytes
}

impl Random for Foretold {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock();
        let known = state.next.len().min(bytes.len());
        let (told, rest) = bytes.split_at_mut(known);
        told.copy_from_slice(&state.next[..known]);
        state.next.drain(..known);
        state.rng.fill(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_name_is_the_one_foretold() {
        let random = Foretold::new(Rng::new(1, "client"));
        for _ in 0..10 {
            let told = random.session();
            assert_eq!(told, format!("{:016x}{:016x}", random.next_u64(), random.next_u64()));
            random.next_u64();
        }
    }
}
