//! Why a replica must end, and where that is said.

use std::sync::Arc;

use tokio::sync::watch;

/// Why a replica has stopped, or has to.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Ending {
    /// What its disk has kept is not what was written.
    #[error(transparent)]
    Damaged(quorate_storage::Error),
    /// It met a failed disk, or a fault of the program.
    #[error("{0}")]
    Failed(String),
    /// The node is no member any more.
    #[error("{name} (id {id}) was removed from the cluster")]
    Removed {
        /// Its name.
        name: String,
        /// The id that it had, which nobody gets again.
        id: u64,
    },
    /// It leads with an entry that a peer cannot take: nothing behind it could be committed, and no other node can lead with it.
    #[error(
        "{peer} takes messages of {limit} bytes, and the entry {index}, which nobody was told is stored, needs one of {bytes}: \
         the others go on without it"
    )]
    TooLarge {
        /// Index of the entry.
        index: u64,
        /// Length of the message, in bytes.
        bytes: usize,
        /// The longest message, in bytes.
        limit: usize,
        /// Who cannot take it.
        peer: String,
    },
    /// It met what its program cannot read. The others may have gone on after it.
    #[error("{what} cannot be read: {why}: upgrade this node")]
    Unreadable {
        /// Which entry, snapshot or member it was.
        what: String,
        /// What is not known of it, and what would be.
        why: String,
    },
    /// Its rows are not those of the others, though it applied the same entries.
    #[error(
        "the state of this node is not that of the others: at index {index} its digest is {mine}, theirs is {theirs}"
    )]
    Differs {
        /// Where they were compared.
        index: u64,
        /// This replica's digest, in hexadecimal.
        mine: String,
        /// What the others have.
        theirs: String,
    },
}

/// Where it is said that a replica must end. The first reason counts. Clones share it.
#[derive(Clone, Debug)]
pub struct End(Arc<watch::Sender<Option<Ending>>>);

impl Default for End {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl End {
    /// The replica must end, unless it must already.
    pub fn because(&self, why: Ending) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                tracing::error!("{why}");
                *first = Some(why);
            }
            is_first
        });
    }

    /// Why it must, if it must.
    pub fn why(&self) -> Option<Ending> {
        self.0.borrow().clone()
    }

    /// Returns why, once it must.
    pub async fn reached(&self) -> Ending {
        let mut ending = self.0.subscribe();
        loop {
            if let Some(why) = ending.borrow_and_update().clone() {
                return why;
            }
            // The sender lives as long as this.
            let _ = ending.changed().await;
        }
    }
}
