//! Wakes producers when their messages are due. The runtime's timer rounds up to a millisecond, which a bench would count
//! as the server's; a thread that sleeps does not.

use std::sync::{Arc, Weak};

use tokio::sync::Notify;
use tokio::time::Instant;

/// One bell for each producer.
#[derive(Clone)]
pub(super) struct Alarms(Arc<Vec<Notify>>);

impl Alarms {
    /// Rings a producer's bell when its message of that number is due, in turn, until nobody holds them any more. The same
    /// `due` is waited for: a bell that rang a moment early would make its message a whole turn late.
    pub(super) fn start(producers: u32, due: impl Fn(u32, u64) -> Instant + Send + 'static) -> Self {
        let bells = Arc::new((0..producers).map(|_| Notify::new()).collect::<Vec<_>>());
        let held = Arc::downgrade(&bells);
        #[expect(clippy::disallowed_methods, reason = "it measures real servers, which no simulation does")]
        std::thread::spawn(move || ring(&held, producers, due));
        Self(bells)
    }

    /// Waits until `due`.
    pub(super) async fn wait(&self, producer: u32, due: Instant) {
        while Instant::now() < due {
            self.0[producer as usize].notified().await;
        }
    }
}

fn ring(bells: &Weak<Vec<Notify>>, producers: u32, due: impl Fn(u32, u64) -> Instant) {
    for (seq, producer) in (0..).flat_map(|seq| (0..producers).map(move |producer| (seq, producer))) {
        std::thread::sleep(due(producer, seq).saturating_duration_since(Instant::now()));
        let Some(bells) = bells.upgrade() else { return };
        bells[producer as usize].notify_one();
    }
}
