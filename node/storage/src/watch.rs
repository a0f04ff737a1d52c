//! Looks after the data directory while nothing is written to it: whether it is still there, and how full its volumes are.

use std::sync::Arc;

use quorate_simpoint::{Bug, planted};
use tokio::sync::{mpsc, oneshot};

use crate::data_dir::{DataDir, Number};
use crate::disk::{DiskRunner, Running, Volume};
use crate::error::Error;
use crate::log::ShardLog;
use crate::state::State;

type Answer = oneshot::Sender<Result<(), Error>>;

/// A disk actor that looks when it is asked to. There is no clock here: whoever runs the node asks, a few times a second.
pub struct Watch {
    looks: mpsc::Sender<Answer>,
    actor: Running,
}

struct Watched {
    dir: DataDir,
    /// Which file the log is in.
    number: Number,
    log: ShardLog,
    state: State,
}

impl Watch {
    /// Looks after what is in use of `dir`: its log, and the state of a shard.
    ///
    /// # Errors
    /// [`Error::Disk`] if the log cannot be looked at.
    pub fn start(
        dir: &DataDir,
        log: &ShardLog,
        state: &State,
        runner: &Arc<dyn DiskRunner>,
    ) -> Result<Watch, Error> {
        let watched =
            Watched { dir: dir.clone(), number: dir.log_number()?, log: log.clone(), state: state.clone() };
        let (looks, mut asked) = mpsc::channel::<Answer>(1);
        let actor = async move {
            while let Some(answer) = asked.recv().await {
                let _ = answer.send(watched.look()); // whoever asked may not have waited
            }
        };
        Ok(Watch { looks, actor: runner.run("quorate-watch", Box::pin(actor)) })
    }

    /// Brings [`ShardLog::room`] and [`State::room`] up to date. It takes as long as the disk takes to answer.
    ///
    /// # Errors
    /// [`Error::Gone`]: nothing may be acknowledged any more.
    pub async fn look(&self) -> Result<(), Error> {
        let (answer, looked) = oneshot::channel();
        if self.looks.send(answer).await.is_err() {
            return Err(Error::Closed);
        }
        looked.await.unwrap_or(Err(Error::Closed))
    }

    /// Ends it, once it has looked.
    pub async fn close(self) {
        drop(self.looks);
        self.actor.join().await;
    }
}

impl Watched {
    fn look(&self) -> Result<(), Error> {
        if planted(Bug::GoneIgnored) {
            return Ok(());
        }
        self.dir.check_place(self.number)?;
        let volumes: [Volume; 2] = [self.log.look(), self.state.look()];
        match volumes.iter().any(|volume| volume.is_read_only) {
            true => {
                let what = "its file system is read-only now".into();
                Err(Error::Gone { path: self.dir.path().to_owned(), what })
            }
            false => Ok(()),
        }
    }
}
