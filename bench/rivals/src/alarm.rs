//! Wakes producers when their messages are due. The runtime's timer rounds up to a millisecond, which would count as the
//! broker's; a thread that sleeps does not.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// One bell for each producer.
#[derive(Clone)]
pub struct Alarms(Arc<Vec<Notify>>);

impl Alarms {
    /// Rings the producers' bells in turn, one every `interval` from `start` on, until nobody holds them any more.
    pub fn start(producers: u32, start: Instant, interval: Duration) -> Self {
        let bells = Arc::new((0..producers).map(|_| Notify::new()).collect::<Vec<_>>());
        let held = Arc::downgrade(&bells);
        #[expect(clippy::disallowed_methods, reason = "it measures real servers, which no simulation does")]
        std::thread::spawn(move || ring(&held, start, interval));
        Self(bells)
    }

    /// Waits until `due`.
    pub async fn wait(&self, producer: u32, due: Instant) {
        while Instant::now() < due {
            self.0[producer as usize].notified().await;
        }
    }
}

fn ring(bells: &Weak<Vec<Notify>>, start: Instant, interval: Duration) {
    for tick in 0u64.. {
        std::thread::sleep((start + interval.mul_f64(tick as f64)).saturating_duration_since(Instant::now()));
        let Some(bells) = bells.upgrade() else { return };
        bells[(tick % bells.len() as u64) as usize].notify_one();
    }
}
