//! Where blocking disk work runs, and what the disk has left. A simulation runs the work inline, under virtual time.

use std::path::Path;
use std::thread;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Runs the actors that block in disk calls.
pub trait DiskRunner: Send + Sync + 'static {
    /// Runs `actor` until it ends. The actor blocks in disk calls and awaits only its channel, another store and
    /// [`pause`](DiskRunner::pause).
    fn run(&self, name: &str, actor: BoxFuture<'static, ()>) -> Running;

    /// Ends after `d`. Only an actor may await it: it may block the thread that it runs on.
    fn pause(&self, d: Duration) -> BoxFuture<'static, ()>;

    /// Bytes that the file system of `path` still gives to this user; 0 if it does not answer, so that nothing is
    /// admitted.
    fn free_bytes(&self, path: &Path) -> u64 {
        match rustix::fs::statvfs(path) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the file system does not say how full it is");
                0
            }
        }
    }
}

/// An actor that was started. Whoever holds it owns the actor.
pub struct Running(Kind);

enum Kind {
    Thread {
        ended: oneshot::Receiver<()>,
        thread: thread::JoinHandle<()>,
    },
    Task(JoinHandle<()>),
    /// The thread could not be started; the actor was dropped, which its callers see as a closed store.
    None,
}

impl Running {
    /// Waits until the actor has ended.
    pub async fn join(self) {
        match self.0 {
            Kind::Thread { ended, thread } => {
                // A dropped sender means the same as a message: the thread is at its end, so the join is short.
                let _ = ended.await;
                if thread.join().is_err() {
                    tracing::error!("a disk actor panicked");
                }
            }
            Kind::Task(task) => {
                if let Err(error) = task.await {
                    tracing::error!(%error, "a disk actor did not end by itself");
                }
            }
            Kind::None => {}
        }
    }
}

/// A thread per actor: for real nodes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Threads;

impl DiskRunner for Threads {
    fn run(&self, name: &str, actor: BoxFuture<'static, ()>) -> Running {
        let (tell, ended) = oneshot::channel();
        let work = move || {
            pollster::block_on(actor);
            let _ = tell.send(());
        };
        match thread::Builder::new().name(name.to_owned()).spawn(work) {
            Ok(thread) => Running(Kind::Thread { ended, thread }),
            Err(error) => {
                tracing::error!(%error, name, "no thread for a disk actor");
                Running(Kind::None)
            }
        }
    }

    fn pause(&self, d: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move { thread::sleep(d) })
    }
}

/// A task on the current runtime: for simulation, where a disk call takes no virtual time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inline;

impl DiskRunner for Inline {
    fn run(&self, _name: &str, actor: BoxFuture<'static, ()>) -> Running {
        Running(Kind::Task(tokio::spawn(actor)))
    }

    fn pause(&self, d: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(d))
    }
}
