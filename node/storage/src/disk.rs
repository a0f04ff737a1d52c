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

    /// What the file system of `path` says of itself; nothing free if it does not answer, so that nothing is admitted.
    fn volume(&self, path: &Path) -> Volume {
        match ask(path) {
            Ok(volume) => volume,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the file system does not say how full it is");
                Volume::default()
            }
        }
    }
}

/// A file system, as it says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Volume {
    /// Bytes that it still gives to this user.
    pub free_bytes: u64,
    /// Bytes that it has in all; 0 if it does not answer.
    pub total_bytes: u64,
    /// Nothing can be written to it any more.
    pub is_read_only: bool,
    /// A block that a file has is written where it is. Elsewhere each write takes new blocks, so that what a file was
    /// given ahead does not help it when the volume is full.
    pub writes_in_place: bool,
}

/// File systems that write elsewhere: btrfs, ZFS, bcachefs.
const COPY_ON_WRITE: [u64; 3] = [0x9123_683E, 0x2FC1_2FC1, 0xCA45_1A4E];

fn ask(path: &Path) -> rustix::io::Result<Volume> {
    let stat = rustix::fs::statvfs(path)?;
    let magic = rustix::fs::statfs(path)?.f_type as u64;
    Ok(Volume {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        is_read_only: stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        writes_in_place: !COPY_ON_WRITE.contains(&magic),
    })
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
