//! Replaces a leader whose process is gone at once, instead of after its lease.
//!
//! Each follower holds a connection to the leader. When it breaks, the follower connects again; if that is
//! *refused*, the host answers and the process does not: the follower gives up the leader's lease and campaigns.
//! A silent leader gives no refusal and is left to the timers.
//!
//! It is safe: votes are still persisted, the longer log still wins, a pre-vote still needs a majority, each of
//! which judges with its own eyes. Only the lease is given up, and nothing is read by lease. A wrong refusal, as of a
//! firewall, costs one needless election: each leadership is doubted once.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use openraft::raft::TransferLeaderRequest;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use quorate_simpoint::buggify;
use tokio::io::AsyncReadExt as _;

use crate::replica::{Leadership, Replica};
use crate::transport::{BoxedIo, Transport};
use crate::types::Vote;

/// A connection that cannot be made within this is silence, not a refusal.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// After a broken connection or silence, the next connection is tried this much later. Sockets of a process that dies
/// are closed one by one: its listener may accept once more.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(5);
/// A host that does not answer, or a name that is not found, is tried again after twice as long each time, up to this: neither is
/// the process that ended, and each try is a lookup and a connection.
const UNREACHABLE_INTERVAL_MAX: Duration = Duration::from_millis(500);
/// While the members are not known, they are looked up this often.
const MEMBERS_INTERVAL: Duration = Duration::from_millis(50);
/// The candidate that comes first in the order of ids campaigns after this.
const STAGGER_FIRST: Duration = Duration::from_millis(2);
/// Each further candidate campaigns this much later, so that votes are not split.
const STAGGER: Duration = Duration::from_millis(15);
/// Time between two rounds of a campaign.
const ROUND_INTERVAL: Duration = Duration::from_millis(25);
/// A candidate whose disk is full or stalled campaigns this much later than the others.
const STEP_BACK: Duration = Duration::from_millis(250);
/// Rounds after which it is left to the timers.
const ROUNDS_MAX: u32 = 20;

/// Watches one leader after the other until the replica stops.
pub async fn run(replica: Replica, transport: Arc<dyn Transport>) {
    let mut leadership = replica.leadership();
    loop {
        let Ok(led) = leadership.wait_for(|l| l.leader.is_some() && !l.mine).await.map(|l| l.clone()) else {
            return;
        };
        let gone = async {
            // In a cluster that has just formed the leader is known before the members are.
            let addr = loop {
                match replica.peer_addr_of(led.leader) {
                    Some(addr) => break addr,
                    None => tokio::time::sleep(MEMBERS_INTERVAL).await,
                }
            };
            refused(transport.as_ref(), &addr).await;
        };
        tokio::select! {
            biased;
            changed = leadership.changed() => if changed.is_err() { return },
            () = gone => {
                tracing::warn!("the process of the leader (id {}) is gone", led.leader.unwrap_or(0));
                // Who is full or stalled leaves it to the others, as long as they need for it.
                if replica.health().report().is_in_need(replica.settings().log_stall_after) {
                    tokio::time::sleep(STEP_BACK).await;
                }
                campaign(&replica, &led).await;
                // Whatever came of it, this leadership is not doubted again.
                if leadership.wait_for(|l| *l != led).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Returns when a connection is refused.
async fn refused(transport: &dyn Transport, addr: &str) {
    let mut unreachable = RECONNECT_INTERVAL;
    loop {
        match tokio::time::timeout(CONNECT_TIMEOUT, transport.connect(addr.to_owned())).await {
            Ok(Ok(_)) if buggify("raft/failover/doubt") => return,
            Ok(Ok(connection)) => {
                until_broken(connection).await;
                unreachable = RECONNECT_INTERVAL;
                tokio::time::sleep(RECONNECT_INTERVAL).await;
            }
            Ok(Err(e)) if e.kind() == ErrorKind::ConnectionRefused => return,
            Ok(Err(_)) | Err(_) => {
                tokio::time::sleep(unreachable).await;
                unreachable = (2 * unreachable).min(UNREACHABLE_INTERVAL_MAX);
            }
        }
    }
}

async fn until_broken(mut connection: BoxedIo) {
    let mut ignored = [0; 256];
    while connection.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
}

/// Gives up the lease of `led` and asks for votes, until somebody else leads or it is time to leave it to the timers.
async fn campaign(replica: &Replica, led: &Leadership) {
    let Some(rank) = replica.rank_among_followers(led.leader) else { return };
    let mut others = None;
    for round in 0..ROUNDS_MAX {
        let vote: Vote = replica.raft().server_metrics().borrow_watched().vote;
        if vote.committed && (Some(vote.leader_id.node_id) != led.leader || vote.leader_id.term != led.term) {
            return; // there is a new leader
        }
        if !vote.committed && others != Some(vote) {
            // Somebody was voted for, perhaps this node: the vote has its time before it is given up, too. Votes that
            // were split would otherwise wait for the timers.
            others = Some(vote);
            tokio::time::sleep(ROUND_INTERVAL + STAGGER * rank).await;
            continue;
        }
        // Told that the leader hands over to somebody else, openraft lets go of the lease, and of nothing more. That
        // comes first: until then this node refuses the others, too.
        let let_go = TransferLeaderRequest::new(vote, led.leader.unwrap_or_default(), None);
        if replica.raft().handle_transfer_leader(let_go).await.is_err() {
            return; // the replica has stopped
        }
        if round == 0 {
            tokio::time::sleep(STAGGER_FIRST + STAGGER * rank).await;
            if replica.leadership().borrow().term != led.term {
                continue; // another candidate was faster
            }
        }
        if replica.raft().trigger().elect(true).await.is_err() {
            return;
        }
        tokio::time::sleep(ROUND_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::sync::Mutex;

    use futures::future::BoxFuture;

    use super::*;
    use crate::transport::Listener;

    /// Fails as it is told, for so many times, and counts.
    struct Failing(Mutex<(VecDeque<(ErrorKind, u32)>, u32)>);

    impl Transport for Failing {
        fn connect(&self, _addr: String) -> BoxFuture<'static, io::Result<BoxedIo>> {
            let mut told = self.0.lock().expect("nobody panicked");
            told.1 += 1;
            let kind = match told.0.front_mut() {
                Some((kind, times)) if *times > 1 => {
                    *times -= 1;
                    *kind
                }
                _ => told.0.pop_front().expect("another try was not expected").0,
            };
            Box::pin(async move { Err(io::Error::from(kind)) })
        }

        fn listen(&self, _addr: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
            Box::pin(async { Err(io::Error::from(ErrorKind::Unsupported)) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_away_is_asked_rarely_and_a_process_that_is_gone_is_told_from_it() {
        for away in [ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable, ErrorKind::NotFound] {
            let began = tokio::time::Instant::now();
            let steps = VecDeque::from([(away, 126), (ErrorKind::ConnectionRefused, 1)]);
            let transport = Failing(Mutex::new((steps, 0)));
            refused(&transport, "host:1").await;
            assert_eq!(transport.0.lock().expect("nobody panicked").1, 127);
            assert!(
                began.elapsed() > Duration::from_secs(58),
                "126 tries take a minute: {:?}",
                began.elapsed()
            );
        }
    }
}
