//! SIGINT, SIGTERM and, for a node, SIGHUP.

use std::future::pending;
use std::time::Duration;

use quorate_storage::disk::{DiskRunner as _, Threads};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Failure;

/// A node that was asked to stop ends within this, in good order or not.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// What it exits with then.
const NOT_IN_ORDER: i32 = 6;

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(format!("signals cannot be listened for: {error}"), ""))
}

/// Waits for the request to stop.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Returns when either signal came. Cancel safe.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The request to stop, for a node. It is heard by a task of its own, since a start may hang in a call to the disk.
pub(super) struct NodeStop {
    asked: CancellationToken,
    listener: JoinHandle<()>,
}

impl NodeStop {
    pub(super) fn listen() -> Result<Self, Failure> {
        let (mut stop, mut hangup) = (Stop::listen()?, listen(SignalKind::hangup())?);
        let asked = CancellationToken::new();
        let told = asked.clone();
        let listener = tokio::spawn(async move {
            let ignored = async {
                while hangup.recv().await.is_some() {
                    tracing::info!("SIGHUP is ignored: settings are read at the start");
                }
                pending::<()>().await;
            };
            tokio::select! {
                biased;
                () = stop.asked() => {}
                () = ignored => {}
            }
            end_in_time();
            told.cancel();
        });
        Ok(Self { asked, listener })
    }

    /// Returns when the node is to stop. Cancel safe.
    pub(super) async fn asked(&self) {
        self.asked.cancelled().await;
    }
}

impl Drop for NodeStop {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// From now on the process ends in bounded time: a disk that hangs would keep it for ever. A thread does it, since every
/// thread of the runtime may be waiting for that disk; it goes with the process.
pub(super) fn end_in_time() {
    let end = async {
        Threads.pause(STOP_WITHIN).await;
        eprintln!(
            "quorate: the node did not end in good order within {} s, the disk does not answer; the process ends now. What \
             was acknowledged is on the disks of a majority",
            STOP_WITHIN.as_secs()
        );
        std::process::exit(NOT_IN_ORDER);
    };
    drop(Threads.run("quorate-stop", Box::pin(end)));
}
