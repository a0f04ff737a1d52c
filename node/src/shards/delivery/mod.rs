//! The leader's shell: acts on the effects of applied entries.
//!
//! The machine decides who holds what; this only carries the news to the consumers' streams, lets time pass
//! (`ticker`) and ends sessions whose consumers do not come back (`sessions`). Losing any of it loses
//! nothing: a consumer that resumes its session gets its leases again from the state.

mod sessions;
mod ticker;
mod watches;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_machine::effect::{Effect, Lease};
use quorate_raft::{Applied, Replica};
use quorate_simpoint::buggify;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::shards::proposal::{LeaderTime, Proposer};
use watches::{Watch, Watches};

/// News that wait for one consumer's stream. Credit bounds what is assigned; a consumer that lets more than
/// this gather has stopped reading and loses its stream.
const NEWS_MAX: usize = 16 * 1024;

/// How late effects are carried on when a simulation wants them late.
const LATE: std::time::Duration = std::time::Duration::from_millis(20);

/// News for one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It holds these now.
    Assigned(Lease),
    /// It no longer holds these.
    Revoked(Lease),
    /// Its session is over.
    Ended,
}

/// The consumers of a shard, as the leader's shell knows them.
#[derive(Default)]
pub struct Hub {
    consumers: Mutex<BTreeMap<u64, Known>>,
    watches: Arc<Watches>,
}

struct Known {
    generation: u64,
    session_timeout: std::time::Duration,
    /// The stream that is open; its end is noticed by the receiver's drop.
    news: Option<mpsc::Sender<News>>,
    /// Since when there has been no stream.
    lost_at: Option<Instant>,
}

impl Hub {
    /// Somebody waits for a key of the state to change; `None` if too many do.
    pub fn watch(&self, key: &str) -> Option<Watch> {
        self.watches.add(key)
    }

    /// A stream opened for the consumer. It gets every news from now on; the stream of an earlier generation
    /// ends, and so does this one at once if there is a later.
    pub fn open(
        &self,
        consumer: u64,
        generation: u64,
        session_timeout: std::time::Duration,
    ) -> mpsc::Receiver<News> {
        let (news, receiver) = mpsc::channel(NEWS_MAX);
        let mut consumers = self.consumers.lock();
        if consumers.get(&consumer).is_none_or(|known| known.generation <= generation) {
            consumers
                .insert(consumer, Known { generation, session_timeout, news: Some(news), lost_at: None });
        }
        receiver
    }

    /// A session without a stream: it ends if none opens in time. What is known of this generation already stays.
    fn expect(&self, consumer: u64, generation: u64, session_timeout_ms: u64) {
        let mut consumers = self.consumers.lock();
        if consumers.get(&consumer).is_none_or(|known| known.generation < generation) {
            let session_timeout = std::time::Duration::from_millis(session_timeout_ms);
            let lost_at = Some(Instant::now());
            consumers.insert(consumer, Known { generation, session_timeout, news: None, lost_at });
        }
    }

    /// The consumer's stream ended without ending the session.
    pub fn lost(&self, consumer: u64, generation: u64) {
        if let Some(known) = self.consumers.lock().get_mut(&consumer).filter(|k| k.generation == generation) {
            known.news = None;
            known.lost_at = Some(Instant::now());
        }
    }

    /// Whether no later stream took the session over.
    pub fn is_current(&self, consumer: u64, generation: u64) -> bool {
        self.consumers.lock().get(&consumer).is_some_and(|k| k.generation == generation)
    }

    /// Carries an effect on. Only a leader keeps an eye on sessions that have no stream yet: what others do not hear
    /// of, they find in the state when they lead.
    fn tell(&self, effect: Effect, leading: bool) {
        let (consumer, news) = match effect {
            Effect::Attached { consumer, generation, session_timeout_ms } => {
                if leading {
                    self.expect(consumer, generation, session_timeout_ms);
                }
                return;
            }
            Effect::Assigned { consumer, lease } => (consumer, News::Assigned(lease)),
            Effect::Revoked { consumer, lease } => (consumer, News::Revoked(lease)),
            Effect::Ended { consumer } => (consumer, News::Ended),
            Effect::StateChanged { key, .. } => return self.watches.tell(key),
        };
        let mut consumers = self.consumers.lock();
        let Some(known) = consumers.get_mut(&consumer) else { return };
        let full = buggify("node/delivery/channel_full");
        let told = known.news.as_ref().is_none_or(|stream| !full && stream.try_send(news).is_ok());
        if news == News::Ended {
            consumers.remove(&consumer);
        } else if !told {
            known.news = None; // it stopped reading: its stream ends, and it may resume
            known.lost_at = Some(Instant::now());
        }
    }
}

/// What the shell of a shard is built from.
pub struct Parts {
    /// The shard's replica.
    pub replica: Replica,
    /// Where ticks and session ends are proposed.
    pub proposer: Proposer,
    /// By which deadlines fall due.
    pub time: Arc<LeaderTime>,
    /// The consumers.
    pub hub: Arc<Hub>,
    /// What was applied.
    pub applied: mpsc::UnboundedReceiver<Applied>,
    /// Ends the shell.
    pub stop: CancellationToken,
}

/// Starts the shell's tasks; they end when `stop` is cancelled.
pub fn start(parts: Parts) -> Vec<JoinHandle<()>> {
    let Parts { replica, proposer, time, hub, applied, stop } = parts;
    let (due, next_deadline) = watch::channel(None);
    let until_stopped = |task: futures::future::BoxFuture<'static, ()>| {
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = task => {}
            }
        })
    };
    vec![
        until_stopped(Box::pin(dispatch(hub.clone(), applied, replica.clone(), due))),
        until_stopped(Box::pin(ticker::run(replica.clone(), proposer.clone(), time.clone(), next_deadline))),
        until_stopped(Box::pin(async move { time.follow().await })),
        until_stopped(Box::pin(sessions::run(replica, proposer, hub))),
    ]
}

/// Carries effects to the streams of this node while it leads, and deadlines to the ticker.
async fn dispatch(
    hub: Arc<Hub>,
    mut applied: mpsc::UnboundedReceiver<Applied>,
    replica: Replica,
    due: watch::Sender<Option<u64>>,
) {
    let stored = quorate_machine::read::next_deadline(&replica.state().read());
    due.send_replace(stored.unwrap_or_default());
    let leadership = replica.leadership();
    while let Some(entry) = applied.recv().await {
        due.send_if_modified(|due| std::mem::replace(due, entry.next_deadline_ms) != entry.next_deadline_ms);
        if buggify("node/delivery/late") {
            tokio::time::sleep(LATE).await;
        }
        let leading = leadership.borrow().mine;
        for effect in entry.effects {
            hub.tell(effect, leading);
        }
    }
}

#[cfg(test)]
mod tests;
