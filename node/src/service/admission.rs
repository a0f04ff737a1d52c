//! What keeps the server within its memory and its disk, before anything is proposed.

use std::sync::{Arc, OnceLock};

use quorate_machine::limits::REQUEST_BYTES_MAX;
use quorate_raft::Shortage;
use quorate_simpoint::{Bug, planted};
use quorate_storage::space::{Bound, Room as DiskRoom};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::shards::proposal::{Hold, Room};

use super::error::{CommandError, NoSpace, Overload};

/// Bounds of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What was read from clients and has no answer yet, in bytes, over all streams: so much of messages, and as much of all else. As much
    /// of each waits to be let in; what comes then is refused.
    pub unanswered_bytes_max: usize,
}

/// Bytes that one permit stands for.
const PERMIT_BYTES: usize = 1024;
/// What is longer is admitted a few at a time, so that on a slow disk what is short does not wait behind more of it than that.
const LONG_BYTES_MIN: usize = 1024 * 1024;
/// So much of it: two requests of the greatest length.
const LONG_BYTES_MAX: usize = 2 * REQUEST_BYTES_MAX;

/// So many bytes are let in; as many wait.
#[derive(Clone)]
struct Budget {
    permits: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    permits_max: u32,
}

impl Budget {
    fn new(bytes_max: usize) -> Self {
        let permits_max = u32::try_from(bytes_max.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let semaphore = || Arc::new(Semaphore::new(permits_max as usize));
        Self { permits: semaphore(), waiting: semaphore(), permits_max }
    }

    fn permits(&self, bytes: usize) -> u32 {
        if planted(Bug::AdmissionUnbounded) {
            return 0;
        }
        u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.permits_max)
    }

    /// A place among what waits; refused if there is none.
    fn wait(&self, bytes: usize) -> Result<OwnedSemaphorePermit, CommandError> {
        let place = Arc::clone(&self.waiting).try_acquire_many_owned(self.permits(bytes));
        place.map_err(|_| Overload::Waiting.into())
    }

    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, CommandError> {
        let taken = Arc::clone(&self.permits).acquire_many_owned(self.permits(bytes)).await;
        taken.map_err(|closed| CommandError::Internal(closed.to_string()))
    }

    /// Bytes that are let in.
    fn taken(&self) -> usize {
        (self.permits_max as usize - self.permits.available_permits()) * PERMIT_BYTES
    }
}

/// Admits publishes. Clones share the bounds.
#[derive(Clone)]
pub struct Admission {
    messages: Budget,
    /// Of what carries no messages, so that settling never waits behind publishing.
    commands: Budget,
    /// Of what is long, besides.
    long: Arc<Semaphore>,
    /// What the room of the voters is, once there are any.
    voters: Arc<OnceLock<watch::Receiver<Option<Shortage>>>>,
}

impl Admission {
    /// Admission within `limits`.
    pub fn new(limits: &Limits) -> Self {
        Self {
            messages: Budget::new(limits.unanswered_bytes_max),
            commands: Budget::new(limits.unanswered_bytes_max),
            long: Arc::new(Semaphore::new(LONG_BYTES_MAX)),
            voters: Arc::default(),
        }
    }

    /// Room for so many bytes until the permit is dropped; waits for it, which is the backpressure that a
    /// producer feels.
    ///
    /// # Errors
    /// So much waits already that this would be too much to hold.
    pub async fn room(&self, bytes: usize) -> Result<Room, CommandError> {
        let _waits = self.messages.wait(bytes)?;
        // First, so that what waits for the long ones before it holds nothing that a short one needs.
        let long = match u32::try_from(bytes.min(LONG_BYTES_MAX)) {
            Ok(long) if bytes >= LONG_BYTES_MIN && !planted(Bug::AdmissionUnbounded) => {
                self.long.clone().acquire_many_owned(long).await.ok()
            }
            _ => None,
        };
        Ok(Some(Hold::new(self.messages.take(bytes).await?, bytes).with(long)))
    }

    /// The same for a command that carries no messages.
    ///
    /// # Errors
    /// As [`Self::room`].
    pub async fn command_room(&self, bytes: usize) -> Result<Room, CommandError> {
        let _waits = self.commands.wait(bytes)?;
        Ok(Some(Hold::new(self.commands.take(bytes).await?, bytes)))
    }

    /// From now on nothing new is let in while `refusal` says why.
    pub fn heed(&self, refusal: watch::Receiver<Option<Shortage>>) {
        let _ = self.voters.set(refusal); // the first one stays
    }

