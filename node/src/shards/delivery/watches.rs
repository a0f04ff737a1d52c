//! Who waits for a key of the state to change.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_machine::effect::key_hash;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Most who may wait at one node.
const WATCHES_MAX: usize = 65_536;

/// See the module. Keys are told apart by their hashes: who waits for another one of the same hash looks once too often.
#[derive(Default)]
pub struct Watches {
    by_key: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    keys: BTreeMap<u64, (Arc<Notify>, usize)>,
    count: usize,
}

impl Watches {
    /// Somebody waits for a key from now on; nobody if too many do.
    pub fn add(self: &Arc<Self>, key: &str) -> Option<Watch> {
        let key = key_hash(key);
        let mut waiting = self.by_key.lock();
        if waiting.count >= WATCHES_MAX {
            return None;
        }
        waiting.count += 1;
        let (changed, watches) = waiting.keys.entry(key).or_default();
        *watches += 1;
        Some(Watch { changed: Arc::clone(changed), key, all: Arc::clone(self) })
    }

    /// A key has changed.
    pub fn tell(&self, key: u64) {
        if let Some((changed, _)) = self.by_key.lock().keys.get(&key) {
            changed.notify_waiters();
        }
    }
}

/// Waits for a key, until it is dropped.
pub struct Watch {
    changed: Arc<Notify>,
    key: u64,
    all: Arc<Watches>,
}

impl Watch {
    /// Returns when the key changes; changes count from this call on, not from the first poll.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waiting = self.all.by_key.lock();
        waiting.count -= 1;
        if let Some((_, watches)) = waiting.keys.get_mut(&self.key) {
            *watches -= 1;
            if *watches == 0 {
                waiting.keys.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_after_the_call_is_not_missed_and_nothing_stays_behind() {
        let watches = Arc::new(Watches::default());
        let (first, second) = (watches.add("a").unwrap(), watches.add("a").unwrap());
        let changed = first.changed();
        watches.tell(key_hash("b"));
        watches.tell(key_hash("a"));
        changed.await;
        drop(first);
        let figures = || {
            let waiting = watches.by_key.lock();
            (waiting.count, waiting.keys.len())
        };
        assert_eq!(figures(), (1, 1));
        drop(second);
        assert_eq!(figures(), (0, 0));
    }
}
