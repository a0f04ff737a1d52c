//! Disk actors as tasks: they take their time, and a disk call itself takes none.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use quorate_storage::disk::{DiskRunner, Inline, Running, Volume};
use tokio::time::Sleep;

use super::Gate;
use crate::disk::Space;
use crate::seed::Rng;

/// The disk actor that writes the log.
const LOG_ACTOR: &str = "quorate-log";

/// How long a disk takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskSpeed {
    /// Least and greatest time from when work is there to when it is done.
    pub(crate) latency: (Duration, Duration),
}

/// Runs the disk actors of one life of a node.
pub(super) struct SlowRunner {
    pub(super) speed: Arc<Mutex<DiskSpeed>>,
    pub(super) gate: Gate,
    pub(super) rng: Arc<Mutex<Rng>>,
    /// What room the disk has.
    pub(super) space: Arc<Space>,
}

impl DiskRunner for SlowRunner {
    fn run(&self, name: &str, actor: BoxFuture<'static, ()>) -> Running {
        let slow = Slow {
            actor,
            is_log: name == LOG_ACTOR,
            waiting: None,
            speed: Arc::clone(&self.speed),
            gate: self.gate.clone(),
            rng: Arc::clone(&self.rng),
        };
        Inline.run(name, Box::pin(slow))
    }

    fn pause(&self, d: Duration) -> BoxFuture<'static, ()> {
        Inline.pause(d)
    }

    fn volume(&self, _path: &Path) -> Volume {
        self.space.volume()
    }
}

/// An actor that gets to its work only some time after it was woken, so that more of it gathers.
struct Slow {
    actor: BoxFuture<'static, ()>,
    is_log: bool,
    waiting: Option<Pin<Box<Sleep>>>,
    speed: Arc<Mutex<DiskSpeed>>,
    gate: Gate,
    rng: Arc<Mutex<Rng>>,
}

impl Future for Slow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            match &mut this.waiting {
                None => {
                    let (least, greatest) = this.speed.lock().latency;
                    let spread = greatest.saturating_sub(least).as_micros() as u64;
                    let took = least + Duration::from_micros(this.rng.lock().below(spread + 1));
                    this.waiting = Some(Box::pin(tokio::time::sleep(took)));
                }
                Some(waiting) => {
                    ready!(waiting.as_mut().poll(context));
                    if this.gate.is_paused()
                        || this.gate.is_disk_stalled()
                        || (this.is_log && this.gate.is_log_stalled())
                    {
                        this.waiting = Some(Box::pin(tokio::time::sleep(super::TICK)));
                        continue;
                    }
                    this.waiting = None;
                    return this.actor.as_mut().poll(context);
                }
            }
        }
    }
}