    /// An error while too many voters, or the leader itself, have no room for what is new. What was let in and has no answer yet
    /// counts, with a quarter for the pages around it. A leader whose disk runs short lets another one lead, and is not to
    /// refuse meanwhile what that one would take: half of its reserve is there for that.
    pub fn check_space(&self, node: &str, room: DiskRoom) -> Result<(), NoSpace> {
        if let Some(why) = self.voters.get().and_then(|refusal| refusal.borrow().clone()) {
            return Err(NoSpace::Voters(why));
        }
        let unanswered = self.messages.taken() as u64;
        let least = match room.bound {
            Bound::Volume => DiskRoom { reserve_bytes: room.reserve_bytes / 2, ..room },
            Bound::Quota => room,
        };
        match least.admits(unanswered + unanswered / 4) {
            true => Ok(()),
            false => Err(NoSpace::Leader { node: node.to_owned(), room }),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_raft::{Report, Short};
    use quorate_storage::space::Bound;

    use super::*;
    use crate::service::describe::Describe as _;
    use crate::service::reason::Reason;

    #[tokio::test]
    async fn what_is_unanswered_counts_like_what_is_used_and_the_refusal_has_figures() {
        let admission = Admission::new(&Limits { unanswered_bytes_max: 1 << 20 });
        let room =
            |free_bytes| DiskRoom { free_bytes, reserve_bytes: 1 << 20, bound: Bound::Quota, waiting: false };
        let admits = |free_bytes| admission.check_space("n1", room(free_bytes)).is_ok();
        assert!(admits(1 << 20) && !admits((1 << 20) - 1));
        let unanswered = admission.room(200_000).await;
        assert!(!admits(1_200_000) && admits(1_300_000));
        drop(unanswered);
        assert!(admits(1_200_000));
        let refused = admission.check_space("n1", room(12 << 10)).expect_err("too little").describe().message;
        assert!(refused.contains("n1 has 12 KiB free of a reserve of 1024 KiB"), "{refused}");
        // While another one takes over, half of what the disk has in reserve is there.
        let on_disk = |free_bytes| DiskRoom { bound: Bound::Volume, ..room(free_bytes) };
        assert!(admission.check_space("n1", on_disk(1 << 19)).is_ok());
        assert!(admission.check_space("n1", on_disk((1 << 19) - 1)).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_long_is_let_in_a_few_at_a_time_and_holds_nothing_up_that_is_short() {
        let admission = Admission::new(&Limits { unanswered_bytes_max: 256 << 20 });
        let waits = async |bytes| {
            tokio::time::timeout(std::time::Duration::from_secs(9), admission.room(bytes)).await.is_err()
        };
        let first = admission.room(REQUEST_BYTES_MAX).await;
        let second = admission.room(REQUEST_BYTES_MAX).await;
        assert!(waits(LONG_BYTES_MIN).await && !waits(LONG_BYTES_MIN - 1).await);
        drop(first);
        assert!(!waits(REQUEST_BYTES_MAX).await && waits(usize::MAX).await);
        drop(second);
        assert!(!waits(usize::MAX).await, "whatever is longest gets its turn");
    }

    #[tokio::test(start_paused = true)]
    async fn as_much_waits_as_is_let_in_and_what_comes_then_is_refused() {
        let admission = Admission::new(&Limits { unanswered_bytes_max: 1 << 20 });
        let (half, all) = (1 << 19, 1 << 20);
        let first = admission.room(all).await.expect("it is let in");
        let (second, third) = (admission.room(half), admission.room(half));
        let (mut second, mut third) = (Box::pin(second), Box::pin(third));
        let soon = std::time::Duration::from_secs(9);
        assert!(tokio::time::timeout(soon, &mut second).await.is_err(), "it waits");
        assert!(tokio::time::timeout(soon, &mut third).await.is_err(), "it waits");
        let refused = tokio::time::timeout(soon, admission.room(1)).await.expect("it does not wait");
        assert_eq!(refused.err(), Some(CommandError::Overload(Overload::Waiting)));
        assert!(admission.command_room(all).await.is_ok(), "settles are counted apart");
        drop(first);
        let let_in = [second.await, third.await];
        assert!(let_in.iter().all(Result::is_ok));
        drop(let_in);
        assert!(admission.room(all).await.is_ok(), "nothing of it is left");
    }

    #[tokio::test]
    async fn what_the_voters_lack_is_told() {
        let admission = Admission::new(&Limits { unanswered_bytes_max: 1 << 20 });
        let room = DiskRoom { free_bytes: 9, reserve_bytes: 3, bound: Bound::Volume, waiting: false };
        assert!(admission.check_space("n1", room).is_ok());
        let (says, refusal) = watch::channel(None);
        admission.heed(refusal);
        assert!(admission.check_space("n1", room).is_ok());
        let report = Report { free_bytes: 12 << 20, reserve_bytes: 64 << 20, ..Report::default() };
        let nodes = vec![Short { name: "n2".into(), report }];
        says.send_replace(Some(Shortage { nodes, voters: 3 }));
        let told = admission.check_space("n1", room).expect_err("a refusal").describe();
        assert_eq!((told.reason, told.reason.retry()), (Reason::NoSpace, true));
        assert!(told.message.contains("n2 has 12 MiB free"), "{}", told.message);
        let facts = [("nodes", "n2"), ("free_bytes", "12582912"), ("reserve_bytes", "67108864")];
        assert_eq!(told.details, facts.map(|(name, value)| (name, value.to_owned())));
        says.send_replace(None);
        assert!(admission.check_space("n1", room).is_ok());
    }
}
