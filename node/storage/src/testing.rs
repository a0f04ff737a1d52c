//! What the tests of this crate share.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::disk::{DiskRunner, Inline, Running, Threads, Volume};
use crate::identity::{FORMAT, Identity};
use crate::log::{Kind, Log, LogId, LogOptions, Record};
use crate::{DataDir, Error, OnFatal};

pub(crate) fn identity(node_id: u64) -> Identity {
    Identity {
        format_version: FORMAT,
        cluster_id: *b"a cluster's name",
        node_id,
        name: "node-1".into(),
        incarnation: *b"one incarnation.",
        joined_at: 0,
        voted: false,
    }
}

/// A data directory that belongs to node 1.
pub(crate) fn member(path: &Path) -> DataDir {
    let dir = DataDir::open(path).unwrap();
    if dir.identity().is_none() {
        dir.create(identity(1)).unwrap();
    }
    dir
}

pub(crate) fn runner(threads: bool) -> Arc<dyn DiskRunner> {
    if threads { Arc::new(Threads) } else { Arc::new(Inline) }
}

/// Keeps actors from running until it is opened.
pub(crate) struct Held(pub watch::Sender<bool>);

impl DiskRunner for Held {
    fn run(&self, name: &str, actor: BoxFuture<'static, ()>) -> Running {
        let mut open = self.0.subscribe();
        let held = async move {
            open.wait_for(|open| *open).await.unwrap();
            actor.await;
        };
        Inline.run(name, Box::pin(held))
    }

    fn pause(&self, d: Duration) -> BoxFuture<'static, ()> {
        Inline.pause(d)
    }
}

/// Waits a hundredth of what it is told to, on a disk of which it knows what is left.
pub(crate) struct Quick;

impl DiskRunner for Quick {
    fn run(&self, name: &str, actor: BoxFuture<'static, ()>) -> Running {
        Inline.run(name, actor)
    }

    fn pause(&self, d: Duration) -> BoxFuture<'static, ()> {
        Inline.pause(d / 100)
    }

    fn volume(&self, _path: &Path) -> Volume {
        Volume { free_bytes: 47 << 30, total_bytes: 50 << 30, is_read_only: false, writes_in_place: true }
    }
}

/// Counts instead of aborting.
pub(crate) fn counting() -> (OnFatal, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let on_fatal = move |_: &Error| {
        counted.fetch_add(1, Ordering::SeqCst);
    };
    (Arc::new(on_fatal), count)
}

pub(crate) fn id(term: u64, index: u64) -> LogId {
    LogId { term, node: 1, index }
}

pub(crate) fn record(term: u64, index: u64, bytes: usize) -> Record {
    Record { id: id(term, index), kind: Kind::Commands, payload: Bytes::from(vec![index as u8; bytes]) }
}

pub(crate) fn open_log(dir: &DataDir, threads: bool) -> Log {
    Log::open(dir, LogOptions::default(), &runner(threads)).unwrap()
}

/// Waits until whoever had the environment open has let it go.
pub(crate) async fn gone(path: &Path) {
    let path = path.canonicalize().unwrap();
    for _ in 0..5000 {
        if heed::env_closing_event(&path).is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{} stays open", path.display());
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}
