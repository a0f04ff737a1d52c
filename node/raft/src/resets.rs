//! Ends replication streams that hold the log.
//!
//! openraft does not purge what a replication stream may still have to send, and a follower whose disk hangs keeps its
//! stream open and acknowledges nothing. When its stream fails, openraft forgets what was on its way, purges, and gives the
//! follower a snapshot later.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::watch;

/// One switch for each follower.
#[derive(Default)]
pub struct Resets(Mutex<BTreeMap<u64, watch::Sender<()>>>);

impl Resets {
    /// Ends the streams to a follower that are open now. Returns whether there was one.
    pub fn reset(&self, follower: u64) -> bool {
        self.0.lock().get(&follower).is_some_and(|switch| switch.send(()).is_ok())
    }

    /// Returns when a stream that is opened now is to end.
    pub fn asked(&self, follower: u64) -> impl Future<Output = ()> + Send + use<> {
        let mut switched = self.0.lock().entry(follower).or_default().subscribe();
        async move {
            // The switch is never thrown away; if it were, nobody could ask any more.
            if switched.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_open_streams_of_that_follower_end() {
        let resets = Resets::default();
        assert!(!resets.reset(2), "there is none");
        let (two, three) = (resets.asked(2), resets.asked(3));
        assert!(resets.reset(2));
        two.await;
        let again = resets.asked(2);
        tokio::select! {
            biased;
            () = again => panic!("a later stream was ended"),
            () = three => panic!("another follower's stream was ended"),
            () = tokio::task::yield_now() => {}
        }
    }
}
