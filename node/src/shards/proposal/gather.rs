//! What goes into an entry: commands in the order in which they came, up to its bounds.

use std::collections::VecDeque;

use quorate_machine::command::Measured;
use quorate_machine::limits::{ENTRY_BYTES_MAX, ENTRY_HEAD_BYTES_MAX, ENTRY_WEIGHT};
use quorate_simpoint::{Bug, Component, Holding, buggify, planted};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{Answer, Limits};

/// What holds a command's bytes against a bound of the server until it is answered.
pub type Room = Option<Hold>;

/// See [`Room`].
pub struct Hold {
    _permit: OwnedSemaphorePermit,
    _besides: Option<OwnedSemaphorePermit>,
    _held: Holding,
}

impl Hold {
    /// So many bytes are held.
    pub fn new(permit: OwnedSemaphorePermit, bytes: usize) -> Self {
        Self { _permit: permit, _besides: None, _held: Holding::new(Component::Admitted, bytes) }
    }

    /// They are held against another bound besides.
    #[must_use]
    pub fn with(self, besides: Option<OwnedSemaphorePermit>) -> Self {
        Self { _besides: besides, ..self }
    }
}

/// A command on its way into an entry.
pub(super) struct Waiting {
    pub(super) command: Measured,
    pub(super) asker: Asker,
    pub(super) _held: Holding,
}

/// Who waits for the answer to a command.
pub(super) struct Asker {
    pub(super) answer: oneshot::Sender<Answer>,
    pub(super) _room: Room,
}

/// Gathers the commands of one entry after the other.
pub(super) struct Gathering {
    limits: Limits,
    waiting: mpsc::Receiver<Waiting>,
    /// Did not fit into the last entry.
    held: Option<Waiting>,
}

impl Gathering {
    pub(super) fn new(limits: Limits, waiting: mpsc::Receiver<Waiting>) -> Self {
        Self { limits, waiting, held: None }
    }

    /// Waits for a command, then takes what else is there, up to a full entry.
    pub(super) async fn next_batch(&mut self) -> Option<(Vec<Measured>, VecDeque<Asker>)> {
        let first = match self.held.take().filter(Waiting::is_awaited) {
            Some(held) => held,
            None => {
                let first = loop {
                    let first = self.waiting.recv().await?;
                    if first.is_awaited() {
                        break first;
                    }
                };
                // The runtime runs whom a command wakes next of all. Those who are ready to hand in theirs come first.
                tokio::task::yield_now().await;
                first
            }
        };
        let mut bytes = ENTRY_HEAD_BYTES_MAX + size_of(&first.command);
        let mut rows = first.command.weight();
        let (mut commands, mut askers) = (vec![first.command], VecDeque::from([first.asker]));
        let most = self.limits.entry_bytes.min(ENTRY_BYTES_MAX);
        while bytes < most && commands.len() < self.limits.entry_commands_max {
            if buggify("node/gather/close_entry") {
                break;
            }
            let Ok(next) = self.waiting.try_recv() else { break };
            if !next.is_awaited() {
                continue;
            }
            let is_full = bytes + size_of(&next.command) > most;
            if is_full || rows + next.command.weight() > ENTRY_WEIGHT {
                self.held = Some(next);
                break;
            }
            bytes += size_of(&next.command);
            rows += next.command.weight();
            commands.push(next.command);
            askers.push_back(next.asker);
        }
        Some((commands, askers))
    }
}

/// What a command takes in an entry, in bytes.
fn size_of(command: &Measured) -> usize {
    if planted(Bug::EntryCapIgnored) { 128 } else { command.bytes() }
}

impl Waiting {
    /// Whether somebody still waits for the answer. Who has gone was told that nobody knows, and may have gone on: what has not been
    /// proposed by then is better left.
    fn is_awaited(&self) -> bool {
        !self.asker.answer.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use quorate_machine::FORMAT_VERSION;
    use quorate_machine::command::{Batch, Publish, Tick, Verb};

    use super::*;

    const ENTRY_BYTES: usize = 10_000;

    fn waiting(bytes: usize) -> (Waiting, oneshot::Receiver<Answer>) {
        let verb = match bytes {
            0 => Verb::Tick(Tick {}),
            _ => Verb::Publish(Publish { messages: vec![7; bytes].into(), ..Publish::default() }),
        };
        let (answer, asking) = oneshot::channel();
        let command = Measured::of(verb).expect("it is short");
        let held = Holding::new(Component::Waiting, bytes);
        (Waiting { command, asker: Asker { answer, _room: None }, _held: held }, asking)
    }

    fn gathering() -> (mpsc::Sender<Waiting>, Gathering) {
        let (queue, waiting) = mpsc::channel(64);
        (queue, Gathering::new(Limits { entry_bytes: ENTRY_BYTES, ..Limits::default() }, waiting))
    }

    #[tokio::test]
    async fn an_entry_is_closed_before_it_is_too_long_whatever_it_holds() {
        let (queue, mut gathering) = gathering();
        let mut asking = Vec::new();
        for bytes in [4000, 4000, 4000, 0, 50_000, 0, 9_900, 3000] {
            let (waiting, answer) = waiting(bytes);
            assert!(queue.try_send(waiting).is_ok());
            asking.push(answer);
        }
        let mut counts = Vec::new();
        for _ in 0..5 {
            let (commands, askers) = gathering.next_batch().await.expect("more");
            let entry = Batch::pack(FORMAT_VERSION, u64::MAX, &commands);
            assert!(
                entry.len() <= ENTRY_BYTES || commands.len() == 1,
                "{} of {}",
                entry.len(),
                commands.len()
            );
            assert_eq!(commands.len(), askers.len());
            counts.push(commands.len());
        }
        assert_eq!(counts, [2, 2, 1, 2, 1]);
    }

    #[tokio::test]
    async fn whoever_has_gone_is_left_out() {
        let (queue, mut gathering) = gathering();
        let mut asking = Vec::new();
        for bytes in [1, 2, 3, 9_990, 4, 5] {
            let (waiting, answer) = waiting(bytes);
            assert!(queue.try_send(waiting).is_ok());
            asking.push(Some(answer));
        }
        for gone in [0, 2] {
            asking[gone] = None;
        }
        let (commands, _) = gathering.next_batch().await.expect("the second");
        assert_eq!(commands.len(), 1, "the first and the third are left out, and the fourth does not fit");
        asking[3] = None;
        let (commands, _) = gathering.next_batch().await.expect("the last two");
        assert_eq!(commands.len(), 2, "also of what was held back");
    }
}
